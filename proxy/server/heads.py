"""Heads of requests that a connection has had before.

A client sends the same headers with each of its requests. llhttp has judged them once; a request without a body that
comes in one read with the very same bytes after its first line needs no second judgement, only a look at that line, of
which the plain form alone is taken here. Everything else goes through llhttp.
"""

from __future__ import annotations

import hashlib
import re

from proxy.server.messages import Header, Request

MOST = 4
"""Heads that are kept for a connection."""
LARGEST = 8 * 1024
"""Bytes of one."""
_FIRST_LINE = re.compile(rb'GET (/[!"$-~]*) HTTP/1\.1')
_NOT_PLAIN = frozenset({b"content-length", b"transfer-encoding", b"expect", b"upgrade"})
"""With any of these a request is more than its head."""


class Head:
    """All that stands between a first line and a body."""

    __slots__ = ("_block", "_key", "audit_id", "headers")

    def __init__(self, block: bytes, headers: list[Header], audit_id: bytes) -> None:
        self._block = block
        self._key = b""
        self.headers = headers
        self.audit_id = audit_id
        """The client's own."""

    def key(self, peer_cert: bytes | None) -> bytes:
        """Names the head and who sent it, on all connections; a digest, so that credentials are not kept for it."""
        if not self._key:
            own = hashlib.sha256(peer_cert or b"")
            own.update(self._block)
            self._key = own.digest()
        return self._key


class Heads:
    """Of one connection."""

    __slots__ = ("_known",)

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Head and target of the whole request that ``data`` is, if its head is known and its first line is plain."""
        line, _, block = data.partition(b"\r\n")
        head = self._known.get(block)
        if head is None:
            return None
        plain = _FIRST_LINE.fullmatch(line)
        return (head, plain[1]) if plain is not None else None

    def keep(self, data: bytes, request: Request) -> None:
        """``request`` is all that the parser made of ``data``, and another may follow on the connection."""
        line, _, block = data.partition(b"\r\n")
        if len(block) > LARGEST or block.find(b"\r\n\r\n") != len(block) - 4 or _FIRST_LINE.fullmatch(line) is None:
            return
        if any(name in _NOT_PLAIN for name, _ in request.headers):
            return
        if len(self._known) >= MOST:
            self._known.clear()
        self._known[block] = Head(block, request.headers, request.record.audit_id)
