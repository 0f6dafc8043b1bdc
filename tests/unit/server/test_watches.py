"""Clients that share watches: each has every event after its version once and in order, whatever comes and goes."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.watching import Terms, terms_of
from proxy.server import feed as feeds
from proxy.server.feed import Feed
from proxy.server.messages import Forward, Share
from proxy.server.ring import MOST, SHARE
from proxy.server.watches import JOINED, MOVED, OPENED, STATE, Watches
from tests.unit.server.conversation import settle

SUBJECT = b"/api/v1/namespaces/a/configmaps?watch=true"
HEAD = [(b"content-type", b"application/json"), (b"audit-id", b"1"), (b"transfer-encoding", b"chunked")]
BOOKMARK = {"type": "BOOKMARK", "object": {"kind": "ConfigMap", "metadata": {"resourceVersion": "0"}}}


@pytest.fixture(autouse=True)
def at_once() -> Iterator[None]:
    """Nothing waits, so that hypothesis may try much."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feeds, "FIRST_PAUSE", 0.0)
        patch.setattr(feeds, "LONGEST_PAUSE", 0.0)
        yield


def line(version: int, kind: str = "MODIFIED", size: int = 1, **metadata: Any) -> bytes:
    body = {"kind": "ConfigMap", "metadata": {"resourceVersion": str(version), **metadata}, "data": {"k": "v" * size}}
    return orjson.dumps({"type": kind, "object": body}) + b"\n"


def version_of(text: bytes) -> int:
    return int(orjson.loads(text)["object"]["metadata"]["resourceVersion"])


class Listener:
    """A client that takes notes."""

    def __init__(self, query: str) -> None:
        terms = terms_of(SUBJECT + query.encode())
        assert terms is not None
        self.terms: Terms = terms
        self.after = terms.version or 0
        self.feed: Feed | None = None
        self.begun = self.joined = self.paused = False
        self.has_state = self.terms.version is not None
        self.heard: list[bytes] = []
        self.over: object = None
        """How it ended."""

    def begin(self, fields: bytes) -> None:
        assert not self.begun
        assert fields == b"content-type: application/json\r\n"
        self.begun = True

    def told(self) -> None:
        assert not self.has_state
        self.has_state = True

    def write(self, data: bytes, chunk: bytes) -> None:
        assert self.begun
        assert data.endswith(b"\n")
        assert chunk == b"%x\r\n%b\r\n" % (len(data), data)
        if self.over is None:
            self.heard += data.splitlines()

    def ended(self, data: bytes = b"") -> None:
        self.over = data or "ended"
        self.leave()

    def refused(self, status: int, fields: bytes, body: bytes) -> None:
        assert not self.begun
        self.over = (status, body)
        self.leave()

    def failed(self, error: StatusError) -> None:
        assert not self.begun
        self.over = error
        self.leave()

    def cut(self) -> None:
        self.over = "cut"
        self.leave()

    def leave(self) -> None:
        if self.feed is not None:
            self.feed.leave(self)
            self.feed = None

    @property
    def versions(self) -> list[int]:
        return [version_of(text) for text in self.heard if b"BOOKMARK" not in text]

    @property
    def bookmarks(self) -> list[int]:
        return [version_of(text) for text in self.heard if b"BOOKMARK" in text]


class Stream:
    """A request at the shard."""

    def __init__(self, shard: Shard, forward: Forward, feed: Feed) -> None:
        query = dict(parse_qsl(forward.target.decode().partition("?")[2], keep_blank_values=True))
        assert query["allowWatchBookmarks"] == "true"
        self.feed = feed
        self.open = True
        self.reading = True
        self.answered = False
        self._shard = shard
        self._sent = b""
        self.at = int(query["resourceVersion"] or 0)
        if query.get("sendInitialEvents"):
            self.at = shard.version
            ends = line(self.at, "BOOKMARK", annotations={"k8s.io/initial-events-end": "true"})
            self._sent = b"".join([line(version, "ADDED") for version in shard.state()]) + ends

    def pending(self) -> bytes:
        """What is yet to be sent."""
        self._sent += b"".join(line(version) for version in self._shard.log if version > self.at)
        self.at = max(self.at, self._shard.version)
        return self._sent

    def flows(self, size: int = 1 << 30) -> None:
        if not self.answered:
            self.answered = True
            self.feed.head(200, HEAD)
        data, self._sent = self.pending()[:size], self._sent[size:]
        self.feed.data(data, False)

    def bookmark(self) -> None:
        if self.answered and not self.pending():
            self.feed.data(line(self.at, "BOOKMARK"), False)

    def breaks(self, error: bool) -> None:
        self.open = False
        if error:
            self.feed.failed(StatusError(503, "gone"))
        else:
            if not self.answered:
                self.feed.head(200, HEAD)
            self.feed.data(b"", True)

    # as an upstream

    def abandon(self) -> None:
        self.open = False

    def pause(self) -> None:
        assert self.reading
        self.reading = False

    def resume(self) -> None:
        assert not self.reading
        self.reading = True


@dataclass
class Shard:
    """A log of events, and those who ask for it."""

    log: list[int] = field(default_factory=lambda: [1, 2, 3])
    requests: list[Stream] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.watches = Watches(self.send)

    @property
    def version(self) -> int:
        return self.log[-1]

    @property
    def streams(self) -> list[Stream]:
        """Those that are open."""
        return [stream for stream in self.requests if stream.open]

    def state(self) -> list[int]:
        return self.log[-3:][::-1]  # in the order of names, say

    def send(self, forward: Forward, feed: Any) -> None:
        stream = Stream(self, forward, feed)
        if feed.bind(stream):
            self.requests.append(stream)

    def joins(self, query: str) -> Listener:
        listener = Listener(query)

        def ask(target: bytes) -> Forward:
            return Forward("main", b"GET", target, [], streaming=True, idempotent=True)

        self.watches.add(listener, Share(listener.terms.subject, listener.terms, ask))
        return listener

    def writes(self, count: int = 1) -> None:
        for _ in range(count):
            self.log.append(self.version + 2)

    def flows(self) -> None:
        while any(stream.pending() or not stream.answered for stream in self.streams):
            for stream in self.streams:
                stream.flows()


class TestJoining:
    async def test_one_request_for_all_who_know_the_same(self) -> None:
        shard = Shard()
        listeners = [shard.joins("&resourceVersion=3") for _ in range(10)]
        shard.writes()
        shard.flows()
        listeners += [shard.joins("&resourceVersion=3"), shard.joins("&resourceVersion=5")]
        shard.writes()
        shard.flows()
        assert len(shard.requests) == 1
        assert [listener.versions for listener in listeners] == [[5, 7]] * 11 + [[7]]
        assert shard.watches.counts == {OPENED: 1, STATE: 0, JOINED: 11, MOVED: 0}
        assert (shard.watches.feeds, shard.watches.clients) == (1, 12)

    async def test_who_knows_more_than_was_heard_hears_nothing_twice(self) -> None:
        shard = Shard()
        shard.joins("&resourceVersion=3")
        shard.writes(3)
        late = shard.joins("&resourceVersion=7&allowWatchBookmarks=true")
        shard.requests[0].flows(len(line(5)) + 3)
        assert late.heard == []
        shard.flows()
        assert late.versions == [9]

    async def test_who_knows_less_is_served_alone_until_it_knows_enough(self) -> None:
        shard = Shard()
        first = shard.joins("&resourceVersion=3")
        shard.flows()
        late = shard.joins("&resourceVersion=1")
        assert len(shard.streams) == 2
        shard.flows()
        assert len(shard.streams) == 1
        assert shard.requests[0].open
        shard.writes()
        shard.flows()
        assert (first.versions, late.versions) == ([5], [2, 3, 5])
        assert shard.watches.counts[MOVED] == 1

    async def test_a_bookmark_says_that_it_knows_enough(self) -> None:
        shard = Shard()
        shard.joins("&resourceVersion=3")
        late = shard.joins("&resourceVersion=2")
        shard.requests[1].feed.head(200, HEAD)
        shard.requests[1].feed.data(line(3, "BOOKMARK"), False)
        assert all(stream.open for stream in shard.requests), "nobody goes where the shard may yet refuse"
        shard.requests[0].feed.head(200, HEAD)
        assert [stream.open for stream in shard.requests] == [True, False]
        assert late.heard == []  # it has not asked for bookmarks

    async def test_the_state_first(self) -> None:
        shard = Shard()
        plain = shard.joins("&resourceVersion=0")
        legacy = shard.joins("&resourceVersion=0&allowWatchBookmarks=true")
        asked = shard.joins(
            "&resourceVersion=&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        )
        assert len(shard.streams) == 3
        shard.writes()
        shard.flows()
        assert len(shard.streams) == 1
        assert (plain.versions, plain.bookmarks) == ([3, 2, 1, 5], [])
        assert (legacy.versions, legacy.bookmarks) == ([3, 2, 1, 5], [3])
        assert (asked.versions, asked.bookmarks) == ([3, 2, 1, 5], [3])
        shard.streams[0].bookmark()
        assert (plain.bookmarks, legacy.bookmarks, asked.bookmarks) == ([], [3, 5], [3, 5])

    async def test_events_behind_the_state_in_one_piece(self) -> None:
        shard = Shard()
        listener = shard.joins("")
        shard.requests[0].answered = True
        shard.requests[0].feed.head(200, HEAD)
        ends = line(3, "BOOKMARK", annotations={"k8s.io/initial-events-end": "true"})
        shard.requests[0].feed.data(line(2, "ADDED") + ends + line(4) + line(5), False)
        assert listener.versions == [2, 4, 5]

    async def test_what_is_kept_is_bounded(self) -> None:
        shard = Shard()
        shard.joins("&resourceVersion=3")
        feed = shard.requests[0].feed
        feed.head(200, HEAD)
        for version in range(10, 2 * SHARE // 1000 + 20):
            feed.data(line(version, size=1000), False)
        assert feed.ring is not None
        assert feed.ring.floor > 10
        assert sum(len(kept.text) for kept in feed.ring.since(feed.ring.floor)) <= 2 * SHARE
        feed.data(line(10_000, size=2 * MOST), False)
        assert (feed.ring.floor, feed.ring.position) == (10_000, 10_000)


class TestEnd:
    async def test_the_last_one_frees_the_shard_at_once_if_it_was_alone(self) -> None:
        shard = Shard()
        listener = shard.joins("&resourceVersion=3")
        shard.flows()
        listener.leave()
        assert (shard.streams, shard.watches.feeds) == ([], 0)

    async def test_one_that_was_shared_is_there_for_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        shard = Shard()
        pair = [shard.joins("&resourceVersion=3") for _ in range(2)]
        shard.flows()
        for listener in pair:
            listener.leave()
        shard.writes()
        shard.flows()
        again = shard.joins("&resourceVersion=3")
        assert again.versions == [5]
        monkeypatch.setattr(feeds, "LINGER", 0.0)
        again.leave()
        await settle()
        assert (len(shard.requests), shard.streams, shard.watches.feeds) == (1, [], 0)

    @pytest.mark.parametrize("error", [True, False])
    async def test_it_goes_on_behind_its_clients(self, error: bool) -> None:
        shard = Shard()
        listener, other = shard.joins("&resourceVersion=3"), shard.joins("&resourceVersion=3")
        shard.writes()
        shard.flows()
        shard.writes(2)
        shard.requests[0].flows(len(line(7)) + 5)
        shard.requests[0].breaks(error)
        await settle()
        assert shard.requests[1].at == 7
        shard.flows()
        assert listener.versions == other.versions == [5, 7, 9]
        assert listener.over is None

    async def test_nobody_joins_what_is_broken(self) -> None:
        shard = Shard()
        shard.joins("&resourceVersion=3")
        shard.flows()
        shard.requests[0].breaks(True)
        shard.joins("&resourceVersion=3")
        await settle()
        assert len(shard.streams) == 2
        shard.writes()
        shard.flows()
        assert len(shard.streams) == 1

    async def test_streams_end_in_good_order_where_the_shard_stays_away(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(feeds, "RESUMES_WITHIN", 0.0)
        shard = Shard()
        listener = shard.joins("&resourceVersion=3")
        shard.flows()
        shard.requests[0].breaks(True)
        while listener.over is None:
            await settle()
            for stream in shard.streams:
                stream.breaks(True)
        assert listener.over == "ended"
        assert shard.watches.feeds == 0

    async def test_what_never_began_fails(self) -> None:
        shard = Shard()
        listeners = [shard.joins("&resourceVersion=3"), shard.joins("")]
        for stream in list(shard.requests):
            stream.breaks(True)
        assert all(isinstance(listener.over, StatusError) for listener in listeners)

    async def test_a_state_that_is_not_whole_is_cut(self) -> None:
        shard = Shard()
        listener = shard.joins("")
        shard.requests[0].flows(10)
        shard.requests[0].breaks(True)
        assert listener.over == "cut"

    async def test_expired_for_one_is_not_expired_for_others(self) -> None:
        shard = Shard()
        old, new = shard.joins("&resourceVersion=1"), shard.joins("&resourceVersion=3")
        error = b'{"type":"ERROR","object":{"kind":"Status","metadata":{},"code":410}}\n'
        feed = shard.requests[0].feed
        feed.head(200, HEAD)
        feed.data(error, False)
        assert old.over == error
        assert new.over is None
        shard.writes()
        shard.flows()
        assert new.versions == [5]

    async def test_a_refusal_is_everybodys(self) -> None:
        shard = Shard()
        listeners = [shard.joins("&resourceVersion=3") for _ in range(2)]
        feed = shard.requests[0].feed
        feed.head(429, HEAD)
        feed.data(b"not ", False)
        feed.data(b"now", True)
        assert [listener.over for listener in listeners] == [(429, b"not now")] * 2

    @pytest.mark.parametrize("text", [line(3), line(2), b"{}\n", line(9).replace(b"MODIFIED", b"REMODELED")])
    async def test_what_is_not_understood_is_not_passed_on(self, text: bytes) -> None:
        shard = Shard()
        listener = shard.joins("&resourceVersion=3")
        feed = shard.requests[0].feed
        feed.head(200, HEAD)
        feed.data(text, False)
        assert (listener.over, listener.heard, shard.streams) == ("cut", [], [])


class TestPace:
    async def test_one_alone_makes_the_shard_wait_others_do_not_wait_for_it(self) -> None:
        shard = Shard()
        slow = shard.joins("&resourceVersion=3")
        shard.flows()
        [stream] = shard.streams
        slow.paused = True
        slow.feed.pace()  # type: ignore[union-attr]
        assert not stream.reading
        quick = shard.joins("&resourceVersion=3")
        assert stream.reading
        quick.leave()
        assert not stream.reading
        slow.paused = False
        slow.feed.pace()
        assert stream.reading


STEPS = st.one_of(
    st.tuples(st.just("writes"), st.integers(1, 3)),
    st.tuples(st.just("flows"), st.integers(0, 5), st.integers(0, 300)),
    st.tuples(st.just("joins"), st.integers(-3, 6), st.booleans()),
    st.tuples(st.just("begins"), st.booleans()),
    st.tuples(st.just("leaves"), st.integers(0, 5)),
    st.tuples(st.just("breaks"), st.integers(0, 5), st.booleans()),
    st.tuples(st.just("bookmark"), st.integers(0, 5)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=30))
@example([("writes", 1), ("joins", 2, False), ("joins", 3, False), ("flows", 1, 102), ("breaks", 0, True)])
def test_each_event_once_and_in_order(steps: list[Any]) -> None:
    async def play() -> None:
        shard, listeners = Shard(), list[Listener]()
        for step, *drawn in steps:
            streams = shard.streams
            if step == "writes":
                shard.writes(drawn[0])
            elif step == "joins":
                version = max(shard.version - drawn[0], 1)
                listeners.append(shard.joins(f"&resourceVersion={version}&allowWatchBookmarks={int(drawn[1])}"))
            elif step == "begins":
                listeners.append(shard.joins(f"&allowWatchBookmarks={int(drawn[0])}"))
            elif step == "leaves" and listeners:
                listeners.pop(drawn[0] % len(listeners)).leave()
            elif step == "flows" and streams:
                streams[drawn[0] % len(streams)].flows(drawn[1])
            elif step == "breaks" and streams:
                streams[drawn[0] % len(streams)].breaks(drawn[1])
            elif step == "bookmark" and streams:
                streams[drawn[0] % len(streams)].bookmark()
            await settle()
        shard.writes(5)
        while any(stream.pending() or not stream.answered for stream in shard.streams):
            shard.flows()
            await settle()
        served = any(listener.over is None for listener in listeners)
        assert served <= len(shard.streams) <= 1  # or it waits for those who left to come back
        for listener in listeners:
            if listener.over is not None:  # its first request failed, or its state was not whole
                assert listener.terms.version is None or not listener.begun
                continue
            after, heard = listener.terms.version, listener.versions
            if after is None:
                state = [version for version in heard if version <= max(heard[:3])]
                heard, after = heard[3:], max(state)
            assert heard == [version for version in shard.log if version > after]
            assert listener.bookmarks == sorted(listener.bookmarks)
        shard.watches.close()

    asyncio.run(play())
