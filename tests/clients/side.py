"""A cluster as a client sees it: a kubeconfig, and programs run with it."""

from __future__ import annotations

import asyncio
import difflib
import os
import pprint
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml

from proxy.binaries import find
from tests.e2e.workspaces.installation import Outcome
from tests.integration.eventually import eventually

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Side:
    name: str
    """``plain`` or ``workspace``: for messages only, no scenario depends on it."""
    kubeconfig: Path
    folder: Path
    """HOME of the programs, and theirs to write in."""

    @property
    def server(self) -> str:
        """URL that the kubeconfig has."""
        config = yaml.safe_load(self.kubeconfig.read_text())
        [cluster] = config["clusters"]
        return str(cluster["cluster"]["server"])

    @property
    def environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBE", "HELM"))}
        return {**kept, "KUBECONFIG": str(self.kubeconfig), "HOME": str(self.folder)}

    async def run(self, *command: str | Path, stdin: str | None = None, **environment: str) -> Outcome:
        """A program to its end, two minutes at most."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.folder,
            env={**self.environment, **environment},
            stdin=asyncio.subprocess.DEVNULL if stdin is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(120):
                out, err = await process.communicate(None if stdin is None else stdin.encode())
        except TimeoutError:
            process.kill()
            await process.wait()
            raise
        return Outcome(process.returncode or 0, out.decode(), err.decode())

    async def kubectl(self, *arguments: str, stdin: str | None = None) -> str:
        """What kubectl prints; it must succeed."""
        outcome = await self.run(find("kubectl"), *arguments, stdin=stdin)
        assert outcome.code == 0, f"{self.name}: kubectl {' '.join(arguments)}: {outcome.text}"
        return outcome.out

    async def established(self, *crds: str) -> None:
        """``kubectl wait`` for CRDs; again where it gives up: on one so new that its ``status.conditions`` is null."""
        command = ("wait", "--for=condition=Established", "--timeout=30s", *(f"crd/{name}" for name in crds))
        await eventually(lambda: self._succeeds(*command), timeout=60, interval=0.3)

    async def _succeeds(self, *arguments: str) -> bool:
        return (await self.run(find("kubectl"), *arguments)).code == 0

    async def get(self, *arguments: str) -> Any:
        """``kubectl get ... -o json``, decoded."""
        return orjson.loads(await self.kubectl("get", *arguments, "-o", "json"))

    @asynccontextmanager
    async def running(self, *command: str | Path, **environment: str) -> AsyncIterator[asyncio.subprocess.Process]:
        """A program that stays; its output is in ``<folder>/<its name>.log``. SIGTERM ends it."""
        with (self.folder / f"{Path(command[0]).name}.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *command, cwd=self.folder, env={**self.environment, **environment}, stdout=log, stderr=log
            )
            try:
                yield process
            finally:
                if process.returncode is None:
                    process.terminate()
                    try:
                        await asyncio.wait_for(process.wait(), 20)
                    except TimeoutError:
                        process.kill()
                        await process.wait()


@dataclass(frozen=True, slots=True)
class Sides:
    plain: Side
    workspace: Side

    async def same(self, scenario: Callable[[Side], Awaitable[T]]) -> T:
        """Play it on both at the same time: the results must be equal; the result."""
        plain, workspace = await asyncio.gather(scenario(self.plain), scenario(self.workspace))
        differences = difflib.unified_diff(_lines(plain), _lines(workspace), "plain", "workspace", lineterm="")
        assert workspace == plain, "\n".join(differences)
        return plain


def _lines(value: object) -> list[str]:
    return pprint.pformat(value, width=120).splitlines()
