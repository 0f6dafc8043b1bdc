"""Connections to shards: HTTP/1.1 with keep-alive, one request at a time on each.

A connection is a plain asyncio protocol around llhttp's strict response parser. What it reads goes to a `Sink` once per
read, so that a small answer leaves in one write.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass
from typing import Protocol

import httptools

from proxy.auth.identity import IdentityHeaders
from proxy.kube.errors import StatusError
from proxy.server.messages import Forward, Header

log = logging.getLogger(__name__)

MAX_IDLE = 45.0
"""Seconds a kept connection may be used again after its last answer: half of kube-apiserver's own idle timeout, so that
it is not closed at the moment it is taken."""
MAX_KEPT = 256
CONNECT_TIMEOUT = 10.0
_WITH_BODY = (b"POST", b"PUT", b"PATCH")


class Sink(Protocol):
    """Where an answer goes. `failed` ends it at any point, before or after `head`."""

    def head(self, status: int, headers: list[Header]) -> None: ...
    def data(self, chunk: bytes, done: bool) -> None:
        """The body, a piece per read; ``done`` with the last, which may be empty."""
        ...

    def failed(self, error: StatusError) -> None: ...


@dataclass(frozen=True, slots=True)
class ShardEndpoint:
    """Where a shard is and how it is told who asks."""

    name: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    identity: IdentityHeaders
    server_hostname: str | None = None
    authorization: bytes | None = None
    """Value of an Authorization header, for shards that know the proxy by token."""


class Upstream(asyncio.Protocol):
    """One connection to a shard."""

    __slots__ = (
        "_headers", "_keep", "_pieces", "_pool", "_sink", "answered", "began", "done", "forward", "idle_since",
        "parser", "reused", "streaming", "transport",
    )  # fmt: skip

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._sink: Sink | None = None
        self._pieces: list[bytes] = []
        self.transport: asyncio.Transport | None = None
        self.reused = False
        self.idle_since = 0.0
        self.began = 0.0
        self.answered = False
        self.done = False
        self.streaming = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def begin(self, forward: Forward, sink: Sink) -> None:
        """Send a request; its answer goes to ``sink``."""
        assert self.transport is not None
        self.forward = forward
        self._sink = sink
        self._headers: list[Header] = []
        self.parser = httptools.HttpResponseParser(self)
        self.answered = self.done = False
        self._keep = True
        self.streaming = forward.streaming
        self.began = time.monotonic()
        head = [b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (forward.method, forward.target, self._pool.host)]
        head += [b"%b: %b\r\n" % header for header in forward.headers]
        if forward.body or forward.method in _WITH_BODY:
            head.append(b"content-length: %d\r\n\r\n" % len(forward.body))
            head.append(forward.body)
        else:
            head.append(b"\r\n")
        self.transport.write(b"".join(head))

    def abandon(self) -> None:
        """Nobody wants the answer any more: the connection is of no further use."""
        self._sink = None
        if self.transport is not None:
            self.transport.abort()

    def pause(self) -> None:
        if self.transport is not None and self._sink is not None:
            self.transport.pause_reading()

    def resume(self) -> None:
        if self.transport is not None and self._sink is not None:
            self.transport.resume_reading()

    # asyncio.Protocol

    def data_received(self, data: bytes) -> None:
        sink = self._sink
        if sink is None:
            self.transport.abort()  # type: ignore[union-attr]
            return
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._fail(StatusError(502, f"the shard's answer is not valid HTTP: {error}"))
            return
        if not self.answered:
            return
        pieces = self._pieces
        chunk = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        if self.done:
            self._finish()
            sink.data(chunk, True)
        elif chunk:
            sink.data(chunk, False)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.lost(self)
        if self._sink is None:
            return
        sink = self._sink
        if not self.answered and self.reused and self.forward.idempotent:
            # Closed by the other side while it lay idle: nothing was done, so it can be sent again.
            self._sink = None
            self._pool.send(self.forward, sink, fresh=True)
            return
        self._fail(unavailable(self._pool.endpoint.name, "the connection was closed"))

    # llhttp callbacks

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        status = self.parser.get_status_code()
        if status < 200:
            self._headers = []
            return
        self.answered = True
        self._keep = self.parser.should_keep_alive()
        if self._sink is not None:
            self._sink.head(status, self._headers)

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self.answered:
            self.done = True

    def _finish(self) -> None:
        self._sink = None
        if self._keep:
            self._pool.put(self)
        elif self.transport is not None:
            self.transport.close()

    def _fail(self, error: StatusError) -> None:
        sink, self._sink = self._sink, None
        if self.transport is not None:
            self.transport.abort()
        if sink is not None:
            sink.failed(error)


class Pool:
    """Connections to one shard: taken last in, first out, so that the idle ones age away."""

    def __init__(self, endpoint: ShardEndpoint, answer_timeout: float) -> None:
        self.endpoint = endpoint
        self.host = f"{endpoint.host}:{endpoint.port}".encode()
        self._answer_timeout = answer_timeout
        self._idle: list[Upstream] = []
        self._active: set[Upstream] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, forward: Forward, sink: Sink, *, fresh: bool = False) -> Upstream | asyncio.Task[None]:
        """Send on a kept connection, else on a new one. What is returned is handed to `cancel` if the client goes."""
        if not fresh:
            now = time.monotonic()
            while self._idle:
                upstream = self._idle.pop()
                if now - upstream.idle_since < MAX_IDLE and not upstream.transport.is_closing():  # type: ignore[union-attr]
                    upstream.reused = True
                    self._active.add(upstream)
                    upstream.begin(forward, sink)
                    return upstream
                upstream.abandon()
        task = asyncio.get_running_loop().create_task(self._connect(forward, sink))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _connect(self, forward: Forward, sink: Sink) -> None:
        endpoint = self.endpoint
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                _, upstream = await asyncio.get_running_loop().create_connection(
                    lambda: Upstream(self),
                    endpoint.host,
                    endpoint.port,
                    ssl=endpoint.tls,
                    server_hostname=(endpoint.server_hostname or endpoint.host) if endpoint.tls else None,
                )
        except (OSError, TimeoutError, ssl.SSLError) as error:
            log.debug("shard %s: %s", endpoint.name, error)
            sink.failed(unavailable(endpoint.name, "it cannot be reached"))
            return
        self._active.add(upstream)
        bound = getattr(sink, "bind", None)
        if bound is not None and not bound(upstream):
            upstream.abandon()
            return
        upstream.begin(forward, sink)

    def put(self, upstream: Upstream) -> None:
        self._active.discard(upstream)
        upstream.idle_since = time.monotonic()
        if len(self._idle) < MAX_KEPT:
            self._idle.append(upstream)
        elif upstream.transport is not None:
            upstream.transport.close()

    def lost(self, upstream: Upstream) -> None:
        self._active.discard(upstream)
        if upstream in self._idle:
            self._idle.remove(upstream)

    def sweep(self) -> None:
        """Every few seconds: answers that do not begin, connections that lay idle too long."""
        now = time.monotonic()
        for upstream in list(self._active):
            if not upstream.answered and not upstream.streaming and now - upstream.began > self._answer_timeout:
                upstream._fail(StatusError(504, f"shard {self.endpoint.name} did not answer in time"))
        for upstream in [kept for kept in self._idle if now - kept.idle_since > MAX_IDLE]:
            self._idle.remove(upstream)
            upstream.abandon()

    def close(self) -> None:
        for upstream in [*self._idle, *self._active]:
            upstream.abandon()
        for task in self._tasks:
            task.cancel()


def unavailable(shard: str, why: str) -> StatusError:
    """503 that clients try again: client-go waits as Retry-After says."""
    return StatusError(503, f"shard {shard} is not available: {why}", details={"retryAfterSeconds": 1})
