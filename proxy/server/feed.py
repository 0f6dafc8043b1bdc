"""Watches of one shard that are the same watch: one request to the shard, its events handed to all who asked for them.

Every event is looked at, filtered and framed once, then written to each client. Which clients a feed can serve follows
from versions alone: it knows all events from its ring's floor on, so whoever has a version from there on gets what is
younger, each once and in order, just as from the shard. Whoever has an older one gets a feed of its own, which ends
when it has come so far that another one covers it; whoever wants the state first gets one that is nobody else's until
the shard says where the state ends.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from proxy.kube.errors import StatusError
from proxy.mapping.watching import Line, Lines, Terms, ends_state, read
from proxy.server.answer import BODYLESS, chunk_of
from proxy.server.exchange import HOP_BY_HOP
from proxy.server.messages import BodyFilter, Forward, Header, Share
from proxy.server.replies import BAD_GATEWAY
from proxy.server.ring import Ring
from proxy.server.upstream import Upstream

log = logging.getLogger(__name__)

LINGER = 5.0
"""Seconds that a feed that was shared goes on when nobody listens: clients that lost their connection come back."""
RESUMES_WITHIN = 3.0
"""Seconds in which a feed whose request ended is asked for anew before its clients notice."""
FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds before it is asked for again, doubled each time."""
STEADY = 5.0
"""Seconds that an answer must have gone on for its end not to be the same failure still."""
PER_ANSWER = HOP_BY_HOP | {b"audit-id", b"date"}


class Listener(Protocol):
    """One client of a feed."""

    terms: Terms
    after: int
    """Version up to which it has everything."""
    begun: bool
    """Whether it has the head of its answer."""
    joined: bool
    """Whether the shard was asked by others before."""
    paused: bool
    """Whether it does not take what was written."""

    feed: Feed | None
    """The one that it is in."""

    def begin(self, fields: bytes) -> None:
        """The shard has agreed, with these header lines."""
        ...

    def told(self) -> None:
        """It has the state whole."""
        ...

    def write(self, data: bytes, chunk: bytes) -> None:
        """Whole events, and the same as a chunk of HTTP/1.1."""
        ...

    def ended(self, data: bytes = b"") -> None:
        """After that, nothing more."""
        ...

    def refused(self, status: int, fields: bytes, body: bytes) -> None:
        """The shard's answer is another one, with these header lines; it has not begun."""
        ...

    def failed(self, error: StatusError) -> None: ...
    def cut(self) -> None:
        """End in a way that cannot be taken for a good one."""
        ...


class Owner(Protocol):
    """Where the feeds about the same subject are."""

    def send(self, forward: Forward, feed: Feed) -> None: ...
    def progressed(self, feed: Feed) -> None:
        """It has a position now, or a younger one."""
        ...

    def began(self) -> None:
        """A feed was answered, for the first time or again."""
        ...

    def again(self, listener: Listener) -> None:
        """Serve it from ``listener.after`` on, by another feed."""
        ...

    def closed(self, feed: Feed) -> None: ...


class Feed:
    """A request to the shard and those it is for. A `Sink`."""

    __slots__ = (
        "_ahead", "_broken", "_closed", "_failing_since", "_fields", "_filter", "_forward", "_lines", "_listeners",
        "_opened", "_owner", "_pause", "_pausing", "_refusal", "_share", "_shared", "_timer", "_upstream", "ring",
    )  # fmt: skip

    lines = b""
    """Of one request only; this is for many."""

    def __init__(self, owner: Owner, share: Share, forward: Forward, version: int | None) -> None:
        """``forward`` asks for it the first time: from ``version`` on, or (None) from the state on."""
        self._owner = owner
        self._share = share
        self._forward = forward
        self._filter: BodyFilter | None = None
        self._lines = Lines()
        self.ring: Ring | None = None if version is None else Ring(version)
        self._fields: bytes | None = None
        """Header lines of the answer, once there is one, but those that differ from client to client."""
        self._refusal: tuple[int, bytes, list[bytes]] | None = None
        self._listeners: dict[Listener, None] = {}
        """Those that have all that is known here."""
        self._ahead: dict[Listener, None] = {}
        """Those that know more than was heard here yet."""
        self._upstream: Upstream | None = None
        self._pausing = False
        self._shared = False
        self._closed = False
        self._broken = False
        """Whether the request has ended, and the next one is not answered yet."""
        self._failing_since = 0.0
        self._opened = 0.0
        self._pause = FIRST_PAUSE
        self._timer: asyncio.TimerHandle | None = None

    @property
    def clients(self) -> int:
        return len(self._listeners) + len(self._ahead)

    @property
    def answered(self) -> bool:
        """Whether the shard has agreed to it."""
        return self._fields is not None

    def covers(self, version: int) -> bool:
        """Whether a client with everything up to that version may join."""
        return self.ring is not None and not self._broken and self.ring.covers(version)

    def open(self) -> None:
        self._timer = None
        self._opened = time.monotonic()
        self._owner.send(self._forward, self)

    def join(self, listener: Listener) -> None:
        """From ``listener.after`` on, which is covered; or, into a new feed, from the state on."""
        if self._timer is not None and not self._broken:
            self._timer.cancel()  # nobody was here
            self._timer = None
        self._shared = self._shared or self.clients > 0
        listener.feed = self
        ring = self.ring
        if ring is not None and listener.after > ring.position:
            self._ahead[listener] = None
        else:
            self._listeners[listener] = None
        if self._fields is not None:
            if not listener.begun:
                listener.begin(self._fields)
            if ring is not None and listener in self._listeners:
                self._tell(listener, ring.since(listener.after))
        self.pace()

    def leave(self, listener: Listener) -> None:
        """It wants no more."""
        self._listeners.pop(listener, None)
        self._ahead.pop(listener, None)
        if self._closed or self.clients:
            self.pace()
        elif self._shared and self._fields is not None and not self._broken and self.ring is not None:
            self._timer = asyncio.get_running_loop().call_later(LINGER, self.close)
        else:
            self.close()

    def take(self) -> list[Listener]:
        """All that are here, each with ``after`` as far as it was served; and the end of this feed."""
        taken = [*self._listeners, *self._ahead]
        if self.ring is not None:
            for listener in self._listeners:
                listener.after = self.ring.position
        self._listeners.clear()
        self._ahead.clear()
        self.close()
        return taken

    def close(self) -> None:
        """Give the request up."""
        if self._closed:
            return
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._upstream is not None:
            self._upstream.abandon()
            self._upstream = None
        self._owner.closed(self)

    def pace(self) -> None:
        """Whoever is alone and does not take what comes makes the shard wait, as without a proxy. Others do not wait
        for it."""
        alone = next(iter(self._listeners or self._ahead), None) if self.clients == 1 else None
        pausing = alone is not None and alone.paused
        if pausing is not self._pausing:
            self._pausing = pausing
            if self._upstream is not None:
                (self._upstream.pause if pausing else self._upstream.resume)()

    # as a sink

    def bind(self, upstream: Upstream) -> bool:
        if self._closed:
            return False
        self._upstream = upstream
        return True

    def head(self, status: int, headers: list[Header]) -> None:
        if self._closed:
            return
        if any(name == b"content-encoding" for name, _ in headers):
            message = f"the answer of shard {self._forward.shard} is encoded"
            self._close_with(StatusError(502, message, reason=BAD_GATEWAY))
        elif status != 200:
            fields = b"".join(b"%b: %b\r\n" % header for header in headers if header[0] not in HOP_BY_HOP)
            self._refusal = (status, fields, [])
        else:
            self._begun(b"".join(b"%b: %b\r\n" % header for header in headers if header[0] not in PER_ANSWER))

    def _begun(self, fields: bytes) -> None:
        make = self._forward.body_filter
        self._filter = make() if make is not None else None
        self._lines = Lines()
        edit = self._forward.head_filter
        self._fields = fields = edit(fields) if edit is not None else fields
        self._broken = False
        if self._pausing and self._upstream is not None:
            self._upstream.pause()
        for listener in [*self._listeners, *self._ahead]:
            if not listener.begun:
                listener.begin(fields)
        self._owner.began()

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        if not self._closed:
            self._upstream = None
            self._refused(status, fields, body)

    def data(self, chunk: bytes, done: bool) -> None:
        if self._closed:
            return
        if self._refusal is not None:
            status, fields, body = self._refusal
            body.append(chunk)
            if done:
                self._refusal = self._upstream = None
                self._refused(status, fields, b"".join(body))
            return
        if chunk:
            try:
                self._heard(self._lines.feed(chunk))
            except ValueError as error:
                log.error("a watch of shard %s cannot be understood: %s", self._forward.shard, error)
                for listener in self.take():
                    listener.cut()
                return
        if done and not self._closed:
            self._upstream = None
            self._interrupted(None)

    def upgraded(self, headers: list[Header], rest: bytes) -> None:
        self.close()  # nobody has asked for that; the transport does not even let it come here

    def failed(self, error: StatusError) -> None:
        self._upstream = None
        if not self._closed:
            self._interrupted(error)

    # what was heard

    def _heard(self, texts: list[bytes]) -> None:
        batch: list[Line] = []
        for number, text in enumerate(texts):
            if self.ring is None:
                if not self._state(text):
                    continue
                rest = texts[number + 1 :]
                self._owner.progressed(self)  # its client may be another feed's now
                if rest and not self._closed:
                    self._heard(rest)
                return
            line = read(text)
            if line.error:
                self._hand_out(batch)
                self._expired(self._plain(text))
                return
            line = line._replace(text=self._plain(text))
            self.ring.add(line, self.clients)
            batch.append(line)
        if batch:
            self._hand_out(batch)
            self._owner.progressed(self)

    def _plain(self, text: bytes) -> bytes:
        """As the workspace sees it."""
        if self._filter is None:
            return text
        plain = self._filter.feed(text)
        if not plain.endswith(b"}\n"):
            raise ValueError("a filter keeps the end of a line back")
        return plain

    def _state(self, text: bytes) -> bool:
        """Hand on a line of the state. Whether it was its end."""
        ends = ends_state(text)
        if ends:
            line = read(text)
            self.ring = Ring(line.version)
            for listener in self._listeners:
                listener.after = line.version
        for listener in list(self._listeners):
            if listener.terms.bookmarks or not (ends or text.startswith(b'{"type":"BOOKMARK",')):
                plain = self._plain(text)
                listener.write(plain, chunk_of(plain))
            if ends:
                listener.told()
        return ends

    def _hand_out(self, batch: list[Line]) -> None:
        if not batch:
            return
        every = b"".join([line.text for line in batch])
        chunk = chunk_of(every)
        marks = any(line.bookmark for line in batch)
        changes = b"".join([line.text for line in batch if not line.bookmark]) if marks else every
        chunk_of_changes = chunk_of(changes) if marks else chunk
        for listener in list(self._listeners):
            if not marks or listener.terms.bookmarks:
                listener.write(every, chunk)
            elif changes:
                listener.write(changes, chunk_of_changes)
        if self._ahead:
            position = batch[-1].version
            for listener in list(self._ahead):
                self._tell(listener, [line for line in batch if line.version > listener.after])
                if listener.after <= position and listener in self._ahead:
                    del self._ahead[listener]
                    self._listeners[listener] = None

    @staticmethod
    def _tell(listener: Listener, lines: Sequence[Line]) -> None:
        data = b"".join([line.text for line in lines if listener.terms.bookmarks or not line.bookmark])
        if data:
            listener.write(data, chunk_of(data))

    def _expired(self, text: bytes) -> None:
        """The shard has ended it with an error, for whoever was as far as this; others may be served yet."""
        ahead, here = list(self._ahead), list(self._listeners)
        self.take()
        for listener in here:
            listener.ended(text)
        for listener in ahead:
            self._owner.again(listener)

    # when the request is over

    def _refused(self, status: int, fields: bytes, body: bytes) -> None:
        if self._fields is not None and status != 200:
            self._interrupted(StatusError(status, "refused"))
            return
        make = self._forward.body_filter
        if make is not None and status not in BODYLESS:
            body_filter = make()
            body = body_filter.feed(body) + body_filter.flush()
        if self._forward.head_filter is not None:
            fields = self._forward.head_filter(fields)
        for listener in self.take():
            if listener.begun:
                listener.ended()
            else:
                listener.refused(status, fields, body)

    def _interrupted(self, error: StatusError | None) -> None:
        """The request has ended, or failed. Where clients have come to be known, it is made again behind them."""
        now = time.monotonic()
        if self._fields is None:
            self._close_with(error or StatusError(502, "the shard said nothing", reason=BAD_GATEWAY))
        elif self.ring is None:
            for listener in self.take():
                listener.cut() if error is not None else listener.ended()
        elif not self.clients:
            self.close()
        else:
            answered, self._broken = not self._broken, True
            if answered and (not self._failing_since or now - self._opened > STEADY):
                self._failing_since, self._pause = now, FIRST_PAUSE
            if now - self._failing_since > RESUMES_WITHIN:
                for listener in self.take():
                    listener.ended()
                return
            self._forward = self._share.ask(self._share.terms.after(self.ring.position))
            self._timer = asyncio.get_running_loop().call_later(self._pause, self.open)
            self._pause = min(self._pause * 2, LONGEST_PAUSE)

    def _close_with(self, error: StatusError) -> None:
        for listener in self.take():
            if listener.begun:
                listener.ended()
            else:
                listener.failed(error)
