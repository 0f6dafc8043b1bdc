"""One run: a load, faults, and the verdict when all is whole again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

from proxy.kube.errors import StatusError
from tests.faults.check import differences
from tests.faults.faults import Faults
from tests.faults.load import Load
from tests.faults.rig import Rig


async def play(folder: Path, *, seed: int, seconds: float, patience: float, say: Callable[[str], None]) -> list[str]:
    """What differs ``patience`` seconds after the last fault at the latest; empty if both sides are equal."""
    async with Rig(folder, flags=("--lease-duration=3s",)) as rig:
        await rig.synced(timeout=180)
        load = Load(rig, seed)
        faults = Faults(rig, load, seed, say)
        await load.prepare()
        asking = asyncio.create_task(load.run())
        try:
            await faults.run(seconds)
            if asking.done():
                await asking
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        say(f"{load.done} requests were done, {load.refused} met something dead")
        left = await _equal(rig, patience, say)
        if left:
            say("the end of the syncer's log:\n" + rig.log()[-4000:])
        return left


async def _equal(rig: Rig, patience: float, say: Callable[[str], None]) -> list[str]:
    began = told = time.monotonic()
    while True:
        late = time.monotonic() - began > patience
        try:
            left = await differences(rig)
        except StatusError as error:
            left = [str(error)]
        if not left:
            # It stays so: nothing is on its way that would change it.
            await asyncio.sleep(1)
            if not await differences(rig):
                say(f"both sides are equal {time.monotonic() - began:.1f} s after the last fault")
                return []
        elif late:
            return left
        elif time.monotonic() - told > 10:
            told = time.monotonic()
            say(f"{told - began:.0f} s after the last fault: {len(left)} differences, {left[0]}")
        await asyncio.sleep(0.5)
