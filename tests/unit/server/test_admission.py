"""Admission of requests: what they take is given back however they end, and what is one too many gets 429."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.limits.values import LimitSettings, WorkspaceLimits
from proxy.mapping.paths import parse
from proxy.server import admission
from proxy.server.admission import FULL, LATE, RATE, RECEIVED, STREAMS, UNREAD, WATCHES, Admission
from proxy.server.messages import LIMITS, Decision, Record, Reply, Request
from proxy.server.replies import refusal
from tests.unit.server.conversation import OK, Talk, answer, answers, forward, get, settle

ALICE = User("alice")
BOSS = User("boss", ("system:masters",), masters=True)
ONE = WorkspaceLimits(requests_in_flight=1, queued_requests=1)
MAPS = b"/api/v1/namespaces/default/configmaps"


def admitting(limits: WorkspaceLimits = ONE, *, shard: int = 4, workers: int = 1) -> Admission:
    return Admission(["main"], LimitSettings(workers, shard, limits))


def asked(
    target: bytes = MAPS + b"/one", *, workspace: str = "root:a", user: User = ALICE, method: bytes = b"GET",
    body: bytes = b"",
) -> Request:  # fmt: skip
    record = Record(workspace=workspace, shard="main", info=parse(method, target), user=user)
    return Request(method, target, [], body, record=record)


async def enters(admitted: Admission, request: Request) -> asyncio.Task[None] | None:
    """None if it may go on at once."""
    wait = admitted.enter(request)
    if wait is None:
        return None
    task = asyncio.create_task(_await(wait))
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # not every test waits for it
    await settle()
    return task


async def _await(wait: Awaitable[None]) -> None:
    await wait


def refused(admitted: Admission, request: Request) -> StatusError:
    with pytest.raises(StatusError) as error:
        admitted.enter(request)
    admitted.finished(request)
    assert error.value.code == 429
    assert error.value.message.startswith("Too many requests, please try again later")
    assert error.value.details["retryAfterSeconds"] >= 1
    assert request.rest
    return error.value


def nothing_taken(admitted: Admission) -> bool:
    queue = admitted.queues["main"]
    idle = all(account.idle for accounts in admitted._accounts.values() for account in accounts.values())
    return queue.taken == 0 and queue.waiting == 0 and idle


async def test_one_goes_one_waits_one_is_too_many() -> None:
    admitted = admitting()
    first, second, third = asked(), asked(), asked()
    assert await enters(admitted, first) is None
    waiting = await enters(admitted, second)
    assert waiting is not None
    assert not waiting.done()
    refused(admitted, third)
    other = asked(workspace="root:b")
    assert await enters(admitted, other) is None, "another workspace has room"
    admitted.finished(first)
    await waiting
    for request in (second, other):
        admitted.finished(request)
    assert nothing_taken(admitted)
    assert (admitted.rejected[FULL], admitted.queued, sum(admitted.waits[:-1])) == (1, 1, 1)


async def test_the_administrator_of_all_waits_for_nobody() -> None:
    admitted = admitting()
    assert await enters(admitted, asked()) is None
    assert all([await enters(admitted, asked(user=BOSS)) is None for _ in range(5)])


@pytest.mark.parametrize(
    "target",
    [
        b"/apis/coordination.k8s.io/v1/namespaces/a/leases/b",
        b"/apis/workload.kcp.dev/v1alpha1/workloadclusters/a/status",
    ],
)
async def test_what_keeps_others_alive_has_a_queue_of_its_own(target: bytes) -> None:
    admitted = admitting()
    assert await enters(admitted, asked()) is None
    assert await enters(admitted, asked()) is not None
    refused(admitted, asked())
    assert await enters(admitted, asked(target, method=b"PUT", body=b"{}")) is None


async def test_while_others_ask_there_is_a_rest_behind_an_expensive_request() -> None:
    admitted = admitting(WorkspaceLimits(requests_in_flight=16, queued_requests=9), shard=32)
    loop = asyncio.get_running_loop()

    async def second_of_two(held: float, sent: int) -> float:
        """Seconds from the end of one list until the next one begins; alone it does not wait."""
        first, second = asked(MAPS), asked(MAPS)
        assert await enters(admitted, first) is None
        first.record.sent = sent
        waiting = await enters(admitted, second)
        await asyncio.sleep(held)
        admitted.finished(first)
        ended = loop.time()
        if waiting is not None:
            await asyncio.wait_for(waiting, 5)
        waited = loop.time() - ended if waiting is not None else 0.0
        admitted.finished(second)
        return waited

    assert await second_of_two(0.0, 1 << 20) == 0.0
    other = asked(workspace="root:b")
    assert await enters(admitted, other) is None
    # Four seats, of which it may have two.
    assert await second_of_two(0.2, 1 << 20) == pytest.approx(0.2, abs=0.08)
    assert await second_of_two(0.2, 100) < 0.05, "it was expected to cost more than it did"
    admitted.finished(other)
    await asyncio.sleep(0.1)  # behind the second one, which took no time, there is next to no rest
    assert nothing_taken(admitted)


async def test_a_client_that_goes_while_it_waits_leaves_no_trace() -> None:
    admitted = admitting()
    first, second, third = asked(), asked(), asked()
    assert await enters(admitted, first) is None
    waiting = await enters(admitted, second)
    assert waiting is not None
    waiting.cancel()
    admitted.finished(second)
    await settle()
    last = await enters(admitted, third)
    assert last is not None
    admitted.finished(first)
    await last
    admitted.finished(third)
    assert nothing_taken(admitted)


async def test_a_client_that_goes_at_its_turn() -> None:
    admitted = admitting()
    first, second = asked(), asked()
    assert await enters(admitted, first) is None
    waiting = await enters(admitted, second)
    assert waiting is not None
    admitted.finished(first)  # its turn has come; it does not know yet
    waiting.cancel()
    admitted.finished(second)
    await settle()
    assert nothing_taken(admitted)


async def test_a_client_that_goes_before_anybody_waits_for_it() -> None:
    admitted = admitting()
    first, second = asked(), asked()
    assert await enters(admitted, first) is None
    assert admitted.enter(second) is not None
    admitted.finished(second)
    admitted.finished(first)
    assert nothing_taken(admitted)


async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WAITS", 0.01)
    admitted = admitting()
    first, second = asked(), asked()
    assert await enters(admitted, first) is None
    waiting = await enters(admitted, second)
    assert waiting is not None
    with pytest.raises(StatusError, match="waited too long"):
        await waiting
    admitted.finished(second)
    assert (admitted.rejected[LATE], admitted.queues["main"].waiting) == (1, 0)
    admitted.finished(first)
    assert nothing_taken(admitted)


async def test_watches_keep_no_seat_and_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WATCH_BEGINS", 0.0)
    admitted = admitting(replace(ONE, watches=2))
    watches = [asked(MAPS + b"?watch=1") for _ in range(2)]
    for watch in watches:
        assert await enters(admitted, watch) is None
        admitted.streaming(watch)
        await asyncio.sleep(0.001)
    assert admitted.queues["main"].taken == 0
    assert "too many watches" in refused(admitted, asked(MAPS + b"?watch=1")).message
    assert admitted.rejected[WATCHES] == 1
    assert await enters(admitted, asked(MAPS + b"?watch=1", workspace="root:b")) is None
    admitted.finished(watches[0])
    assert await enters(admitted, asked(MAPS + b"?watch=1")) is None


async def test_connections_to_pods_are_counted() -> None:
    admitted = admitting(replace(ONE, streams=1))
    log = asked(b"/api/v1/namespaces/default/pods/a/log?follow=true")
    assert await enters(admitted, log) is None
    assert await enters(admitted, asked()) is None, "they take no seat"
    refused(admitted, asked(b"/api/v1/namespaces/default/pods/a/exec?command=sh"))
    assert admitted.rejected[STREAMS] == 1
    admitted.finished(log)
    assert await enters(admitted, asked(b"/api/v1/namespaces/default/pods/a/log")) is None


async def test_bodies_are_counted_while_they_wait() -> None:
    admitted = admitting(WorkspaceLimits(requests_in_flight=1, queued_requests=9, request_megabytes=1))
    writes = [asked(MAPS, method=b"POST", body=b"x" * 600_000) for _ in range(2)]
    assert await enters(admitted, writes[0]) is None
    assert refused(admitted, writes[1]).details == {"retryAfterSeconds": 3}, "it was read for nothing"
    assert admitted.rejected[RECEIVED] == 1
    waiting = await enters(admitted, asked(MAPS, method=b"POST", body=b"x" * 100_000))
    assert waiting is not None
    admitted.finished(writes[0])
    await waiting
    assert await enters(admitted, asked(MAPS, method=b"POST", body=b"x" * 100, workspace="root:b")) is None


async def test_one_body_is_never_too_large() -> None:
    admitted = admitting(replace(ONE, request_megabytes=1))
    assert await enters(admitted, asked(MAPS, method=b"POST", body=b"x" * 3_000_000)) is None


async def test_a_rate() -> None:
    now = 100.0
    admitted = Admission(["main"], LimitSettings(1, 99, WorkspaceLimits(99, requests_per_second=2)), lambda: now)
    for _ in range(4):
        assert await enters(admitted, asked()) is None
    assert refused(admitted, asked()).details == {"retryAfterSeconds": 1}
    assert admitted.rejected[RATE] == 1
    now += 0.5
    assert await enters(admitted, asked()) is None
    refused(admitted, asked())


async def test_slow_readers() -> None:
    admitted = admitting(replace(ONE, unread_megabytes=1))
    slow = asked(MAPS)
    assert await enters(admitted, slow) is None
    assert slow.slot is not None
    slow.slot.stalled(2_000_000)
    assert admitted.queues["main"].taken == 0, "the shard has done its part"
    admitted.finished(slow)  # written whole, and not taken yet
    refused(admitted, asked())
    assert admitted.rejected[UNREAD] == 1
    assert await enters(admitted, asked(workspace="root:b")) is None
    slow.slot.resumed()
    assert await enters(admitted, asked()) is None


async def test_expensive_ones_take_more_room() -> None:
    admitted = admitting(WorkspaceLimits(requests_in_flight=8, queued_requests=9), shard=16)
    first = asked(MAPS)
    assert await enters(admitted, first) is None
    first.record.sent, first.record.shard_seconds = 2_000_000, 0.05
    admitted.finished(first)
    lists = [await enters(admitted, asked(MAPS)) for _ in range(3)]
    assert [waiting is None for waiting in lists] == [True, True, False]
    assert admitted.queues["main"].taken == 8
    assert await enters(admitted, asked(workspace="root:b")) is None


async def test_a_list_of_which_nothing_is_known_is_expensive() -> None:
    admitted = admitting(WorkspaceLimits(requests_in_flight=4, queued_requests=9), shard=16)
    first, second = asked(MAPS), asked(MAPS)
    assert await enters(admitted, first) is None
    assert await enters(admitted, second) is not None
    first.record.sent = 1000
    admitted.finished(first)
    admitted.finished(second)
    assert all([await enters(admitted, asked(MAPS)) is None for _ in range(4)]), "now it is known"


async def test_watches_that_begin_with_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "WATCH_BEGINS", 0.0)
    admitted = admitting(WorkspaceLimits(requests_in_flight=4, queued_requests=9), shard=16)
    first = asked(MAPS + b"?watch=1")
    assert await enters(admitted, first) is None
    admitted.streaming(first)
    first.record.sent = 2_000_000
    await asyncio.sleep(0.001)
    assert await enters(admitted, asked(MAPS + b"?watch=1")) is None
    assert admitted.queues["main"].taken == 4


async def test_there_is_less_room_while_others_ask() -> None:
    now = 100.0
    admitted = Admission(["main"], LimitSettings(1, 99, WorkspaceLimits(16, 99)), lambda: now)
    alone = [await enters(admitted, asked()) for _ in range(16)]
    assert alone == [None] * 16
    waiting = [asked(), asked(workspace="root:b")]
    assert await enters(admitted, waiting[0]) is not None
    assert await enters(admitted, asked(workspace="root:b")) is None
    assert await enters(admitted, asked(workspace="root:b")) is None
    assert await enters(admitted, waiting[1]) is not None
    now += 2
    assert await enters(admitted, asked(workspace="root:c")) is None
    assert await enters(admitted, asked(workspace="root:c")) is None
    last = asked(workspace="root:c")
    assert await enters(admitted, last) is not None, "what the others have asked for waits"
    for request in (*waiting, last):
        admitted.leave(request)
    assert await enters(admitted, asked(workspace="root:c")) is not None, "a second ago it did"
    now += 2
    assert await enters(admitted, asked(workspace="root:c")) is None, "the others are silent"


async def test_limits_are_divided_among_workers() -> None:
    admitted = admitting(WorkspaceLimits(requests_in_flight=5, queued_requests=1, watches=3), shard=9, workers=2)
    assert admitted.queues["main"].seats == 5
    taken = [await enters(admitted, asked()) for _ in range(4)]
    assert [waiting is None for waiting in taken] == [True] * 3 + [False]


async def test_no_limits() -> None:
    none = WorkspaceLimits(0, 0, 0, 0, 0, 0, 0)
    admitted = admitting(none, shard=1)
    assert await enters(admitted, asked()) is None
    waiting = [await enters(admitted, asked(MAPS, method=b"POST", body=b"x" * 3_000_000)) for _ in range(100)]
    assert all(task is not None for task in waiting)
    assert not any(admitted.rejected.values())
    for task in waiting:
        assert task is not None
        task.cancel()


async def test_what_is_not_used_is_forgotten() -> None:
    admitted = admitting()
    request, other = asked(), asked(workspace="root:b")
    await enters(admitted, request)
    await enters(admitted, other)
    admitted.finished(other)
    admitted.forget()
    admitted.forget()
    assert set(admitted._accounts["main"]) == {"root:a"}
    admitted.finished(request)
    admitted.forget()
    assert not admitted._accounts["main"]


async def test_a_file_says_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("workspaces:\n- {paths: ['root:rich:*'], requests-in-flight: 2}\n")
    admitted = Admission(["main"], LimitSettings(1, 9, ONE, str(file)))
    taken = [await enters(admitted, asked(workspace="root:rich:a")) for _ in range(3)]
    assert [waiting is None for waiting in taken] == [True, True, False]
    assert [await enters(admitted, asked(workspace="root:rich")) is None for _ in range(2)] == [True, False]
    file.write_text("workspaces:\n- {paths: ['root:rich*'], requests-in-flight: 5}\n")
    admitted.refresh()
    assert admitted._accounts["main"]["root:rich:a"].most == 5
    file.write_text("workspaces: nonsense")
    admitted.refresh()
    assert admitted._accounts["main"]["root:rich:a"].most == 5


# on connections of clients


class Through:
    """A gateway that asks `Admission`, and what it then does."""

    def __init__(self, admitted: Admission, decision: Decision = OK) -> None:
        self._admitted = admitted
        self._decision = decision

    def __call__(self, request: Request) -> Decision | Awaitable[Decision]:
        request.record = asked(request.target).record
        request.record.step = LIMITS
        try:
            wait = self._admitted.enter(request)
        except StatusError as error:
            return refusal(error, request)
        return self._decision if wait is None else self._after(wait, request)

    async def _after(self, wait: Awaitable[None], request: Request) -> Decision:
        try:
            await wait
        except StatusError as error:
            return refusal(error, request)
        return self._decision


def talk(admitted: Admission, decision: Decision = OK, room: int = 1 << 30) -> Talk:
    return Talk(Through(admitted, decision), observers=(admitted,), room=room)


async def test_a_connection_waits_for_its_turn() -> None:
    admitted = admitting()
    one, two = talk(admitted, forward()), talk(admitted, forward())
    one.says(get(MAPS.decode() + "/one"))
    two.says(get(MAPS.decode() + "/two"))
    shard = await one.shard()
    assert not two.pool.opened
    shard.says(answer(b"{}"))
    assert answers(one.heard())[0].status == 200
    (await two.shard()).says(answer(b"{}"))
    assert answers(two.heard())[0].status == 200
    assert nothing_taken(admitted)


@pytest.mark.parametrize("goes", ["waiting", "served"])
async def test_connections_that_are_cut(goes: str) -> None:
    admitted = admitting()
    one, two = talk(admitted, forward()), talk(admitted, forward())
    one.says(get(MAPS.decode() + "/one"))
    two.says(get(MAPS.decode() + "/two"))
    shard = await one.shard()
    if goes == "waiting":
        await two.leaves()
        shard.says(answer(b"{}"))
    else:
        await one.leaves()
        (await two.shard()).says(answer(b"{}"))
    assert nothing_taken(admitted)


async def test_a_shard_that_fails() -> None:
    admitted = admitting()
    one = talk(admitted, forward())
    one.says(get(MAPS.decode() + "/one"))
    await (await one.shard()).hangs_up()
    assert answers(one.heard())[0].status == 503
    assert nothing_taken(admitted)


def asks_without_reading(admitted: Admission) -> Talk:
    one = talk(admitted, Reply(200, [], b"x" * 5000), room=1000)
    one.wire.get_write_buffer_size = lambda: 5000  # type: ignore[method-assign]
    one.says(get(MAPS.decode()))
    return one


async def test_a_reader_that_stops_gives_its_seat_back() -> None:
    admitted = admitting()
    one = asks_without_reading(admitted)
    account = admitted._accounts["main"]["root:a"]
    assert (account.taken, account.unread) == (0, admission.HELD)
    one.heard()
    assert nothing_taken(admitted)


async def test_a_reader_that_stops_and_goes() -> None:
    admitted = admitting()
    one = asks_without_reading(admitted)
    await one.leaves()
    assert nothing_taken(admitted)


async def test_a_connection_rests_after_one_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes no notice of Retry-After costs no more than one request a second for each connection."""
    monkeypatch.setattr(admission, "REST", 0.05)
    admitted = admitting(WorkspaceLimits(requests_in_flight=1, queued_requests=1))
    assert await enters(admitted, asked()) is None
    assert await enters(admitted, asked()) is not None
    one = talk(admitted)
    for _ in range(3):
        one.says(get(MAPS.decode() + "/one"))
    heard = answers(one.heard())
    assert [message.status for message in heard] == [429]
    assert heard[0].header(b"retry-after") == b"1"
    await settle()
    assert one.heard() == b""
    assert len(one.requests) == 1
    async with asyncio.timeout(10):
        while len(one.requests) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert answers(one.heard())[0].status == 429
