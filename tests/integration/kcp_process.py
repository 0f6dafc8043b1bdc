"""`kcp start` as a child process of the tests."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.shard.addresses import free_port
from proxy.tenancy.api import WORKSPACES
from tests.integration.eventually import eventually

COMMAND = (sys.executable, "-m", "proxy.cli.kcp")


class Kcp:
    """A `kcp start` on loopback with a folder of its own; ``async with`` waits until it says that it is ready."""

    def __init__(self, root: Path, *options: str, port: int | None = None, metrics: str | None = "off") -> None:
        """``metrics``: address to be scraped at, unless the options have one; None for the default one."""
        self.root = root
        self.port = port or free_port()
        self.kubeconfig = root / "admin.kubeconfig"
        self.output = ""
        """All that it has said so far, on stdout and stderr."""
        given = metrics is None or "--metrics-bind-address" in options
        self._options = options if given else (*options, "--metrics-bind-address", str(metrics))
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self, path: str) -> Client:
        """The administrator's, of the workspace at ``path``."""
        everywhere = load_kubeconfig(self.kubeconfig, "system:admin")
        return Client(replace(everywhere, server=f"{everywhere.server}/clusters/{path}"))

    async def make_workspace(
        self, parent: str, name: str, kind: str = "Universal", *, shard: str | None = None, timeout: float = 60
    ) -> None:
        """Until it is Ready."""
        spec = {"type": kind, **({"shard": {"name": shard}} if shard is not None else {})}
        obj = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}, "spec": spec}
        async with self.client(parent) as client:
            await client.create(WORKSPACES, obj)

            async def ready() -> bool:
                return ((await client.get(WORKSPACES, name)).get("status") or {}).get("phase") == "Ready"

            await eventually(ready, timeout=timeout)

    async def says(self, words: str, *, timeout: float) -> None:
        """Wait until it has said so."""

        async def said() -> bool:
            return words in self.output

        await eventually(said, timeout=timeout)

    async def begin(self) -> None:
        """Start it and wait for nothing."""
        self._process = await asyncio.create_subprocess_exec(
            *COMMAND,
            *("start", "--bind-address", "127.0.0.1", "--secure-port", str(self.port)),
            *("--root-directory", str(self.root), *self._options),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        self.root.parent.mkdir(parents=True, exist_ok=True)
        with (self.root.parent / f"{self.root.name}-output.log").open("ab", buffering=0) as log:
            async for line in self._process.stdout:
                log.write(line)
                self.output += line.decode()
                if line.startswith(b"Ctrl+C"):  # the last line of the welcome
                    self._ready.set()
        self._ready.set()

    async def __aenter__(self) -> Self:
        await self.begin()
        async with asyncio.timeout(120):
            await self._ready.wait()
        assert self._process is not None
        assert "kcp is ready" in self.output, self.output
        await eventually(self._complete, timeout=60)
        return self

    async def _complete(self) -> bool:
        """Whether the shard's controllers run as well: kcp is ready a moment before."""
        commands = children(self.pid).values()
        embedded = any("kube-apiserver" in command for command in commands)
        return not embedded or any("kube-controller-manager" in command for command in commands)

    async def kill(self) -> None:
        """Itself; what it has started ends with it."""
        parts = children(self.pid)
        await self.end(signal.SIGKILL)

        async def nothing_left() -> bool:
            return not any(is_alive(pid) for pid in parts)

        await eventually(nothing_left, timeout=30)

    async def again(self) -> None:
        """Start it once more, after its end, until it is ready."""
        self._ready.clear()
        self.output = ""
        await self.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        if self._process.returncode is None:
            await self.end(signal.SIGTERM)

    async def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit code."""
        assert self._process is not None
        assert self._reader is not None
        self._process.send_signal(number)
        async with asyncio.timeout(20):
            code = await self._process.wait()
            await self._reader
        return code


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def run_kcp(*arguments: str) -> tuple[int, str, str]:
    """A command that ends by itself: exit code, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(60):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return process.returncode, output.decode(), errors.decode()


def children(pid: int) -> dict[int, str]:
    """Command lines of the direct children of a process, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == pid and fields[0] != "Z":
                found[int(folder.name)] = os.fsdecode((folder / "cmdline").read_bytes().replace(b"\0", b" "))
        except OSError:
            continue  # it ended meanwhile
    return found
