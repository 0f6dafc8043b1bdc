"""Answers on their way to a client: streamed, filtered and re-framed, or put together from several round trips."""

from __future__ import annotations

import asyncio
import uuid
from typing import TYPE_CHECKING

from proxy.kube.errors import StatusError
from proxy.server.messages import BodyFilter, Forward, Header, Reply, Request, Response
from proxy.server.replies import refusal
from proxy.server.upstream import Upstream

if TYPE_CHECKING:
    from proxy.server.front import Front

REASONS = {
    200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content", 304: b"Not Modified",
    400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed",
    406: b"Not Acceptable", 408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 413: b"Request Entity Too Large",
    415: b"Unsupported Media Type", 422: b"Unprocessable Entity", 429: b"Too Many Requests",
    431: b"Request Header Fields Too Large", 500: b"Internal Server Error", 502: b"Bad Gateway",
    503: b"Service Unavailable", 504: b"Gateway Timeout",
}  # fmt: skip
STATUS_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, reason) for code, reason in REASONS.items()}
HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"upgrade", b"trailer", b"te",
     b"proxy-authenticate", b"alt-svc"}
)  # fmt: skip
BODYLESS = frozenset({204, 304})
CACHE_CONTROL = (b"cache-control", b"no-cache, private")


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


def reply_bytes(reply: Reply, *, head_only: bool, keep: bool) -> bytes:
    """A whole answer made here."""
    parts = [status_line(reply.status)]
    names = {name for name, _ in reply.headers}
    parts += [b"%b: %b\r\n" % header for header in reply.headers]
    if b"audit-id" not in names:
        parts.append(b"audit-id: %b\r\n" % str(uuid.uuid4()).encode())
    if b"cache-control" not in names:
        parts.append(b"%b: %b\r\n" % CACHE_CONTROL)
    if reply.status not in BODYLESS:
        parts.append(b"content-length: %d\r\n" % len(reply.body))
    parts.append(b"\r\n" if keep else b"connection: close\r\n\r\n")
    if not head_only and reply.status not in BODYLESS:
        parts.append(reply.body)
    return b"".join(parts)


class Streamed:
    """The sink of a `Forward`: head edited, body filtered, framing made anew."""

    __slots__ = ("_buffered", "_chunked", "_filter", "_forward", "_front", "_head", "_head_only", "_length", "upstream")

    def __init__(self, front: Front, forward: Forward, head_only: bool) -> None:
        self._front: Front | None = front
        self._forward = forward
        self._head_only = head_only
        self._head = b""
        self._length = -1
        self._chunked = False
        self._buffered: list[bytes] = []
        self._filter: BodyFilter | None = None
        self.upstream: Upstream | None = None

    def bind(self, upstream: Upstream) -> bool:
        """The connection was made; False if the client has gone meanwhile."""
        self.upstream = upstream
        return self._front is not None

    def cancel(self) -> None:
        """The client has gone."""
        self._front = None
        if self.upstream is not None:
            self.upstream.abandon()

    def head(self, status: int, headers: list[Header]) -> None:
        forward = self._forward
        edit = forward.head_filter
        parts = [status_line(status)]
        for name, value in headers:
            if name == b"content-length":
                self._length = int(value)
            elif name == b"content-encoding" and forward.body_filter is not None:
                self._refuse(StatusError(502, "the shard's answer is encoded"))
                return
            elif name not in HOP_BY_HOP:
                parts.append(b"%b: %b\r\n" % (name, edit(value) if edit is not None else value))
        self._head = b"".join(parts)
        if status in BODYLESS:
            self._length = 0
            self._head_only = True
        elif forward.body_filter is not None:
            self._filter = forward.body_filter()

    def data(self, chunk: bytes, done: bool) -> None:
        front = self._front
        if front is None:
            return
        if self._filter is not None:
            chunk = self._filter.feed(chunk)
            if done:
                chunk += self._filter.flush()
        if self._chunked:
            front.write(_chunk(chunk, done))
        elif done:
            if self._buffered:
                self._buffered.append(chunk)
                chunk = b"".join(self._buffered)
            front.write(b"%bcontent-length: %d\r\n\r\n%b" % (self._head, len(chunk), b"" if self._head_only else chunk))
        elif self._head_only or 0 <= self._length <= front.limits.buffered:
            self._buffered.append(chunk)
        else:
            self._chunked = True
            front.write(b"%btransfer-encoding: chunked\r\n\r\n%b" % (self._head, _chunk(chunk, False)))
        if done:
            self._front = None
            front.finished()

    def failed(self, error: StatusError) -> None:
        front, self._front = self._front, None
        if front is None:
            return
        if self._chunked:
            front.close()  # the answer has begun: cutting it is the only honest way to say that it is not whole
        else:
            front.reply(refusal(error, front.request))

    def _refuse(self, error: StatusError) -> None:
        self.failed(error)
        self.cancel()


def _chunk(data: bytes, done: bool) -> bytes:
    body = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return body + b"0\r\n\r\n" if done else body


class Buffered:
    """The sink of `Assembly.fetch`: a whole answer in memory."""

    def __init__(self) -> None:
        self.result: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._response = Response(0, [], b"")
        self._pieces: list[bytes] = []
        self.upstream: Upstream | None = None

    def bind(self, upstream: Upstream) -> bool:
        self.upstream = upstream
        return not self.result.done()

    def head(self, status: int, headers: list[Header]) -> None:
        self._response.status, self._response.headers = status, headers

    def data(self, chunk: bytes, done: bool) -> None:
        self._pieces.append(chunk)
        if done and not self.result.done():
            self._response.body = b"".join(self._pieces)
            self.result.set_result(self._response)

    def failed(self, error: StatusError) -> None:
        if not self.result.done():
            self.result.set_exception(error)


class Assembly:
    """The exchange of a `Produce`: several round trips, one chunked answer."""

    def __init__(self, front: Front, request: Request, head_only: bool) -> None:
        self._front = front
        self._request = request
        self._head_only = head_only
        self.started = False

    async def fetch(self, forward: Forward) -> Response:
        sink = Buffered()
        sent = self._front.send(forward, sink)
        if isinstance(sent, Upstream):
            sink.upstream = sent
        try:
            return await sink.result
        except asyncio.CancelledError:
            if sink.upstream is not None and not sink.result.done():
                sink.upstream.abandon()
            raise

    async def start(self, status: int, headers: list[Header]) -> None:
        self.started = True
        parts = [status_line(status), *(b"%b: %b\r\n" % header for header in headers)]
        parts.append(b"audit-id: %b\r\n%b: %b\r\n" % (str(uuid.uuid4()).encode(), *CACHE_CONTROL))
        parts.append(b"transfer-encoding: chunked\r\n\r\n")
        self._front.write(b"".join(parts))

    async def write(self, data: bytes) -> None:
        if data and not self._head_only:
            self._front.write(_chunk(data, False))
            await self._front.drained()

    async def end(self) -> None:
        if not self._head_only:
            self._front.write(b"0\r\n\r\n")
