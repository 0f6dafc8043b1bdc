"""Turns: a bound that everybody shares, and that nobody can take from the others by asking for more."""

from __future__ import annotations

import asyncio

from proxy.kube.turns import Turn, Turns


async def take(turn: Turn, done: list[str], name: str) -> None:
    async with turn():
        done.append(name)
        await asyncio.sleep(0)


async def test_no_more_than_that_many() -> None:
    turns = Turns(3)
    now = most = 0

    async def work() -> None:
        nonlocal now, most
        async with turns.of("a")():
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1

    await asyncio.gather(*(work() for _ in range(20)))
    assert most == 3


async def test_who_asks_for_little_does_not_wait_for_who_asks_for_much() -> None:
    turns, done = Turns(1), list[str]()
    async with asyncio.TaskGroup() as group, turns.of("first")():
        for _ in range(50):
            group.create_task(take(turns.of("much"), done, "much"))
        await asyncio.sleep(0)
        group.create_task(take(turns.of("little"), done, "little"))
        await asyncio.sleep(0)
        assert turns.waiting == 51
    assert len(done) == 51
    assert done.index("little") <= 1


async def test_who_gives_up_takes_nobodys_turn() -> None:
    turns, done = Turns(1), list[str]()
    async with turns.of("first")():
        leaving = [asyncio.create_task(take(turns.of(name), done, name)) for name in ("a", "a", "b")]
        await asyncio.sleep(0)
        leaving[0].cancel()
        await asyncio.sleep(0)
        leaving[2].cancel()
        await asyncio.sleep(0)
    # Given to the one that is left, which is cancelled in the same moment.
    leaving[1].cancel()
    await asyncio.gather(*leaving, return_exceptions=True)
    assert turns.waiting == 0
    await asyncio.wait_for(take(turns.of("b"), done, "b"), 1)
    assert done == ["b"]


async def test_who_gives_up_in_the_moment_of_its_turn() -> None:
    turns, done = Turns(1), list[str]()
    async with turns.of("first")():
        leaving = asyncio.create_task(take(turns.of("a"), done, "a"))
        waiting = asyncio.create_task(take(turns.of("b"), done, "b"))
        await asyncio.sleep(0)
        leaving.cancel()
    (result,) = await asyncio.gather(leaving, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)
    await asyncio.wait_for(waiting, 1)
    assert done == ["b"]
    assert turns.waiting == 0
