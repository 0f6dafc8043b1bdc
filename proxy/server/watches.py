"""Watches of clients that share requests to shards: which feed serves whom, and one client of a feed."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable, Hashable

from proxy.kube.errors import StatusError
from proxy.server.answer import BODYLESS, Answer, own_fields, status_line
from proxy.server.exchange import Client
from proxy.server.feed import Feed, Listener
from proxy.server.messages import Forward, Share
from proxy.server.replies import refusal
from proxy.server.upstream import Sink

PENDING = 4 * 1024 * 1024
"""Bytes of events that wait for a client that does not take them, beside what its connection holds; beyond, its watch
is cut, as a kube-apiserver does. They are the same bytes for all of a feed's clients."""
ENDS_AFTER = (1800.0, 3600.0)
"""Seconds, at random, after which a watch without ``timeoutSeconds`` ends, as ``--min-request-timeout`` of a
kube-apiserver has it by default, so that clients spread over proxies anew."""
OPENED, STATE, JOINED, MOVED = WAYS = ("opened", "state", "joined", "moved")
"""How a client came to its feed: it is the first; the first, and with the state of things; by its version; from another
feed, when that had come far enough."""

Send = Callable[[Forward, Sink], None]


class Watches:
    """Those of one worker."""

    def __init__(self, send: Send) -> None:
        """``send`` to the shard of a `Forward`."""
        self._send = send
        self._subjects: dict[Hashable, _Subject] = {}
        self.counts = dict.fromkeys(WAYS, 0)
        """Of clients so far, by how they came to a feed."""

    @property
    def feeds(self) -> int:
        """Requests to shards that there are for watches that may be shared."""
        return sum(len(subject.feeds) for subject in self._subjects.values())

    @property
    def clients(self) -> int:
        """Watches of clients that these serve."""
        return sum(feed.clients for subject in self._subjects.values() for feed in subject.feeds)

    def add(self, listener: Listener, share: Share) -> None:
        """Serve a new client, as its ``terms`` say."""
        subject = self._subjects.get(share.about) or _Subject(self, share)
        subject.add(listener)

    def send(self, forward: Forward, feed: Feed) -> None:
        self._send(forward, feed)

    def keep(self, share: Share, subject: _Subject) -> None:
        """Somebody watches that."""
        self._subjects[share.about] = subject

    def forget(self, share: Share) -> None:
        """Nobody watches that any more."""
        self._subjects.pop(share.about, None)

    def close(self) -> None:
        for subject in list(self._subjects.values()):
            for feed in list(subject.feeds):
                feed.close()


class _Subject:
    """The feeds about the same: one, and for a while those of clients that know less than it does."""

    __slots__ = ("_share", "_watches", "feeds")

    def __init__(self, watches: Watches, share: Share) -> None:
        self._watches = watches
        self._share = share
        self.feeds: list[Feed] = []

    def add(self, listener: Listener) -> None:
        if listener.terms.version is None:
            self._open(listener, listener.terms.state, STATE)
        else:
            self.again(listener)

    def again(self, listener: Listener) -> None:
        """As `feed.Owner`."""
        for feed in self.feeds:
            if feed.covers(listener.after):
                self._watches.counts[JOINED] += 1
                listener.joined = True
                feed.join(listener)
                return
        self._open(listener, listener.terms.after(listener.after), OPENED, listener.after)

    def _open(self, listener: Listener, target: bytes, way: str, version: int | None = None) -> None:
        self._watches.counts[way] += 1
        self._watches.keep(self._share, self)
        feed = Feed(self, self._share, self._share.ask(target), version)
        self.feeds.append(feed)
        feed.join(listener)
        feed.open()

    # as `feed.Owner`

    def send(self, forward: Forward, feed: Feed) -> None:
        self._watches.send(forward, feed)

    def progressed(self, feed: Feed) -> None:
        ring = feed.ring
        if ring is None or len(self.feeds) == 1:
            return
        for other in self.feeds:
            if other is feed:
                return
            if other.answered and other.covers(ring.position):  # what never begins would end them
                for listener in feed.take():
                    self._watches.counts[MOVED] += 1
                    other.join(listener)
                return

    def began(self) -> None:
        for feed in self.feeds[1:]:
            self.progressed(feed)

    def closed(self, feed: Feed) -> None:
        self.feeds.remove(feed)
        if not self.feeds:
            self._watches.forget(self._share)


class Watching:
    """The watch of one client, as its connection sees it; in place of an `exchange.Streamed`."""

    __slots__ = (
        "_answer", "_asked", "_client", "_forward", "_pending", "_pending_size", "_timer", "after", "begun", "feed",
        "joined", "paused", "terms",
    )  # fmt: skip

    endless = True

    def __init__(self, client: Client, answer: Answer, forward: Forward, share: Share) -> None:
        self._client = client
        self._answer: Answer | None = answer
        self._asked = time.perf_counter()
        self._forward = forward
        self._pending: deque[tuple[bytes, bytes]] | None = None
        """What waits until the client takes it."""
        self._pending_size = 0
        self._timer: asyncio.TimerHandle | None = None
        self.terms = share.terms
        self.after = share.terms.version or 0
        self.feed: Feed | None = None
        self.begun = False
        self.joined = False
        self.paused = False

    # for the connection

    def pause(self) -> None:
        self.paused = True
        if self.feed is not None:
            self.feed.pace()

    def resume(self) -> None:
        self.paused = False
        while self._pending and not self.paused and self._answer is not None:
            data, chunk = self._pending.popleft()
            self._pending_size -= len(data)
            self._answer.piece_as(data, chunk)
        if self.feed is not None:
            self.feed.pace()

    def cancel(self) -> None:
        """The client has gone, or wants no more."""
        self._answer = None
        self._pending = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        feed, self.feed = self.feed, None
        if feed is not None:
            feed.leave(self)

    def end(self) -> None:
        """End it in good order: its client asks again."""
        answer = self._answer
        if answer is not None and answer.begun:
            self.ended()
        else:
            self.cancel()
            self._client.cut()

    # as `feed.Listener`

    def begin(self, fields: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        record = answer.record
        record.status = 200
        record.shard_seconds = time.perf_counter() - self._asked
        self.begun = True
        answer.begin(status_line(200) + fields + own_fields(record.audit_id))
        self._client.streaming()
        answer.piece(b"", False)
        if self.joined:
            self._client.settled(cost=False)
        timeout = self.terms.timeout or random.uniform(*ENDS_AFTER)
        self._timer = asyncio.get_running_loop().call_later(timeout, self.ended)

    def told(self) -> None:
        self._client.settled(cost=True)

    def write(self, data: bytes, chunk: bytes) -> None:
        answer = self._answer
        if answer is None:
            return
        if not self.paused:
            answer.piece_as(data, chunk)
        elif self._pending_size > PENDING:
            self.cut()
        else:
            if self._pending is None:
                self._pending = deque()
            self._pending.append((data, chunk))
            self._pending_size += len(data)

    def ended(self, data: bytes = b"") -> None:
        answer, pending = self._answer, [data for data, _ in self._pending or ()]
        self.cancel()
        if answer is not None:
            answer.piece(b"".join([*pending, data]), True)

    def refused(self, status: int, fields: bytes, body: bytes) -> None:
        answer = self._answer
        self.cancel()
        if answer is None:
            return
        if status in _NOT_SO and self.terms.version is None and not self.terms.asked:
            self._client.alone(self._forward)  # an older shard, or words of its own for what the client has asked
            return
        answer.record.status = status
        answer.record.shard_seconds = time.perf_counter() - self._asked
        answer.whole(status_line(status) + fields, body, bodyless=status in BODYLESS, compress=True)

    def failed(self, error: StatusError) -> None:
        answer = self._answer
        self.cancel()
        if answer is not None:
            answer.reply(refusal(error, answer.parsed.request))

    def cut(self) -> None:
        self.cancel()
        self._client.cut()


_NOT_SO = frozenset({400, 422})
"""How a shard refuses a watch that begins with the state, where its WatchList is switched off."""
