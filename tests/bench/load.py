"""A load generator that is not the bottleneck: raw protocols around llhttp, keep-alive, TLS."""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import httptools


@dataclass(frozen=True, slots=True)
class Target:
    """A server and how to be somebody there."""

    name: str
    url: str
    """Base URL, path included."""
    tls: ssl.SSLContext
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def host(self) -> str:
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 443

    def request(self, method: str, path: str, body: bytes = b"", content_type: str = "application/json") -> bytes:
        """The bytes of a request; ``path`` below the base URL's."""
        lines = [f"{method} {urlsplit(self.url).path}{path} HTTP/1.1", f"host: {self.host}", "accept: application/json"]
        lines += [f"{name}: {value}" for name, value in self.headers]
        if body:
            lines += [f"content-type: {content_type}", f"content-length: {len(body)}"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


class Connection(asyncio.Protocol):
    """One request at a time; `ask` gives status and body."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.on_data: Callable[[bytes], None] | None = None
        self.tag = ""
        """ETag of the last answer that has one."""
        self.begun = False
        """Whether the head of an answer has come."""
        self.refused = False
        """Whether it says that there will be nothing else."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answer is not None and not self._answer.done():
            if self.on_data is not None:
                self._answer.cancel()  # a watch that nobody waits for
            else:
                self._answer.set_exception(ConnectionError("closed"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"etag":
            self.tag = value.decode()

    def on_headers_complete(self) -> None:
        self.begun = True
        self.refused = self._parser.get_status_code() >= 400

    def on_body(self, body: bytes) -> None:
        if self.on_data is not None:
            self.on_data(body)
        else:
            self._pieces.append(body)

    def on_message_complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result((self._parser.get_status_code(), b"".join(self._pieces)))

    def start(self, request: bytes) -> asyncio.Future[tuple[int, bytes]]:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces = []
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    async def ask(self, request: bytes) -> bytes:
        """The body of a good answer. Raises RuntimeError for any other."""
        status, body = await self.start(request)
        if status >= 400:
            raise RuntimeError(f"{status}: {body[:300]!r}")
        return body


async def connect(target: Target) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(
        Connection, target.host, target.port, ssl=target.tls, server_hostname=target.host
    )
    return connection


@dataclass(slots=True)
class Result:
    """Of one round."""

    seconds: float = 0.0
    times: list[float] = field(default_factory=list)
    """Seconds of each request."""

    @property
    def rate(self) -> float:
        return len(self.times) / self.seconds if self.seconds else 0.0

    def percentile(self, part: float) -> float:
        ordered = sorted(self.times)
        return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else 0.0


async def run(target: Target, make: Callable[[int], bytes], *, connections: int, requests: int) -> Result:
    """``requests`` requests in all over ``connections`` connections; ``make(number)`` gives each one."""
    opened = [await connect(target) for _ in range(connections)]
    for connection in opened:
        connection.on_data = None
    numbers = iter(range(requests))
    result = Result()

    async def work(connection: Connection) -> None:
        for number in numbers:
            began = time.perf_counter()
            await connection.ask(make(number))
            result.times.append(time.perf_counter() - began)

    began = time.perf_counter()
    await asyncio.gather(*(work(connection) for connection in opened))
    result.seconds = time.perf_counter() - began
    for connection in opened:
        connection.transport.close()
    return result
