"""A client's connection: order, keep-alive, refusals, limits in time and memory; answers are made by the gateway."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable

import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo
from proxy.server.front import LAST
from proxy.server.messages import Decision, Reply, Request
from proxy.server.replies import refusal
from proxy.server.settings import Limits
from tests.unit.server.conversation import OK, Message, Shard, Talk, answers, forward, get, post, settle
from tests.unit.server.conversation import answer as shard_answer


def echo(request: Request) -> Decision:
    return Reply(200, [(b"content-type", b"text/plain")], request.target)


def late(request: Request) -> Awaitable[Decision]:
    async def decide() -> Decision:
        await asyncio.sleep(0)
        return Reply(200, [], request.target)

    return decide()


def heard(talk: Talk) -> list[Message]:
    return answers(talk.heard())


async def test_local_answer_in_one_write() -> None:
    talk = Talk(OK)
    talk.says(get("/x"))
    assert talk.wire.writes == 1
    [answer] = heard(talk)
    assert (answer.status, answer.body, answer.complete) == (200, b"ok", True)
    assert answer.header(b"content-type") == b"text/plain"
    assert answer.header(b"content-length") == b"2"
    assert answer.header(b"cache-control") == b"no-cache, private"
    assert len(answer.header(b"audit-id") or b"") == 36
    assert (answer.header(b"date") or b"").endswith(b" GMT")
    assert answer.header(b"connection") is None
    assert not talk.wire.closed
    assert talk.requests[0].peer == "192.0.2.1"


async def test_what_the_gateway_sets_stays() -> None:
    talk = Talk(Reply(200, [(b"cache-control", b"public"), (b"audit-id", b"a"), (b"date", b"d")], b""))
    talk.says(get("/x"))
    [answer] = heard(talk)
    assert [answer.header(name) for name in (b"cache-control", b"audit-id", b"date")] == [b"public", b"a", b"d"]


@pytest.mark.parametrize("decide", [echo, late])
async def test_pipelined_requests_are_answered_in_order(decide: object) -> None:
    talk = Talk(decide)  # type: ignore[arg-type]
    stream = b"".join(get(f"/{number}") for number in range(100))
    for at in range(0, len(stream), 700):
        talk.says(stream[at : at + 700])
    for _ in range(100):
        await settle()
    assert [answer.body for answer in heard(talk)] == [b"/%d" % number for number in range(100)]


async def test_thousands_of_pipelined_requests_do_not_nest() -> None:
    waiting: list[asyncio.Future[Decision]] = []

    def decide(request: Request) -> Decision | Awaitable[Decision]:
        if request.target == b"/slow":
            waiting.append(asyncio.get_running_loop().create_future())
            return waiting[0]
        return OK

    talk = Talk(decide)
    talk.says(get("/slow") + get("/fast") * 5000)
    await settle()
    assert talk.heard() == b""
    waiting[0].set_result(OK)
    await settle()
    assert len(heard(talk)) == 5001


async def test_one_at_a_time() -> None:
    waiting: dict[bytes, asyncio.Future[Decision]] = {}

    def decide(request: Request) -> Awaitable[Decision]:
        return waiting.setdefault(request.target, asyncio.get_running_loop().create_future())

    talk = Talk(decide)
    talk.says(get("/a") + get("/b"))
    talk.says(get("/c"))
    await settle()
    assert list(waiting) == [b"/a"]
    waiting[b"/a"].set_result(OK)
    await settle()
    assert list(waiting) == [b"/a", b"/b"]
    assert len(heard(talk)) == 1


async def test_what_is_sent_ahead_is_bounded() -> None:
    done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    talk = Talk(lambda request: done if request.target == b"/slow" else OK, limits=Limits(pipelined=1000))
    talk.says(get("/slow"))
    sent = 0
    while talk.wire.reading:
        talk.says(get("/next"))
        sent += 1
        assert sent < 100
    done.set_result(OK)
    await settle()
    assert talk.wire.reading
    assert len(heard(talk)) == sent + 1


async def test_a_client_that_does_not_read_is_not_answered_further() -> None:
    talk = Talk(Reply(200, [], b"x" * 1000), room=5000)
    talk.says(get("/") * 1000)
    assert len(talk.requests) < 10
    seen = 0
    for _ in range(300):
        seen += len(heard(talk))
        await settle()
    assert seen == 1000


@pytest.mark.parametrize(
    ("request_", "connection"),
    [
        (get("/", "Connection: close"), b"close"),
        (b"GET / HTTP/1.0\r\n\r\n", b"close"),
        (get("/", "Connection: Upgrade", "Upgrade: websocket"), b"close"),
    ],
)
async def test_closed_after_the_last_answer(request_: bytes, connection: bytes) -> None:
    talk = Talk(OK)
    talk.says(request_)
    [answer] = heard(talk)
    assert (answer.body, answer.header(b"connection")) == (b"ok", connection)
    assert talk.wire.closed
    await settle()
    assert not talk.connections


async def test_http10_keep_alive() -> None:
    talk = Talk(OK)
    for _ in range(2):
        talk.says(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        [answer] = heard(talk)
        assert answer.header(b"connection") == b"keep-alive"


async def test_head_has_the_length_and_no_body() -> None:
    talk = Talk(OK)
    talk.says(get("/", method="HEAD"))
    data = talk.heard()
    assert data.endswith(b"content-length: 2\r\n\r\n")
    talk.says(get("/"))
    assert heard(talk)[0].body == b"ok"


@pytest.mark.parametrize("status", [204, 304])
async def test_answers_without_body(status: int) -> None:
    talk = Talk(Reply(status, [], b""))
    talk.says(get())
    data = talk.heard()
    assert b"content-length" not in data
    assert answers(data)[0].complete


async def test_continue_is_said_when_its_turn_has_come() -> None:
    done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    talk = Talk(lambda request: done if request.target == b"/slow" else OK)
    upload = post(b"abc", "Expect: 100-continue")
    talk.says(get("/slow") + upload[:-3])
    await settle()
    assert talk.heard() == b""  # an interim answer here would be taken for one to the first request
    done.set_result(OK)
    await settle()
    first, interim = answers(talk.heard())
    assert (first.status, interim.status) == (200, 100)
    talk.says(upload[-3:])
    assert [answer.status for answer in heard(talk)] == [200]
    assert talk.requests[1].body == b"abc"


async def test_refusal_is_a_status_and_the_end() -> None:
    talk = Talk(OK)
    talk.says(b"nonsense\r\n\r\n")
    [answer] = heard(talk)
    assert answer.status == 400
    assert answer.header(b"connection") == b"close"
    status = json.loads(answer.body)
    assert (status["kind"], status["code"], status["reason"]) == ("Status", 400, "BadRequest")
    await settle()
    talk.says(b"more" * 1000)  # what is on its way when the refusal is sent must not reset the connection
    assert not talk.wire.closed
    await asyncio.sleep(0.6)
    assert talk.wire.closed
    assert talk.requests == []


async def test_body_too_large() -> None:
    talk = Talk(OK)
    talk.says(post(b"x" * (3 * 1024 * 1024 + 1))[:1000])
    [answer] = heard(talk)
    assert answer.status == 413
    assert json.loads(answer.body)["message"] == "Request entity too large: limit is 3145728"


async def test_answers_under_way_come_before_the_refusal() -> None:
    talk = Talk(late)
    talk.says(get("/a") + get("/b") + b"nonsense\r\n\r\n")
    await settle()
    await settle()
    assert [(answer.status, answer.body[:2]) for answer in heard(talk)][:2] == [(200, b"/a"), (200, b"/b")]


@pytest.mark.parametrize("later", [False, True])
async def test_a_fault_of_ours_is_an_internal_error(later: bool, caplog: pytest.LogCaptureFixture) -> None:
    def broken(request: Request) -> Decision | Awaitable[Decision]:
        async def decide() -> Decision:
            raise ZeroDivisionError

        if later:
            return decide()
        raise ZeroDivisionError

    talk = Talk(broken)
    talk.says(get())
    await settle()
    [answer] = heard(talk)
    assert (answer.status, json.loads(answer.body)["reason"]) == (500, "InternalError")
    assert "could not be decided" in caplog.text
    assert not talk.wire.closed


async def test_client_goes_while_its_request_is_decided() -> None:
    cancelled = asyncio.Event()

    async def decide() -> Decision:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return OK

    talk = Talk(lambda request: decide())
    talk.says(get())
    await settle()
    await talk.leaves()
    assert cancelled.is_set()
    assert not talk.connections


async def test_client_goes_just_as_it_is_decided() -> None:
    done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
    talk = Talk(lambda request: done)
    talk.says(get())
    await settle()
    done.set_result(forward())
    await talk.leaves()
    assert talk.pool.opened == []


class TestTime:
    """`Front.sweep` is told the time."""

    limits = Limits(header_timeout=30, request_timeout=60, idle_timeout=180, stall_timeout=120)

    async def test_head_that_does_not_arrive(self) -> None:
        talk = Talk(OK, limits=self.limits)
        began = time.monotonic()
        talk.says(b"GET / HTTP/1.1\r\n")
        talk.front.sweep(began + 25)
        talk.says(b"X: y\r\n")  # a byte now and then does not help
        assert talk.heard() == b""
        talk.front.sweep(began + 31)
        [answer] = heard(talk)
        assert answer.status == 408
        assert answer.header(b"connection") == b"close"

    async def test_body_that_does_not_arrive(self) -> None:
        talk = Talk(OK, limits=self.limits)
        began = time.monotonic()
        talk.says(post(b"abc")[:-1])
        talk.front.sweep(began + 55)
        assert talk.heard() == b""
        talk.front.sweep(began + 61)
        assert heard(talk)[0].status == 408

    async def test_idle(self) -> None:
        talk = Talk(OK, limits=self.limits)
        talk.says(get())
        talk.heard()
        began = time.monotonic()
        talk.front.sweep(began + 175)
        assert not talk.wire.closed
        talk.front.sweep(began + 181)
        assert talk.wire.closed
        assert talk.heard() == b""

    async def test_a_slow_decision_is_not_idle(self) -> None:
        done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        talk = Talk(lambda request: done, limits=self.limits)
        talk.says(get())
        talk.front.sweep(time.monotonic() + 1000)
        assert not talk.wire.closed

    async def test_answer_that_is_not_taken(self) -> None:
        talk = Talk(Reply(200, [], b"x" * 5000), limits=self.limits, room=1000)
        talk.says(get())
        began = time.monotonic()
        talk.front.sweep(began + 115)
        assert not talk.wire.closed
        talk.front.sweep(began + 121)
        assert talk.wire.aborted

    async def test_a_watch_may_wait(self) -> None:
        talk = Talk(forward(streaming=True), limits=self.limits, room=1000)
        talk.says(get())
        shard = await talk.shard()
        shard.says(shard_answer(b"x" * 5000)[:-1])
        assert not shard.wire.reading
        talk.front.sweep(time.monotonic() + 10_000)
        assert not talk.wire.closed


async def watching() -> tuple[Talk, Shard]:
    """A client whose watch has begun; other requests of its are answered at once."""
    watch = forward(streaming=True)
    talk = Talk(lambda request: OK if request.method == b"POST" else watch)
    talk.says(get())
    shard = await talk.shard()
    shard.says(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
    return talk, shard


class TestEnd:
    """The server ends: `Front.drain`."""

    async def test_idle_connection(self) -> None:
        talk = Talk(OK)
        talk.says(get())
        talk.front.drain()
        assert talk.wire.closed

    async def test_request_under_way(self) -> None:
        done: asyncio.Future[Decision] = asyncio.get_running_loop().create_future()
        talk = Talk(lambda request: done)
        talk.says(get())
        talk.front.drain()
        assert not talk.wire.closed
        done.set_result(OK)
        await settle()
        [answer] = heard(talk)
        assert (answer.body, answer.header(b"connection")) == (b"ok", b"close")
        assert talk.wire.closed

    async def test_watch(self) -> None:
        talk, shard = await watching()
        talk.front.drain()
        [answer] = heard(talk)
        assert (answer.body, answer.complete) == (b"{}\n", True)
        assert shard.wire.aborted
        assert not talk.wire.closed
        await asyncio.sleep(LAST + 0.1)
        assert talk.wire.closed

    async def test_request_in_place_of_a_watch(self) -> None:
        """Its client was not told that the connection ends."""
        talk, _ = await watching()
        talk.front.drain()
        heard(talk)
        talk.says(post(b"{}")[:-1])
        await asyncio.sleep(LAST + 0.1)
        assert not talk.wire.closed, "it has begun to arrive"
        talk.says(b"}")
        [answer] = heard(talk)
        assert (answer.body, answer.header(b"connection")) == (b"ok", b"close")
        assert talk.wire.closed

    async def test_watch_in_place_of_a_watch(self) -> None:
        talk, _ = await watching()
        talk.front.drain()
        heard(talk)
        talk.says(get())
        assert talk.wire.closed
        assert heard(talk) == []

    async def test_request_that_arrives(self) -> None:
        talk = Talk(OK)
        talk.says(post(b"{}")[:-1])
        talk.front.drain()
        assert not talk.wire.closed
        talk.says(b"}")
        [answer] = heard(talk)
        assert (answer.body, answer.header(b"connection")) == (b"ok", b"close")
        assert talk.wire.closed

    async def test_watch_that_ends_alone(self) -> None:
        """As when its workspace goes to another shard: the connection serves on."""
        talk, _ = await watching()
        talk.gateway.requests[0].record.info = RequestInfo("watch")
        talk.front.end_watch(lambda path, shard: True)
        [answer] = heard(talk)
        assert answer.complete
        talk.says(post(b"{}"))
        [answer] = heard(talk)
        assert (answer.body, answer.header(b"connection")) == (b"ok", None)
        assert not talk.wire.closed

    async def test_watch_that_has_not_begun(self) -> None:
        talk = Talk(forward(streaming=True))
        talk.says(get())
        shard = await talk.shard()
        talk.front.drain()
        await settle()
        assert talk.wire.closed
        assert shard.wire.aborted


def test_unavailable_tells_when_to_ask_again() -> None:
    reply = refusal(StatusError(503, "x", details={"retryAfterSeconds": 7}))
    assert (b"retry-after", b"7") in reply.headers
