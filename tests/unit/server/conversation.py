"""Conversations without sockets: a client, the transport under test, and a shard, all in memory.

talk = Talk(gateway)
talk.says(b"GET / HTTP/1.1 ...")        # the client sends
shard = await talk.shard()              # the connection that the proxy opens
shard.got                               # what the shard was sent
shard.says(b"HTTP/1.1 200 OK ...")
talk.heard()                            # what the client was sent since the last look
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httptools

from proxy.kube.reading import Reading
from proxy.server.front import Front
from proxy.server.messages import Decision, Forward, Header, Observer, Reply, Request
from proxy.server.pool import Pool, ShardEndpoint
from proxy.server.settings import Limits
from proxy.server.upstream import Upstream
from proxy.server.watches import Watches

HOST = b"Host: proxy\r\n"
OK = Reply(200, [(b"content-type", b"text/plain")], b"ok")


def get(path: str = "/", *headers: str, method: str = "GET", version: str = "1.1") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: proxy", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def post(body: bytes, *headers: str, path: str = "/", method: str = "POST") -> bytes:
    return get(path, *headers, f"Content-Length: {len(body)}", method=method) + body


def answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}"]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


CHUNKED = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


LAST = b"0\r\n\r\n"


class Wire(asyncio.Transport):
    """A transport in memory. ``room``: bytes that may lie unread before the writer is asked to pause."""

    def __init__(self, protocol: Reading, room: int = 1 << 30) -> None:
        super().__init__()
        self.protocol = protocol
        self.room = room
        self.written = b""
        self.writes = 0
        self.closed = False
        self.aborted = False
        self.reading = True
        self._full = False

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("192.0.2.1", 40000) if name == "peername" else default

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.closed, "written to a closed connection"
        self.written += bytes(data)
        self.writes += 1
        if len(self.written) > self.room and not self._full:
            self._full = True
            self.protocol.pause_writing()

    def take(self) -> bytes:
        """All that was written and not yet taken."""
        data, self.written = self.written, b""
        if self._full:
            self._full = False
            self.protocol.resume_writing()
        return data

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self.aborted = True
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        assert self.reading
        self.reading = False

    def resume_reading(self) -> None:
        assert not self.reading
        self.reading = True


class Shard:
    """The shard's end of one connection."""

    def __init__(self, upstream: Upstream) -> None:
        self.upstream = upstream
        self.wire = Wire(upstream)
        upstream.connection_made(self.wire)

    @property
    def got(self) -> bytes:
        return self.wire.take()

    def says(self, data: bytes) -> None:
        assert self.wire.reading, "nobody reads here"
        self.upstream.data_received(data)

    async def hangs_up(self, error: Exception | None = None) -> None:
        if not self.wire.closed:
            self.wire.closed = True
            self.upstream.connection_lost(error)
        await settle()


class MemoryPool(Pool):
    """Opens connections to nowhere; with ``reachable`` False none."""

    def __init__(self, answer_timeout: float = 65.0) -> None:
        super().__init__(ShardEndpoint("main", "shard.test", 443, None), answer_timeout)
        self.opened: list[Shard] = []
        self.reachable = True
        self.gate: asyncio.Event | None = None
        """Connections are made only once it is set."""

    async def open(self) -> Upstream:
        if self.gate is not None:
            await self.gate.wait()
        if not self.reachable:
            raise ConnectionRefusedError
        shard = Shard(Upstream(self))
        self.opened.append(shard)
        return shard.upstream


Decide = Callable[[Request], Decision | Awaitable[Decision]]


@dataclass
class Gate:
    """A gateway that does as the function says and notes what it was asked."""

    answer: Decide
    requests: list[Request]

    def decide(self, request: Request) -> Decision | Awaitable[Decision]:
        self.requests.append(request)
        return self.answer(request)


class Talk:
    """One client's connection. ``decision``: what the gateway says to everything, or a function that does."""

    def __init__(
        self,
        decision: Decision | Decide = OK,
        *,
        limits: Limits | None = None,
        pool: MemoryPool | None = None,
        room: int = 1 << 30,
        observers: tuple[Observer, ...] = (),
        watches: Watches | None = None,
    ) -> None:
        decide = decision if callable(decision) else lambda _: decision
        self.gateway = Gate(decide, [])
        self.pool = pool or MemoryPool()
        self.limits = limits or Limits()
        self.connections: set[Front] = set()
        self.front = Front(self.gateway, {"main": self.pool}, self.limits, self.connections, observers, watches)
        self.wire = Wire(self.front, room)
        self.front.connection_made(self.wire)
        self._looked = 0

    @property
    def requests(self) -> list[Request]:
        return self.gateway.requests

    def says(self, data: bytes) -> None:
        assert self.wire.reading, "nobody reads here"
        self.front.data_received(data)

    def heard(self) -> bytes:
        return self.wire.take()

    async def leaves(self) -> None:
        self.wire.closed = True
        self.front.connection_lost(None)
        await settle()

    async def shard(self) -> Shard:
        """The newest connection to the shard."""
        await settle()
        return self.pool.opened[-1]


async def settle() -> None:
    """Let what was put off happen."""
    for _ in range(5):
        await asyncio.sleep(0)


FORWARD = Forward("main", b"GET", b"/api", [(b"accept", b"application/json")], idempotent=True)


def forward(**changes: Any) -> Forward:
    return replace(FORWARD, **changes)


@dataclass
class Message:
    """A parsed answer."""

    status: int
    headers: list[Header]
    body: bytes
    complete: bool

    def header(self, name: bytes) -> bytes | None:
        values = [value for key, value in self.headers if key == name]
        assert len(values) <= 1, f"{name!r} is there more than once"
        return values[0] if values else None


class _Reader:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def on_message_begin(self) -> None:
        self.messages.append(Message(0, [], b"", False))

    def on_header(self, name: bytes, value: bytes) -> None:
        self.messages[-1].headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        self.messages[-1].status = self.parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self.messages[-1].body += body

    def on_message_complete(self) -> None:
        self.messages[-1].complete = True

    parser: Any


def answers(data: bytes) -> list[Message]:
    """Strictly parsed; the last one may be incomplete."""
    reader = _Reader()
    reader.parser = httptools.HttpResponseParser(reader)
    reader.parser.feed_data(data)
    return reader.messages
