"""What is done to the parts, at moments and in an order that a seed gives."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack

from tests.faults import disk
from tests.faults.clock import why_not, wrong_clock
from tests.faults.load import Load
from tests.faults.rig import Rig

KILLED = ("syncer", "worker", "shard apiserver", "shard etcd", "physical apiserver", "physical etcd")
CLOCKED = (*KILLED, "controllers")
CUT = ("cut above", "cut below")
OTHERS = ("shard full", "physical full", "rival", "restore")
CLOCKS = ("clock one", "clock all")
PAUSE = (1.5, 4.0)
"""Seconds between two faults, and until so much was done in between:"""
WORK = 20
GIVEN_UP = 20.0
"""Seconds after which the next fault comes all the same."""
LONG = (3.0, 8.0)
"""Seconds that a cut lasts. What is cut off dies meanwhile, so that its watches cannot be resumed: an API server that
has started anew knows nothing of what happened before."""
FULL = (2.0, 5.0)
"""Seconds that a disk is full."""
WRONG = (-3000, 3000, 86400)
"""Seconds by which a clock is wrong. Keys and tokens of both sides are new, and begin an hour ago or now."""
LASTS = (2.0, 5.0)
"""Seconds that it is."""


class Faults:
    """``say`` gets a line for each fault; ``load`` goes on meanwhile."""

    def __init__(self, rig: Rig, load: Load, seed: int, say: Callable[[str], None]) -> None:
        self._rig = rig
        self._load = load
        self._random = random.Random(f"{seed} faults")
        self._say = say
        self._began = time.monotonic()

    async def run(self, seconds: float) -> None:
        """For so long; each kind of fault comes once before one comes again. Nothing is cut at the end."""
        self._began = time.monotonic()
        waiting: list[str] = []
        while time.monotonic() - self._began < seconds:
            if not waiting:
                waiting = [*KILLED, *CUT, *OTHERS, *CLOCKS]
                self._random.shuffle(waiting)
            await self._work()
            await self._do(waiting.pop())
            await asyncio.sleep(self._random.uniform(*PAUSE))

    async def _work(self) -> None:
        """A fault that finds nothing going on says nothing."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._load.more(WORK), GIVEN_UP)

    async def _do(self, fault: str) -> None:
        match fault.split():
            case ["syncer"]:
                await self._restart_syncer("kill syncer")
            case ["clock", "one"]:
                await self._clocks([self._random.choice(CLOCKED)])
            case ["clock", "all"]:
                await self._clocks(CLOCKED)
            case ["rival"]:
                await self._rival()
            case ["restore"]:
                await self._restore()
            case ["cut", side]:
                await self._cut(side)
            case [side, "full"]:
                await self._full(side)
            case _:
                self._kill(fault)

    async def _restart_syncer(self, told: str) -> None:
        self._tell(told)
        self._rig.kill_syncer()
        await asyncio.sleep(self._random.uniform(0, 1))
        self._rig.start_syncer()

    async def _clocks(self, parts: Sequence[str]) -> None:
        """Sometimes the syncer has to start with a wrong clock, and gets its tokens then."""
        reason = why_not()
        if reason is not None:
            self._tell(f"no clock is set: {reason}")
            return
        ahead, long = self._random.choice(WRONG), self._random.uniform(*LASTS)
        what = "all parts" if len(parts) > 1 else parts[0]
        self._tell(f"the clock of {what} is wrong by {ahead} s for {long:.1f} s")
        if "syncer" in parts and self._random.random() < 0.5:
            await self._restart_syncer("kill syncer")
        with ExitStack() as wrong:
            for pid in [pid for part in parts for pid in self._rig.pids(part)]:
                with contextlib.suppress(ProcessLookupError):  # from the fault before this one it has not come back yet
                    wrong.enter_context(wrong_clock(pid, ahead))
            await asyncio.sleep(long)

    async def _rival(self) -> None:
        """Started by mistake, it waits, then has to lead, and is gone."""
        self._tell("start a second syncer for the cluster")
        self._rig.start_rival()
        await self._work()
        self._tell("kill the first syncer")
        self._rig.kill_syncer()
        await self._work()
        self._rig.start_syncer()
        self._tell("start the first syncer, kill the second")
        self._rig.kill_rival()

    async def _restore(self) -> None:
        self._tell("stop physical cluster for a backup")
        copy = await self._rig.back_up()
        for _ in range(3):
            await self._work()
        self._tell("restore physical cluster from the backup")
        await self._rig.restore(copy)

    async def _full(self, side: str) -> None:
        long = self._random.uniform(*FULL)
        self._tell(f"disk of {side} etcd is full for {long:.1f} s")
        folder = self._rig.etcd_folders[side]
        await disk.fill(folder)
        try:
            await asyncio.sleep(long)
        finally:
            await disk.free(folder)

    async def _cut(self, side: str) -> None:
        long = self._random.uniform(*LONG)
        self._tell(f"cut the syncer off from what is {side} for {long:.1f} s")
        self._rig.relays[side].cut()
        try:
            await asyncio.sleep(long / 2)
            self._kill("shard apiserver" if side == "above" else "physical apiserver")
            await asyncio.sleep(long / 2)
        finally:
            self._rig.relays[side].heal()

    def _kill(self, what: str) -> None:
        pids = self._rig.pids(what)
        if pids:
            pid = self._random.choice(pids)
            self._tell(f"kill {what}")
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # from the fault before this one it has not come back yet

    def _tell(self, what: str) -> None:
        self._say(f"{time.monotonic() - self._began:6.1f} s  {what}")
