"""The last look at a request before it leaves: is it confined to the workspace?

Privileged requests are safe on a shard only because of this. It is written apart from the mapping and looks at nothing
but the bytes that will be sent; what it does not recognise it refuses. Each change to it must make a test fail
(`make mutants`), so there is nothing in it that does not matter.
"""

from __future__ import annotations

import base64
import json
import re
import urllib.parse
from typing import Any

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.natives import PRIORITY_CLASSES, SYSTEM_CLASSES
from proxy.mapping.protobuf import MAGIC, SPECIAL, open_envelope
from proxy.mapping.request import MappedRequest
from proxy.mapping.wire import Field, Schema, decode

_LABEL = "0.kcp.dev/w"
_TARGET = re.compile(rb"[!$&-:<-~]*(?:%[0-9A-Fa-f]{2}[!$&-:<-~]*)*")
"""What Go reads as Python does: it leaves out parameters that have a semicolon, or half an escape, in them."""
_HIDING = re.compile(r"[\\%\x00-\x1f\x7f\ufffd]|/\.\.?(?![^/])")
"""What may not be in a path, decoded: segments that mean others are part of it."""
_TOKEN = ".{9}"
"""That it is the workspace's is looked at when it has been found."""
_WORD = "[a-z0-9-]+"
_NATIVE = "|".join(re.escape(group) for group in sorted(NATIVE_GROUPS) if group)
_SHARED = r"0kcp[a-z2-7]{12}\.[a-z0-9.-]+"
"""Groups of types that workspaces share: their names must be confined, as those of native ones."""
_PATH = re.compile(
    rf"/(?:api|apis/(?:(?P<group>{_TOKEN})-[a-z0-9.-]+|(?P<native>{_NATIVE}|{_SHARED})))/{_WORD}"
    rf"(?:/namespaces/(?P<namespace>{_TOKEN})-[^/]+/(?P<inner>{_WORD})(?:/[^/]+(?:/(?P<sub>{_WORD}))?)?"
    rf"|/(?P<resource>{_WORD})(?:/(?P<name>[^/]+)(?:/{_WORD})?)?)"
)
_RBAC, _AUTHENTICATION, _AUTHORIZATION = "rbac.authorization.k8s.io", "authentication.k8s.io", "authorization.k8s.io"
_REGISTRATIONS = "admissionregistration.k8s.io"
_CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
_TOKEN_REVIEWS, _TOKEN_REQUESTS = (_AUTHENTICATION, "tokenreviews", ""), ("", "serviceaccounts", "token")
_DETOUR = r"https://[^/]+/admission/convert/%s/[a-z0-9.-]+/[\w-]{43}/https://.*"
"""Where alone a shard may send the objects of a workspace's CRD."""
_BINDINGS = frozenset({(_RBAC, "rolebindings", ""), (_RBAC, "clusterrolebindings", "")})
_ASKED = frozenset(
    {_TOKEN_REVIEWS[:2], (_AUTHENTICATION, "selfsubjectreviews"), (_AUTHORIZATION, "subjectaccessreviews"),
     (_AUTHORIZATION, "selfsubjectaccessreviews"), (_AUTHORIZATION, "selfsubjectrulesreviews")}
)  # fmt: skip
"""Cluster-scoped kinds of which a shard keeps no object."""
_CHECKED_GROUPS = frozenset({_RBAC, _AUTHENTICATION, _AUTHORIZATION})
"""Bodies in which a name left unmapped would reach into another workspace, or into the shard itself."""
_ACCOUNT = "system:serviceaccount:"
_NAMES: Schema = {1: Field("metadata", {1: Field("name"), 2: Field("generateName"), 3: Field("namespace")})}
_JSON = frozenset(
    {b"application/json", b"application/json-patch+json", b"application/merge-patch+json",
     b"application/strategic-merge-patch+json"}
)  # fmt: skip


def gate(method: bytes, target: bytes, body: bytes, token: str, content_type: bytes | None = None) -> None:
    """Raises StatusError 403 unless the request can touch nothing outside of the workspace with ``token``."""
    if _TARGET.fullmatch(target) is None:
        raise _refused()
    path, _, query = target.decode().partition("?")
    match = _PATH.fullmatch(_decoded(path))
    if match is None:
        raise _refused()
    group, native, namespace, inner, sub, resource, name = match.groups()
    if native == _REGISTRATIONS and not (method == b"POST" and _only_tried(query)):
        raise _refused()
    prefix = f"{token}-"
    if {group, namespace} - {None, token}:
        raise _refused()
    if namespace is None:
        if name is not None:
            shared = name in SYSTEM_CLASSES and (native, resource) == PRIORITY_CLASSES and method in (b"GET", b"HEAD")
            if not shared and not _named_inside(native, resource, name, prefix):
                raise _refused()
        elif method != b"POST":
            if not _selected(query, token):
                raise _refused()
        elif (native, resource) not in _ASKED and not _created_inside(body, content_type, native, resource, prefix):
            raise _refused()
    # Of a deletion the shard reads options alone.
    if method == b"DELETE":
        return
    if sub == "token" and not _is_about_us(body, content_type, _TOKEN_REQUESTS, prefix):
        raise _refused()
    if (native, resource) == _CRDS and not _converts_by_us(body, content_type, token):
        raise _refused()
    if native in _CHECKED_GROUPS and not _is_about_us(body, content_type, (native, inner or resource, ""), prefix):
        raise _refused()


def gate_mapped(method: bytes, mapped: MappedRequest, token: str) -> None:
    """`gate` for a mapped request; a listing's pages have targets of their own, which are checked as well."""
    if mapped.listing is not None and method != b"DELETE":
        selected = urllib.parse.urlencode(mapped.listing.query)
        query = selected.encode() if mapped.listing.selected else b"continue=" + mapped.listing.start.encode()
        gate(method, mapped.listing.path.encode() + b"?" + query, mapped.body, token)
        return
    content_type = dict(mapped.headers).get(b"content-type")
    gate(method, mapped.target, mapped.body, token, content_type)


def _refused() -> StatusError:
    return StatusError(403, "forbidden: the request is not confined to the workspace")


def _decoded(path: str) -> str:
    """A path without escapes, none of which may hide a separator. Raises StatusError 403."""
    decoded = urllib.parse.unquote(path)
    if decoded.count("/") > path.count("/") or _HIDING.search(decoded):
        raise _refused()
    return decoded


def _named_inside(group: str | None, resource: str, name: str, prefix: str) -> bool:
    """Whether a cluster-scoped object's name begins with the prefix; a CRD's, behind its plural, its group."""
    in_group = (group, resource) == _CRDS and name.partition(".")[2].startswith(prefix)
    return in_group or name.startswith(prefix)


def _selected(query: str, token: str) -> bool:
    """Whether the label selector, or the place where the list begins, belongs to the workspace."""
    parameters = urllib.parse.parse_qs(query, keep_blank_values=True)
    match parameters.get("labelSelector"), parameters.get("continue"):
        case [selector], _:
            return selector == f"{_LABEL}={token}" or selector.startswith(f"{_LABEL}={token},")
        case None, [start]:
            return _begins_inside(start, f"{token}-")
    return False


def _only_tried(query: str) -> bool:
    """Whether the shard will store nothing: it would obey what stands in that group, for all workspaces."""
    return urllib.parse.parse_qs(query, keep_blank_values=True).get("dryRun") == ["All"]


def _begins_inside(start: str, prefix: str) -> bool:
    """Whether a continue token is one for a place inside: with no other keys, for Go does not mind their case."""
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(start + "=="))
    except ValueError:
        return False
    match decoded:
        case {"start": str(key), "v": _, "rv": _} if len(decoded) == 3:
            return key.removeprefix("/").startswith(prefix) and ".." not in key.split("/")
    return False


def _created_inside(body: bytes, content_type: bytes | None, group: str | None, resource: str, prefix: str) -> bool:
    """Whether the new cluster-scoped object is named inside, and names no namespace elsewhere; one without a name, or
    with none that is text, the shard itself refuses."""
    try:
        content = _content(body, content_type, _NAMES)
    except ValueError:
        return False
    meta = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(meta, dict):
        return True
    names = (meta.get("name"), meta.get("generateName"))
    if _other(meta.get("namespace"), prefix):
        return False
    return all(_named_inside(group, resource, name, prefix) for name in names if isinstance(name, str) and name)


def _content(body: bytes, content_type: bytes | None, schema: Schema) -> Any:
    """What a body says; `_UNREADABLE` for one that is not what it is called, of which the shard will make nothing.

    Raises ValueError where that is not certain.
    """
    if not body or content_type == b"application/x-unknown":
        return _UNREADABLE
    if body.startswith(MAGIC) and content_type not in _JSON:
        return decode(open_envelope(body)[1], schema)
    if content_type == b"application/vnd.kubernetes.protobuf":
        return _UNREADABLE
    try:
        return orjson.loads(body)
    except ValueError:
        if content_type not in _JSON:
            raise
    try:
        json.loads(body.decode(errors="replace"), parse_constant=_no_constant)
    except RecursionError:
        pass
    except ValueError:
        return _UNREADABLE
    raise ValueError


_UNREADABLE = object()


def _no_constant(_: str) -> None:
    raise ValueError


def _is_about_us(body: bytes, content_type: bytes | None, kind: tuple[str, str, str], prefix: str) -> bool:
    """Whether all whom a binding, a review or a token is about are the workspace's. ``kind`` as in `SPECIAL`."""
    try:
        content = _content(body, content_type, SPECIAL[kind][1] if kind in SPECIAL else {})
    except ValueError:
        return False
    if content is _UNREADABLE:
        return True
    if kind in (_TOKEN_REQUESTS, _TOKEN_REVIEWS) and not _is_for_us(content, prefix):
        return False
    if kind in _BINDINGS and isinstance(content, list):
        return all(_patches_us(operation, prefix) for operation in content)
    return _names_us(content, prefix)


def _converts_by_us(body: bytes, content_type: bytes | None, token: str) -> bool:
    """Whether a CRD's conversion webhook, if it has one, is the proxy, for this workspace."""
    try:
        content = _content(body, content_type, SPECIAL[(*_CRDS, "")][1])
    except ValueError:
        return False
    if not isinstance(content, list):
        return _is_detoured(content, token)
    return all(_is_detoured(_nested(operation), token) for operation in content if isinstance(operation, dict))


def _nested(operation: dict[str, Any]) -> Any:
    """What an operation of a JSON patch makes, in an otherwise empty object."""
    value = operation.get("value")
    for step in reversed(str(operation.get("path")).split("/")[1:]):
        value = {step: value}
    return value


def _is_detoured(crd: Any, token: str) -> bool:
    for key in ("spec", "conversion", "webhook", "clientConfig"):
        crd = crd.get(key) if isinstance(crd, dict) else None
    if not isinstance(crd, dict):
        return True
    url = crd.get("url")
    detoured = not isinstance(url, str) or re.fullmatch(_DETOUR % token, url) is not None
    return detoured and crd.get("service") is None


def _is_for_us(content: Any, prefix: str) -> bool:
    """Whether a token has audiences, and none but the workspace's: without one it would open the shard itself."""
    spec = content.get("spec") if isinstance(content, dict) else None
    audiences = spec.get("audiences") if isinstance(spec, dict) else None
    return bool(audiences) and not _others(audiences, prefix)


def _patches_us(operation: Any, prefix: str) -> bool:
    """Whether an operation of a JSON patch leaves whom a binding is about in the workspace: of a subject nothing can
    be replaced, or put there from elsewhere, without the rest of it, which is not known here."""
    if not isinstance(operation, dict):
        return True  # no patch
    value, steps = operation.get("value"), str(operation.get("path")).split("/")
    if steps[1:2] != ["subjects"] or operation.get("op") in ("remove", "test"):
        return _names_us(value, prefix)
    if isinstance(value, dict | list):
        return _names_us(value, prefix)
    return steps[-1] == "apiGroup" or (steps[-1] == "namespace" and not _other(value, prefix))


def _names_us(part: Any, prefix: str) -> bool:
    """Whether all subjects and reviewed users in a piece of JSON, wherever they stand, are the workspace's."""
    if isinstance(part, list):
        return all(_names_us(item, prefix) for item in part)
    if not isinstance(part, dict):
        return True
    kind, account = part.get("kind"), _ACCOUNT + prefix
    if (
        _other(part.get("user"), prefix, account)
        or _others(part.get("groups"), prefix)
        or (kind in ("User", "Group") and _other(part.get("name"), prefix, account))
        or (kind == "ServiceAccount" and _other(part.get("namespace"), prefix))
    ):
        return False
    return all(_names_us(value, prefix) for key, value in part.items() if key != "metadata")


def _other(text: Any, *beginnings: str) -> bool:
    """Whether it begins otherwise. What is no text where there must be some, the shard cannot read."""
    return isinstance(text, str) and bool(text) and not text.startswith(beginnings)


def _others(texts: Any, prefix: str) -> bool:
    """Whether something in a list of texts (null is one, an empty one) begins otherwise; a list of anything else the
    shard cannot read."""
    if not isinstance(texts, list) or not all(isinstance(text, str | None) for text in texts):
        return False
    return not all(text and text.startswith(prefix) for text in texts)
