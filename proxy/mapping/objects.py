"""Bodies as objects: the few fields that a shard interprets, mapped. One set of rules for JSON and protobuf.

Objects may be partial (merge patches, apply configurations, the mapped part of a protobuf message): every rule looks at
what is there and adds nothing, except where the absence itself has a meaning to the shard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.conversion import map_conversion
from proxy.mapping.detours import Detour
from proxy.mapping.names import (
    MAX_NAME,
    NATIVE_GROUPS,
    map_api_group,
    map_api_version,
    map_cluster_name,
    map_crd_name,
    map_namespace,
    too_long,
)
from proxy.mapping.natives import PRIORITY_CLASSES, refuse_system_class
from proxy.mapping.paths import RequestInfo
from proxy.mapping.query import METADATA_NAME
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.rbac import map_binding, map_role, map_role_label
from proxy.mapping.reviews import (
    AUTHENTICATION,
    AUTHORIZATION,
    REVIEWS,
    map_access_review,
    map_audiences,
    map_rules_review,
)
from proxy.mapping.revisions import conflict, inward
from proxy.mapping.scopes import CLUSTER_SCOPED, CRDS, PrivateScopes, kind_is_cluster_scoped
from proxy.mapping.shape import Object, mapping, mappings, text
from proxy.mapping.shared import MARK
from proxy.mapping.token import LABEL

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_HTML = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


@dataclass(frozen=True, slots=True)
class Context:
    """What a body belongs to."""

    info: RequestInfo
    prefix: str
    scopes: PrivateScopes
    complete: bool = True
    """False for patches, in which what is absent is not empty."""
    moves: int = 0
    """Of the workspace (`proxy.mapping.revisions`)."""
    detour: Detour | None = None
    """How the shard reaches conversion webhooks; None where it cannot."""


T = TypeVar("T")
Rule = Callable[[Object, Context], None]


def map_object(obj: Object, context: Context) -> Object:
    """The object for the shard (changed in place). Raises StatusError: 400 for a field of the wrong type, 403 for what
    is not a workspace's to write, 422 for what cannot be mapped."""
    if context.info.group not in NATIVE_GROUPS:
        if text(obj, "apiVersion"):
            obj["apiVersion"] = map_own_version(obj["apiVersion"], context)
        if context.complete and text(obj, "kind"):
            _kind(obj["kind"], obj, context)
    meta = mapping(obj, "metadata")
    if meta:
        _metadata(meta, context)
    rule = special(RULES, context.info)
    if rule is not None:
        rule(obj, context)
    return obj


def map_own_version(api_version: str, context: Context) -> str:
    """The apiVersion of the object that a request is about."""
    group, slash, version = api_version.partition("/")
    shared = context.scopes.shared_group(group, context.info.resource) if group == context.info.group else ""
    return f"{shared}/{version}" if shared and slash else map_api_version(api_version, context.prefix)


def own_version(version: str, context: Context) -> str:
    """The resource version that a write rests on. Raises StatusError 409 for one from before the last move."""
    known = inward(version, context.moves)
    if known is None and context.info.verb != "create":
        raise conflict(context.info)
    return known or version


def _kind(given: str, obj: Object, context: Context) -> None:
    """A shard's admission policies write the right kind into an object before it is compared."""
    info = context.info
    kind = context.scopes.kind_of(info.group, info.resource)
    if kind and given != kind and info.subresource in ("", "status"):
        name = info.name or text(mapping(obj, "metadata") or {}, "name")
        why = f'Invalid value: "{given}": must be {kind}'
        causes = [{"reason": "FieldValueInvalid", "message": why, "field": "kind"}]
        raise StatusError(
            422,
            f'{given}.{info.group} "{name}" is invalid: kind: {why}',
            details={"name": name, "group": info.group, "kind": given, "causes": causes},
        )


def special(table: dict[tuple[str, str, str], T], info: RequestInfo) -> T | None:
    """What ``table`` says of a resource; a subresource without an entry of its own has the resource's."""
    return table.get((info.group, info.resource, info.subresource)) or table.get((info.group, info.resource, ""))


def _metadata(meta: Object, context: Context) -> None:
    info, prefix = context.info, context.prefix
    if context.moves and text(meta, "resourceVersion"):
        meta["resourceVersion"] = own_version(meta["resourceVersion"], context)
    if text(meta, "namespace"):
        meta["namespace"] = prefix + meta["namespace"]  # that of the path, or the shard refuses it
    if (not info.namespace or info.resource == "namespaces") and (info.group, info.resource) not in REVIEWS:
        for key in ("name", "generateName"):
            if text(meta, key):
                meta[key] = map_own_name(meta[key], context)
    for owner in mappings(meta, "ownerReferences"):
        _owner(owner, context)
    for entry in mappings(meta, "managedFields"):
        if text(entry, "apiVersion"):
            entry["apiVersion"] = map_own_version(entry["apiVersion"], context)
    labels = mapping(meta, "labels")
    if labels:
        _labels(meta, labels, context)
    annotations = mapping(meta, "annotations")
    if annotations and text(annotations, LAST_APPLIED):
        annotations[LAST_APPLIED] = _last_applied(annotations[LAST_APPLIED], context)


def _last_applied(value: str, context: Context) -> str:
    """The object inside the annotation. kubectl writes it, and so does a shard for objects that ``kubectl apply
    --server-side`` changes: both must write the same, or kubectl's next apply conflicts with the shard's own words.

    What kubectl would not have written stays as it is; nothing but kubectl reads it.
    """
    try:
        applied = orjson.loads(value)
        if isinstance(applied, dict) and _as_go(applied) == value:
            return _as_go(map_object(applied, replace(context, complete=True)))
    except (orjson.JSONDecodeError, orjson.JSONEncodeError, StatusError, RecursionError):
        pass
    return value


def _as_go(value: Object) -> str:
    """JSON as Go's encoder writes it: keys sorted, safe inside HTML, a newline at the end."""
    encoded = orjson.dumps(value, option=orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE).decode()
    return encoded.translate(_HTML)


def map_own_name(name: str, context: Context) -> str:
    """Name of the cluster-scoped object that is written. Raises StatusError for one that is taken or does not fit."""
    info, prefix = context.info, context.prefix
    meant = info.verb == "create" or name == info.name  # of another name than the path's the shard says so
    if meant and (name in (".", "..") if info.group == RBAC else name[:1] in ("-", ".")):
        raise bad_beginning(name, context)  # behind the prefix it would be legal
    if (info.group, info.resource) == CRDS:
        refuse_native_group(name, name.partition(".")[2])
        if len(name) > MAX_NAME:
            raise too_long("CustomResourceDefinition", CRDS[0], name, MAX_NAME)
        plural, _, group = name.partition(".")
        if context.scopes.shared_group(group, plural):
            raise _imported(name)
        return map_crd_name(name, prefix)
    if (info.group, info.resource) == ("", "namespaces"):
        return map_namespace(name, prefix)
    if (info.group, info.resource) == PRIORITY_CLASSES:
        refuse_system_class(info.verb, name)
    return map_cluster_name(name, prefix, info.resource, info.group)


def _owner(owner: Object, context: Context) -> None:
    version, kind, name = text(owner, "apiVersion"), text(owner, "kind"), text(owner, "name")
    if name and not (version and kind):
        if context.complete:
            return  # the shard refuses it
        raise invalid(context, "metadata.ownerReferences", "an entry needs apiVersion and kind")
    group = version.rpartition("/")[0]
    shared = context.scopes.shared_group_of_kind(group, kind)
    if version:
        owner["apiVersion"] = shared + version[len(group) :] if shared else map_api_version(version, context.prefix)
    if not name:
        return
    if (group, kind) == (CRDS[0], "CustomResourceDefinition"):
        owner["name"] = map_crd_name(name, context.prefix)
    elif kind_is_cluster_scoped(group, kind, context.scopes):
        owner["name"] = context.prefix + name


def _labels(meta: Object, labels: Object, context: Context) -> None:
    info = context.info
    if LABEL in labels:
        raise invalid(context, "metadata.labels", f'"{LABEL}" is reserved')
    if (info.group, info.resource) == ("", "namespaces") and text(labels, METADATA_NAME):
        labels[METADATA_NAME] = context.prefix + labels[METADATA_NAME]
    elif (info.group, info.resource) == (RBAC, "clusterroles"):
        meta["labels"] = {map_role_label(key, context.prefix): value for key, value in labels.items()}


def _crd(crd: Object, context: Context) -> None:
    spec = mapping(crd, "spec") or {}
    group = text(spec, "group")
    if group:
        refuse_native_group(context.info.name or f"*.{group}", group)
        spec["group"] = context.prefix + group
    conversion = mapping(spec, "conversion")
    if conversion:
        name = context.info.name or text(mapping(crd, "metadata") or {}, "name").replace(context.prefix, "")
        map_conversion(conversion, name, context.prefix[:-1], context.detour)


def _event(event: Object, context: Context) -> None:
    # An event must stand in the namespace of what it is about; for cluster-scoped things that is literally
    # "default", which on the shard is no workspace's: such events name their own namespace instead.
    for key in ("involvedObject", "regarding", "related"):
        about = mapping(event, key)
        if about is None:
            continue
        if text(about, "namespace"):
            about["namespace"] = context.prefix + about["namespace"]
        elif context.complete and key != "related" and context.info.namespace:
            about["namespace"] = context.prefix + context.info.namespace


def _quota(quota: Object, context: Context) -> None:
    for part in (mapping(quota, "spec"), mapping(quota, "status")):
        for key in ("hard", "used"):
            amounts = mapping(part, key) if part else None
            if part and amounts:
                part[key] = {_quota_key(name, context): value for name, value in amounts.items()}


def _quota_key(name: str, context: Context) -> str:
    """``count/widgets.example.com`` counts a private kind, or a shared one; everything else is native."""
    resource, dot, group = name.partition(".")
    if not dot or not name.startswith("count/"):
        return name
    shared = context.scopes.shared_group(group, resource.removeprefix("count/"))
    return f"{resource}.{shared or map_api_group(group, context.prefix)}"


def refuse_native_group(name: str, group: str) -> None:
    """A kind in a group of the control plane would be the same for all workspaces."""
    if group in NATIVE_GROUPS and group:
        raise StatusError(
            403,
            f'customresourcedefinitions.apiextensions.k8s.io "{name}" is forbidden: group "{group}" is served by the '
            "control plane itself",
            details={"name": name, "group": CRDS[0], "kind": CRDS[1]},
        )


def _imported(name: str) -> StatusError:
    """A CRD made by hand for a type whose objects stand elsewhere would hide them."""
    return StatusError(
        409,
        f'customresourcedefinitions.apiextensions.k8s.io "{name}" already exists: clusters of the workspace import it',
        reason="AlreadyExists",
        details={"name": name, "group": CRDS[0], "kind": CRDS[1]},
    )


def bad_beginning(name: str, context: Context) -> StatusError:
    """As apimachinery's validation words it."""
    info = context.info
    if info.group == RBAC:
        rule = f"may not be '{name}'"
    elif (info.group, info.resource) == ("", "namespaces"):
        rule = (
            "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and "
            "end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
        )
    else:
        rule = (
            "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
            "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
            "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
        )
    kind = CLUSTER_SCOPED.get(info.group, {}).get(info.resource) or context.scopes.kind_of(info.group, info.resource)
    wrong = {"metadata.name": f'Invalid value: "{name}": {rule}'}
    if (info.group, info.resource) == ("", "namespaces"):
        wrong["metadata.labels"] = f'Invalid value: "{name}": {_LABEL_VALUE}'  # its name is one
    causes = [{"reason": "FieldValueInvalid", "message": why, "field": field} for field, why in wrong.items()]
    details = {"name": name, "group": info.group, "kind": kind, "causes": causes}
    qualified = f"{kind}.{info.group}" if info.group else kind
    said = ", ".join(f"{field}: {why}" for field, why in wrong.items())
    return StatusError(
        422,
        f'{qualified} "{name}" is invalid: ' + (f"[{said}]" if len(wrong) > 1 else said),
        details={key: value for key, value in details.items() if value},
    )


_LABEL_VALUE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and "
    "end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is "
    "'(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)


def literal_token(context: Context, held: bytes) -> StatusError:
    """Responses lose token and identities wherever they stand, so content that holds one (``held``) would not come back
    as it was. The token is told only to whoever has said it."""
    token = context.prefix[:-1]
    word = f'"{token}"' if token.encode() in held else f'a word that begins with "{MARK}"'
    return StatusError(422, f"the request holds {word}, reserved in this workspace, which would not be kept")


def invalid(context: Context, field: str, why: str) -> StatusError:
    """422 naming the field."""
    info = context.info
    what = f"{info.resource}.{info.group}" if info.group else info.resource
    details: dict[str, Any] = {
        "kind": info.resource,
        "causes": [{"reason": "FieldValueInvalid", "message": f"Invalid value: {why}", "field": field}],
    }
    if info.name:
        details["name"] = info.name
    return StatusError(422, f'{what} "{info.name}" is invalid: {field}: Invalid value: {why}', details=details)


def _role(role: Object, context: Context) -> None:
    map_role(role, context.prefix, context.scopes)


def _binding(binding: Object, context: Context) -> None:
    map_binding(binding, context.prefix, complete=context.complete)


def _access_review(review: Object, context: Context) -> None:
    map_access_review(review, context.prefix, context.scopes)


def _rules_review(review: Object, context: Context) -> None:
    map_rules_review(review, context.prefix)


def _audiences(request: Object, context: Context) -> None:
    map_audiences(request, context.prefix)


RULES: dict[tuple[str, str, str], Rule] = {
    (*CRDS, ""): _crd,
    (RBAC, "roles", ""): _role,
    (RBAC, "clusterroles", ""): _role,
    (RBAC, "rolebindings", ""): _binding,
    (RBAC, "clusterrolebindings", ""): _binding,
    (AUTHORIZATION, "subjectaccessreviews", ""): _access_review,
    (AUTHORIZATION, "localsubjectaccessreviews", ""): _access_review,
    (AUTHORIZATION, "selfsubjectaccessreviews", ""): _access_review,
    (AUTHORIZATION, "selfsubjectrulesreviews", ""): _rules_review,
    (AUTHENTICATION, "tokenreviews", ""): _audiences,
    ("", "serviceaccounts", "token"): _audiences,
    ("", "events", ""): _event,
    ("events.k8s.io", "events", ""): _event,
    ("", "resourcequotas", ""): _quota,
}
"""By group, resource and subresource: what is mapped besides the metadata."""
