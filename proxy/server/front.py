"""Connections of clients: one answer at a time, in the order of the requests."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence

from proxy.kube.errors import StatusError
from proxy.kube.pipe import Pipe
from proxy.kube.reading import Reading, Scratch
from proxy.server.admission import Slot
from proxy.server.alive import has_vanished
from proxy.server.answer import Answer
from proxy.server.exchange import SWITCHING_LINE, Assembly, Streamed
from proxy.server.http1 import Parsed, Refused, RequestParser
from proxy.server.messages import Decision, Forward, Gateway, Observer, Produce, Reply, Request, Switch
from proxy.server.pool import Pool
from proxy.server.replies import refusal, unavailable
from proxy.server.settings import Limits
from proxy.server.upstream import SWITCHING, Sink
from proxy.server.watches import Watches, Watching

log = logging.getLogger(__name__)

READS = frozenset({b"GET", b"HEAD"})
LINGER = 0.5
"""Seconds between a refusal and the end of its connection. What the client is still sending is thrown away meanwhile:
closed at once, TCP would reset the connection and the refusal be lost (Go's net/http waits as long)."""
LAST = 0.5
"""Seconds in which the client of a watch that the server's end has ended may say one thing more. It has not been told
that the connection ends, and may have given it to a request that it does not dare to send twice."""


class Front(Reading):
    """One connection of a client."""

    __slots__ = (
        "_advancing", "_answer", "_connections", "_drained", "_draining", "_ended", "_fault", "_gateway", "_limits",
        "_looked", "_observers", "_parser", "_pipe", "_pools", "_reading_paused", "_resting", "_sink", "_stalled",
        "_stalled_since", "_task", "_transport", "_unread", "_unread_size", "_watches", "last_activity",
    )  # fmt: skip

    def __init__(
        self,
        gateway: Gateway,
        pools: Mapping[str, Pool],
        limits: Limits,
        connections: set[Front] | None = None,
        observers: Sequence[Observer] = (),
        watches: Watches | None = None,
        scratch: Scratch | None = None,
    ) -> None:
        """``connections``: a set in which this one stands while it is open; ``watches``: with whom this worker's
        clients share theirs; ``scratch``: the event loop's, or one of its own."""
        super().__init__(scratch or Scratch())
        self._observers = observers
        self._gateway = gateway
        self._pools = pools
        self._limits = limits
        self._watches = watches
        self._connections = connections
        self._answer: Answer | None = None
        self._sink: Streamed | Watching | None = None
        self._task: asyncio.Task[None] | None = None
        self._pipe: Pipe | None = None
        self._fault: StatusError | None = None
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._reading_paused = False
        self._resting = False
        self._stalled_since: float | None = None
        self._stalled: Slot | None = None
        """Of the request whose answer is left unread, which may have been written whole."""
        self._drained: asyncio.Future[None] | None = None
        self._advancing = False
        self._draining = False
        self._ended = False
        self.last_activity = self._looked = time.monotonic()

    # asyncio.BufferedProtocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]
        if self._connections is not None:
            self._connections.add(self)
        peer = transport.get_extra_info("peername")
        tls: ssl.SSLObject | None = transport.get_extra_info("ssl_object")
        peer_cert = tls.getpeercert(binary_form=True) if tls is not None else None
        self._parser = RequestParser(self._limits, peer_cert, peer[0] if isinstance(peer, tuple) else "")

    def data_received(self, data: bytes) -> None:
        if self._ended:
            return
        self.last_activity = time.monotonic()
        if self._answer is None and self._stalled_since is None and not (self._unread or self._resting):
            again = self._parser.again(data)
            if again is not None:
                self._start(again)
                return
            self._feed(data)
            self._advance()
            return
        self._unread.append(data)
        self._unread_size += len(data)
        if self._unread_size > self._limits.pipelined and not self._reading_paused:
            self._reading_paused = True
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connections is not None:
            self._connections.discard(self)
        self._ended = True
        answer, self._answer = self._answer, None
        self._unread.clear()
        self._parser.close()
        if self._sink is not None:
            self._sink.cancel()
            self._sink = None
        # What a cancelled task ends with knows this connection: kept here, it would be a circle of references.
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self._release()
        self._unstall()
        if answer is not None:
            answer.record.cut = True
            for observer in self._observers:
                observer.finished(answer.parsed.request)

    def pause_writing(self) -> None:
        self._stalled_since = time.monotonic()
        if self._answer is not None:
            slot = self._stalled = self._answer.parsed.request.slot
            if slot is not None:
                slot.stalled(self._transport.get_write_buffer_size())
        if self._sink is not None:
            self._sink.pause()

    def resume_writing(self) -> None:
        self._stalled_since = None
        self._unstall()
        if self._sink is not None:
            self._sink.resume()
        self._release()
        self._advance()

    def _unstall(self) -> None:
        slot, self._stalled = self._stalled, None
        if slot is not None:
            slot.resumed()

    def _rested(self) -> None:
        self._resting = False
        self._advance()

    def _release(self) -> None:
        waiting, self._drained = self._drained, None
        if waiting is not None and not waiting.done():
            waiting.set_result(None)

    # requests

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed(data)
        except Refused as refused:
            self._fault = refused.status

    def _advance(self) -> None:
        """Go on with whatever is next, as long as there is something and the client takes what it is answered.

        A loop, and not entered twice: thousands of requests sent at once must not nest.
        """
        if self._advancing:
            return
        self._advancing = True
        try:
            while self._answer is None and self._stalled_since is None and not (self._ended or self._resting):
                requests = self._parser.requests
                if requests:
                    self._start(requests.popleft())
                elif self._fault is not None:
                    self._refuse(self._fault)
                elif self._unread:
                    data = b"".join(self._unread)
                    self._unread.clear()
                    self._unread_size = 0
                    self._feed(data)
                else:
                    break
        finally:
            self._advancing = False
        if self._reading_paused and not self._unread and not self._ended:
            self._reading_paused = False
            self._transport.resume_reading()
        if self._answer is None and self._parser.wants_continue and not self._ended:
            self._parser.wants_continue = False
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _start(self, parsed: Parsed) -> None:
        if self._draining:
            parsed.keep = False
        self._answer = answer = Answer(self, parsed)
        decision: Decision | Awaitable[Decision]
        answer.record.began = time.perf_counter()
        for observer in self._observers:
            observer.arrived(parsed.request)
        try:
            decision = self._gateway.decide(parsed.request)
        except Exception:
            log.exception("a request could not be decided")
            decision = _internal_error(parsed.request)
        if isinstance(decision, (Forward, Reply, Produce, Switch)):
            self._act(answer, decision)
        else:
            self._task = asyncio.get_running_loop().create_task(self._later(answer, decision))

    async def _later(self, answer: Answer, decision: Awaitable[Decision]) -> None:
        try:
            decided = await decision
        except Exception:
            log.exception("a request could not be decided")
            decided = _internal_error(answer.parsed.request)
        if self._answer is answer:
            self._task = None
            self._act(answer, decided)

    def _act(self, answer: Answer, decision: Decision) -> None:
        for observer in self._observers:
            observer.decided(answer.parsed.request)
        if isinstance(decision, Forward):
            if self._draining and decision.streaming:
                self.cut()  # it is asked again, elsewhere
            elif decision.share is not None and self._watches is not None:
                self._sink = watching = Watching(self, answer, decision, decision.share)
                self._watches.add(watching, decision.share)
            else:
                self._forward(answer, decision)
        elif isinstance(decision, Reply):
            answer.reply(decision)
        elif isinstance(decision, Switch):
            self._switch(answer, decision)
        else:
            assembly = Assembly(self, answer, self._limits.buffered)
            self._task = asyncio.get_running_loop().create_task(self._produce(answer, decision, assembly))

    def _forward(self, answer: Answer, decision: Forward) -> None:
        self._sink = sink = Streamed(self, answer, decision, self._limits.buffered)
        self.send(decision, sink)

    async def _produce(self, answer: Answer, decision: Produce, assembly: Assembly) -> None:
        request = answer.parsed.request
        reply: Reply | None = None
        try:
            await decision.run(assembly)
        except StatusError as error:
            reply = refusal(error, request)
        except Exception:
            log.exception("an answer could not be put together")
            request.record.unrewritten = True
            reply = _internal_error(request)
        if self._answer is answer:  # not ended by the run itself
            if reply is None:
                log.error("an answer was put together but not ended")
                reply = _internal_error(request)
            if answer.begun:
                self.cut()
            else:
                answer.reply(reply)

    # answers

    def streaming(self) -> None:
        if self._answer is not None:
            self._answer.record.streaming = True
            for observer in self._observers:
                observer.streaming(self._answer.parsed.request)

    def settled(self, *, cost: bool) -> None:
        request = self._answer.parsed.request if self._answer is not None else None
        if request is None or request.slot is None:
            return
        if cost:
            request.slot.begun(request.record)
        else:
            request.slot.free()

    def alone(self, forward: Forward) -> None:
        if self._answer is not None:
            self._forward(self._answer, forward)

    def send(self, forward: Forward, sink: Sink) -> None:
        pool = forward.way or self._pools.get(forward.shard)
        if pool is None:
            sink.failed(unavailable(forward.shard, "it is not known here"))
        else:
            pool.send(forward, sink)

    def _switch(self, answer: Answer, decision: Switch) -> None:
        """The connection is somebody else's from here on."""
        answer.record.status = SWITCHING
        headers = [(b"connection", b"Upgrade"), (b"upgrade", decision.protocol), *decision.headers]
        self.write(b"%b%b\r\n" % (SWITCHING_LINE, b"".join(b"%b: %b\r\n" % header for header in headers)))
        self._over()
        decision.take(self._transport)

    def upgraded(self, first: bytes, other: asyncio.Transport) -> None:
        self.write(first)
        unread = b"".join([self._parser.beyond, *self._unread])
        if unread:
            other.write(unread)
        self._unread.clear()
        self._sink = None
        self._pipe = Pipe(self._transport, other, self._over, scratch=self.scratch)
        self.streaming()

    def _over(self) -> None:
        """Nothing more is read here, and nothing more said."""
        self._ended = True
        if self._connections is not None:
            self._connections.discard(self)
        answer, self._answer = self._answer, None
        self._parser.close()
        self._pipe = None
        if answer is not None:
            for observer in self._observers:
                observer.finished(answer.parsed.request)

    def write(self, data: bytes) -> None:
        if data and not self._transport.is_closing():
            self._transport.write(data)

    async def drained(self) -> None:
        if self._stalled_since is not None and not self._ended:
            if self._drained is None:
                self._drained = asyncio.get_running_loop().create_future()
            await self._drained

    def finished(self) -> None:
        answer, self._answer = self._answer, None
        self._sink = None
        self._task = None
        self.last_activity = self._parser.began = time.monotonic()
        if answer is not None:
            for observer in self._observers:
                observer.finished(answer.parsed.request)
            if not answer.parsed.keep:
                self._close()
                return
            if answer.parsed.request.rest:
                self._resting = True
                asyncio.get_running_loop().call_later(answer.parsed.request.rest, self._rested)
        self._advance()

    def cut(self) -> None:
        self._ended = True
        self._transport.abort()

    def _close(self) -> None:
        """What was written still leaves."""
        self._ended = True
        if not self._transport.is_closing():
            self._transport.close()

    def _refuse(self, error: StatusError) -> None:
        """What was sent cannot be understood, nor where the next request begins."""
        self._ended = True
        request = Request(b"GET", b"/", [])
        answer = Answer(_Last(self._transport), Parsed(request, keep=False, http10=False))
        answer.reply(refusal(error))
        for observer in self._observers:
            observer.malformed(error.code)
        asyncio.get_running_loop().call_later(LINGER, self._transport.close)

    # seen from the server

    @property
    def busy(self) -> bool:
        """Whether a request is being answered or has been sent."""
        return self._answer is not None or bool(self._parser.requests)

    def drain(self) -> None:
        """Go on with no request that has not begun to arrive; end a watch."""
        self._draining = True
        if self._pipe is not None:
            self._pipe.close()
        elif self._sink is not None and self._sink.endless:
            self._sink.end()
            asyncio.get_running_loop().call_later(LAST, self._leave)
        elif self._answer is not None:
            self._answer.parsed.keep = False
        else:
            self._leave()

    def _leave(self) -> None:
        """Close, if nothing is under way: what is is answered, and the last."""
        if not (self._ended or self.busy or self._unread or self._parser.receiving):
            self._close()

    def end_watch(self, ends: Callable[[str, str], bool]) -> None:
        """End a watch of a workspace of which ``ends(path, shard)`` is true."""
        if self._sink is None or self._answer is None or not self._sink.endless:
            return
        record = self._answer.record
        if record.info is not None and record.info.verb == "watch" and ends(record.workspace, record.shard):
            self._sink.end()

    def forsake(self, shard: str) -> None:
        """What is under way to ``shard`` is not to be believed any more: watches end, and nobody is told that
        something was written."""
        self.end_watch(lambda path, of: of == shard)
        if self._answer is None or self._pipe is not None:
            return
        request = self._answer.parsed.request
        if request.record.shard == shard and request.method not in READS:
            self.cut()

    def sweep(self, now: float) -> None:
        """Every few seconds: requests that do not arrive, answers that are not taken, connections that lie idle, and
        those of clients that are gone."""
        limits = self._limits
        endless = self._sink is not None and self._sink.endless
        if (endless or self._pipe is not None) and self._has_vanished(now):
            self.cut()
        elif self._pipe is not None:
            if now - self._pipe.last_activity > limits.pipe_timeout:
                self._pipe.close()
        elif self._stalled_since is not None:
            if not endless and now - self._stalled_since > limits.stall_timeout:
                self.cut()
        elif self._answer is not None or self._ended:
            return
        elif self._parser.receiving:
            limit = limits.request_timeout if self._parser.head_complete else limits.header_timeout
            if now - self._parser.began > limit:
                self._refuse(StatusError(408, "the request did not arrive in time", reason="Timeout"))
        elif now - self.last_activity > limits.idle_timeout:
            self._close()

    def _has_vanished(self, now: float) -> bool:
        """Looks now and then: there may be thousands."""
        patience = self._limits.gone_timeout
        if now - self._looked < patience / 4:
            return False
        self._looked = now
        return has_vanished(self._transport.get_extra_info("socket"), patience)


class _Last:
    """The connection of an answer after which nothing is read."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    def finished(self) -> None:
        pass


def _internal_error(request: Request) -> Reply:
    return refusal(StatusError(500, "internal error"), request)
