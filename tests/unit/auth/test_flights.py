"""Shared fetches."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from proxy.kube.flights import Flights


async def test_those_who_ask_at_once_share_one_fetch_and_later_ones_do_not() -> None:
    flights: Flights[str, int] = Flights()
    fetched: list[str] = []

    def fetch(key: str) -> Callable[[], Coroutine[Any, Any, int]]:
        async def call() -> int:
            fetched.append(key)
            await asyncio.sleep(0)
            return len(key)

        return call

    keys = ["a", "a", "bb", "a"]
    assert await asyncio.gather(*(flights.once(key, fetch(key)) for key in keys)) == [1, 1, 2, 1]
    assert fetched == ["a", "bb"]
    assert await flights.once("a", fetch("a")) == 1
    assert fetched == ["a", "bb", "a"]


async def test_a_failure_is_everybodys_and_is_forgotten() -> None:
    flights: Flights[str, int] = Flights()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    results = await asyncio.gather(*(flights.once("a", fail) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [LookupError] * 3

    async def succeed() -> int:
        return 1

    assert await flights.once("a", succeed) == 1


async def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    flights: Flights[str, int] = Flights()
    go = asyncio.Event()

    async def fetch() -> int:
        await go.wait()
        return 1

    leaver = asyncio.create_task(flights.once("a", fetch))
    stayer = asyncio.create_task(flights.once("a", fetch))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.sleep(0)
    go.set()
    assert await stayer == 1
    with pytest.raises(asyncio.CancelledError):
        await leaver


async def test_a_failure_that_nobody_waits_for_is_no_noise() -> None:
    flights: Flights[str, int] = Flights()
    noise: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: noise.append(context))

    async def fail() -> int:
        await asyncio.sleep(0)
        raise LookupError

    waiter = asyncio.create_task(flights.once("a", fail))
    await asyncio.sleep(0)
    waiter.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    gc.collect()
    asyncio.get_running_loop().set_exception_handler(None)
    assert noise == []
