"""A shell that stays: variables and folders set by one command hold for the next."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from tests.clusters.system import end_with_parent

BUFFER = 64 * 2**20
"""Bytes that a command may print."""


class ShellError(Exception):
    """A command that did not end in time, or something in the background that ended too early."""


class Shell:
    """bash in ``folder``. A command's output is what it writes to either stream, in its order."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self.environment = dict(environment)
        self._bash: asyncio.subprocess.Process | None = None
        self._background: asyncio.subprocess.Process | None = None
        self._reading: asyncio.Task[None] | None = None
        self._printed = bytearray()

    async def start(self) -> None:
        self._bash = await self._spawn("bash", "--norc", "--noprofile", "-o", "pipefail", limit=BUFFER)

    async def close(self) -> None:
        """End it, and what runs in the background."""
        await self.interrupt(timeout=10, kill=True)
        bash, self._bash = self._bash, None
        if bash is not None:
            _kill(bash)
            await bash.wait()

    async def run(self, command: str, *, timeout: float = 120) -> tuple[str, int]:
        """Output and exit code of ``command``. Raises ShellError after ``timeout`` seconds; the shell is over then."""
        bash = self._bash
        assert bash is not None
        assert bash.stdin is not None
        assert bash.stdout is not None
        mark = f"end-{uuid.uuid4().hex}"
        bash.stdin.write(f"{{ {command}\n}} </dev/null 2>&1; printf '\\n%s %s\\n' {mark} $?\n".encode())
        try:
            output = await asyncio.wait_for(bash.stdout.readuntil(f"{mark} ".encode()), timeout)
            code = await asyncio.wait_for(bash.stdout.readline(), timeout)
        except TimeoutError as error:
            _kill(bash)
            raise ShellError(f"`{command}` did not end within {timeout:g} s") from error
        except asyncio.IncompleteReadError as error:
            raise ShellError(f"the shell ended with `{command}`") from error
        return output.decode(errors="replace").removesuffix(f"\n{mark} "), int(code)

    async def background(self, command: str, *, until: str, timeout: float = 120) -> str:
        """Start ``command`` beside the shell; what it printed when ``until`` was among it. Raises ShellError."""
        self._background = process = await self._spawn("bash", "-c", f"exec {command}")
        self._printed.clear()
        self._reading = asyncio.create_task(self._read(process))
        deadline = time.monotonic() + timeout
        while until.encode() not in self._printed:
            if self._reading.done():
                raise ShellError(f"`{command}` ended: {self._printed.decode(errors='replace').strip()}")
            if time.monotonic() > deadline:
                raise ShellError(f"`{command}` did not print {until!r} within {timeout:g} s")
            await asyncio.sleep(0.02)
        return self._printed.decode(errors="replace")

    async def interrupt(self, *, timeout: float = 20, kill: bool = False) -> int:
        """Ctrl+C for what runs in the background; its exit code. ``kill`` ends it by force if need be."""
        process, self._background = self._background, None
        if process is None:
            return 0
        if process.returncode is None:
            process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(process.wait(), timeout)
            except TimeoutError as error:
                _kill(process)
                await process.wait()
                if not kill:
                    raise ShellError(f"Ctrl+C had no effect within {timeout:g} s") from error
        if self._reading is not None:
            await self._reading
        return process.returncode if process.returncode is not None else -1

    async def _read(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while chunk := await process.stdout.read(65536):
            self._printed += chunk

    async def _spawn(self, *command: str, limit: int = 2**16) -> asyncio.subprocess.Process:
        return await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env=self.environment,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            limit=limit,
            start_new_session=True,
            preexec_fn=end_with_parent(),
        )


def _kill(process: asyncio.subprocess.Process) -> None:
    """With its children: they hold its pipes."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
