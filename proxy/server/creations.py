"""How many objects were made in each workspace, told among the workers of a kcp by shared memory.

Each worker adds in a file of its own, which the others map as well: nothing is sent or asked, and nobody waits. There
are only so many places, by a digest of the workspace's token: two workspaces in one place are counted the sooner, and
none is ever told what stands there.
A worker that takes another's place goes on with its tallies.
"""

from __future__ import annotations

import asyncio
import mmap
import os
import zlib
from pathlib import Path

SLOTS = 65536
SIZE = 8 * SLOTS
"""Bytes."""
SUFFIX = ".made"
LOOKS_EVERY = 1.0
"""Seconds between looks for workers that have begun."""


class Creations:
    """``made`` never becomes less. ``folder``: of all workers of a kcp; None where there is but one."""

    def __init__(self, folder: Path | None, name: str) -> None:
        """Raises OSError where the file of this worker, ``name``, cannot be made."""
        self._folder = folder
        self._own = memoryview(bytearray(SIZE)).cast("Q")
        if folder is not None:
            path = folder / f"{name}{SUFFIX}"
            self._own = _mapped(path, os.O_RDWR | os.O_CREAT, mmap.ACCESS_WRITE)
            self._known = {path}
        self._all = [self._own]
        self.look()

    @staticmethod
    def slot(token: str) -> int:
        """Where the tally of a workspace stands."""
        return zlib.crc32(token.encode()) % SLOTS

    def add(self, slot: int, count: int) -> None:
        self._own[slot] += count

    def made(self, slot: int) -> int:
        return sum(tallies[slot] for tallies in self._all)

    def look(self) -> None:
        """Take notice of workers that have begun."""
        if self._folder is None:
            return
        for path in self._folder.glob(f"*{SUFFIX}"):
            if path in self._known:
                continue
            try:
                self._all.append(_mapped(path, os.O_RDONLY, mmap.ACCESS_READ))
            except (OSError, ValueError):
                continue  # it is being made
            self._known.add(path)

    async def run(self) -> None:
        while True:
            await asyncio.sleep(LOOKS_EVERY)
            self.look()


def _mapped(path: Path, flags: int, access: int) -> memoryview:
    """Raises ValueError for a file that is shorter than it will be."""
    descriptor = os.open(path, flags, 0o600)
    try:
        if flags & os.O_CREAT:
            os.ftruncate(descriptor, SIZE)
        return memoryview(mmap.mmap(descriptor, SIZE, access=access)).cast("Q")
    finally:
        os.close(descriptor)
