"""`kcp syncer` as a child process of the tests."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.shard.addresses import free_port

COMMAND = (sys.executable, "-m", "proxy.cli.kcp", "syncer")
SETTINGS = ("--allow-network", "127.0.0.1/32", "--lease-duration", "10s")
"""Clusters are on this machine; and who is killed is not waited for for long."""


class SyncerProcess:
    """Beside the kcp in ``root``; what it says is in ``log``."""

    def __init__(self, root: Path, *options: str) -> None:
        self.port = free_port()
        self.log = root.parent / f"syncer-{self.port}.log"
        self._argv = (
            *COMMAND,
            *("--root-directory", str(root), "--metrics-bind-address", f"127.0.0.1:{self.port}", "-v", "4"),
            *options,
        )
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(*self._argv, stdout=log, stderr=log)

    async def end(self, number: signal.Signals) -> int:
        assert self._process is not None
        self._process.send_signal(number)
        async with asyncio.timeout(20):
            return await self._process.wait()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            code = await self.end(signal.SIGTERM)
            assert code == 0, self.log.read_text()[-2000:]
