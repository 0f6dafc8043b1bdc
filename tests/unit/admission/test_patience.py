"""How many questions wait for a workspace's conversion webhooks."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.admission import patience
from proxy.admission.patience import AT_ONCE, SLOW_AT_ONCE, Impatient, Patience


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "SOON", 0.1)
    monkeypatch.setattr(patience, "REMEMBERED", 0.4)


async def ask(all_of: Patience, seconds: float, token: str = "a") -> float:
    """Seconds until its turn, or until it was told that there is none, less than zero then."""
    began = time.monotonic()
    try:
        async with all_of.turn(token):
            waited = time.monotonic() - began
            await asyncio.sleep(seconds)
    except Impatient:
        return began - time.monotonic()
    return waited


async def test_a_quick_one_is_asked_as_much_as_anybody_likes() -> None:
    waited = await asyncio.gather(*(ask(all_of, 0.001) for all_of in [Patience()] * (AT_ONCE * 5)))
    assert all(seconds >= 0 for seconds in waited)


async def test_a_slow_one_holds_few() -> None:
    all_of = Patience()
    first = await asyncio.gather(*(ask(all_of, 0.3) for _ in range(AT_ONCE * 3)))
    assert [seconds >= 0 for seconds in first] == [True] * AT_ONCE + [False] * AT_ONCE * 2
    assert min(first) > -0.25, "who has no turn is told soon"
    again = await asyncio.gather(*(ask(all_of, 0.3) for _ in range(AT_ONCE)))
    assert [seconds >= 0 for seconds in again] == [True] * SLOW_AT_ONCE + [False] * (AT_ONCE - SLOW_AT_ONCE)
    assert min(again) > -0.05, "and at once when that is known"


async def test_a_slow_one_is_nothing_to_others() -> None:
    all_of = Patience()
    held = [asyncio.create_task(ask(all_of, 0.3)) for _ in range(AT_ONCE * 2)]
    await asyncio.sleep(0.15)
    assert 0 <= await ask(all_of, 0.001, "b") < 0.05
    await asyncio.gather(*held)


async def test_who_was_slow_and_is_so_no_more_is_believed() -> None:
    all_of = Patience()
    await ask(all_of, 0.2)
    await asyncio.sleep(0.45)
    waited = await asyncio.gather(*(ask(all_of, 0.01) for _ in range(AT_ONCE * 2)))
    assert all(seconds >= 0 for seconds in waited)


async def test_who_goes_away_gives_the_turn_back() -> None:
    all_of = Patience()
    held = [asyncio.create_task(ask(all_of, 9)) for _ in range(AT_ONCE)]
    await asyncio.sleep(0)
    waiting = asyncio.create_task(ask(all_of, 0.001))
    await asyncio.sleep(0.01)
    for task in held:
        task.cancel()
    assert await waiting >= 0


async def test_nothing_is_kept_of_who_is_quick() -> None:
    all_of = Patience()
    for number in range(9):
        await ask(all_of, 0.0, str(number))
    assert len(all_of._turns) == 1
