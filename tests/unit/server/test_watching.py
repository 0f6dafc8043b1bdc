"""The connection of a client whose watch is shared: what it is sent, and how it ends."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from proxy.limits.account import Account
from proxy.limits.fair import FairQueue
from proxy.limits.values import WorkspaceLimits
from proxy.mapping.stream import ResponseFilter, patterns
from proxy.mapping.watching import terms_of
from proxy.server import watches as module
from proxy.server.admission import Slot
from proxy.server.messages import Forward, Request, Share
from proxy.server.watches import Watches
from tests.integration.eventually import eventually
from tests.unit.server.conversation import CHUNKED, LAST, MemoryPool, Talk, answer, answers, chunk, get, settle

PATH = "/api/v1/namespaces/a/configmaps?watch=true"
VERSION = "&resourceVersion=3"
TOKEN = "k3fq7zn2a"


def shared(request: Request) -> Forward:
    forward = Forward(
        "main", b"GET", request.target, [], body_filter=lambda: ResponseFilter(patterns(TOKEN)), streaming=True,
        idempotent=True,
    )  # fmt: skip
    terms = terms_of(request.target)
    assert terms is not None
    forward.share = Share(terms.subject, terms, lambda target: replace(forward, target=target, share=None))
    return forward


def line(version: int, name: str = "x", size: int = 1) -> bytes:
    metadata = {"name": name, "resourceVersion": str(version)}
    event = {"type": "MODIFIED", "object": {"metadata": metadata, "data": "v" * size}}
    return json.dumps(event, separators=(",", ":")).encode() + b"\n"


class Hall:
    """Clients of one worker."""

    def __init__(self) -> None:
        self.pool = MemoryPool()
        self.watches = Watches(self.pool.send)

    def talk(self, query: str = VERSION, room: int = 1 << 30, *headers: str, version: str = "1.1") -> Talk:
        talk = Talk(shared, pool=self.pool, room=room, watches=self.watches)
        talk.says(get(PATH + query, *headers, version=version))
        return talk


def body(data: bytes) -> bytes:
    """Of an answer that goes on."""
    [message] = answers(data + LAST)
    assert message.status == 200
    return message.body


async def test_clients_share_events_and_have_answers_of_their_own() -> None:
    hall = Hall()
    first = hall.talk(VERSION, 1 << 30, "Audit-ID: one")
    shard = await first.shard()
    shard.says(CHUNKED.replace(b"\r\n\r\n", b"\r\nAudit-Id: shard\r\nX-Other: 1\r\n\r\n", 1))
    second = hall.talk(VERSION, 1 << 30, "Audit-ID: two")
    shard.says(chunk(line(4, f"{TOKEN}-x")))
    heads = []
    for talk in (first, second):
        heard = talk.heard()
        [message] = answers(heard + LAST)
        assert message.body == line(4, "x")
        assert message.header(b"x-other") == b"1"
        heads.append(message.header(b"audit-id"))
    assert b"shard" not in heads
    assert heads[0] != heads[1]
    assert len(hall.pool.opened) == 1
    for talk in (first, second):
        await talk.leaves()
    hall.watches.close()
    assert shard.wire.aborted


async def test_http_1_0_has_no_chunks() -> None:
    hall = Hall()
    old, new = hall.talk(version="1.0"), hall.talk()
    shard = await old.shard()
    shard.says(CHUNKED + chunk(line(4)))
    assert old.heard().endswith(b"\r\n\r\n" + line(4))
    assert body(new.heard()) == line(4)


@pytest.mark.parametrize("query", ["", VERSION])
async def test_a_refusal_is_passed_on(query: str) -> None:
    hall = Hall()
    talk = hall.talk(query)
    shard = await talk.shard()
    shard.says(answer(b"no " + TOKEN.encode() + b"-x", "Content-Type: text/plain", status="403 Forbidden"))
    await settle()
    [message] = answers(talk.heard())
    assert (message.status, message.body) == (403, b"no x")
    assert len(hall.pool.opened) == 1
    talk.says(get(PATH + VERSION))  # on the same connection
    shard = await talk.shard()
    shard.says(CHUNKED + chunk(line(4)))
    assert body(talk.heard()) == line(4)


async def test_a_shard_that_begins_no_watch_with_the_state_is_asked_in_the_clients_own_words() -> None:
    hall = Hall()
    talk = hall.talk("")
    shard = await talk.shard()
    assert b"sendInitialEvents=true" in shard.got
    shard.says(answer(b"forbidden", status="422 Unprocessable Entity"))
    await settle()
    assert shard.got.startswith(b"GET " + PATH.encode() + b" HTTP")
    shard.says(CHUNKED + chunk(b"events\n"))
    assert body(talk.heard()) == b"events\n"
    assert hall.watches.feeds == 0


async def test_it_ends_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ENDS_AFTER", (0.01, 0.02))
    hall = Hall()
    short, long = hall.talk(), hall.talk(f"{VERSION}&timeoutSeconds=300")
    shard = await short.shard()
    shard.says(CHUNKED + chunk(line(4)))

    async def ended() -> bool:
        return short.wire.written.endswith(LAST)

    await eventually(ended)
    [message] = answers(short.heard())
    assert message.body == line(4)
    assert not short.wire.closed  # the connection is good for more
    shard.says(chunk(line(5)))
    assert body(long.heard()) == line(4) + line(5)


async def test_drained_in_good_order() -> None:
    hall = Hall()
    talk = hall.talk()
    shard = await talk.shard()
    shard.says(CHUNKED + chunk(line(4)))
    talk.front.drain()
    assert talk.heard().endswith(chunk(line(4)) + LAST)
    assert shard.wire.aborted

    async def closed() -> bool:
        return talk.wire.closed

    await eventually(closed)


async def test_what_waits_for_a_slow_client_is_sent_when_it_reads_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    hall = Hall()
    slow, quick = hall.talk(room=1000), hall.talk()
    shard = await slow.shard()
    shard.says(CHUNKED + chunk(line(4, size=2000)))
    assert shard.wire.reading
    shard.says(chunk(line(5)) + chunk(line(6)))
    assert slow.wire.written.count(b"MODIFIED") == 1
    assert body(slow.heard()) == line(4, size=2000)
    assert slow.heard() == chunk(line(5) + line(6))
    monkeypatch.setattr(module, "PENDING", 100)
    shard.says(chunk(line(7, size=2000)))
    for version in range(8, 12):
        shard.says(chunk(line(version)))
    assert slow.wire.aborted
    assert body(quick.heard()).count(b"MODIFIED") == 8


async def test_alone_it_makes_the_shard_wait() -> None:
    hall = Hall()
    talk = hall.talk(room=1000)
    shard = await talk.shard()
    shard.says(CHUNKED + chunk(line(4, size=2000)))
    assert not shard.wire.reading
    talk.heard()
    assert shard.wire.reading


async def test_a_client_that_goes_before_the_answer_frees_the_shard() -> None:
    hall = Hall()
    talk = hall.talk()
    shard = await talk.shard()
    await talk.leaves()
    assert shard.wire.aborted
    assert hall.watches.feeds == 0


async def test_seats_are_free_as_soon_as_the_shard_has_done_its_part() -> None:
    hall = Hall()
    account, queue = Account(WorkspaceLimits()), FairQueue(10)
    slots: list[Slot] = []

    def admitted(request: Request) -> Forward:
        assert queue.take(account, 1)
        request.slot = slot = Slot(account, queue, "watch configmaps", 0, 0)
        slot.width = 1
        slots.append(slot)
        return shared(request)

    def talk(query: str) -> Talk:
        client = Talk(admitted, pool=hall.pool, watches=hall.watches)
        client.says(get(PATH + query))
        return client

    shard = await talk("").shard()
    shard.says(CHUNKED + chunk(line(2)))
    assert slots[0].width == 1
    note = b'"annotations":{"k8s.io/initial-events-end":"true"}'
    ends = line(3).replace(b"MODIFIED", b"BOOKMARK").replace(b'"name":"x"', note)
    shard.says(chunk(ends))
    assert slots[0].width == 0
    client = talk(VERSION)
    assert slots[1].width == 0
    assert client.heard().startswith(b"HTTP/1.1 200 OK\r\n")
