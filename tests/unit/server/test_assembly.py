"""Answers that are put together from several round trips."""

from __future__ import annotations

import asyncio
import json
import zlib

import pytest

from proxy.kube.errors import StatusError
from proxy.server.messages import Exchange, Produce
from proxy.server.settings import Limits
from tests.unit.server.conversation import Talk, answer, answers, forward, get, settle

JSON = [(b"content-type", b"application/json")]


def pages(count: int) -> Produce:
    """An answer of ``count`` pages, each as the shard sends it."""

    async def run(exchange: Exchange) -> None:
        for number in range(count):
            response = await exchange.fetch(forward(target=b"/page/%d" % number))
            if response.status != 200:
                raise StatusError(response.status, "as the shard says")
            if number == 0:
                await exchange.start(200, JSON)
            await exchange.write(response.body)
        await exchange.end()

    return Produce(run)


async def serve_pages(talk: Talk, bodies: list[bytes]) -> None:
    for number, body in enumerate(bodies):
        shard = await talk.shard()
        assert shard.got.startswith(b"GET /page/%d " % number)
        shard.says(answer(body))
        await settle()


async def test_small_answer_in_one_write() -> None:
    talk = Talk(pages(2))
    talk.says(get())
    await serve_pages(talk, [b"[1,", b"2]"])
    assert talk.wire.writes == 1
    [message] = answers(talk.heard())
    assert (message.status, message.body, message.complete) == (200, b"[1,2]", True)
    assert message.header(b"content-length") == b"5"
    assert message.header(b"content-type") == b"application/json"
    assert message.header(b"cache-control") == b"no-cache, private"
    assert message.header(b"audit-id")
    assert len(talk.pool.opened) == 1, "pages come over one connection"


async def test_large_answer_streams_page_by_page() -> None:
    talk = Talk(pages(3), limits=Limits(buffered=100))
    talk.says(get())
    await serve_pages(talk, [b"a" * 200])
    data = talk.heard()
    assert answers(data)[0].body == b"a" * 200
    shard = await talk.shard()
    assert shard.got.startswith(b"GET /page/1 ")
    shard.says(answer(b"b" * 200))
    await settle()
    data += talk.heard()
    assert shard.got.startswith(b"GET /page/2 ")
    shard.says(answer(b"c"))
    await settle()
    [message] = answers(data + talk.heard())
    assert (message.body, message.complete) == (b"a" * 200 + b"b" * 200 + b"c", True)
    talk.says(get())
    await settle()
    assert shard.got.startswith(b"GET /page/0 "), "the connection goes on"


async def test_compressed_for_those_who_ask() -> None:
    talk = Talk(pages(2), limits=Limits(buffered=100))
    talk.says(get("/", "Accept-Encoding: gzip"))
    await serve_pages(talk, [b"a" * 500, b"b" * 500])
    [message] = answers(talk.heard())
    assert message.header(b"content-encoding") == b"gzip"
    assert zlib.decompress(message.body, 31) == b"a" * 500 + b"b" * 500


async def test_client_of_http10() -> None:
    talk = Talk(pages(2), limits=Limits(buffered=2))
    talk.says(b"GET / HTTP/1.0\r\n\r\n")
    await serve_pages(talk, [b"aaa", b"bbb"])
    assert talk.heard().endswith(b"\r\n\r\naaabbb")
    assert talk.wire.closed


async def test_head() -> None:
    talk = Talk(pages(2), limits=Limits(buffered=2))
    talk.says(get(method="HEAD"))
    await serve_pages(talk, [b"xxx", b"yyy"])
    data = talk.heard()
    assert data.startswith(b"HTTP/1.1 200 OK\r\n")
    assert data.endswith(b"\r\n\r\n")
    assert b"xxx" not in data  # no letter of an audit id
    assert not talk.wire.closed


async def test_slow_client_slows_it() -> None:
    talk = Talk(pages(3), limits=Limits(buffered=10), room=100)
    talk.says(get())
    await serve_pages(talk, [b"a" * 500])
    shard = await talk.shard()
    assert shard.got == b"", "the next page was asked for although the first is not taken"
    talk.heard()
    await settle()
    assert shard.got.startswith(b"GET /page/1 ")


async def test_refusal_before_the_beginning() -> None:
    talk = Talk(pages(2))
    talk.says(get())
    shard = await talk.shard()
    shard.says(answer(b"", status="410 Gone"))
    await settle()
    [message] = answers(talk.heard())
    assert (message.status, json.loads(message.body)["message"]) == (410, "as the shard says")


async def test_refusal_while_all_is_still_held_back() -> None:
    talk = Talk(pages(2))
    talk.says(get())
    await serve_pages(talk, [b"first"])
    (await talk.shard()).says(answer(b"", status="500 Oh"))
    await settle()
    [message] = answers(talk.heard())
    assert message.status == 500


async def test_failure_after_the_beginning_cuts() -> None:
    talk = Talk(pages(2), limits=Limits(buffered=2))
    talk.says(get())
    await serve_pages(talk, [b"first"])
    for _ in range(2):  # a page may be asked for once more
        await (await talk.shard()).hangs_up()
    [message] = answers(talk.heard())
    assert (message.body, message.complete) == (b"first", False)
    assert talk.wire.aborted


async def test_shard_is_away() -> None:
    talk = Talk(pages(1))
    talk.pool.reachable = False
    talk.says(get())
    await settle()
    [message] = answers(talk.heard())
    assert (message.status, message.header(b"retry-after")) == (503, b"1")


@pytest.mark.parametrize("begun", [False, True])
async def test_fault_of_ours(begun: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def run(exchange: Exchange) -> None:
        if begun:
            await exchange.start(200, JSON)
            await exchange.write(b"x" * 10)
        raise ZeroDivisionError

    talk = Talk(Produce(run), limits=Limits(buffered=5))
    talk.says(get())
    await settle()
    assert talk.wire.aborted == begun
    assert answers(talk.heard())[0].status == (200 if begun else 500)
    assert "ZeroDivisionError" in caplog.text


async def test_answer_that_is_never_ended(caplog: pytest.LogCaptureFixture) -> None:
    async def run(exchange: Exchange) -> None:
        await exchange.start(200, JSON)

    talk = Talk(Produce(run))
    talk.says(get())
    await settle()
    assert answers(talk.heard())[0].status == 500
    assert "not ended" in caplog.text


async def test_client_goes() -> None:
    stopped = asyncio.Event()

    async def run(exchange: Exchange) -> None:
        try:
            await exchange.fetch(forward())
        finally:
            stopped.set()

    talk = Talk(Produce(run))
    talk.says(get())
    shard = await talk.shard()
    await talk.leaves()
    assert stopped.is_set()
    assert shard.wire.aborted
    await settle()
    assert talk.pool.size == 0


async def test_client_goes_while_it_does_not_read() -> None:
    talk = Talk(pages(3), limits=Limits(buffered=10), room=100)
    talk.says(get())
    await serve_pages(talk, [b"a" * 500])
    await talk.leaves()
    assert (await talk.shard()).got == b""
    assert talk.pool.active == 0
