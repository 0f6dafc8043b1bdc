"""Bodies as objects: the few fields that a shard interprets, mapped. One set of rules for JSON and protobuf.

Objects may be partial (merge patches, apply configurations, the mapped part of a protobuf message): every rule looks at
what is there and adds nothing, except where the absence itself has a meaning to the shard.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from proxy.kube.errors import StatusError
from proxy.mapping.names import (
    DEFAULT_AUDIENCE,
    NATIVE_GROUPS,
    SHARED_ROLES,
    map_api_group,
    map_api_version,
    map_cluster_name,
    map_group,
    map_namespace,
    map_user,
)
from proxy.mapping.paths import RequestInfo
from proxy.mapping.query import METADATA_NAME
from proxy.mapping.scopes import PrivateScopes, kind_is_cluster_scoped, resource_is_cluster_scoped
from proxy.mapping.token import LABEL

Object = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Context:
    """What a body belongs to."""

    info: RequestInfo
    prefix: str
    scopes: PrivateScopes
    complete: bool = True
    """False for patches, in which what is absent is not empty."""


def map_object(obj: Object, context: Context) -> Object:
    """The object for the shard (changed in place). Raises StatusError 400 or 422 for what cannot be mapped."""
    info, prefix = context.info, context.prefix
    if info.group not in NATIVE_GROUPS and isinstance(obj.get("apiVersion"), str):
        obj["apiVersion"] = map_api_version(obj["apiVersion"], prefix)
    rule = RULES.get((info.group, info.resource, info.subresource))
    if rule is None and info.subresource:
        rule = RULES.get((info.group, info.resource, ""))
    meta = obj.get("metadata")
    if isinstance(meta, dict):
        _metadata(meta, context)
    if rule is not None:
        rule(obj, context)
    return obj


def _metadata(meta: Object, context: Context) -> None:
    info, prefix = context.info, context.prefix
    if _filled(meta, "namespace"):
        meta["namespace"] = map_namespace(meta["namespace"], prefix)
    if not info.namespace or info.resource == "namespaces":
        kind = info.resource
        for key in ("name", "generateName"):
            if not _filled(meta, key):
                continue
            if info.resource == "namespaces":
                meta[key] = map_namespace(meta[key], prefix)
            elif info.resource == "customresourcedefinitions" and info.group == "apiextensions.k8s.io":
                meta[key] = map_crd_name(meta[key], prefix)
            elif (info.group, info.resource) in REVIEWS:
                continue
            else:
                _not_shared(info, meta[key])
                meta[key] = map_cluster_name(meta[key], prefix, kind, info.group)
    for owner in _dicts(meta.get("ownerReferences")):
        version = owner.get("apiVersion")
        if not isinstance(version, str):
            continue
        group = version.partition("/")[0] if "/" in version else ""
        owner["apiVersion"] = map_api_version(version, prefix)
        if _filled(owner, "name") and kind_is_cluster_scoped(group, str(owner.get("kind")), context.scopes):
            owner["name"] = prefix + owner["name"]
    for entry in _dicts(meta.get("managedFields")):
        if _filled(entry, "apiVersion"):
            entry["apiVersion"] = map_api_version(entry["apiVersion"], prefix)
    labels = meta.get("labels")
    if isinstance(labels, dict):
        if LABEL in labels:
            raise invalid(context, "metadata.labels", f'"{LABEL}" is reserved')
        if info.resource == "namespaces" and _filled(labels, METADATA_NAME):
            labels[METADATA_NAME] = prefix + labels[METADATA_NAME]


def _not_shared(info: RequestInfo, name: str) -> None:
    if info.group == RBAC and info.resource == "clusterroles" and name in SHARED_ROLES:
        raise StatusError(
            403,
            f'clusterroles.rbac.authorization.k8s.io "{name}" is forbidden: it is shared and read-only',
            details={"name": name, "group": info.group, "kind": info.resource},
        )


def map_crd_name(name: str, prefix: str) -> str:
    """``widgets.example.com`` → ``widgets.<prefix>example.com``."""
    plural, dot, group = name.partition(".")
    if dot and group in NATIVE_GROUPS:
        raise StatusError(
            403,
            f'customresourcedefinitions.apiextensions.k8s.io "{name}" is forbidden: group "{group}" is served by the '
            "control plane itself",
            details={"name": name, "group": "apiextensions.k8s.io", "kind": "customresourcedefinitions"},
        )
    return f"{plural}.{prefix}{group}" if dot else name


def _crd(obj: Object, context: Context) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if _filled(spec, "group"):
        map_crd_name(f"x.{spec['group']}", context.prefix)
        spec["group"] = context.prefix + spec["group"]
    conversion = spec.get("conversion")
    if isinstance(conversion, dict) and (conversion.get("strategy") == "Webhook" or conversion.get("webhook")):
        raise invalid(context, "spec.conversion.strategy", "conversion webhooks are not served in a workspace")


def _role(obj: Object, context: Context) -> None:
    for rule in _dicts(obj.get("rules")):
        groups = rule.get("apiGroups")
        resources = [name for name in rule.get("resources") or () if isinstance(name, str)]
        names = rule.get("resourceNames")
        if isinstance(names, list) and names:
            plain = [group for group in groups or () if isinstance(group, str)]
            rule["resourceNames"] = _resource_names(names, plain, resources, context)
        if isinstance(groups, list):
            rule["apiGroups"] = [
                map_api_group(group, context.prefix) if isinstance(group, str) and group != "*" else group
                for group in groups
            ]


def _resource_names(names: list[Any], groups: list[str], resources: list[str], context: Context) -> list[Any]:
    """A name of a cluster-scoped object carries the prefix, one of a namespaced object does not; where a rule is for
    both, or for all, it names both forms."""
    scoped = {
        resource_is_cluster_scoped(group, resource.partition("/")[0], context.scopes)
        for group in groups
        for resource in resources
    }
    if "*" in groups or "*" in resources:
        scoped = {True, False}
    mapped: list[Any] = []
    for name in names:
        if not isinstance(name, str):
            mapped.append(name)
            continue
        if False in scoped or not scoped:
            mapped.append(name)
        if True in scoped:
            mapped.append(map_crd_name(name, context.prefix) if _crds(groups, resources) else context.prefix + name)
    return mapped


def _crds(groups: list[str], resources: list[str]) -> bool:
    return "apiextensions.k8s.io" in groups and "customresourcedefinitions" in resources


def _binding(obj: Object, context: Context) -> None:
    for subject in _dicts(obj.get("subjects")):
        kind = subject.get("kind")
        if _filled(subject, "name"):
            if kind == "User":
                subject["name"] = map_user(subject["name"], context.prefix)
            elif kind == "Group":
                subject["name"] = map_group(subject["name"], context.prefix)
        if _filled(subject, "namespace"):
            subject["namespace"] = context.prefix + subject["namespace"]
    role = obj.get("roleRef")
    if isinstance(role, dict) and _filled(role, "name"):
        kind = role.get("kind")
        if kind == "ClusterRole" and role["name"] not in SHARED_ROLES:
            role["name"] = context.prefix + role["name"]


def _access_review(obj: Object, context: Context) -> None:
    spec = obj.get("spec")
    if not isinstance(spec, dict):
        return
    if _filled(spec, "user"):
        spec["user"] = map_user(spec["user"], context.prefix)
    if isinstance(spec.get("groups"), list):
        spec["groups"] = [map_group(str(group), context.prefix) for group in spec["groups"]]
    wanted = spec.get("resourceAttributes")
    if isinstance(wanted, dict):
        group, resource = str(wanted.get("group") or ""), str(wanted.get("resource") or "")
        if _filled(wanted, "namespace"):
            wanted["namespace"] = context.prefix + wanted["namespace"]
        if _filled(wanted, "name") and resource_is_cluster_scoped(group, resource, context.scopes):
            wanted["name"] = context.prefix + wanted["name"]
        if group and group != "*":
            wanted["group"] = map_api_group(group, context.prefix)


def _rules_review(obj: Object, context: Context) -> None:
    spec = obj.get("spec")
    if isinstance(spec, dict) and _filled(spec, "namespace"):
        spec["namespace"] = context.prefix + spec["namespace"]


def _audiences(obj: Object, context: Context) -> None:
    # Absence means "the server's own audience": the shard's would open the shard itself.
    spec = obj.setdefault("spec", {})
    if not isinstance(spec, dict):
        return
    audiences = spec.get("audiences") or [DEFAULT_AUDIENCE]
    if isinstance(audiences, list):
        spec["audiences"] = [context.prefix + str(audience) for audience in audiences]


def _event(obj: Object, context: Context) -> None:
    # An event must stand in the namespace of what it is about; for cluster-scoped things that is literally
    # "default", which on the shard is another workspace's business: such events name their own namespace instead.
    for key in ("involvedObject", "regarding", "related"):
        about = obj.get(key)
        if not isinstance(about, dict):
            continue
        if _filled(about, "namespace"):
            about["namespace"] = context.prefix + about["namespace"]
        elif context.complete and key != "related" and context.info.namespace:
            about["namespace"] = context.prefix + context.info.namespace


def _quota(obj: Object, context: Context) -> None:
    for place in (obj.get("spec"), obj.get("status")):
        if not isinstance(place, dict):
            continue
        for key in ("hard", "used"):
            if isinstance(place.get(key), dict):
                place[key] = {_quota_key(name, context.prefix): value for name, value in place[key].items()}


def _quota_key(name: str, prefix: str) -> str:
    """``count/widgets.example.com`` counts a private kind; everything else is native."""
    if not name.startswith("count/"):
        return name
    resource, dot, group = name[len("count/") :].partition(".")
    return f"count/{resource}{dot}{map_api_group(group, prefix) if dot else ''}"


def invalid(context: Context, field: str, why: str) -> StatusError:
    """422 naming the field."""
    info = context.info
    what = f"{info.resource}.{info.group}" if info.group else info.resource
    details: dict[str, Any] = {
        "kind": info.resource,
        "causes": [{"reason": "FieldValueInvalid", "message": why, "field": field}],
    }
    if info.name:
        details["name"] = info.name
    return StatusError(422, f'{what} "{info.name}" is invalid: {field}: Invalid value: {why}', details=details)


def _filled(obj: Object, key: str) -> bool:
    value = obj.get(key)
    return isinstance(value, str) and value != ""


def _dicts(value: Any) -> list[Object]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


RBAC = "rbac.authorization.k8s.io"
AUTHORIZATION = "authorization.k8s.io"
AUTHENTICATION = "authentication.k8s.io"

REVIEWS = frozenset(
    {
        (AUTHORIZATION, "subjectaccessreviews"),
        (AUTHORIZATION, "selfsubjectaccessreviews"),
        (AUTHORIZATION, "selfsubjectrulesreviews"),
        (AUTHENTICATION, "tokenreviews"),
        (AUTHENTICATION, "selfsubjectreviews"),
    }
)
"""Cluster-scoped resources that are asked, not stored: they have no names."""

RULES: dict[tuple[str, str, str], Callable[[Object, Context], None]] = {
    ("apiextensions.k8s.io", "customresourcedefinitions", ""): _crd,
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
"""By group, resource and subresource (a subresource without a rule of its own takes the resource's)."""
