"""Answers of shards on their way to a client: streamed and filtered, or put together from several round trips."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from proxy.kube.errors import StatusError
from proxy.server.answer import BODYLESS, Answer, head_of, status_line
from proxy.server.incoming import Incoming
from proxy.server.messages import BodyFilter, Forward, Header, Pieces, Response
from proxy.server.replies import BAD_GATEWAY, refusal
from proxy.server.upstream import SWITCHING, Sink, Upstream

HOP_BY_HOP = frozenset(
    {b"connection", b"keep-alive", b"transfer-encoding", b"content-length", b"upgrade", b"trailer", b"te",
     b"proxy-authenticate", b"proxy-connection", b"alt-svc"}
)  # fmt: skip

FRAMING = frozenset({b"content-length", b"transfer-encoding"})
SWITCHING_LINE = b"HTTP/1.1 101 Switching Protocols\r\n"


class Client(Protocol):
    """What these need of a client's connection."""

    def send(self, forward: Forward, sink: Sink) -> None:
        """Send to a shard; whatever comes of it goes to ``sink``."""
        ...

    def cut(self) -> None:
        """Close, with the answer unfinished: the only honest way to say that it is not whole."""
        ...

    def streaming(self) -> None:
        """The answer, a watch, has begun."""
        ...

    def settled(self, *, cost: bool) -> None:
        """The shard has no more to do to begin the answer, a watch. ``cost``: it had, as far as was sent by now."""
        ...

    def alone(self, forward: Forward) -> None:
        """Answer by this instead of what was tried, of which the client has seen nothing."""
        ...

    def upgraded(self, first: bytes, other: asyncio.Transport) -> None:
        """Say ``first``; from then on client and ``other`` speak with each other, unread."""
        ...

    async def drained(self) -> None:
        """Wait until the client has taken enough of what was written."""
        ...


class Streamed:
    """The sink of a `Forward`: head edited, body filtered, framing made anew.

    What is small leaves in one write with its length. A larger answer is begun as soon as it is known to be larger, and
    goes on in pieces of some size, as a shard sends it in many small ones; a watch is begun at once, and what comes of
    it leaves as it comes.
    """

    __slots__ = (
        "_answer", "_asked", "_bodyless", "_buffered", "_client", "_filter", "_forward", "_head", "_held", "_held_size",
        "_identity", "_length", "_upstream", "lines",
    )  # fmt: skip

    def __init__(self, client: Client, answer: Answer, forward: Forward, buffered: int) -> None:
        """``buffered``: bytes of an answer that is held back for one write."""
        self._client = client
        self._answer: Answer | None = answer
        self._asked = time.perf_counter()
        self._forward = forward
        self._buffered = buffered
        self._head = b""
        self._length = -1
        self._bodyless = False
        self._identity = True
        self._held: list[bytes] = []
        self._held_size = 0
        self._filter: BodyFilter | None = None
        self._upstream: Upstream | None = None
        self.lines = answer.record.lines()

    @property
    def endless(self) -> bool:
        """Whether the answer has no foreseeable end (a watch)."""
        return self._forward.streaming

    def bind(self, upstream: Upstream) -> bool:
        self._upstream = upstream
        return self._answer is not None

    def pause(self) -> None:
        """The client does not take what was written."""
        if self._upstream is not None:
            self._upstream.pause()

    def resume(self) -> None:
        if self._upstream is not None:
            self._upstream.resume()

    def cancel(self) -> None:
        """The client has gone, or wants no more."""
        self._answer = None
        if self._upstream is not None:
            self._upstream.abandon()

    def end(self) -> None:
        """End a watch in good order: its client asks again. The connection stays: it was never told that this would be
        its last answer, and may have sent the next request already."""
        answer = self._answer
        if answer is not None and answer.begun:
            self.cancel()
            answer.piece(b"", True)
        else:
            self.cancel()
            self._client.cut()

    def head(self, status: int, headers: list[Header]) -> None:
        if self._answer is not None:
            record = self._answer.record
            record.status = status
            record.shard_seconds = time.perf_counter() - self._asked
        forward = self._forward
        fields = []
        for name, value in headers:
            if name in HOP_BY_HOP:
                if name == b"content-length":
                    self._length = int(value)
                continue
            if name == b"content-encoding":
                if forward.body_filter is not None:
                    if self._answer is not None:
                        self._answer.record.unrewritten = True
                    self.failed(StatusError(502, f"the answer of shard {forward.shard} is encoded", reason=BAD_GATEWAY))
                    self.cancel()
                    return
                self._identity = False
            fields.append(b"%b: %b\r\n" % (name, value))
        self._head = self._edited(status, b"".join(fields))
        if status in BODYLESS:
            self._bodyless = True
        elif forward.body_filter is not None:
            self._filter = forward.body_filter()

    def _edited(self, status: int, fields: bytes) -> bytes:
        edit = self._forward.head_filter
        return status_line(status) + (edit(fields) if edit is not None else fields)

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        record = answer.record
        record.status = status
        record.shard_seconds = time.perf_counter() - self._asked
        if self._forward.body_filter is not None:
            rewrite = self._forward.body_filter()
            try:
                body = rewrite.feed(body) + rewrite.flush()
            except Exception:
                record.unrewritten = True
                raise
        self._answer = None
        answer.whole(self._edited(status, fields), body, compress=True)

    def data(self, chunk: bytes, done: bool) -> None:
        answer = self._answer
        if answer is None:
            return
        streaming = self._forward.streaming
        if not (streaming or done):
            self._held.append(chunk)
            self._held_size += len(chunk)
            if answer.begun:
                enough = self._held_size >= self._buffered // 2
            else:
                enough = max(self._length, self._held_size) > self._buffered
            if not enough:
                return
            chunk = b""
        if self._held:
            chunk = b"".join([*self._held, chunk])
            self._held.clear()
            self._held_size = 0
        if self._filter is not None:
            try:
                chunk = self._filter.feed(chunk)
                if done:
                    chunk += self._filter.flush()
            except Exception:
                answer.record.unrewritten = True
                raise
        if done:
            self._answer = None
            if not answer.begun:
                answer.whole(self._head, chunk, bodyless=self._bodyless, compress=self._identity)
                return
        if not answer.begun:
            answer.begin(self._head, compress=self._identity and not streaming)
            if answer.head_only:
                self.cancel()
                done = True
            elif streaming:
                self._client.streaming()
        answer.piece(chunk, done)

    def upgraded(self, headers: list[Header], rest: bytes) -> None:
        answer, self._answer = self._answer, None
        upstream = self._upstream
        if answer is None or upstream is None:
            return
        answer.record.status = SWITCHING
        answer.record.shard_seconds = time.perf_counter() - self._asked
        lines = [b"%b: %b\r\n" % header for header in headers if header[0] not in FRAMING]
        self._client.upgraded(b"%b%b\r\n%b" % (SWITCHING_LINE, b"".join(lines), rest), upstream.transport)

    def failed(self, error: StatusError) -> None:
        answer, self._answer = self._answer, None
        if answer is None:
            return
        if answer.begun:
            self._client.cut()
        else:
            answer.reply(refusal(error, answer.parsed.request))


class Buffered:
    """The sink of `Assembly.fetch`: a whole answer in memory."""

    def __init__(self, lines: bytes = b"") -> None:
        self.lines = lines
        self.result: asyncio.Future[Response] = asyncio.get_running_loop().create_future()
        self._response = Response(0, [], b"")
        self._pieces: list[bytes] = []
        self._upstream: Upstream | None = None

    def bind(self, upstream: Upstream) -> bool:
        self._upstream = upstream
        return not self.result.done()

    def cancel(self) -> None:
        """Nobody waits any more."""
        if self._upstream is not None:
            self._upstream.abandon()

    def head(self, status: int, headers: list[Header]) -> None:
        self._response.status, self._response.headers = status, headers

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        lines = [line.partition(b": ") for line in fields.splitlines()]
        self.head(status, [(name.lower(), value) for name, _, value in lines])
        self.data(body, True)

    def data(self, chunk: bytes, done: bool) -> None:
        self._pieces.append(chunk)
        if done:
            self._upstream = None
            if not self.result.done():
                self._response.body = b"".join(self._pieces)
                self.result.set_result(self._response)

    def upgraded(self, headers: list[Header], rest: bytes) -> None:
        if self._upstream is not None:
            self._upstream.abandon()  # nobody has asked for that

    def failed(self, error: StatusError) -> None:
        self._upstream = None
        if not self.result.done():
            self.result.set_exception(error)


class Assembly:
    """The exchange of a `Produce`: several round trips, one answer."""

    def __init__(self, client: Client, answer: Answer, buffered: int) -> None:
        self._client = client
        self._answer = answer
        self._buffered = buffered
        self._head = b""
        self._held: list[bytes] = []
        self._held_size = 0

    async def fetch(self, forward: Forward) -> Response:
        sink = Buffered(self._answer.record.lines())
        asked = time.perf_counter()
        self._client.send(forward, sink)
        try:
            return await sink.result
        except asyncio.CancelledError:
            sink.cancel()
            raise
        finally:
            self._answer.record.shard_seconds += time.perf_counter() - asked
            del sink  # or a failure, the frame that it came from, and the sink would know each other in a circle

    def open(self, forward: Forward) -> Pieces:
        sink = Incoming(self._answer.record, self._buffered // 2)
        self._client.send(forward, sink)
        return sink

    async def start(self, status: int, headers: list[Header]) -> None:
        record = self._answer.record
        record.status = status
        if record.audit_id:
            headers = [*(header for header in headers if header[0] != b"audit-id"), (b"audit-id", record.audit_id)]
        self._head = head_of(status, headers)

    async def write(self, data: bytes) -> None:
        if self._answer.begun:
            self._answer.piece(data, False)
            await self._client.drained()
            return
        self._held.append(data)
        self._held_size += len(data)
        if self._held_size > self._buffered:
            self._answer.begin(self._head, compress=True)
            self._answer.piece(self._take(), False)
            await self._client.drained()

    async def end(self) -> None:
        if self._answer.begun:
            self._answer.piece(b"", True)
        else:
            self._answer.whole(self._head, self._take())

    def _take(self) -> bytes:
        held = b"".join(self._held)
        self._held = []
        return held
