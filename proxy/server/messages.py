"""What the transport hands to the gateway, and what the gateway answers: plain data, no sockets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Protocol

Header = tuple[bytes, bytes]


@dataclass(slots=True)
class Request:
    """One parsed request. Header names are lower case; ``body`` is complete (at most 3 MiB, as a kube-apiserver)."""

    method: bytes
    target: bytes
    """Path and query as the client sent them, percent-encoding untouched."""
    headers: list[Header]
    body: bytes = b""
    peer_cert: bytes | None = None
    """DER of the client certificate that TLS verified against ``--client-ca-file``, if one was sent."""
    peer: str = ""
    """Remote address, for logs only."""

    def header(self, name: bytes) -> bytes:
        """Value of the first header of that (lower case) name, or ``b""``."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""


@dataclass(slots=True)
class Reply:
    """An answer made here. ``headers`` without content-length and connection: the transport adds both."""

    status: int
    headers: list[Header]
    body: bytes


class BodyFilter(Protocol):
    """Rewrites a response body piece by piece; keeps back what may be the start of a match."""

    def feed(self, data: bytes) -> bytes: ...
    def flush(self) -> bytes: ...


@dataclass(slots=True)
class Forward:
    """Send this to a shard and stream its answer back."""

    shard: str
    """Name of the shard: the key of the transport's upstream pools."""
    method: bytes
    target: bytes
    headers: list[Header]
    """Without host, content-length, connection: the transport adds them."""
    body: bytes = b""
    body_filter: Callable[[], BodyFilter] | None = None
    """Makes the filter of the response body; None passes the body through untouched (opaque mode)."""
    head_filter: Callable[[bytes], bytes] | None = None
    """Applied to each value of a response header that is forwarded (Location, Warning, …)."""
    streaming: bool = False
    """A watch or follow: no time limit between bytes, exempt from the request timeout."""
    idempotent: bool = False
    """May be sent again on a fresh connection when a kept-alive one turns out to be closed before any answer."""


@dataclass(slots=True)
class Response:
    """A complete answer of a shard."""

    status: int
    headers: list[Header]
    body: bytes


class Exchange(Protocol):
    """What a ``Produce`` may do: ask shards, and write one answer to the client with back-pressure."""

    async def fetch(self, forward: Forward) -> Response:
        """One buffered round trip, unfiltered. Raises StatusError 503 when the shard cannot be reached."""
        ...

    async def start(self, status: int, headers: list[Header]) -> None:
        """Begin a chunked answer."""
        ...

    async def write(self, data: bytes) -> None: ...
    async def end(self) -> None: ...


@dataclass(slots=True)
class Produce:
    """An answer that is put together here from several round trips (a list over all namespaces)."""

    run: Callable[[Exchange], Awaitable[None]]
    headers: list[Header] = field(default_factory=list)


Decision = Reply | Forward | Produce


class Gateway(Protocol):
    """Decides what becomes of a request. Must not block; answers at once where everything it needs is cached."""

    def decide(self, request: Request) -> Decision | Awaitable[Decision]:
        """Never raises StatusError: refusals come back as Reply."""
        ...
