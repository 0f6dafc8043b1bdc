"""Responses: the internal label, the prefix and the identities of shared types are taken out of the byte stream,
without looking at structure.

Objects come as compact JSON with sorted labels, the internal key first. Its label can stand in these shapes, replaced
in this order (``creationTimestamp`` or a name always stands before ``labels``)::

    "0.kcp.dev/w":"TOKEN",                 other labels follow
    ,"labels":{"0.kcp.dev/w":"TOKEN"}      the only label
    "matchLabels":{"0.kcp.dev/w":"TOKEN"}, all that a label selector of RBAC has besides its matchExpressions
    ,"0.kcp.dev/w":"TOKEN"                 a user's label sorts before it
    "0.kcp.dev/w":"TOKEN"                  alone in another map
    ,"f:0.kcp.dev/w":{}                    a field of whoever was there before the first apply (``managedFields``)

A token is plain ASCII, so no JSON escape can hide it.
"""

from __future__ import annotations

import re
from typing import TypeAlias

from stringzilla import find, split

from proxy.mapping.detours import without_urls
from proxy.mapping.shared import unfinished, without_identities
from proxy.mapping.token import LABEL

Patterns: TypeAlias = tuple[bytes, bytes, bytes, bytes, bytes, bytes, bytes]


_STATUS = (b'{"kind":"Status"', b'{\n  "kind": "Status"')
"""How a Status begins; a shard indents those that are not in the form that was asked for."""
_MESSAGES = (*_STATUS, b'{"type":"ERROR"')
_LABEL_NAME = LABEL.encode()
_FIELD = f',"f:{LABEL}":{{}}'.encode()
_ESCAPED = rb'\\+"' + re.escape(LABEL).encode() + rb'\\+":\\+"k[a-z2-7]{8}\\+"'
_ESCAPED_FIELD = rb',\\+"f:' + re.escape(LABEL).encode() + rb'\\+":\{\}'
_QUOTED = re.compile(
    _ESCAPED + rb"," + rb'|,\\+"labels\\+":\{' + _ESCAPED + rb"\}" + rb"|,?" + _ESCAPED + rb"|" + _ESCAPED_FIELD
)


def patterns(token: str) -> Patterns:
    """What is removed, in order."""
    label = f'"{LABEL}":"{token}"'
    return (
        f"{label},".encode(),
        f',"labels":{{{label}}}'.encode(),
        f'"matchLabels":{{{label}}},'.encode(),
        f",{label}".encode(),
        label.encode(),
        _FIELD,
        f"{token}-".encode(),
    )


def strip_bytes(data: bytes, token: str) -> bytes:
    """A complete body, or a header's value, as the workspace sees it."""
    return _remove(data, patterns(token))


def _remove(data: bytes, patterns: Patterns) -> bytes:
    for pattern in patterns:
        if find(data, pattern) >= 0:
            data = b"".join(split(data, pattern))
    if data.startswith(_STATUS) and _LABEL_NAME in data:
        data = _QUOTED.sub(b"", data)  # a message quotes an object
    if data.startswith(_MESSAGES):
        data = without_urls(data)
    return without_identities(data)


def _beginnings(*shapes: str) -> re.Pattern[bytes]:
    """Finds the longest end of some text that is the beginning of one of ``shapes`` but not the whole; a ``*`` in them
    stands for any token."""
    nested = []
    for shape in shapes:
        atoms = [
            atom for letter in shape for atom in (("k", *["[a-z2-7]"] * 8) if letter == "*" else (re.escape(letter),))
        ]
        expression = ""
        for atom in reversed(atoms[1:-1]):
            expression = f"(?:{atom}{expression})?"
        nested.append(atoms[0] + expression)
    return re.compile(f"(?:{'|'.join(nested)})\\Z".encode())


_BEGUN = _beginnings(*(pattern.decode() for pattern in patterns("*")))
_LONGEST = max(map(len, patterns("k" * 9)))
"""Bytes: no shape is longer."""


class ResponseFilter:
    """The same piece by piece: what may be the beginning of a match is kept back until more comes."""

    __slots__ = ("_begun", "_patterns", "_rest", "_whole")

    def __init__(self, patterns: Patterns) -> None:
        self._patterns = patterns
        self._rest = b""
        self._begun = False
        self._whole: list[bytes] | None = None
        """Pieces of a Status, which is looked at as a whole."""

    def feed(self, data: bytes) -> bytes:
        if not self._begun and data:
            self._begun = True
            if data.startswith(_STATUS):
                self._whole = []
        if self._whole is not None:
            self._whole.append(data)
            return b""
        if self._rest:
            data = self._rest + data
        keep = self._unfinished(data)
        if keep:
            self._rest = data[-keep:]
            data = data[:-keep]
        else:
            self._rest = b""
        return _remove(data, self._patterns)

    def flush(self) -> bytes:
        data, self._rest = self._rest, b""
        if self._whole is not None:
            data, self._whole = b"".join(self._whole), []
        return _remove(data, self._patterns) if data else b""

    def _unfinished(self, data: bytes) -> int:
        """Length of the longest end of ``data`` that is the beginning of a pattern, of whatever token, but not yet the
        whole."""
        if data.endswith(b"}\n"):
            return 0  # the end of a watch event or of a body: no pattern has a line break
        begun = _BEGUN.search(data[-_LONGEST:])
        longest = max(unfinished(data), len(begun[0]) if begun else 0)
        if longest:
            # What is kept back may begin inside a complete match (the shapes share text): keep that whole as well.
            start = len(data) - longest
            for pattern in self._patterns:
                at = data.find(pattern, max(0, start - len(pattern) + 1), start + len(pattern) - 1)
                if at >= 0 and at < start < at + len(pattern):
                    longest = len(data) - at
                    start = at
        return longest
