"""Plays transcripts: a folder to work in, and a shell in which the commands are run."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.binaries import find
from tests.clusters.system import environment
from tests.e2e.ground import Ground
from tests.e2e.shell import Shell, ShellError
from tests.e2e.transcript import INTERRUPT, Step
from tests.images import REVERSEWORDS, SYNCER

BLOG = Path(__file__).parent / "blog"
RETRY = 0.3
"""Seconds between attempts of a step that is given time."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a step."""

    step: Step
    command: str
    output: str
    seconds: float
    problem: str | None
    """One line; None if everything was as it must be."""


def tools(folder: Path) -> dict[str, str]:
    """Variables of a user: this Python's programs and the right kubectl on PATH, a home of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    home, programs = folder / "home", folder / "programs"
    home.mkdir(exist_ok=True)
    programs.mkdir(exist_ok=True)
    kubectl = programs / "kubectl"
    kubectl.unlink(missing_ok=True)
    kubectl.symlink_to(find("kubectl"))
    path = [str(programs), str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("KUBE")}
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")  # where the control-plane programs are
    own = {"PATH": os.pathsep.join(path), "HOME": str(home), "XDG_CACHE_HOME": cache}
    return {**kept, **own, "NO_PROXY": "*", "no_proxy": "*"}


class Stage:
    """Where transcripts are played. ``values`` fill the places in them."""

    def __init__(self, folder: Path, shell: Shell, values: dict[str, str]) -> None:
        self.folder = folder
        self.values = values
        self._shell = shell

    async def play(self, step: Step) -> Outcome:
        """Run one step to its end, never raises for what a command does."""
        command = step.filled(self.values)
        started = time.monotonic()
        try:
            output, problem = await self._attempts(step, command, started)
        except ShellError as error:
            output, problem = "", str(error)
        return Outcome(step, command, output, time.monotonic() - started, problem)

    async def _attempts(self, step: Step, command: str, started: float) -> tuple[str, str | None]:
        if step.background is not None:
            return await self._shell.background(command, until=step.background), None
        if command == INTERRUPT:
            code = await self._shell.interrupt()
            return "", f"exit code {code}" if code else None
        while True:
            output, code = await self._shell.run(command)
            problem = step.mismatch(output, self.values)
            if problem is None and code != step.exit_code:
                problem = f"exit code {code} instead of {step.exit_code}"
            if problem is None or time.monotonic() - started > step.within:
                return output, problem
            await asyncio.sleep(RETRY)


@asynccontextmanager
async def stage(
    folder: Path, ground: Ground, *, url: str | None = None, flags: Sequence[str] = ()
) -> AsyncIterator[Stage]:
    """A shell in ``folder/work``, where the clusters' kubeconfigs are as well; kcp is ended at the end.

    ``url`` is that of kcp, where it is not one that starts in the shell; ``flags`` are further ones for its start.
    """
    work = folder / "work"
    work.mkdir(parents=True)
    for cluster in ground.clusters:
        (work / cluster.name).mkdir()
        (work / cluster.name / "kubeconfig").symlink_to(cluster.kubeconfig)
    shell = Shell(work, environment() | tools(folder))
    await shell.start()
    values = {
        "listen": " ".join([*ground.flags, *flags]),
        "url": url or ground.url,
        "syncer": SYNCER,
        "image": REVERSEWORDS,
    }
    try:
        yield Stage(folder, shell, values)
    finally:
        await shell.close()
