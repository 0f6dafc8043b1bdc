"""What the transport hands to the gateway, and what the gateway answers: plain data, no sockets."""

from __future__ import annotations

import random
import uuid
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from proxy.auth.identity import User
from proxy.mapping.paths import RequestInfo
from proxy.mapping.watching import Terms

if TYPE_CHECKING:
    import asyncio

    from proxy.server.admission import Slot
    from proxy.server.tracing import Trace
    from proxy.server.upstream import Sink

Header = tuple[bytes, bytes]

ADDRESS, IDENTITY, ENTRY, LIMITS, IMPERSONATION = "address", "identity", "entry", "limits", "impersonation"
DOCUMENT, DISCOVERY, PERMISSION, MAPPING, GATE, SHARD = (
    "document", "discovery", "permission", "mapping", "gate", "shard"
)  # fmt: skip
STEPS = (ADDRESS, IDENTITY, ENTRY, LIMITS, IMPERSONATION, DOCUMENT, DISCOVERY, PERMISSION, MAPPING, GATE, SHARD)
"""Of the way of a request through the gateway. Documents (discovery, OpenAPI) end there; the others go on."""


@dataclass(slots=True)
class Record:
    """What became of one request, for those who watch it (`Observer`). Nothing is decided by it."""

    began: float = 0.0
    """When the request had arrived whole (`time.perf_counter` seconds)."""
    workspace: str = ""
    """Path of the workspace; empty if there is none of that name."""
    shard: str = ""
    """Name of the workspace's shard."""
    info: RequestInfo | None = None
    user: User | None = None
    """Who asked; None if that could not be told."""
    acting_as: User | None = None
    """Whom that user impersonated."""
    allowed: bool | None = None
    """What authorization said; None if it was not asked."""
    step: str = ADDRESS
    """How far the gateway has come with it: one of `STEPS`."""
    asked: tuple[str, ...] = ()
    """The steps that could not go by what was known: a shard was asked."""
    audit_id: bytes = b""
    """The client's own or an observer's: goes to the shard and into the answer. Without one, each makes one up."""
    trace: Trace | None = None
    """Where tracing is on: the request's spans."""
    status: int = 0
    sent: int = 0
    """Bytes of the answer's body before compression."""
    shard_seconds: float = 0.0
    """Spent waiting for shards to begin their answers."""
    body: bytes = b""
    """The answer's body, plain, where it left in one write."""
    pieces: list[bytes] | None = None
    """The same in pieces where an observer has put a list here."""
    streaming: bool = False
    """Whether the answer is a watch that has begun."""
    cut: bool = False
    """Whether the connection ended before the answer did."""
    unrewritten: bool = False
    """Whether the shard's answer could not be rewritten, so that the client did not get it: a fault of the proxy's."""

    def lines(self) -> bytes:
        """Header lines by which a shard knows this one request."""
        lines = b"audit-id: %b\r\n" % self.audit_id if self.audit_id else b""
        return lines + b"traceparent: %b\r\n" % self.trace.header if self.trace is not None else lines


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
    record: Record = field(default_factory=Record)
    key: bytes = b""
    """Stands for client certificate and headers, of a GET that came with the same ones on this connection before."""
    slot: Slot | None = None
    """What it has of its workspace's limits, once it was admitted."""
    making: tuple[int, int] | None = None
    """Where it is counted if an object is made by it, and how many objects come of that."""
    rest: float = 0.0
    """Seconds for which its connection is not read from after the answer."""

    def header(self, name: bytes) -> bytes:
        """Value of the first header of that (lower case) name, or ``b""``."""
        for key, value in self.headers:
            if key == name:
                return value
        return b""


def identify(request: Request) -> None:
    """Give the request an audit id, if the client sent none."""
    if not request.record.audit_id:
        request.record.audit_id = str(uuid.UUID(int=random.getrandbits(128), version=4)).encode()


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


class Way(Protocol):
    """To where requests go: a pool of connections to a shard, or tunnels to a cluster."""

    def send(self, forward: Forward, sink: Sink) -> None:
        """All that comes of it is told to ``sink``."""
        ...


@dataclass(frozen=True, slots=True)
class Share:
    """How a watch may be had together with others that are about the same."""

    about: Hashable
    """The same for those: shard, workspace, subject and form."""
    terms: Terms
    ask: Callable[[bytes], Forward]
    """The same watch on other terms. Raises StatusError where the gate does."""


@dataclass(slots=True)
class Forward:
    """Send this to a shard, or another ``way``, and stream its answer back."""

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
    """Applied to the lines of all response headers that are forwarded (Location, Warning, …)."""
    streaming: bool = False
    """A watch or follow: no time limit between bytes, exempt from the request timeout."""
    idempotent: bool = False
    """May be sent again on a fresh connection when a kept-alive one turns out to be closed before any answer."""
    way: Way | None = None
    upgrade: bool = False
    """The answer may be 101: client and other side then speak whatever they like, unread."""
    share: Share | None = None
    """A watch that others may have as well: `proxy.server.watches` sends it, if at all."""
    wire: bytes = field(default=b"", init=False, compare=False)
    """What the transport has made of it, request line and headers, as they are sent: it may be used again."""


@dataclass(slots=True)
class Response:
    """A complete answer of a shard."""

    status: int
    headers: list[Header]
    body: bytes


class Pieces(Protocol):
    """An answer of a shard as it comes, unfiltered."""

    async def begun(self) -> Response:
        """Status and headers. Raises StatusError 503 when the shard cannot be reached."""
        ...

    async def more(self) -> bytes:
        """What has come of the body since; nothing at its end. Raises StatusError when it breaks off."""
        ...

    def cancel(self) -> None:
        """Nobody wants it any more."""
        ...


class Exchange(Protocol):
    """What a ``Produce`` may do: ask shards, and write one answer to the client with back-pressure."""

    async def fetch(self, forward: Forward) -> Response:
        """One buffered round trip, unfiltered. Raises StatusError 503 when the shard cannot be reached."""
        ...

    def open(self, forward: Forward) -> Pieces:
        """One round trip, unfiltered, that is worked on as it comes. Who opens it reads or cancels it."""
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


@dataclass(slots=True)
class Switch:
    """Answer 101 and give the connection away."""

    protocol: bytes
    """As in the header ``Upgrade``."""
    take: Callable[[asyncio.Transport], None]
    headers: list[Header] = field(default_factory=list)


Decision = Reply | Forward | Produce | Switch


class Observer(Protocol):
    """Watches requests go by, on the event loop: quick, and never raising."""

    def arrived(self, request: Request) -> None:
        """Before anything is known of it but its bytes."""
        ...

    def decided(self, request: Request) -> None:
        """Before anything is sent to a shard, or answered."""
        ...

    def streaming(self, request: Request) -> None:
        """The answer, a watch, has begun and will go on."""
        ...

    def finished(self, request: Request) -> None:
        """The answer was written, or the connection cut."""
        ...

    def malformed(self, status: int) -> None:
        """Bytes that are no request were answered with that status."""
        ...


class Gateway(Protocol):
    """Decides what becomes of a request. Must not block; answers at once where everything it needs is cached."""

    def decide(self, request: Request) -> Decision | Awaitable[Decision]:
        """Never raises StatusError: refusals come back as Reply."""
        ...
