"""One soak from its beginning to its verdict."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from tests.bench.system import System
from tests.soak.load import Load
from tests.soak.state import State

WARM = 0.3
"""Part of the time after which memory is compared: caches are full, and every buffer has been as large as it gets."""
GROWN, GROWN_MIB = 0.1, 8.0
"""Memory at the end may be more than after that by this part, and by so much."""
LOOKS = 20
"""At the memory; the most of the first and of the last ones are compared."""


async def play(
    *, seed: int, seconds: float, workspaces: int, users: int, watchers: int, memory: bool, say: Callable[[str], object]
) -> list[str]:
    """What is left over, or went wrong. ``memory``: whether that counts, for which it must take minutes."""
    async with System(workers=2) as system:
        paths = [f"root:benchmarks:soak-{number}" for number in range(workspaces)]
        await _make(system, paths)
        load, state = Load(system, paths, seed), State(system)
        await _for(load, 3.0, users, watchers)  # so that what is made once is there
        failed = await state.settled(dict.fromkeys(("requests in flight", "queued requests", "shared watches"), 0.0))
        before = await state.now()
        say(f"before: {_words(before)}, {state.memory():.0f} MiB")
        memories: list[float] = []
        task = asyncio.create_task(load.run(users, watchers))
        for look in range(LOOKS):
            await asyncio.sleep(seconds / LOOKS)
            if task.done():
                await task
            memories.append(state.memory())
            now = await state.now()
            say(f"{(look + 1) / LOOKS:4.0%}  {load.done.total()} requests, {_words(now)}, {memories[-1]:.0f} MiB")
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        began = time.monotonic()
        failed += await state.settled(before)
        took = time.monotonic() - began
        say(f"after:  {_words(await state.now())}, settled in {took:.0f} s, {state.memory():.0f} MiB")
    warm = max(memories[: int(LOOKS * WARM)])
    last = max(memories[-int(LOOKS * WARM) :])
    say(f"memory of the workers, most: {warm:.0f} MiB in the first part, {last:.0f} in the last")
    if memory and last > warm * (1 + GROWN) + GROWN_MIB:
        failed.append(f"memory: {warm:.0f} MiB, and {last:.0f} later")
    say(f"answers: {dict(sorted(load.done.items()))}")
    return failed + load.wrong[:10]


async def _for(load: Load, seconds: float, users: int, watchers: int) -> None:
    try:
        async with asyncio.timeout(seconds):
            await load.run(users, watchers)
    except TimeoutError:
        pass


async def _make(system: System, paths: list[str]) -> None:
    waiting = iter(paths)

    async def make() -> None:
        for path in waiting:
            await system.create_workspace(path.rpartition(":")[2], "Universal", system.org)

    await asyncio.gather(*(make() for _ in range(8)))


def _words(counts: dict[str, float]) -> str:
    return ", ".join(f"{count:.0f} {name}" for name, count in counts.items())
