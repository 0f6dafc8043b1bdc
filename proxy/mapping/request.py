"""A request as the shard gets it: path, query, headers and body mapped to one workspace."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from proxy.kube.errors import StatusError
from proxy.mapping.body import DELETES, map_body
from proxy.mapping.detours import Detour
from proxy.mapping.forms import Form, wanted, wanted_stream
from proxy.mapping.listing import LATEST, Listing, check_token, is_token, make_token
from proxy.mapping.names import NATIVE_GROUPS, map_api_group, map_crd_name
from proxy.mapping.natives import is_system_class, refuse_hidden, refuse_system_class
from proxy.mapping.objects import Context, literal_token, map_own_name
from proxy.mapping.paths import NOT_THERE, RequestInfo, not_allowed, quote
from proxy.mapping.query import map_query, name_in_field_selector
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.registrations import GROUP as REGISTRATIONS
from proxy.mapping.registrations import is_registration
from proxy.mapping.reviews import AUTHENTICATION, AUTHORIZATION
from proxy.mapping.revisions import query_inward
from proxy.mapping.scopes import CRDS, PrivateScopes, resource_is_cluster_scoped
from proxy.mapping.shared import holds_identity
from proxy.mapping.token import LABEL

Header = tuple[bytes, bytes]

BLANK = " \t\r\n"
"""What a label selector is as good as none with (``k8s.io/apimachinery/pkg/labels.isWhitespace``)."""
READ_ONLY = frozenset({"get", "list", "watch"})
REFUSED_GROUPS = frozenset(
    {"apiregistration.k8s.io", "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "storagemigration.k8s.io"}
)  # fmt: skip
"""What stands there acts on a whole shard, whatever its name."""


class Attributes(NamedTuple):
    """What authorization looks at; every name mapped."""

    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    is_resource: bool
    path: str


@dataclass(slots=True)
class MappedRequest:
    target: bytes
    headers: list[Header]
    body: bytes
    attributes: Attributes
    own_identity: bool = False
    """To be sent with the user's own rights: the shard checks escalation, or answers what that user may do."""
    listing: Listing | None = None
    """Set where the answer is put together from pages, or, of a deletion, says that more follows
    (`proxy.mapping.listing`)."""
    form: Form = Form.COMPACT
    """What is to be made of the shard's compact JSON."""

    @property
    def accept(self) -> bytes:
        """What the shard is asked for."""
        return _value(self.headers, b"accept")


def attributes_of(info: RequestInfo, prefix: str, scopes: PrivateScopes) -> Attributes:
    """What is asked for, as the shard's RBAC names it."""
    name = info.name or (name_in_field_selector(info) if info.verb in ("list", "watch") else "")
    if name and _prefixed(info, scopes):
        name = map_crd_name(name, prefix) if (info.group, info.resource) == CRDS else prefix + name
    namespace = prefix + info.namespace if info.namespace else ""
    group = map_api_group(info.group, prefix)
    return Attributes(info.verb, group, info.resource, info.subresource, namespace, name, True, "")


def map_request(
    info: RequestInfo,
    token: str,
    *,
    method: bytes,
    headers: Sequence[Header],
    body: bytes,
    scopes: PrivateScopes,
    attributes: Attributes | None = None,
    moves: int = 0,
    detour: Detour | None = None,
) -> MappedRequest:
    """``attributes``: `attributes_of` the request, if they are known already; ``moves`` of the workspace; ``detour`` of
    its shard, for CRDs.

    Raises StatusError for everything that cannot be mapped without doubt.
    """
    prefix = f"{token}-"
    unknown = info.group == REGISTRATIONS and not is_registration(info.group, info.resource)
    if info.group in REFUSED_GROUPS or unknown or info.beyond:
        raise StatusError(404, NOT_THERE)
    refuse_hidden(info.group, info.resource, info.subresource, info.name)
    if info.group in NATIVE_GROUPS and not _has_route(method, info):
        raise not_allowed()
    attributes = attributes or attributes_of(info, prefix, scopes)
    path = _path(info, attributes, scopes)
    if moves and info.query:
        info = query_inward(info, moves)
    query = map_query(info, prefix, scopes) if info.query else []
    listing = None
    if not info.name and not info.namespace and info.verb != "create":
        in_namespaces = not _prefixed(info, scopes) and not path.startswith(f"/apis/{prefix}")
        query, listing = _confined(info, path, query, token, in_namespaces)
    # Only compact JSON loses the internal label on its way back.
    target = f"{path}?{urllib.parse.urlencode(query)}&pretty=false" if query else f"{path}?pretty=false"
    sent = [header for header in headers if header[0] in FORWARDED]
    accept = _value(headers, b"accept")
    if info.verb == "watch":
        asked = wanted_stream(accept)
    else:
        asked = wanted(accept, info.first("pretty") if info.query else "", _value(headers, b"user-agent"))
    sent.append((b"accept", asked.accept))
    if info.verb in READ_ONLY:  # a kube-apiserver does not look at the body of a GET
        return MappedRequest(target.encode(), sent, b"", attributes, False, listing, asked.form)
    context = Context(info, prefix, scopes, complete=info.verb != "patch", moves=moves, detour=detour)
    _may_be_written(context)
    if body or info.verb not in DELETES:
        if _value(headers, b"content-encoding") not in (b"", b"identity"):
            raise StatusError(415, "encoded request bodies are not accepted")
        content_type = _value(headers, b"content-type").decode("latin-1")
        body, content_type = map_body(body, content_type, context)
        sent.append((b"content-type", content_type.encode()))
    own = info.verb not in DELETES and (info.group == RBAC or _is_review(info))
    return MappedRequest(target.encode(), sent, body, attributes, own, listing, asked.form)


FORWARDED = frozenset({b"user-agent", b"traceparent", b"tracestate"})
"""Request headers that go on as they are; accept and content-type are mapped, everything else ends here."""


def _has_route(method: bytes, info: RequestInfo) -> bool:
    """Whether native resources have such requests at all; which of the others one has is the shard's to say."""
    if method == b"HEAD":
        return False
    if method == b"POST":
        return not info.name or bool(info.subresource)
    return bool(info.name) or method not in (b"PUT", b"PATCH")


def _may_be_written(context: Context) -> None:
    """Whether there may be an object of the name in the path: its body, which may lack the name, is looked at later."""
    info = context.info
    if context.prefix[:-1] in info.name or context.prefix[:-1] in info.namespace or holds_identity(info.name.encode()):
        raise literal_token(context, info.path.encode())
    if is_system_class(info.group, info.resource, info.name):
        refuse_system_class(info.verb, info.name)
    if info.verb not in DELETES and info.name and (not info.namespace or info.resource == "namespaces"):
        map_own_name(info.name, context)


def _is_review(info: RequestInfo) -> bool:
    """Answers what the user itself may do. A SubjectAccessReview does not: it names whom it is about."""
    return info.resource.startswith("selfsubject") and info.group in (AUTHORIZATION, AUTHENTICATION)


def _prefixed(info: RequestInfo, scopes: PrivateScopes) -> bool:
    """Whether the object's own name carries the prefix."""
    if not info.name:
        return resource_is_cluster_scoped(info.group, info.resource, scopes)
    if info.namespace:
        return info.group == "" and info.resource == "namespaces"
    return True


def _path(info: RequestInfo, attributes: Attributes, scopes: PrivateScopes) -> str:
    # RBAC knows no sharing: rules name a workspace's own group, whether its type is shared or not.
    group = scopes.shared_group(info.group, info.resource) or attributes.group
    parts = ["", "apis", group, info.version] if info.group else ["", "api", info.version]
    if attributes.namespace and not (info.group == "" and info.resource == "namespaces"):
        parts += ["namespaces", quote(attributes.namespace)]
    parts.append(info.resource)
    if info.name:
        shared = is_system_class(info.group, info.resource, info.name)
        parts.append(info.name if shared else quote(attributes.name))
        if info.subresource:
            parts.append(info.subresource)
    return "/".join(parts)


def _confined(
    info: RequestInfo, path: str, query: list[tuple[str, str]], token: str, in_namespaces: bool
) -> tuple[list[tuple[str, str]], Listing | None]:
    """Keep a request without namespace and name inside the workspace: by its place in the key order where the answer
    can be cut there, else by the internal label. ``in_namespaces``: as in `Listing`."""
    parameters = dict(query)
    selected = parameters.get("labelSelector", "").strip(BLANK) or parameters.get("fieldSelector")
    # A CRD's name does not begin with the token (its group does), so it has no place in the order.
    ordered = (info.group, info.resource) != CRDS
    plain = info.verb == "list" and ordered and _is_plain_list(parameters)
    if plain and not selected:
        version = int(parameters.get("resourceVersion") or 0)
        exact = parameters.get("resourceVersionMatch") == "Exact"
        prefix = f"{token}-"
        going_on = parameters.get("continue")
        start = check_token(going_on, prefix) if going_on else make_token(prefix, version if exact else LATEST)
        # What is good enough from a server's cache comes without pages, as from there.
        limit = 0 if parameters.get("resourceVersion") == "0" else int(parameters.get("limit") or 0)
        kept = tuple((key, value) for key, value in query if key in ("includeObject", "timeoutSeconds"))
        custom = info.group not in NATIVE_GROUPS
        listing = Listing(
            path, kept, limit, start, token, 0 if exact else version, bool(going_on), custom,
            in_namespaces=in_namespaces,
        )  # fmt: skip
        return query, listing
    if parameters.get("continue") and ordered and is_token(parameters["continue"]):
        # The shard's token holds a key: it may only go on where this workspace's objects are.
        prefix = f"{token}-"
        going_on = parameters["continue"]
        # To a watch it means nothing, and whatever it is the shard says so.
        parameters["continue"] = make_token(prefix) if info.verb == "watch" else check_token(going_on, prefix)
    mine = f"{LABEL}={token}"
    mapped = [(key, value) for key, value in query if key not in ("labelSelector", "continue")]
    mapped += [("continue", parameters["continue"])] if parameters.get("continue") else []
    selector = parameters.get("labelSelector", "").strip(BLANK)
    mapped.append(("labelSelector", f"{mine},{selector}" if selector else mine))
    latest = parameters.get("resourceVersion", "") in ("", "0") and not parameters.get("resourceVersionMatch")
    return mapped, _selected(info, path, mapped, parameters, token, plain and latest and in_namespaces)


def _selected(
    info: RequestInfo, path: str, query: list[tuple[str, str]], parameters: dict[str, str], token: str, apart: bool
) -> Listing | None:
    """What a client wants a limited number of: the shard would say whether anything follows there, be it somebody
    else's. And what may be read ``apart``, in one namespace after the other: in one, the shard would go through
    everybody's."""
    limit = parameters.get("limit", "")
    # What is good enough from a server's cache comes without pages, as from there.
    unlimited = not limit.strip("0") or not _is_number(limit) or parameters.get("resourceVersion") == "0"
    if (unlimited and not apart) or info.verb not in ("list", "deletecollection"):
        return None
    of_page = {"limit", "continue"} | ({"resourceVersion"} if apart else set())
    kept = tuple(
        pair for pair in query if pair[0] not in of_page and (info.verb == "list" or pair[0].endswith("Selector"))
    )
    custom = info.group not in NATIVE_GROUPS
    start = parameters.get("continue") or (make_token(f"{token}-") if apart else "")
    return Listing(
        path, kept, 0 if unlimited else int(limit), start, token, continued=True, custom=custom, selected=True,
        in_namespaces=apart,
    )  # fmt: skip


def _is_plain_list(parameters: dict[str, str]) -> bool:
    """Whether a list's parameters make sense: for others the shard has its own words."""
    version, match = parameters.get("resourceVersion", ""), parameters.get("resourceVersionMatch", "")
    numbers = (version or "0", parameters.get("limit", "0"), parameters.get("timeoutSeconds", "0"))
    if parameters.keys() & {"sendInitialEvents", "allowWatchBookmarks"} or not all(map(_is_number, numbers)):
        return False
    if parameters.get("continue"):
        return version in ("", "0") and not match and is_token(parameters["continue"])
    return not match or (match == "Exact" and version not in ("", "0")) or (match == "NotOlderThan" and version != "")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 19


def _value(headers: Sequence[Header], name: bytes) -> bytes:
    for key, value in headers:
        if key == name:
            return value
    return b""
