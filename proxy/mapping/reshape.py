"""Compact JSON in the forms that people read, piece by piece as it streams: indented JSON, and YAML.

Indented as Go's ``json.MarshalIndent`` does it. YAML as sigs.k8s.io/yaml lays it out, with two differences that no
reader of YAML sees: keys stay in the order of the JSON, and whatever might not be read as plain text is in quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

_TOKEN = re.compile(rb'[{}\[\],:]|"(?:[^"\\]++|\\.)*+"|(?P<open>".*)|[^\s{}\[\],:"]+', re.DOTALL)
"""Possessive: a string whose end is yet to come would otherwise be tried in each of 2ⁿ ways."""
_STRUCTURE = frozenset(b"{}[],:")
_INDENTS = tuple(b"\n" + b"  " * depth for depth in range(200))
_SPACES = tuple(b" " * count for count in range(400))
_PLAIN = re.compile(rb"[A-Za-z_/][A-Za-z0-9_./-]*(?:[: ](?:[A-Za-z0-9_./()-])+)*\Z")
"""Text that is the same text in YAML without quotes, unless it is one of these words."""
_COLON_SPACE = re.compile(rb": |:\Z")
_WORDS = frozenset({b"y", b"n", b"yes", b"no", b"on", b"off", b"true", b"false", b"null"})
_UNPRINTABLE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xef\xbb\xbf|\xef\xbf[\xbe\xbf]|\xe2\x80[\xa8\xa9]")
"""What JSON allows in a string as it is and YAML does not, or takes for a line break."""


class Filter(Protocol):
    """As `proxy.server.messages.BodyFilter`."""

    def feed(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


class Chain:
    """One filter behind another."""

    __slots__ = ("_first", "_second")

    def __init__(self, first: Filter, second: Filter) -> None:
        self._first = first
        self._second = second

    def feed(self, data: bytes) -> bytes:
        return self._second.feed(self._first.feed(data))

    def flush(self) -> bytes:
        return self._second.feed(self._first.flush()) + self._second.flush()


class JsonOnly:
    """A filter for JSON that leaves any other text as it is."""

    __slots__ = ("_begun", "_filter")

    def __init__(self, shape: Filter) -> None:
        self._filter: Filter | None = shape
        self._begun = False

    def feed(self, data: bytes) -> bytes:
        if data and not self._begun:
            self._begun = True
            if data[0] not in b"{[":
                self._filter = None
        return data if self._filter is None else self._filter.feed(data)

    def flush(self) -> bytes:
        return b"" if self._filter is None else self._filter.flush()


class _Tokens:
    """Takes a stream apart; what may go on in the next piece is kept back."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[bytes]:
        if self._rest:
            data = self._rest + data
            self._rest = b""
        end = len(data)
        for match in _TOKEN.finditer(data):
            token = match[0]
            if match.end() == end and (match.lastgroup == "open" or token[0] not in b'{}[],:"'):
                self._rest = token
                return
            yield token

    def flush(self) -> Iterator[bytes]:
        rest, self._rest = self._rest, b""
        if rest:
            yield rest


class Indented:
    """JSON with two spaces for each level, and no line break at its end."""

    __slots__ = ("_depth", "_fresh", "_tokens")

    def __init__(self) -> None:
        self._tokens = _Tokens()
        self._depth = 0
        self._fresh = False
        """Whether a container has just begun."""

    def feed(self, data: bytes) -> bytes:
        return self._written(self._tokens.feed(data))

    def flush(self) -> bytes:
        return self._written(self._tokens.flush())

    def _written(self, tokens: Iterator[bytes]) -> bytes:
        out: list[bytes] = []
        for token in tokens:
            if token in (b"}", b"]"):
                self._depth -= 1
                if not self._fresh:
                    out.append(_INDENTS[self._depth])
                self._fresh = False
            elif self._fresh:
                out.append(_INDENTS[self._depth])
                self._fresh = False
            if token == b",":
                out += (b",", _INDENTS[self._depth])
            elif token == b":":
                out.append(b": ")
            else:
                out.append(token)
                if token in (b"{", b"["):
                    self._depth += 1
                    self._fresh = True
        return b"".join(out)


class Yaml:
    """A block mapping or sequence for each object or array."""

    __slots__ = ("_frames", "_key_next", "_lead", "_opening", "_tokens")

    def __init__(self) -> None:
        self._tokens = _Tokens()
        self._frames: list[tuple[bool, int]] = []
        """Of each open container: whether it is a mapping, and its indent."""
        self._lead = b""
        """What stands before the next entry: the indent, or nothing behind the dash of a sequence."""
        self._key_next = False
        self._opening = b""
        """A container that has begun and may be empty."""

    def feed(self, data: bytes) -> bytes:
        return self._written(self._tokens.feed(data))

    def flush(self) -> bytes:
        return self._written(self._tokens.flush())

    def _written(self, tokens: Iterator[bytes]) -> bytes:
        out: list[bytes] = []
        for token in tokens:
            if self._opening:
                if token in (b"}", b"]"):
                    self._scalar(self._opening + token, out)
                    self._opening = b""
                    continue
                self._enter(out)
            if token in (b"}", b"]"):
                self._frames.pop()
                self._lead = _SPACES[self._frames[-1][1]] if self._frames else b""
            elif token == b",":
                self._key_next = self._frames[-1][0]
            elif token in (b"{", b"["):
                self._opening = token
            elif token != b":":
                if self._key_next:
                    out += (self._lead, _text(token), b":")
                    self._lead = _SPACES[self._frames[-1][1]]
                    self._key_next = False
                else:
                    self._scalar(_text(token), out)
        return b"".join(out)

    def _scalar(self, token: bytes, out: list[bytes]) -> None:
        """A value, or an empty container, where a value is due."""
        if not self._frames:
            out.append(token)
        elif self._frames[-1][0]:
            out += (b" ", token)
        else:
            out += (self._lead, b"- ", token)
            self._lead = _SPACES[self._frames[-1][1]]
        out.append(b"\n")

    def _enter(self, out: list[bytes]) -> None:
        """Begin the container that has turned out not to be empty."""
        mapping = self._opening == b"{"
        self._opening = b""
        if not self._frames:
            indent = 0
            self._lead = b""
        else:
            in_mapping, indent = self._frames[-1]
            if in_mapping:
                out.append(b"\n")
                indent += 2 if mapping else 0
                self._lead = _SPACES[indent]
            else:
                out += (self._lead, b"- ")
                indent += 2
                self._lead = b""
        self._frames.append((mapping, indent))
        self._key_next = mapping


def _text(token: bytes) -> bytes:
    """A scalar of JSON as one of YAML."""
    if token[0] != 0x22:
        return token
    inner = token[1:-1]
    if _PLAIN.match(inner) and not _COLON_SPACE.search(inner) and inner.lower() not in _WORDS:
        return inner
    return _UNPRINTABLE.sub(_escaped, token)


def _escaped(match: re.Match[bytes]) -> bytes:
    return b"\\u%04x" % ord(match[0].decode())


def yaml_of(body: bytes) -> bytes:
    """A whole JSON document as YAML."""
    shape = Yaml()
    return shape.feed(body) + shape.flush()


def indented(body: bytes) -> bytes:
    """A whole JSON document, indented."""
    shape = Indented()
    return shape.feed(body) + shape.flush()
