"""The last look at a request before it leaves: is it confined to the workspace?

Privileged requests are safe on a shard only because of this. It is written apart from the mapping and looks at nothing
but the bytes that will be sent; what it does not recognise it refuses.
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
from proxy.mapping.wire import Field, Schema, WireError, decode

_LABEL = "0.kcp.dev/w"
_TOKEN = r"k[a-z2-7]{8}"
_SEGMENT = r"[A-Za-z0-9._:@!$&'()*+,=~-]+"
_NATIVE = "|".join(re.escape(group) for group in sorted(NATIVE_GROUPS) if group)
_SHARED = r"0kcp[a-z2-7]{12}\.[a-z0-9.-]+"
"""Groups of types that workspaces share: their names must be confined, as those of native ones."""
_PATH = re.compile(
    rf"/(?:api|apis/(?:(?P<group>{_TOKEN})-[a-z0-9.-]+|(?P<native>{_NATIVE}|{_SHARED})))/v?[a-z0-9-]+"
    rf"(?:/namespaces/(?P<namespace>{_TOKEN})-{_SEGMENT}(?:/(?P<inner>[a-z0-9-]+)(?:/{_SEGMENT}(?:/(?P<sub>[a-z0-9-]+))?)?)?"
    rf"|/(?P<resource>[a-z0-9-]+)(?:/(?P<name>{_SEGMENT})(?:/[a-z0-9-]+)?)?)\Z"
)
_RBAC, _CRDS = "rbac.authorization.k8s.io", "customresourcedefinitions"
_ASKED = frozenset(
    {("authentication.k8s.io", "tokenreviews"), ("authentication.k8s.io", "selfsubjectreviews"),
     ("authorization.k8s.io", "subjectaccessreviews"),
     ("authorization.k8s.io", "selfsubjectaccessreviews"), ("authorization.k8s.io", "selfsubjectrulesreviews")}
)  # fmt: skip


def gate(method: bytes, target: bytes, body: bytes, token: str, content_type: bytes = b"") -> None:
    """Raises StatusError 403 unless the request can touch nothing outside of the workspace with ``token``."""
    path, _, query = target.partition(b"?")
    text = path.decode("ascii", "replace")
    if "%" in text:
        text = _decoded(text)
    match = _PATH.match(text)
    if match is None or "/../" in text or "/./" in text or text.endswith(("/.", "/..")):
        raise _refused()
    group, native, namespace, inner, _, resource, name = match.groups()
    if (group or token) != token or (namespace or token) != token:
        raise _refused()
    kind = native or group or ""
    if namespace is None:
        if name is not None:
            shared = name in SYSTEM_CLASSES and (kind, resource) == PRIORITY_CLASSES and method in (b"GET", b"HEAD")
            if not shared and not _named_inside(kind, resource, name, token):
                raise _refused()
        elif method != b"POST":
            if not _selected(query, token):
                raise _refused()
        elif (kind, resource) not in _ASKED and not _created_inside(body, content_type, kind, resource, token):
            raise _refused()
    # Of a deletion the shard reads options alone.
    if body and method != b"DELETE" and (kind in _CHECKED_GROUPS or match["sub"] == "token"):
        _look_into(body, content_type, kind, inner or resource, match["sub"] or "", token)


def gate_mapped(method: bytes, mapped: MappedRequest, token: str) -> None:
    """`gate` for a mapped request; a listing's pages have targets of their own, which are checked as well."""
    if mapped.listing is not None and method != b"DELETE":
        selected = urllib.parse.urlencode(mapped.listing.query)
        query = selected.encode() if mapped.listing.selected else b"continue=" + mapped.listing.start.encode()
        gate(method, mapped.listing.path.encode() + b"?" + query, b"", token)
        return
    content_type = next((value for name, value in mapped.headers if name == b"content-type"), b"")
    gate(method, mapped.target, mapped.body, token, content_type)


def _refused() -> StatusError:
    return StatusError(403, "forbidden: the request is not confined to the workspace")


def _decoded(path: str) -> str:
    """A path with escapes, in which no escape may hide a separator; odd but harmless characters become ``_``."""
    segments = [urllib.parse.unquote(segment, errors="replace") for segment in path.split("/")]
    if any(re.search(r"[/\\%\x00-\x1f\x7f\ufffd]", segment) for segment in segments):
        raise _refused()
    return "/".join(re.sub(r"[^A-Za-z0-9._:@!$&'()*+,=~-]", "_", segment) for segment in segments)


def _no_constant(word: str) -> None:
    raise json.JSONDecodeError("not JSON", word, 0)


def _named_inside(group: str, resource: str, name: str, token: str) -> bool:
    prefix = f"{token}-"
    if group == "apiextensions.k8s.io" and resource == _CRDS:
        return name.partition(".")[2].startswith(prefix) or name.startswith(prefix)
    return name.startswith(prefix)


def _selected(query: bytes, token: str) -> bool:
    """Whether the label selector, or the place where the list begins, belongs to the workspace."""
    parameters = urllib.parse.parse_qs(query.decode("ascii", "replace"))
    selectors = parameters.get("labelSelector", [])
    mine = f"{_LABEL}={token}"
    if len(selectors) == 1 and (selectors[0] == mine or selectors[0].startswith(mine + ",")):
        return True
    starts = parameters.get("continue", [])
    if len(starts) != 1 or selectors:
        return False
    try:
        decoded = orjson.loads(base64.urlsafe_b64decode(starts[0] + "=" * (-len(starts[0]) % 4)))
        start = str(decoded["start"])
        return start.removeprefix("/").startswith(f"{token}-") and ".." not in start.split("/")
    except (ValueError, KeyError, TypeError):
        return False


def _created_inside(body: bytes, content_type: bytes, group: str, resource: str, token: str) -> bool:
    """Whether the new cluster-scoped object's name begins with the prefix (a CRD's: its group)."""
    try:
        content = _content(body, content_type, _NAMES)
    except ValueError:
        return False
    meta = content.get("metadata") if isinstance(content, dict) else None
    names = [meta.get(key) for key in ("name", "generateName")] if isinstance(meta, dict) else []
    names = [name for name in names if name]
    # What has no name, or none that is text, the shard itself refuses; with one it must be ours.
    return all(not isinstance(name, str) or _named_inside(group, resource, name, token) for name in names)


_NAMES: Schema = {1: Field("metadata", {1: Field("name"), 2: Field("generateName")})}


def _content(body: bytes, content_type: bytes, schema: Schema) -> Any:
    """What a body says; None for one that is not what it is called, of which the shard will make nothing.

    Raises ValueError where that is not certain.
    """
    if not body or content_type == b"application/x-unknown":
        return None
    if body.startswith(MAGIC) and _JSON.match(content_type) is None:
        return decode(open_envelope(body)[1], schema)
    if content_type == b"application/vnd.kubernetes.protobuf":
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        if _JSON.match(content_type) is None:
            raise
    try:
        json.loads(body.decode("utf-8", "replace"), parse_constant=_no_constant)
    except json.JSONDecodeError:
        return None
    except RecursionError:
        pass
    raise ValueError("some would read it")


_JSON = re.compile(rb"application/(?:(?:strategic-)?merge-patch\+|json-patch\+)?json\Z")


_CHECKED_GROUPS = frozenset({_RBAC, "authentication.k8s.io", "authorization.k8s.io"})
"""Bodies in which a name left unmapped would reach into another workspace, or into the shard itself."""


def _look_into(body: bytes, content_type: bytes, group: str, resource: str, sub: str, token: str) -> None:
    """Whom a binding, a review or a token is about. Raises StatusError 403."""
    if sub == "token":
        group, resource = "", "serviceaccounts"
    entry = SPECIAL.get((group, resource, sub if sub == "token" else ""))
    try:
        content = _content(body, content_type, entry[1] if entry else {})
    except (ValueError, WireError):
        raise _refused() from None
    if not isinstance(content, dict | list):
        return  # nothing that could become an object
    patch = content if isinstance(content, list) else ()
    parts = [part.get("value") for part in patch if isinstance(part, dict)] if patch else [content]
    if not all(_about_us(part, f"{token}-") for part in parts):
        raise _refused()
    if sub == "token" or resource == "tokenreviews":
        if not isinstance(content, dict):
            raise _refused()
        spec = content.get("spec")
        audiences = spec.get("audiences") if isinstance(spec, dict) else spec
        if not audiences or (_is_text(audiences) and not all(str(name).startswith(f"{token}-") for name in audiences)):
            raise _refused()


def _about_us(part: Any, prefix: str) -> bool:
    """Whether all subjects and reviewed users in a piece of JSON, wherever they stand, are the workspace's."""
    if isinstance(part, list):
        return all(_about_us(item, prefix) for item in part)
    if not isinstance(part, dict):
        return True
    name, kind, user = part.get("name"), part.get("kind"), part.get("user")
    # What is no text where there must be some, the shard cannot read.
    if kind in ("User", "Group") and isinstance(name, str) and name and not _mapped_user(name, prefix):
        return False
    namespace = part.get("namespace")
    if kind == "ServiceAccount" and isinstance(namespace, str) and namespace and not namespace.startswith(prefix):
        return False
    if isinstance(user, str) and user and not _mapped_user(user, prefix):
        return False
    groups = part.get("groups")
    if groups and _is_text(groups) and not all(str(group).startswith(prefix) for group in groups):
        return False
    return all(_about_us(value, prefix) for key, value in part.items() if key != "metadata")


def _is_text(values: Any) -> bool:
    """Whether it is a list of texts, as the shard reads it; a list of anything else it cannot read."""
    return isinstance(values, list) and all(isinstance(value, str | None) for value in values)


def _mapped_user(name: str, prefix: str) -> bool:
    return name.startswith((prefix, f"system:serviceaccount:{prefix}"))
