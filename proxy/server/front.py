"""Connections of clients: HTTP/1.1 by llhttp's strict parser, one answer at a time, in order."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections import deque
from collections.abc import Awaitable

import httptools

from proxy.kube.errors import StatusError
from proxy.server.exchange import Assembly, Streamed, reply_bytes
from proxy.server.messages import Decision, Forward, Gateway, Produce, Reply, Request
from proxy.server.replies import refusal
from proxy.server.settings import Limits
from proxy.server.upstream import Pool, Sink, Upstream

log = logging.getLogger(__name__)


class TooLarge(Exception):
    """A request beyond the limits; carries what is said."""

    def __init__(self, status: StatusError) -> None:
        super().__init__(status.message)
        self.status = status


class Front(asyncio.Protocol):
    """One connection of a client."""

    def __init__(self, gateway: Gateway, pools: dict[str, Pool], limits: Limits, connections: set[Front]) -> None:
        self.limits = limits
        self._gateway = gateway
        self._pools = pools
        self._connections = connections
        self._waiting: deque[tuple[Request, bool]] = deque()
        self._writable: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None
        self._sink: Streamed | None = None
        self._upstream: Upstream | None = None
        self._peer_cert: bytes | None = None
        self._peer = ""
        self._busy = False
        self._keep = True
        self._paused = False
        self.request: Request | None = None
        self.last_activity = time.monotonic()
        self.receiving = False
        self.closing = False

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        self._connections.add(self)
        peer = transport.get_extra_info("peername")
        self._peer = peer[0] if isinstance(peer, tuple) else ""
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._peer_cert = tls.getpeercert(binary_form=True)
        self._parser = httptools.HttpRequestParser(self)

    def data_received(self, data: bytes) -> None:
        self.last_activity = time.monotonic()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Not offered here: the answer is the plain one, and what follows on the connection is not ours to read.
            self._keep = False
            if not self._busy:
                self.close()
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            said = cause.status if isinstance(cause, TooLarge) else StatusError(400, "the request is not valid")
            self._refuse(said)
        except httptools.HttpParserError as error:
            self._refuse(StatusError(400, f"the request is not valid HTTP: {error}"))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self.closing = True
        self._waiting.clear()
        if self._sink is not None:
            self._sink.cancel()
            self._sink = None
        if self._task is not None:
            self._task.cancel()
        if self._writable is not None:
            self._writable.set()

    def pause_writing(self) -> None:
        if self._sink is not None and self._sink.upstream is not None:
            self._sink.upstream.pause()
        self._writable = asyncio.Event()

    def resume_writing(self) -> None:
        if self._sink is not None and self._sink.upstream is not None:
            self._sink.upstream.resume()
        if self._writable is not None:
            self._writable.set()
            self._writable = None

    # llhttp callbacks

    def on_message_begin(self) -> None:
        self.receiving = True
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._size = 0
        self._body: list[bytes] = []
        self._body_size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self.limits.target:
            raise TooLarge(StatusError(414, "the request's target is too long", reason="RequestURITooLong"))

    def on_header(self, name: bytes, value: bytes) -> None:
        self._size += len(name) + len(value)
        if self._size > self.limits.headers or len(self._headers) >= self.limits.header_count:
            raise TooLarge(StatusError(431, "the request's headers are too large", reason="RequestHeadersTooLarge"))
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        hosts = [value for name, value in self._headers if name == b"host"]
        if len(hosts) != 1 and self._parser.get_http_version() == "1.1":
            raise TooLarge(StatusError(400, "exactly one Host header is needed"))
        for name, value in self._headers:
            if name == b"expect" and value.lower() == b"100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._body_size += len(body)
        if self._body_size > self.limits.body:
            message = f"Request entity too large: limit is {self.limits.body}"
            raise TooLarge(StatusError(413, message, reason="RequestEntityTooLarge"))
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.receiving = False
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        method = self._parser.get_method()
        request = Request(method, self._target, self._headers, body, self._peer_cert, self._peer)
        keep = self._parser.should_keep_alive()
        if self._busy:
            self._waiting.append((request, keep))
            if len(self._waiting) >= self.limits.pipelined and not self._paused:
                self._paused = True
                self._transport.pause_reading()
        else:
            self._handle(request, keep)

    # answering

    def _handle(self, request: Request, keep: bool) -> None:
        self._busy = True
        self._keep = keep and not self.closing
        self.request = request
        decision = self._gateway.decide(request)
        if isinstance(decision, Reply | Forward | Produce):
            self._act(request, decision)
        else:
            self._task = asyncio.get_running_loop().create_task(self._later(request, decision))

    async def _later(self, request: Request, decision: Awaitable[Decision]) -> None:
        try:
            decided = await decision
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("a request could not be decided")
            decided = refusal(StatusError(500, "internal error"), request)
        self._task = None
        if not self._transport.is_closing():
            self._act(request, decided)

    def _act(self, request: Request, decision: Decision) -> None:
        head_only = request.method == b"HEAD"
        if isinstance(decision, Reply):
            self.reply(decision)
        elif isinstance(decision, Forward):
            self._sink = sink = Streamed(self, decision, head_only)
            sent = self.send(decision, sink)
            if isinstance(sent, Upstream):
                sink.upstream = sent
        else:
            assembly = Assembly(self, request, head_only)
            self._task = asyncio.get_running_loop().create_task(self._produce(request, decision, assembly))

    async def _produce(self, request: Request, decision: Produce, assembly: Assembly) -> None:
        try:
            await decision.run(assembly)
        except StatusError as error:
            self._task = None
            if assembly.started:
                self.close()
            else:
                self.reply(refusal(error, request))
            return
        except asyncio.CancelledError:
            raise
        except Exception:
            log.exception("an answer could not be put together")
            self._task = None
            if assembly.started:
                self.close()
            else:
                self.reply(refusal(StatusError(500, "internal error"), request))
            return
        self._task = None
        self.finished()

    def send(self, forward: Forward, sink: Sink) -> Upstream | asyncio.Task[None]:
        return self._pools[forward.shard].send(forward, sink)

    def reply(self, reply: Reply) -> None:
        head_only = self.request is not None and self.request.method == b"HEAD"
        self.write(reply_bytes(reply, head_only=head_only, keep=self._keep))
        self.finished()

    def write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was written."""
        if self._writable is not None:
            await self._writable.wait()

    def finished(self) -> None:
        """The answer is complete: go on with the next request, or close."""
        self._sink = None
        self.request = None
        self._busy = False
        self.last_activity = time.monotonic()
        if not self._keep or self.closing:
            self.close()
        elif self._waiting:
            request, keep = self._waiting.popleft()
            if self._paused:
                self._paused = False
                self._transport.resume_reading()
            self._handle(request, keep)

    def _refuse(self, error: StatusError) -> None:
        """What was sent cannot be understood, nor where the next request begins: say so and close."""
        self._keep = False
        self.closing = True
        self._waiting.clear()
        self.receiving = False
        if self._busy:
            self.close()
            return
        self._busy = True
        self.reply(refusal(error))

    def close(self) -> None:
        self.closing = True
        if not self._transport.is_closing():
            self._transport.close()

    @property
    def busy(self) -> bool:
        return self._busy

    @property
    def streaming(self) -> bool:
        """Whether the answer has no foreseeable end (a watch)."""
        return self._sink is not None and self._sink._forward.streaming

    def sweep(self, now: float) -> None:
        """Every few seconds: requests that do not arrive, connections that lie idle."""
        silent = now - self.last_activity
        if self.receiving and silent > self.limits.header_timeout:
            self._refuse(StatusError(408, "the request did not arrive in time", reason="Timeout"))
        elif not self._busy and not self.receiving and silent > self.limits.idle_timeout:
            self.close()
