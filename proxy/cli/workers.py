"""The proxy's worker processes: started together, replaced one by one when what they are told changes."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from proxy.metrics.exposition import Workers, WorkerSource
from proxy.server.settings import listening_file
from proxy.shard.supervisor import Process, ProcessError, Program

GRACE = 2.5
"""Seconds between SIGTERM and SIGKILL of a worker: together with the control plane's end it must stay under 5."""
LISTENS_WITHIN = 60.0
"""Seconds for a worker that takes another's place."""
POLL = 0.03
SPARE = "worker-spare"
INHERITED = ("PYTHON", "LD_LIBRARY_PATH", "MALLOC_", "GLIBC_TUNABLES")
"""What names of variables begin with that a worker has from the environment of ``kcp start``."""
MALLOC = {
    "MALLOC_MMAP_THRESHOLD_": str(256 << 10),
    "MALLOC_TRIM_THRESHOLD_": str(2 << 20),
    "MALLOC_TOP_PAD_": str(1 << 20),
}
"""glibc: memory for 256 KiB is the kernel's again as soon as it is free. uvloop has as much for each TLS connection,
which is never full and mostly all but untouched. Out of the heap, as glibc would take it soon, one connection would get
what others have written to: under load a worker grew until each of its connections took 256 KiB. What is smaller comes
from a heap that need not shrink and grow with each piece of a list: by default it would from 128 KiB on."""


class ProxyWorkers:
    """``count`` of them, which read ``server_file``; sockets are in ``run_folder``."""

    def __init__(
        self,
        count: int,
        server_file: Path,
        run_folder: Path,
        log_folder: Path | None,
        *,
        busiest: int,
        on_restart: Callable[[str], None],
    ) -> None:
        """``log_folder``: None for logs on stderr; ``busiest``: how many workspaces metrics may name."""
        self._server_file = server_file
        self._run_folder = run_folder
        self._log_folder = log_folder
        self._on_restart = on_restart
        self._names = [f"worker-{number}" for number in range(count)]
        self._running: dict[str, Process] = {}
        self._replacing = asyncio.Lock()
        sources = [
            WorkerSource(name, run_folder / f"{name}.sock", partial(self._pid, name)) for name in [*self._names, SPARE]
        ]
        self.metrics = Workers(sources, busiest=busiest, optional=(SPARE,))

    @property
    def processes(self) -> list[Process]:
        return list(self._running.values())

    def listen(self) -> bool:
        """Whether all of them take connections."""
        return all(listening_file(self._run_folder, name).exists() for name in self._names)

    async def start(self) -> None:
        """Wait for nothing. Raises ProcessError."""
        for name in self._names:
            await self._start(name)

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self.processes), return_exceptions=True)

    async def replace(self) -> None:
        """One after the other, while a spare one serves with them: there is always somebody who takes connections.

        Raises ProcessError where the spare one does not come to listen: then all is as it was.
        """
        async with self._replacing:
            spare = await self._start(SPARE)
            try:
                await self._listens(spare)
                for name in self._names:
                    await self.metrics.remember(name)
                    await self._running[name].stop()
                    process = await self._start(name)
                    await self._listens(process)
                    process.mark_ready()
                await self.metrics.remember(SPARE)
            finally:
                await spare.stop()
                del self._running[SPARE]

    async def _start(self, name: str) -> Process:
        process = Process(
            Program(
                name=name,
                # -P: the folder that kcp happens to be started in is no place to import from.
                argv=[sys.executable, "-P", "-m", "proxy.server.worker", str(self._server_file), name],
                env=MALLOC | {key: os.environ[key] for key in os.environ if key.startswith(INHERITED)},
                log=self._log_folder / f"{name}.log" if self._log_folder else None,
                grace=GRACE,
            ),
            on_restart=self._on_restart,
        )
        listening_file(self._run_folder, name).unlink(missing_ok=True)
        await process.start()
        self._running[name] = process
        return process

    async def _listens(self, process: Process) -> None:
        file = listening_file(self._run_folder, process.program.name)
        deadline = time.monotonic() + LISTENS_WITHIN
        while not file.exists():
            process.raise_if_failed()
            if time.monotonic() > deadline:
                raise ProcessError(f"{process.program.name} does not listen after {LISTENS_WITHIN:g} s")
            await asyncio.sleep(POLL)

    def _pid(self, name: str) -> int | None:
        process = self._running.get(name)
        return process.pid if process is not None else None
