"""URLs as Go's ``net/url`` reads them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from proxy.admission.cel.goquote import quoted
from proxy.admission.cel.values import CelError, Opaque, Type

_CONTROL = re.compile("[\x00-\x1f\x7f]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2}).{0,2}", re.DOTALL)
_HOST = re.compile(r"[A-Za-z0-9\-._~!$&'()*+,;=:\[\]<>\"%\x80-\U0010ffff]*")
_PORT = re.compile(r"(?::[0-9]*)?", re.ASCII)
_USER = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*", re.ASCII)
_PATH = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~$&+,/:;=@!'()*[]%")


@dataclass(frozen=True, slots=True)
class URL(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.URL")
    scheme: str
    host: str
    path: str
    query: str
    text: str

    def equals(self, other: Any) -> bool:
        return Opaque.equals(self, other) if type(other) is not URL else self.text == other.text


def parse(text: str) -> URL:
    """Raises CelError."""
    try:
        return _parsed(text)
    except CelError as error:
        raise CelError(f"URL parse error during conversion from string: parse {quoted(text)}: {error}") from None


def _parsed(text: str) -> URL:
    if _CONTROL.search(text):
        raise CelError("net/url: invalid control character in URL")
    if not text:
        raise CelError("empty url")
    if text.startswith(":"):
        raise CelError("missing protocol scheme")
    found = _SCHEME.match(text)
    scheme, rest = (found[1].lower(), text[found.end() :]) if found else ("", text)
    if not rest.partition("?")[0].startswith("/"):
        if not scheme and text != "*":
            raise CelError("invalid URI for request")
        return URL(scheme, "", "*" if text == "*" else "", rest.partition("#")[0].partition("?")[2], text)
    rest = rest.partition("#")[0]
    before, _, query = rest.partition("?")
    host, path = "", before
    if before.startswith("//") and (scheme or not before.startswith("///")):
        authority, slash, tail = before[2:].partition("/")
        host, path = _host(authority), slash + tail
    bad = _BAD_ESCAPE.search(path)
    if bad:
        raise CelError(f"invalid URL escape {quoted(bad[0])}")
    return URL(scheme, host, path, query, text)


def _host(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise CelError("net/url: invalid userinfo")
    if host.startswith("["):
        _, end, port = host.rpartition("]")
        if not end:
            raise CelError("missing ']' in host")
    else:
        colon = host.rfind(":")
        port = host[colon:] if colon >= 0 else ""
    if not _PORT.fullmatch(port):
        raise CelError(f"invalid port {quoted(port)} after host")
    bad = _BAD_ESCAPE.search(host)
    if bad:
        raise CelError(f"invalid URL escape {quoted(bad[0])}")
    for mark in host:
        if not _HOST.fullmatch(mark):
            raise CelError(f"invalid character {quoted(mark)} in host name")
    return _unescaped(host)


def _unescaped(text: str, plus: bool = False) -> str:
    from urllib.parse import unquote

    return unquote(text.replace("+", " ") if plus else text)


def _hostname(url: URL) -> str:
    host = url.host
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.rpartition(":")[0] if ":" in host else host


def _port(url: URL) -> str:
    host = url.host.rpartition("]")[2] if url.host.startswith("[") else url.host
    return host.rpartition(":")[2] if ":" in host else ""


def _escaped_path(url: URL) -> str:
    if all(mark in _PATH for mark in url.path):
        return url.path
    from urllib.parse import quote

    return quote(_unescaped(url.path), safe="$&+,/:;=@")


def _query(url: URL) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for part in url.query.split("&"):
        if not part or ";" in part:
            continue
        name, _, value = part.partition("=")
        if _BAD_ESCAPE.search(name) or _BAD_ESCAPE.search(value):
            continue
        values.setdefault(_unescaped(name, True), []).append(_unescaped(value, True))
    return values


def is_uri(text: str) -> str | None:
    """What is wrong with it."""
    try:
        _parsed(text)
    except CelError as error:
        return f"parse {quoted(text)}: {error}"
    return None


FUNCTIONS: dict[str, Any] = {
    "url": {(str,): parse},
    "isURL": {(str,): lambda text: is_uri(text) is None},
    "getScheme": {(URL,): lambda url: url.scheme},
    "getHost": {(URL,): lambda url: url.host},
    "getHostname": {(URL,): _hostname},
    "getPort": {(URL,): _port},
    "getEscapedPath": {(URL,): _escaped_path},
    "getQuery": {(URL,): _query},
}
