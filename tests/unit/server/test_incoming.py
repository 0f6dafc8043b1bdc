"""Answers of shards that are worked on as they come."""

from __future__ import annotations

import asyncio
import json

import pytest

from proxy.server.incoming import WAITING
from proxy.server.messages import Exchange, Pieces, Produce
from proxy.server.settings import Limits
from tests.unit.server.conversation import Talk, answer, answers, chunk, forward, get, settle

BUFFERED = 20
PIECE = BUFFERED // 2
HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def passed_on() -> Produce:
    """What one answer brings, each piece in brackets."""

    async def run(exchange: Exchange) -> None:
        pieces = exchange.open(forward())
        try:
            await _pass_on(pieces, exchange)
        finally:
            pieces.cancel()

    return Produce(run)


async def _pass_on(pieces: Pieces, exchange: Exchange) -> None:
    response = await pieces.begun()
    await exchange.start(response.status, [header for header in response.headers if header[0] == b"warning"])
    while data := await pieces.more():
        await exchange.write(b"(%b)" % data)
    await exchange.end()


async def test_a_short_answer_is_one_piece() -> None:
    talk = Talk(passed_on())
    talk.says(get())
    shard = await talk.shard()
    shard.says(answer(b"whole", "Warning: old", status="404 Not Found"))
    await settle()
    [message] = answers(talk.heard())
    assert (message.status, message.body, message.header(b"warning")) == (404, b"(whole)", b"old")


async def test_a_long_one_goes_on_in_pieces_of_some_size() -> None:
    talk = Talk(passed_on(), limits=Limits(buffered=BUFFERED))
    talk.says(get())
    shard = await talk.shard()
    shard.says(HEAD)
    await settle()
    for letter in b"abcdef":
        shard.says(chunk(bytes([letter]) * 4))
        await settle()
    begun = talk.heard()
    assert not answers(begun)[0].complete
    shard.says(chunk(b"x") + chunk(b""))
    await settle()
    [message] = answers(begun + talk.heard())
    assert (message.body, message.complete) == (b"(aaaabbbbcccc)(ddddeeeeffff)(x)", True)
    assert len(talk.pool.opened) == 1
    assert not shard.wire.closed, "its connection is used again"


async def test_what_nobody_takes_makes_the_shard_wait() -> None:
    talk = Talk(passed_on(), limits=Limits(buffered=BUFFERED), room=BUFFERED)
    talk.says(get())
    shard = await talk.shard()
    shard.says(HEAD + chunk(b"a" * PIECE) * 3)
    await settle()
    sent = 0
    while shard.wire.reading:
        assert sent < 2 * WAITING
        shard.says(chunk(b"b" * PIECE))
        await settle()
        sent += 1
    talk.heard()
    await settle()
    assert shard.wire.reading


async def test_one_that_breaks_off() -> None:
    talk = Talk(passed_on(), limits=Limits(buffered=BUFFERED))
    talk.says(get())
    shard = await talk.shard()
    shard.says(HEAD + chunk(b"a" * 2 * BUFFERED))
    await settle()
    await shard.hangs_up()
    [message] = answers(talk.heard())
    assert not message.complete
    assert talk.wire.aborted


async def test_a_shard_that_is_away() -> None:
    talk = Talk(passed_on())
    talk.pool.reachable = False
    talk.says(get())
    await settle()
    [message] = answers(talk.heard())
    assert (message.status, json.loads(message.body)["reason"]) == (503, "ServiceUnavailable")


@pytest.mark.parametrize("begun", [False, True])
async def test_the_client_goes(begun: bool) -> None:
    talk = Talk(passed_on(), limits=Limits(buffered=BUFFERED))
    talk.says(get())
    shard = await talk.shard()
    if begun:
        shard.says(HEAD + chunk(b"a" * 2 * BUFFERED))
        await settle()
    await talk.leaves()
    assert shard.wire.aborted
    assert talk.pool.size == 0


async def test_the_client_goes_before_there_is_a_connection() -> None:
    talk = Talk(passed_on())
    talk.pool.gate = asyncio.Event()
    talk.says(get())
    await settle()
    await talk.leaves()
    talk.pool.gate.set()
    await settle()
    assert talk.pool.active == 0
