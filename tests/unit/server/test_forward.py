"""Requests that go to a shard: what it is sent, how its answer reaches the client, and when it does not."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.mapping.stream import ResponseFilter, patterns, strip_bytes
from proxy.server.messages import Forward, Request
from proxy.server.settings import Limits
from tests.unit.server.conversation import (
    CHUNKED,
    LAST,
    MemoryPool,
    Message,
    Shard,
    Talk,
    answer,
    answers,
    chunk,
    forward,
    get,
    post,
    settle,
)

TOKEN = "k3fq7zn2a"
LABEL = b'"0.kcp.dev/w":"k3fq7zn2a"'


def rewritten(**changes: object) -> Forward:
    changes = {"body_filter": lambda: ResponseFilter(patterns(TOKEN))} | changes
    return forward(**changes)


async def asked(talk: Talk, request: bytes = b"") -> Shard:
    """The connection on which the request has arrived."""
    talk.says(request or get())
    return await talk.shard()


def only(data: bytes) -> Message:
    [message] = answers(data)
    return message


async def test_what_the_shard_is_sent() -> None:
    talk = Talk(forward(target=b"/api?a=%20", headers=[(b"accept", b"a/b"), (b"x-remote-user", b"u")]))
    shard = await asked(talk)
    assert shard.got == (b"GET /api?a=%20 HTTP/1.1\r\nhost: shard.test:443\r\naccept: a/b\r\nx-remote-user: u\r\n\r\n")


@pytest.mark.parametrize("method", [b"POST", b"PUT", b"PATCH", b"DELETE"])
async def test_body_is_sent_with_its_length(method: bytes) -> None:
    talk = Talk(forward(method=method, headers=[], body=b"{}"))
    assert (await asked(talk)).got.endswith(b"\r\ncontent-length: 2\r\n\r\n{}")


async def test_empty_write_has_a_length() -> None:
    talk = Talk(forward(method=b"POST", headers=[]))
    assert (await asked(talk)).got.endswith(b"\r\ncontent-length: 0\r\n\r\n")


@pytest.mark.parametrize(
    "change",
    [
        {"headers": [(b"x-remote-user", b"u\r\nx-remote-group: system:masters")]},
        {"headers": [(b"x-remote-user", b"u\nx-remote-group: system:masters")]},
        {"headers": [(b"x-remote-user", b"u\rx")]},
        {"headers": [(b"x-remote-user", b"u\0")]},
        {"headers": [(b"x\r\ny", b"u")]},
        {"target": b"/api HTTP/1.1\r\nx: y\r\n\r\nGET /other"},
        {"target": b"/api /other"},
        {"method": b"GET / HTTP/1.1\r\nx:"},
    ],
)
async def test_no_value_can_add_lines(change: dict[str, object]) -> None:
    talk = Talk(forward(**change))
    talk.says(get())
    await settle()
    assert talk.pool.opened == []
    assert only(talk.heard()).status == 400
    assert talk.pool.active == 0


async def test_small_answer_in_one_write() -> None:
    talk = Talk(forward())
    shard = await asked(talk)
    shard.says(answer(b"{}", "Audit-Id: a1", "Cache-Control: no-cache, private", "Content-Type: application/json"))
    assert talk.wire.writes == 1
    message = only(talk.heard())
    assert (message.status, message.body, message.complete) == (200, b"{}", True)
    assert message.header(b"audit-id") == b"a1"
    assert message.header(b"content-type") == b"application/json"
    assert message.header(b"content-length") == b"2"


async def test_small_chunked_answer_gets_its_length() -> None:
    talk = Talk(forward())
    shard = await asked(talk)
    shard.says(CHUNKED + chunk(b"one"))
    assert talk.heard() == b""
    shard.says(chunk(b"two") + LAST)
    message = only(talk.heard())
    assert (message.body, message.header(b"content-length")) == (b"onetwo", b"6")
    assert message.header(b"transfer-encoding") is None


async def test_large_answer_streams() -> None:
    talk = Talk(forward(), limits=Limits(buffered=1000))
    shard = await asked(talk)
    shard.says(answer(b"x" * 5000)[:2000])
    begun = talk.heard()
    assert len(only(begun).body) > 1000
    shard.says(answer(b"x" * 5000)[2000:])
    message = only(begun + talk.heard())
    assert (message.body, message.complete) == (b"x" * 5000, True)
    assert message.header(b"transfer-encoding") == b"chunked"
    assert message.header(b"content-length") is None


async def test_hop_by_hop_headers_stay_behind() -> None:
    talk = Talk(forward())
    shard = await asked(talk)
    shard.says(answer(b"", "Connection: keep-alive", "Keep-Alive: 5", "Upgrade: h2c", "X-Kept: 1", "X-Kept: 2"))
    names = [name for name, _ in only(talk.heard()).headers]
    assert names == [b"x-kept", b"x-kept", b"content-length"]


async def test_head_filter() -> None:
    talk = Talk(forward(head_filter=lambda value: value.replace(b"k3fq7zn2a-", b"")))
    shard = await asked(talk)
    shard.says(answer(b"", "Location: /api/v1/namespaces/k3fq7zn2a-x", status="201 Created"))
    message = only(talk.heard())
    assert (message.status, message.header(b"location")) == (201, b"/api/v1/namespaces/x")


async def test_watch_begins_at_once_and_each_event_comes_at_once() -> None:
    talk = Talk(rewritten(streaming=True))
    shard = await asked(talk)
    shard.says(CHUNKED)
    data = talk.heard()
    assert only(data).status == 200  # clients wait for it before they count the watch as there
    for number in range(3):
        shard.says(chunk(b'{"namespace":"k3fq7zn2a-%d"}\n' % number))
        data += talk.heard()
        assert only(data).body.endswith(b'{"namespace":"%d"}\n' % number)
    assert talk.wire.writes == 4


async def test_client_of_http10_gets_no_chunks() -> None:
    talk = Talk(forward(streaming=True))
    shard = await asked(talk, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    shard.says(CHUNKED + chunk(b"a") + chunk(b"b") + LAST)
    head, _, body = talk.heard().partition(b"\r\n\r\n")
    assert body == b"ab"
    assert b"transfer-encoding" not in head


async def test_stream_to_http10_ends_with_the_connection() -> None:
    talk = Talk(forward(streaming=True))
    shard = await asked(talk, b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    shard.says(CHUNKED + chunk(b"a"))
    assert b"connection: close" in talk.heard()
    shard.says(chunk(b"b") + LAST)
    assert talk.heard() == b"b"
    assert talk.wire.closed


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
async def test_answers_without_body(status: str) -> None:
    talk = Talk(rewritten())
    shard = await asked(talk)
    shard.says(f"HTTP/1.1 {status}\r\nX: y\r\n\r\n".encode())
    data = talk.heard()
    assert only(data).complete
    assert b"content-length" not in data
    assert talk.pool.size == 1


async def test_interim_answers_are_not_the_answer() -> None:
    talk = Talk(forward())
    shard = await asked(talk)
    shard.says(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n")
    assert talk.heard() == b""
    shard.says(answer(b"ok"))
    message = only(talk.heard())
    assert (message.status, message.body, message.header(b"link")) == (200, b"ok", None)


class TestHead:
    async def test_length_is_that_of_the_rewritten_body(self) -> None:
        talk = Talk(rewritten(method=b"HEAD"))
        shard = await asked(talk, get(method="HEAD"))
        assert shard.got.startswith(b"GET ")
        shard.says(answer(b'{"namespace":"k3fq7zn2a-x"}'))
        assert talk.heard().endswith(b"content-length: 17\r\n\r\n")

    async def test_large_body_is_not_read(self) -> None:
        talk = Talk(rewritten(), limits=Limits(buffered=100))
        shard = await asked(talk, get(method="HEAD") + get())
        shard.says(answer(b"x" * 1000)[:500])
        data = talk.heard()
        assert data.endswith(b"\r\n\r\n")
        assert b"x" not in data.partition(b"\r\n\r\n")[2]
        assert shard.wire.aborted
        second = await talk.shard()
        second.says(answer(b"ok"))
        assert only(talk.heard()).body == b"ok"

    async def test_of_a_watch(self) -> None:
        talk = Talk(forward(streaming=True))
        shard = await asked(talk, get(method="HEAD"))
        shard.says(CHUNKED)
        assert talk.heard().startswith(b"HTTP/1.1 200 OK\r\n")
        assert shard.wire.aborted


class TestFilter:
    BODY = (
        b'{"items":[{"metadata":{"name":"a","labels":{' + LABEL + b'}}},{"metadata":{"namespace":"k3fq7zn2a-n",'
        b'"labels":{' + LABEL + b',"app":"x"}}},{"metadata":{"labels":{"0-a":"1",' + LABEL + b'}}}],"t":"k3fq7zn2a"}\n'
    )

    @given(st.lists(st.integers(0, len(BODY)), max_size=8).map(sorted), st.booleans(), st.sampled_from([20, 10_000]))
    def test_wherever_chunks_and_reads_end(self, cuts: list[int], watch: bool, buffered: int) -> None:
        async def conversation() -> None:
            talk = Talk(rewritten(streaming=watch), limits=Limits(buffered=buffered))
            shard = await asked(talk)
            edges = [0, *cuts, len(self.BODY)]
            pieces = [self.BODY[a:b] for a, b in pairwise(edges) if b > a]
            stream = CHUNKED + b"".join(map(chunk, pieces)) + LAST
            for at in range(0, len(stream), 37):
                shard.says(stream[at : at + 37])
            message = only(talk.heard())
            assert message.complete
            assert message.body == strip_bytes(self.BODY, TOKEN)

        asyncio.run(conversation())

    async def test_encoded_answer_is_refused(self) -> None:
        talk = Talk(rewritten())
        shard = await asked(talk)
        shard.says(answer(b"\x1f\x8b", "Content-Encoding: gzip"))
        message = only(talk.heard())
        assert (message.status, json.loads(message.body)["kind"]) == (502, "Status")
        assert shard.wire.aborted

    async def test_without_filter_it_passes(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"\x1f\x8b", "Content-Encoding: gzip"))
        message = only(talk.heard())
        assert (message.body, message.header(b"content-encoding")) == (b"\x1f\x8b", b"gzip")

    async def test_that_fails(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken:
            def feed(self, data: bytes) -> bytes:
                raise ZeroDivisionError

            def flush(self) -> bytes:
                return b""

        talk = Talk(forward(body_filter=Broken))
        shard = await asked(talk)
        shard.says(answer(b"x"))
        assert only(talk.heard()).status == 500
        assert "ZeroDivisionError" in caplog.text
        assert shard.wire.aborted


class TestCompression:
    limits = Limits(buffered=1000)

    async def test_large_answer(self) -> None:
        talk = Talk(rewritten(), limits=self.limits)
        shard = await asked(talk, get("/", "Accept-Encoding: br, gzip"))
        body = b'{"name":"k3fq7zn2a-x"}' * 500
        stream = answer(body)
        for at in range(0, len(stream), 1000):
            shard.says(stream[at : at + 1000])
        message = only(talk.heard())
        assert message.complete
        assert (message.header(b"content-encoding"), message.header(b"vary")) == (b"gzip", b"Accept-Encoding")
        assert zlib.decompress(message.body, 31) == strip_bytes(body, TOKEN)
        assert len(message.body) < len(body) / 10

    @pytest.mark.parametrize(
        ("accept", "size", "streaming"),
        [("gzip", 900, False), ("gzip;q=0", 5000, False), ("br", 5000, False), ("gzip", 5000, True)],
    )
    async def test_none(self, accept: str, size: int, streaming: bool) -> None:
        talk = Talk(rewritten(streaming=streaming), limits=self.limits)
        shard = await asked(talk, get("/", f"Accept-Encoding: {accept}"))
        shard.says(answer(b"x" * size))
        message = only(talk.heard())
        assert (message.body, message.header(b"content-encoding")) == (b"x" * size, None)

    async def test_not_twice(self) -> None:
        talk = Talk(forward(), limits=self.limits)
        shard = await asked(talk, get("/", "Accept-Encoding: gzip"))
        stream = answer(b"z" * 5000, "Content-Encoding: gzip")
        shard.says(stream[:2000])
        shard.says(stream[2000:])
        message = only(talk.heard())
        assert (message.body, message.header(b"content-encoding")) == (b"z" * 5000, b"gzip")


class TestConnections:
    async def test_is_used_again_last_in_first_out(self) -> None:
        pool = MemoryPool()
        talks = [Talk(forward(), pool=pool) for _ in range(3)]
        for talk in talks:
            await asked(talk)
        for shard in pool.opened:
            shard.got  # noqa: B018
            shard.says(answer(b"ok"))
        assert (pool.size, pool.active) == (3, 0)
        talks[0].heard()
        shard = await asked(talks[0])
        assert len(pool.opened) == 3
        assert pool.opened[2].got != b""
        assert pool.active == 1
        assert shard is pool.opened[2]

    async def test_too_old_is_not_used(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"ok"))
        shard.upstream.idle_since -= 46
        await asked(talk)
        assert shard.wire.closed
        assert len(talk.pool.opened) == 2

    async def test_idle_ones_are_closed(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"ok"))
        talk.pool.sweep(time.monotonic() + 44)
        assert not shard.wire.closed
        talk.pool.sweep(time.monotonic() + 46)
        assert shard.wire.closed
        await settle()
        assert talk.pool.size == 0

    async def test_that_the_shard_closes(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
        assert only(talk.heard()).header(b"connection") is None
        assert shard.wire.closed
        await settle()
        assert talk.pool.size == 0

    async def test_answer_that_ends_with_the_connection(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(b"HTTP/1.1 200 OK\r\n\r\nwhole")
        await shard.hangs_up()
        message = only(talk.heard())
        assert (message.body, message.complete) == (b"whole", True)

    @pytest.mark.parametrize(
        "more", [b"x", answer(b"for another"), b"HTTP/1.1 200 OK\r\n"], ids=["noise", "answer", "beginning"]
    )
    async def test_bytes_after_the_answer_reach_nobody(self, more: bytes) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"ok") + more)
        assert only(talk.heard()).body == b"ok"
        assert shard.wire.closed
        second = await asked(talk)
        assert second is not shard
        second.says(answer(b"second"))
        assert only(talk.heard()).body == b"second"

    async def test_bytes_without_a_request(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"ok"))
        shard.says(answer(b"for another"))
        assert shard.wire.aborted
        await settle()
        assert talk.pool.size == 0

    async def test_is_not_kept_beyond_the_limit(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("proxy.server.pool.MAX_KEPT", 1)
        pool = MemoryPool()
        for _ in range(2):
            await asked(Talk(forward(), pool=pool))
        for shard in pool.opened:
            shard.says(answer(b"ok"))
        assert [shard.wire.closed for shard in pool.opened] == [False, True]


async def test_requests_of_one_connection_go_to_where_the_gateway_says() -> None:
    def decide(request: Request) -> Forward:
        return forward(method=request.method, target=request.target, body=request.body, headers=[])

    talk = Talk(decide)
    shard = await asked(talk, get("/a") + post(b"body", path="/b"))
    assert shard.got.startswith(b"GET /a ")
    shard.says(answer(b"a"))
    assert shard.got.startswith(b"POST /b ")
    shard.says(answer(b"b", status="201 Created"))
    assert [(message.status, message.body) for message in answers(talk.heard())] == [(200, b"a"), (201, b"b")]


async def test_pool_ends() -> None:
    talk = Talk(forward())
    waiting = Talk(forward(), pool=talk.pool)
    shard = await asked(talk)
    talk.pool.gate = asyncio.Event()
    waiting.says(get())
    await settle()
    talk.pool.close()
    await settle()
    assert shard.wire.aborted
    assert only(waiting.heard()).status == 503
