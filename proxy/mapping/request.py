"""A request as the shard gets it: path, query, headers and body mapped to one workspace."""

from __future__ import annotations

import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from proxy.kube.errors import StatusError
from proxy.mapping.body import map_body
from proxy.mapping.listing import Listing, check_token, make_token
from proxy.mapping.names import SHARED_ROLES, map_api_group, map_cluster_name, map_namespace
from proxy.mapping.objects import AUTHENTICATION, AUTHORIZATION, RBAC, REVIEWS, Context, map_crd_name
from proxy.mapping.paths import RequestInfo, quote
from proxy.mapping.query import map_query, name_in_field_selector
from proxy.mapping.scopes import PrivateScopes, resource_is_cluster_scoped
from proxy.mapping.token import LABEL

Header = tuple[bytes, bytes]

WITH_BODY = frozenset({"create", "update", "patch", "delete", "deletecollection"})
READ_ONLY = frozenset({"get", "list", "watch"})
REFUSED_SUBRESOURCES = frozenset(
    {("", "bindings", ""), ("", "pods", "binding"), ("", "pods", "exec"), ("", "pods", "attach"),
     ("", "pods", "portforward"), ("", "pods", "proxy"), ("", "services", "proxy"), ("", "nodes", "proxy")}
)  # fmt: skip
"""They act on nodes, which a shard has none of."""


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
    """Set where the answer is put together from pages (`proxy.mapping.listing`)."""


def attributes_of(info: RequestInfo, prefix: str, scopes: PrivateScopes) -> Attributes:
    """What is asked for, as the shard's RBAC names it. Raises StatusError for names that do not fit."""
    name = info.name or (name_in_field_selector(info) if info.verb in ("list", "watch", "deletecollection") else "")
    namespace = map_namespace(info.namespace, prefix) if info.namespace else ""
    if name and _prefixed(info, scopes):
        name = _cluster_name(info, name, prefix)
    group = map_api_group(info.group, prefix)
    return Attributes(info.verb, group, info.resource, info.subresource, namespace, name, True, "")


def map_request(
    info: RequestInfo, token: str, *, method: bytes, headers: Sequence[Header], body: bytes, scopes: PrivateScopes
) -> MappedRequest:
    """Raises StatusError for everything that cannot be mapped without doubt."""
    prefix = f"{token}-"
    if (info.group, info.resource, info.subresource) in REFUSED_SUBRESOURCES:
        raise StatusError(404, "the server could not find the requested resource")
    attributes = attributes_of(info, prefix, scopes)
    if info.verb not in READ_ONLY and _shared_role(info):
        raise StatusError(
            403,
            f'clusterroles.{RBAC} "{info.name}" is forbidden: it is shared by all workspaces and read-only',
            details={"name": info.name, "group": RBAC, "kind": "clusterroles"},
        )
    path = _path(info, attributes, prefix)
    query = map_query(info, prefix, scopes)
    listing = None
    if not info.name and not info.namespace and info.verb != "create":
        query, listing = _confined(info, path, query, token)
    query.append(("pretty", "false"))
    target = f"{path}?{urllib.parse.urlencode(query)}".encode()
    sent = [header for header in headers if header[0] in FORWARDED]
    sent.append((b"accept", map_accept(_value(headers, b"accept"))))
    if info.verb in WITH_BODY and (body or info.verb not in ("delete", "deletecollection")):
        if _value(headers, b"content-encoding") not in (b"", b"identity"):
            raise StatusError(415, "encoded request bodies are not accepted")
        context = Context(info, prefix, scopes, complete=info.verb != "patch")
        content_type = _value(headers, b"content-type").decode("latin-1")
        body, content_type = map_body(body, content_type, context)
        sent.append((b"content-type", content_type.encode()))
    elif body:
        body = b""  # a GET with a body: a kube-apiserver does not look at it
    own = info.verb in ("create", "update", "patch") and (info.group == RBAC or _is_review(info))
    return MappedRequest(target, sent, body, attributes, own, listing)


FORWARDED = frozenset({b"user-agent", b"traceparent", b"tracestate"})
"""Request headers that go on as they are; accept and content-type are mapped, everything else ends here."""


def _is_review(info: RequestInfo) -> bool:
    return info.group in (AUTHORIZATION,) or (info.group == AUTHENTICATION and info.resource == "selfsubjectreviews")


def _shared_role(info: RequestInfo) -> bool:
    return info.group == RBAC and info.resource == "clusterroles" and info.name in SHARED_ROLES


def _prefixed(info: RequestInfo, scopes: PrivateScopes) -> bool:
    """Whether the object's own name carries the prefix."""
    if info.name:
        return (not info.namespace or (info.group == "" and info.resource == "namespaces")) and not _shared_role(info)
    return resource_is_cluster_scoped(info.group, info.resource, scopes)


def _cluster_name(info: RequestInfo, name: str, prefix: str) -> str:
    if info.group == "apiextensions.k8s.io" and info.resource == "customresourcedefinitions":
        return map_crd_name(name, prefix) if "." in name else prefix + name
    if info.resource == "namespaces" and info.group == "":
        return map_namespace(name, prefix)
    return map_cluster_name(name, prefix, info.resource, info.group)


def _path(info: RequestInfo, attributes: Attributes, prefix: str) -> str:
    parts = ["", "apis", attributes.group, info.version] if info.group else ["", "api", info.version]
    if attributes.namespace and not (info.group == "" and info.resource == "namespaces"):
        parts += ["namespaces", quote(attributes.namespace)]
    parts.append(info.resource)
    if info.name:
        parts.append(quote(attributes.name))
        if info.subresource:
            parts.append(info.subresource)
    return "/".join(parts)


def _confined(
    info: RequestInfo, path: str, query: list[tuple[str, str]], token: str
) -> tuple[list[tuple[str, str]], Listing | None]:
    """Keep a request without namespace and name inside the workspace: by its place in the key order where the answer
    can be cut there, else by the internal label."""
    parameters = dict(query)
    selected = parameters.get("labelSelector") or parameters.get("fieldSelector")
    # A CRD's name does not begin with the token (its group does), so it has no place in the order.
    ordered = not (info.group == "apiextensions.k8s.io" and info.resource == "customresourcedefinitions")
    if info.verb == "list" and ordered and not selected:
        version = parameters.get("resourceVersion", "")
        at = -1
        if parameters.get("resourceVersionMatch") == "Exact" and version.isdigit() and version != "0":
            at = int(version)
        prefix = f"{token}-"
        going_on = parameters.get("continue")
        start = check_token(going_on, prefix) if going_on else make_token(prefix, at)
        limit = parameters.get("limit", "")
        kept = tuple((key, value) for key, value in query if key in ("includeObject", "timeoutSeconds"))
        return query, Listing(path, kept, int(limit) if limit.isdigit() else 0, start, token)
    if "continue" in parameters and ordered:
        # The shard's token holds a key: it may only go on where this workspace's objects are.
        parameters["continue"] = check_token(parameters["continue"], f"{token}-")
    mine = f"{LABEL}={token}"
    mapped = [(key, value) for key, value in query if key not in ("labelSelector", "continue")]
    mapped += [("continue", parameters["continue"])] if parameters.get("continue") else []
    selector = parameters.get("labelSelector")
    mapped.append(("labelSelector", f"{mine},{selector}" if selector else mine))
    return mapped, None


def page_target(listing: Listing, next_token: str, limit: int) -> bytes:
    """Request target of one page."""
    query = [*listing.query, ("limit", str(limit)), ("continue", next_token), ("pretty", "false")]
    return f"{listing.path}?{urllib.parse.urlencode(query)}".encode()


@lru_cache(maxsize=256)
def map_accept(accept: bytes) -> bytes:
    """What the shard may answer with: JSON in its forms. Raises StatusError 406 if the client takes none of them."""
    if not accept:
        return b"application/json"
    kept = []
    for part in accept.split(b","):
        media = part.partition(b";")[0].strip().lower()
        if media == b"application/json":
            kept.append(part.strip())
        elif media in (b"*/*", b"application/*"):
            kept.append(b"application/json")
    if not kept:
        raise StatusError(406, "only the following media types are accepted: application/json")
    return b",".join(kept)


def _value(headers: Sequence[Header], name: bytes) -> bytes:
    for key, value in headers:
        if key == name:
            return value
    return b""


__all__ = ["REVIEWS", "Attributes", "MappedRequest", "attributes_of", "map_accept", "map_request", "page_target"]
