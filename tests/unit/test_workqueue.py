"""The work queue: one key at a time, nothing lost, failures come back later."""

from __future__ import annotations

import asyncio
import time
from collections import Counter

import pytest

from proxy.kube import workqueue
from proxy.kube.workqueue import WorkQueue


async def test_a_key_is_never_worked_on_twice_at_once_and_no_change_is_lost() -> None:
    active: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    overlaps: list[str] = []

    async def reconcile(key: str) -> None:
        active[key] += 1
        if active[key] > 1:
            overlaps.append(key)
        await asyncio.sleep(0.01)
        seen[key] += 1
        active[key] -= 1

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=4)
    runner = asyncio.create_task(queue.run())
    for _ in range(3):
        queue.add("a")
    await asyncio.sleep(0.005)  # a is being worked on now: adding it again must lead to one more round
    queue.add("a")
    queue.add("a")
    queue.add("b")
    await asyncio.sleep(0.1)
    runner.cancel()
    assert not overlaps
    assert seen == {"a": 2, "b": 1}


async def test_failures_are_retried_until_they_succeed() -> None:
    tries = 0

    async def reconcile(key: str) -> None:
        nonlocal tries
        tries += 1
        if tries < 4:
            raise RuntimeError("not yet")

    queue: WorkQueue[str] = WorkQueue(reconcile, base_delay=0.001, max_delay=0.01)
    queue.add("a")
    runner = asyncio.create_task(queue.run())
    for _ in range(200):
        await asyncio.sleep(0.005)
        if tries >= 4:
            break
    runner.cancel()
    assert tries == 4


async def test_a_returned_number_is_the_time_of_the_next_look() -> None:
    times: list[float] = []

    async def reconcile(key: str) -> float | None:
        times.append(asyncio.get_running_loop().time())
        return 0.05 if len(times) == 1 else None

    queue: WorkQueue[str] = WorkQueue(reconcile)
    queue.add("a")
    runner = asyncio.create_task(queue.run())
    await asyncio.sleep(0.15)
    runner.cancel()
    assert len(times) == 2
    assert times[1] - times[0] >= 0.045


async def test_an_earlier_timer_wins_and_add_overtakes_it() -> None:
    done: list[str] = []

    async def reconcile(key: str) -> None:
        done.append(key)

    queue: WorkQueue[str] = WorkQueue(reconcile)
    queue.add_after("a", 10)
    queue.add_after("a", 0.01)
    queue.add_after("a", 5)
    queue.add_after("b", 10)
    queue.add("b")
    runner = asyncio.create_task(queue.run())
    await asyncio.sleep(0.05)
    runner.cancel()
    assert sorted(done) == ["a", "b"]


async def test_what_has_failed_is_tried_at_once_when_the_cause_is_gone() -> None:
    away = True
    done: list[str] = []

    async def reconcile(key: str) -> None:
        if away:
            raise RuntimeError("away")
        done.append(key)

    queue: WorkQueue[str] = WorkQueue(reconcile, base_delay=60.0)
    runner = asyncio.create_task(queue.run())
    for key in ("a", "b"):
        queue.add(key)
    await asyncio.sleep(0.05)
    away = False
    await asyncio.sleep(0.05)
    assert done == [], "a minute is not over"
    queue.retry()
    await asyncio.sleep(0.05)
    runner.cancel()
    assert done == ["a", "b"]


async def test_what_changes_now_comes_before_what_was_there_at_the_start() -> None:
    seen: list[str] = []

    async def reconcile(key: str) -> None:
        seen.append(key)
        await asyncio.sleep(0.001)

    queue: WorkQueue[str] = WorkQueue(reconcile, workers=1)
    for number in range(100):
        queue.add(f"old-{number}")
    runner = asyncio.create_task(queue.run())
    await asyncio.sleep(0.005)
    queue.add("new")
    queue.add("old-99")
    queue.add("old-99")
    while len(queue):  # noqa: ASYNC110  (there is no event for it)
        await asyncio.sleep(0.005)
    runner.cancel()
    assert seen.index("new") < 20
    assert seen.index("old-99") < 20
    rest = [key for key in seen if key not in ("new", "old-99")]
    assert rest == [f"old-{number}" for number in range(99)]
    assert len(seen) == 101


@pytest.mark.parametrize(("dated", "seen"), [(True, ["a", "a"]), (False, ["a"])])
async def test_what_goes_by_dates_is_looked_at_again_where_the_clock_was_set(
    dated: bool, seen: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = 0.0
    done: list[str] = []

    async def reconcile(key: str) -> float:
        done.append(key)
        return 3600.0

    monkeypatch.setattr(workqueue, "LOOK_AT_CLOCK", 0.02)
    monkeypatch.setattr("proxy.kube.workqueue.time.time", lambda now=time.time: now() + ahead)
    queue: WorkQueue[str] = WorkQueue(reconcile, dated=dated)
    runner = asyncio.create_task(queue.run())
    queue.add("a")
    await asyncio.sleep(0.2)
    ahead = -3600.0
    await asyncio.sleep(0.2)
    runner.cancel()
    assert done == seen
