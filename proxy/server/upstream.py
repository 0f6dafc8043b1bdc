"""One connection to a shard: HTTP/1.1 with keep-alive, one request at a time.

What is read goes to a `Sink` once per read, so that a small answer leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from typing import Any, Protocol

import httptools

from proxy.kube.errors import StatusError
from proxy.kube.pipe import pause, resume
from proxy.kube.reading import Reading, Scratch
from proxy.server.alive import has_vanished
from proxy.server.messages import Forward, Header
from proxy.server.replies import BAD_GATEWAY, unavailable

log = logging.getLogger(__name__)

_USUAL = re.compile(
    rb"HTTP/1\.1 (200 OK|201 Created)\r\n"
    rb"((?:(?:Audit-Id|Cache-Control|Content-Type|Date|Warning|X-Kubernetes-[A-Za-z-]+): [ -~]*\r\n)+)"
    rb"Content-Length: ([0-9]{1,7})\r\n\r\n"
)
"""The head of most short answers of a kube-apiserver, as Go's net/http writes it. Such an answer, if it comes in one
read, needs no parser; whatever looks different goes through llhttp."""
SWITCHING = 101
_WITH_BODY = frozenset({b"POST", b"PUT", b"PATCH"})


class Sink(Protocol):
    """Where an answer goes. `failed` ends it at any point, before or after `head`."""

    @property
    def lines(self) -> bytes:
        """Header lines of this one request."""
        ...

    def bind(self, upstream: Upstream) -> bool:
        """The connection that the answer will come from; again if the request is sent anew. False: not wanted."""
        ...

    def head(self, status: int, headers: list[Header]) -> None: ...
    def data(self, chunk: bytes, done: bool) -> None:
        """The body, a piece per read; ``done`` with the last. May be empty: then the head alone was read."""
        ...

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        """In place of `head` and `data`: an answer of known length that is there at once. ``fields``: lines of all
        headers but those of framing; the body is not encoded."""
        ...

    def upgraded(self, headers: list[Header], rest: bytes) -> None:
        """The answer is 101, to a request that may be upgraded; ``rest`` was read after it. What the connection brings
        from here on is whoever's ``sink`` gives it to."""
        ...

    def failed(self, error: StatusError) -> None: ...


class Owner(Protocol):
    """The pool that a connection belongs to."""

    shard: str
    scratch: Scratch

    def put(self, upstream: Upstream) -> None:
        """It has been answered and can be used again."""
        ...

    def lost(self, upstream: Upstream, *, unanswered: bool) -> None:
        """It is closed; ``unanswered``: by the other side, which owed an answer."""
        ...

    def send(self, forward: Forward, sink: Sink, *, fresh: bool = False) -> None: ...


class Upstream(Reading):
    """Calls ``sink`` for each answer; goes back to its pool when the answer is whole and another may follow."""

    __slots__ = (
        "_began", "_broken", "_done", "_forward", "_head_done", "_head_sent", "_headers", "_heard", "_keep", "_owner",
        "_parser", "_paused", "_pieces", "_reused", "_sink", "_status", "_unframed", "idle_since", "transport",
    )  # fmt: skip

    def __init__(self, owner: Owner) -> None:
        super().__init__(owner.scratch)
        self._owner = owner
        self._sink: Sink | None = None
        self._parser: Any = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._reused = False
        self._paused = False
        self._broken = False
        self._heard = 0.0
        self.idle_since = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def begin(self, forward: Forward, sink: Sink, request: bytes) -> None:
        """Send ``request``, which is `request_bytes` of ``forward``; its answer goes to ``sink``."""
        self._forward = forward
        self._sink = sink
        self._headers: list[Header] = []
        self._status = 0
        self._head_done = self._head_sent = self._done = self._unframed = False
        self._keep = True
        self._began = time.monotonic()
        self._heard = 0.0
        self.transport.write(request)

    def abandon(self) -> None:
        """Nobody wants the answer any more: the connection is of no further use."""
        self._sink = None
        self.transport.abort()

    def close(self) -> None:
        """Nothing more is asked here."""
        self._sink = None
        self.transport.close()

    def pause(self) -> None:
        if self._sink is not None and not self._paused:
            self._paused = True
            pause(self.transport)

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            resume(self.transport)
            self._heard = time.monotonic()

    def overdue(self, now: float, limit: float) -> bool:
        """Whether the shard has been silent for ``limit`` seconds although it should say something."""
        if self._sink is None or self._forward.streaming or self._paused:
            return False
        return now - (self._heard or self._began) > limit

    def has_vanished(self, patience: float) -> bool:
        """Whether the shard's machine has said nothing for ``patience`` seconds of what was sent to it."""
        return has_vanished(self.transport.get_extra_info("socket"), patience)

    def timed_out(self) -> None:
        """End the request for taking too long."""
        self._fail(StatusError(504, f"shard {self._owner.shard} did not answer in time"))

    # asyncio.BufferedProtocol

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:
            self.transport.abort()  # it speaks without being asked
            return
        first, self._heard = not self._heard, time.monotonic()
        usual = _USUAL.match(data) if first else None
        whole = usual is not None and usual.end() + int(usual[3]) == len(data)
        if not whole and not self._parse(data):
            return
        try:
            if usual is not None and whole:
                self._finish()
                sink.whole(int(usual[1][:3]), usual[2], data[usual.end() :])
            else:
                self._deliver(sink)
        except Exception:
            log.exception("an answer could not be passed on")
            self.abandon()
            sink.failed(StatusError(500, "internal error"))

    def _parse(self, data: bytes) -> bool:
        """Whether the answer's head is complete now."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            sink = self._sink
            if self._status == SWITCHING and sink is not None:
                self._sink = None
                self._parser = None
                sink.upgraded(self._headers, data[switch.args[0] :])
            else:
                self._bad_gateway("changes the protocol without being asked")
            return False
        except httptools.HttpParserError as error:
            self._broken = True
            if not self._done:
                self._bad_gateway(f"does not speak HTTP: {error}")
                return False
        return self._head_done

    def _deliver(self, sink: Sink) -> None:
        """Hand on what one read has brought."""
        if not self._head_sent:
            self._head_sent = True
            sink.head(self._status, self._headers)
            if self._sink is None:
                return  # it did not like what it saw
        pieces = self._pieces
        chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self._done:
            self._finish()
        sink.data(chunk, self._done)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        sink, self._sink = self._sink, None
        self._owner.lost(self, unanswered=sink is not None and not (self._unframed and exc is None))
        self._parser = None  # its callbacks are a circle of references
        if sink is None:
            return
        shard = self._owner.shard
        if self._unframed and exc is None:
            sink.data(b"", True)  # an answer without a length ends with the connection
        elif self._reused and not self._heard and self._forward.idempotent:
            # Closed by the other side while it lay idle: nothing was done, so it can be sent again.
            self._owner.send(self._forward, sink, fresh=True)
        elif self._forward.idempotent:
            sink.failed(unavailable(shard, "the connection was closed"))
        else:
            # Not 503: clients would send it again, and it may have been carried out.
            message = f"shard {shard} closed the connection; whether the request was carried out is not known"
            sink.failed(StatusError(502, message, reason=BAD_GATEWAY))

    # llhttp callbacks

    def on_message_begin(self) -> None:
        if self._done:
            self._broken = True  # an answer to nothing: whatever comes next on this connection cannot be trusted

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._done:
            return
        status = self._parser.get_status_code()
        if status < 200 and not (status == SWITCHING and self._forward.upgrade):
            self._headers = []  # 100 Continue and early hints: the answer is yet to come
            return
        self._status = status
        self._head_done = True
        self._keep = self._parser.should_keep_alive()
        if not self._keep:
            framed = any(name in (b"content-length", b"transfer-encoding") for name, _ in self._headers)
            self._unframed = not framed and status not in (204, 304)

    def on_body(self, body: bytes) -> None:
        if not self._done:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._head_done:
            self._done = True

    def _finish(self) -> None:
        """Before the sink hears of the end: its next request may then use this connection again."""
        self._sink = None
        if self._keep and not self._broken:
            self.resume()
            self._reused = True
            self._owner.put(self)
        else:
            self.transport.close()

    def _bad_gateway(self, what: str) -> None:
        self._fail(StatusError(502, f"shard {self._owner.shard} {what}", reason=BAD_GATEWAY))

    def _fail(self, error: StatusError) -> None:
        sink, self._sink = self._sink, None
        self.transport.abort()
        if sink is not None:
            sink.failed(error)


def request_bytes(forward: Forward, host: bytes, lines: bytes = b"") -> bytes:
    """A request as it is sent. Raises StatusError 400 if a value would change its structure.

    ``lines``: further headers, each with its line break; all others are put together once for each ``forward``.

    The last check of that kind: names of users and what else comes from outside have no line breaks in them when they
    get here; if one had, it could speak for another user or workspace.
    """
    head = forward.wire
    if not head:
        method = b"GET" if forward.method == b"HEAD" else forward.method  # a filtered body's length is known at its end
        fields = b"".join([b"%b: %b\r\n" % header for header in forward.headers])
        head = b"%b %b HTTP/1.1\r\nhost: %b\r\n%b" % (method, forward.target, host, fields)
        expected = len(forward.headers) + 2
        if forward.body or method in _WITH_BODY:
            head += b"content-length: %d\r\n" % len(forward.body)
            expected += 1
        if head.count(b"\n") != expected or head.count(b"\r") != expected or b" " in forward.target or b"\0" in head:
            raise StatusError(400, "the request cannot be passed on: a value has a control character in it")
        forward.wire = head
    return b"%b%b\r\n%b" % (head, lines, forward.body)
