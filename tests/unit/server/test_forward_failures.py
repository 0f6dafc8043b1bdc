"""Requests that go to a shard and get no whole answer: it fails, the client leaves, or does not read."""

from __future__ import annotations

import asyncio
import json
import time

import pytest

from proxy.mapping.stream import ResponseFilter, patterns
from proxy.server.messages import Forward
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


class TestFailure:
    async def test_unreachable(self) -> None:
        talk = Talk(forward())
        talk.pool.reachable = False
        talk.says(get())
        await settle()
        message = only(talk.heard())
        status = json.loads(message.body)
        assert (message.status, status["reason"]) == (503, "ServiceUnavailable")
        assert status["details"]["retryAfterSeconds"] == 1
        assert message.header(b"retry-after") == b"1"
        assert "main" in status["message"]
        talk.pool.reachable = True
        shard = await self.ready_again(await asked(talk))
        shard.says(answer(b"ok"))
        assert only(talk.heard()).body == b"ok"

    async def ready_again(self, shard: Shard, status: str = "200 OK") -> Shard:
        """The same connection, on which the proxy has first asked how the shard is."""
        assert shard.got.startswith(b"GET /readyz?exclude=poststarthook/rbac/bootstrap-roles HTTP/1.1\r\n")
        shard.says(answer(b"", status=status))
        await settle()
        return shard

    async def test_not_ready_again(self) -> None:
        talk = Talk(forward())
        talk.pool.reachable = False
        await self.refused(talk)
        talk.pool.reachable = True
        shard = await self.ready_again(await asked(talk), "500 Internal Server Error")
        message = only(talk.heard())
        assert (message.status, message.header(b"retry-after")) == (503, b"1")
        assert shard.got == b""
        shard = await self.ready_again(await asked(talk))
        shard.says(answer(b"ok"))
        assert only(talk.heard()).body == b"ok"
        assert (await asked(talk)).got.startswith(b"GET /api ")  # and it is not asked again

    async def test_gone_while_it_is_asked_how_it_is(self) -> None:
        talk = Talk(forward())
        talk.pool.reachable = False
        await self.refused(talk)
        talk.pool.reachable = True
        await (await asked(talk)).hangs_up()
        assert only(talk.heard()).status == 503

    async def test_a_shard_that_closes_what_lay_idle_is_asked_how_it_is(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"first"))
        await shard.hangs_up()
        talk.heard()
        again = await self.ready_again(await asked(talk))
        assert again is not shard
        assert again.got.startswith(b"GET /api ")

    async def refused(self, talk: Talk) -> None:
        talk.says(get())
        await settle()
        assert only(talk.heard()).status == 503

    async def test_unknown_shard(self) -> None:
        talk = Talk(forward(shard="gone"))
        talk.says(get())
        assert only(talk.heard()).status == 503

    async def stale(self, talk: Talk) -> Shard:
        """The connection of an answered request, which carries a second one."""
        shard = await asked(talk)
        shard.says(answer(b"first"))
        talk.heard()
        return await asked(talk)

    async def test_stale_connection_is_replaced(self) -> None:
        talk = Talk(forward())
        shard = await self.stale(talk)
        sent = shard.got
        await shard.hangs_up()
        again = await self.ready_again(await talk.shard())
        assert again is not shard
        assert sent.endswith(again.got)
        again.says(answer(b"second"))
        assert only(talk.heard()).body == b"second"

    async def test_only_once(self) -> None:
        talk = Talk(forward())
        await (await self.stale(talk)).hangs_up()
        await (await talk.shard()).hangs_up()
        assert len(talk.pool.opened) == 2
        assert only(talk.heard()).status == 503

    async def test_not_after_a_part_of_the_answer(self) -> None:
        talk = Talk(forward())
        shard = await self.stale(talk)
        shard.says(b"HTTP/1.1 200")
        await shard.hangs_up()
        assert len(talk.pool.opened) == 1
        assert only(talk.heard()).status == 503

    async def test_a_write_is_never_repeated(self) -> None:
        talk = Talk(forward(method=b"POST", body=b"{}", idempotent=False))
        shard = await self.stale(talk)
        await shard.hangs_up()
        assert len(talk.pool.opened) == 1
        message = only(talk.heard())
        assert message.status == 502
        assert message.header(b"retry-after") is None  # clients would repeat it themselves

    async def test_client_has_gone_before_the_repetition(self) -> None:
        talk = Talk(forward())
        shard = await self.stale(talk)
        talk.pool.gate = asyncio.Event()
        await shard.hangs_up()
        await talk.leaves()
        talk.pool.gate.set()
        await settle()
        assert (await self.ready_again(talk.pool.opened[-1])).got == b""
        assert (talk.pool.size, talk.pool.active) == (1, 0)

    async def test_answer_that_breaks_off(self) -> None:
        talk = Talk(forward(), limits=Limits(buffered=10))
        shard = await asked(talk)
        shard.says(answer(b"x" * 100)[:-10])
        await shard.hangs_up()
        assert not only(talk.heard()).complete
        assert talk.wire.aborted

    async def test_small_answer_that_breaks_off(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(answer(b"x" * 100)[:-10])
        await shard.hangs_up()
        assert only(talk.heard()).status == 503
        assert not talk.wire.closed

    @pytest.mark.parametrize(
        "nonsense",
        [
            b"SSH-2.0-OpenSSH\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        ],
    )
    async def test_nonsense(self, nonsense: bytes) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        shard.says(nonsense)
        message = only(talk.heard())
        assert (message.status, json.loads(message.body)["kind"]) == (502, "Status")
        assert shard.wire.aborted

    async def test_silence(self) -> None:
        talk = Talk(forward(), pool=MemoryPool(answer_timeout=65))
        shard = await asked(talk)
        talk.pool.sweep(time.monotonic() + 64)
        assert talk.heard() == b""
        talk.pool.sweep(time.monotonic() + 66)
        message = only(talk.heard())
        assert (message.status, json.loads(message.body)["reason"]) == (504, "Timeout")
        assert shard.wire.aborted

    async def test_silence_in_the_middle(self) -> None:
        talk = Talk(forward(), limits=Limits(buffered=10))
        shard = await asked(talk)
        shard.says(answer(b"x" * 100)[:-10])
        talk.pool.sweep(time.monotonic() + 66)
        assert shard.wire.aborted
        assert talk.wire.aborted

    async def test_silence_of_a_watch_is_no_failure(self) -> None:
        talk = Talk(forward(streaming=True))
        shard = await asked(talk)
        shard.says(CHUNKED)
        talk.pool.sweep(time.monotonic() + 10_000)
        assert not shard.wire.closed

    async def test_a_slow_client_is_no_silence_of_the_shard(self) -> None:
        talk = Talk(forward(), limits=Limits(buffered=10), room=50)
        shard = await asked(talk)
        shard.says(answer(b"x" * 1000)[:-10])
        assert not shard.wire.reading
        talk.pool.sweep(time.monotonic() + 66)
        assert not shard.wire.closed


class TestClientGoes:
    async def test_while_it_is_answered(self) -> None:
        talk = Talk(forward(streaming=True))
        shard = await asked(talk)
        shard.says(CHUNKED)
        await talk.leaves()
        assert shard.wire.aborted
        await settle()
        assert talk.pool.size == 0

    async def test_before_the_answer(self) -> None:
        talk = Talk(forward())
        shard = await asked(talk)
        await talk.leaves()
        assert shard.wire.aborted

    async def test_while_a_connection_is_made(self) -> None:
        talk = Talk(forward())
        talk.pool.gate = asyncio.Event()
        talk.says(get())
        await settle()
        await talk.leaves()
        talk.pool.gate.set()
        await settle()
        assert talk.pool.opened[0].got == b""  # not asked, but kept for the next
        assert (talk.pool.size, talk.pool.active) == (1, 0)


class TestBackPressure:
    async def test_slow_client_slows_the_shard(self) -> None:
        talk = Talk(forward(), limits=Limits(buffered=10), room=1000)
        shard = await asked(talk)
        shard.says(CHUNKED + chunk(b"x" * 500))
        assert shard.wire.reading
        shard.says(chunk(b"x" * 600))
        assert not shard.wire.reading
        assert len(only(talk.heard()).body) == 1100
        assert shard.wire.reading
        shard.says(chunk(b"y") + LAST)
        assert talk.heard() == chunk(b"y") + LAST

    async def test_a_connection_is_not_kept_paused(self) -> None:
        talk = Talk(forward(), limits=Limits(buffered=10), room=1000)
        shard = await asked(talk)
        stream = CHUNKED + chunk(b"x" * 2000)
        shard.says(stream)
        assert not shard.wire.reading
        shard.upstream.data_received(LAST)  # read before the pause took effect
        assert shard.wire.reading
        talk.heard()
        again = await asked(talk)
        assert again is shard
        again.says(answer(b"ok"))
        assert only(talk.heard()).body == b"ok"

    async def test_next_request_waits_until_the_answer_is_taken(self) -> None:
        talk = Talk(lambda request: forward(target=request.target), room=1000)
        talk.says(get("/a") + get("/b"))
        shard = await talk.shard()
        shard.got  # noqa: B018
        shard.says(answer(b"x" * 2000))
        await settle()
        assert shard.got == b""
        talk.heard()
        await settle()
        assert shard.got.startswith(b"GET /b ")
