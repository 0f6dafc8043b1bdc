"""Request paths: what is asked for, in plain names.

The grammar is that of ``RequestInfoFactory`` of k8s.io/apiserver; anything beyond it is refused, for only what is
understood here can be mapped.
"""

from __future__ import annotations

import re
import urllib.parse
from dataclasses import dataclass, field

from proxy.kube.errors import StatusError

_PLAIN_PATH = re.compile(r"[A-Za-z0-9._:@!$&'()*+,=~/-]+\Z")
_PLAIN_SEGMENT = re.compile(r"[A-Za-z0-9._:@!$&'()*+,=~-]+\Z")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_GROUP = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")
_RESOURCE = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?\Z")
_VERSION = re.compile(r"v[0-9]+((alpha|beta)[0-9]+)?\Z|[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")
MAX_SEGMENT = 512
NOT_THERE = "the server could not find the requested resource"

VERBS = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete", "GET": "get", "HEAD": "get"}
NAMESPACE_SUBRESOURCES = frozenset({"status", "finalize"})


@dataclass(slots=True)
class RequestInfo:
    """What a request asks for, names as the client wrote them."""

    verb: str
    """Of the API (get, list, watch, create, …), or the lower-case method for a non-resource path."""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    """Set for ``namespaces/NAME`` itself as well, as RBAC looks at it."""
    name: str = ""
    query: list[tuple[str, str]] = field(default_factory=list)
    is_resource: bool = False
    path: str = ""
    """The decoded path."""
    beyond: bool = False
    """Whether no resource has such a path, one that goes on behind a subresource say: who may ask is told that there is
    nothing. Names may hold anything then."""

    def first(self, key: str) -> str:
        """First value of a query parameter, as Go's ``url.Values.Get``."""
        for name, value in self.query:
            if name == key:
                return value
        return ""


def parse(method: bytes, target: bytes) -> RequestInfo:
    """Take a request line apart; of a method that no resource has, the verb is empty.

    Raises StatusError 400 for what is not understood.
    """
    try:
        text = target.decode("ascii")
    except UnicodeDecodeError:
        raise bad_path("it is not ASCII") from None
    path, _, query_text = text.partition("?")
    segments = split_path(path)
    query = parse_query(query_text) if query_text else []
    name = method.decode("latin-1")
    escaped = "%" in path
    decoded = "/" + "/".join(segments) + ("/" if path.endswith("/") and segments else "") if escaped else path
    info = RequestInfo(name.lower(), query=query, path=decoded)
    if len(segments) >= 3 and segments[0] == "api":
        _resource(info, "", segments[1], segments[2:], name)
    elif len(segments) >= 4 and segments[0] == "apis":
        _resource(info, segments[1], segments[2], segments[3:], name)
    return info


def split_path(path: str) -> list[str]:
    """Decoded segments of a path. Raises StatusError 400 unless it can be read in one way only."""
    if not path.startswith("/"):
        raise bad_path("it does not begin with a slash")
    if _PLAIN_PATH.match(path) and "/." not in path and "//" not in path:
        segments = path[1:].split("/")
        if not segments[-1]:
            segments.pop()
    else:
        segments = [_segment(part) for part in path[1:].removesuffix("/").split("/")] if path != "/" else []
    if len(path) > MAX_SEGMENT and any(len(segment) > MAX_SEGMENT for segment in segments):
        raise bad_path("a segment is too long")
    return segments


def _segment(raw: str) -> str:
    if not raw:
        raise bad_path("it has an empty segment")
    if ";" in raw or _BROKEN_ESCAPE.search(raw):
        raise bad_path("a segment is malformed")
    try:
        segment = urllib.parse.unquote(raw, errors="strict")
    except UnicodeDecodeError:
        raise bad_path("it is not UTF-8") from None
    if segment in (".", "..") or "/" in segment or "%" in segment or "\\" in segment or not segment.isprintable():
        raise bad_path("a segment is not a name")
    return segment


def quote(segment: str) -> str:
    return segment if _PLAIN_SEGMENT.match(segment) else urllib.parse.quote(segment, safe="")


def parse_query(text: str) -> list[tuple[str, str]]:
    """Pairs in order. Those that Go's ``url.ParseQuery`` drops, for a semicolon or a broken escape, are dropped.

    Raises StatusError 400 for what is no UTF-8.
    """
    if ";" in text or _BROKEN_ESCAPE.search(text):
        text = "&".join(pair for pair in text.split("&") if ";" not in pair and not _BROKEN_ESCAPE.search(pair))
    try:
        return urllib.parse.parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=64)
    except (ValueError, UnicodeDecodeError):
        raise StatusError(400, "invalid query") from None


def not_allowed() -> StatusError:
    return StatusError(405, "the server does not allow this method on the requested resource")


def bad_path(why: str) -> StatusError:
    return StatusError(400, f"invalid request path: {why}")


def _resource(info: RequestInfo, group: str, version: str, rest: list[str], method: str) -> None:
    if (group and not _GROUP.match(group)) or not _VERSION.match(version) or len(group) > 230:
        return
    if rest[0] == "proxy" and len(rest) > 1:
        raise StatusError(400, "invalid request path: legacy proxy paths are not served")
    if rest[0] == "watch" and len(rest) > 1 and method == "GET":
        _legacy_watch(info, group, version, rest[1:])
        return
    info.group, info.version = group, version
    if rest[0] == "namespaces" and len(rest) >= 2:
        info.namespace = rest[1]
        if len(rest) == 2 or rest[2] in NAMESPACE_SUBRESOURCES:
            info.beyond = bool(group)
            parts = rest
        else:
            parts = rest[2:]
            info.beyond = parts[0] == "namespaces"
    else:
        parts = rest
    if len(parts) > 3 or not _RESOURCE.match(parts[0]) or (len(parts) > 2 and not _RESOURCE.match(parts[2])):
        info.beyond = True
    info.is_resource = True
    info.resource = parts[0]
    info.name = parts[1] if len(parts) > 1 else ""
    info.subresource = parts[2] if len(parts) > 2 else ""
    info.verb = VERBS.get(method, "")
    if not info.name:
        if info.verb == "get":
            info.verb = "watch" if _true(info, "watch") else "list"
        elif info.verb == "delete":
            info.verb = "deletecollection"


def _legacy_watch(info: RequestInfo, group: str, version: str, rest: list[str]) -> None:
    """``/api/v1/watch/…``, deprecated since Kubernetes 1.12: what ``?watch=true`` says today."""
    if rest[0] == "watch":
        raise bad_path("no resource has such a path")
    info.query = [(key, value) for key, value in info.query if key != "watch"]
    if len(rest) in (2, 4):
        info.query = [(key, value) for key, value in info.query if key != "fieldSelector"]
        info.query.append(("fieldSelector", f"metadata.name={rest.pop()}"))
    info.query.append(("watch", "true"))
    _resource(info, group, version, rest, "GET")
    if info.verb != "watch":
        raise bad_path("nothing there can be watched")


def _true(info: RequestInfo, key: str) -> bool:
    # Go's conversion of query booleans: present and neither "false" nor "0" (Convert_Slice_string_To_bool).
    for name, value in info.query:
        if name == key:
            return value.lower() not in ("false", "0")
    return False
