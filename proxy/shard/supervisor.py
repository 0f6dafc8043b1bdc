"""Runs programs and keeps them running.

A program ends only with us: its parent's death kills it (PR_SET_PDEATHSIG), its own death brings it back. It has a
session of its own, so that Ctrl+C on the terminal reaches us alone and things end in the right order. What it says
goes straight to a file: a busy or dead parent never blocks it.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

LOG_LIMIT = 16 * 2**20
"""Bytes of a log file; at that size it becomes ``<name>.1`` and begins anew."""
LOG_CHECK = 20.0
"""Seconds between looks at the size of logs."""
FIRST_DELAY, LAST_DELAY = 0.2, 10.0
"""Seconds before a program that died is started again: doubled each time, up to the last."""
STABLE = 30.0
"""A program that ran for so many seconds starts again with the first delay."""
PATIENCE = 3
"""Deaths before a program was ever ready, after which starting it is given up."""

_PR_SET_PDEATHSIG = 1
_INHERITED = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ", "USER", "LOGNAME"),
    *("GOGC", "GOMAXPROCS", "GOMEMLIMIT"),  # how much of a machine a program in Go takes
)


class ProcessError(Exception):
    """A program that cannot be started or does not get ready: one line with the last that it said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """What to run."""

    name: str
    argv: Sequence[str]
    log: Path | None
    """File for what it prints; None: our own stderr."""
    cwd: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the few variables that are inherited: settings meant for other servers (``ETCD_…``) are not."""
    grace: float = 1.5
    """Seconds between SIGTERM and SIGKILL."""


class Process:
    """One supervised program: ``start()`` it, ``stop()`` it; in between it is restarted whenever it dies."""

    def __init__(self, program: Program, *, on_restart: Callable[[str], None] | None = None) -> None:
        """``on_restart`` is told, in one line, of each death that nobody asked for."""
        self.program = program
        self.restarts = 0
        self._on_restart = on_restart
        self._child: asyncio.subprocess.Process | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = asyncio.Event()
        self._failed: asyncio.Future[None] | None = None
        self._was_ready = False

    @property
    def pid(self) -> int | None:
        """Process id, None between two lives."""
        child = self._child
        return child.pid if child is not None and child.returncode is None else None

    async def start(self) -> None:
        """Spawn the program. Raises ProcessError where it cannot be executed."""
        self._failed = asyncio.get_running_loop().create_future()
        if self.program.log is not None:
            self.program.log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        await self._spawn()
        self._task = asyncio.create_task(self._supervise(), name=f"supervise {self.program.name}")

    def mark_ready(self) -> None:
        """From now on the program is restarted for ever; before that, some deaths in a row are taken for a fault."""
        self._was_ready = True

    async def wait_ready(self, probe: Callable[[], object], *, timeout: float, interval: float = 0.04) -> None:
        """Ask ``probe`` (sync or async, truthy when ready) until it says yes. Raises ProcessError."""
        assert self._failed is not None, "not started"
        deadline = time.monotonic() + timeout
        while True:
            answer = probe()
            if asyncio.iscoroutine(answer):
                answer = await answer
            if answer:
                self.mark_ready()
                return
            self.raise_if_failed()
            if time.monotonic() > deadline:
                raise ProcessError(f"{self.program.name} was not ready within {timeout:g} s{self.last_words()}")
            await asyncio.sleep(interval)

    def raise_if_failed(self) -> None:
        """Raises ProcessError if starting the program was given up."""
        if self._failed is not None and self._failed.done():
            self._failed.result()

    async def stop(self) -> None:
        """SIGTERM, SIGKILL after the program's grace; returns when it is gone."""
        self._stopping.set()
        await self._end_child()
        if self._task is not None:
            await self._task
            self._task = None
            await self._end_child()  # it may have been about to start the program again
        if self._failed is not None and self._failed.done():
            self._failed.exception()  # seen: nobody may have waited for it

    async def _end_child(self) -> None:
        child = self._child
        if child is None or child.returncode is not None:
            return
        _signal(child, signal.SIGTERM)
        try:
            await asyncio.wait_for(child.wait(), self.program.grace)
        except TimeoutError:
            log.warning("%s did not end within %g s: killed", self.program.name, self.program.grace)
            _signal(child, signal.SIGKILL)
            await child.wait()

    def last_words(self) -> str:
        """``: <last line of the log that tells something>``, or nothing."""
        if self.program.log is None:
            return ""
        try:
            with self.program.log.open("rb") as file:
                file.seek(max(0, self.program.log.stat().st_size - 16384))
                lines = file.read().decode(errors="replace").splitlines()
        except OSError:
            return ""
        lines = [line.strip() for line in lines if line.strip()]
        telling = [line for line in lines if line[:1] in "EF" or "rror" in line] or lines
        return f": {telling[-1][:400]}" if telling else ""

    async def _spawn(self) -> None:
        program = self.program
        env = {name: os.environ[name] for name in _INHERITED if name in os.environ} | dict(program.env)
        if program.log is None:
            output = os.dup(sys.stderr.fileno())
        else:
            # O_APPEND: the file can be cut at any time, see _rotate.
            output = os.open(program.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            self._child = await asyncio.create_subprocess_exec(
                *program.argv,
                cwd=program.cwd,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                preexec_fn=_die_with_parent(os.getpid()),
            )
        except OSError as error:
            raise ProcessError(f"{program.name}: cannot run {program.argv[0]}: {error.strerror or error}") from error
        finally:
            os.close(output)
        log.debug("%s started, pid %d", program.name, self._child.pid)

    async def _supervise(self) -> None:
        delay = FIRST_DELAY
        while not self._stopping.is_set():
            born = time.monotonic()
            code = await self._watch()
            if self._stopping.is_set():
                return
            self.restarts += 1
            message = f"{self.program.name} {_cause(code)}"
            if not self._was_ready and self.restarts >= PATIENCE:
                assert self._failed is not None
                self._failed.set_exception(ProcessError(message + self.last_words()))
                return
            log.warning("%s; starting it again", message)
            if self._on_restart:
                self._on_restart(message)
            if time.monotonic() - born > STABLE:
                delay = FIRST_DELAY
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), delay * random.uniform(0.8, 1.2))
                return
            delay = min(delay * 2, LAST_DELAY)
            try:
                await self._spawn()
            except ProcessError as error:  # the program was replaced or memory is short: keep trying
                log.warning("%s", error)

    async def _watch(self) -> int:
        """Wait for the end of the child, minding its log meanwhile; its exit code."""
        child = self._child
        assert child is not None
        while True:
            try:
                return await asyncio.wait_for(child.wait(), LOG_CHECK)
            except TimeoutError:
                if self.program.log is not None:
                    await asyncio.to_thread(_rotate, self.program.log)


def _rotate(path: Path) -> None:
    """Copy and cut: the program keeps its descriptor. A line written in between is lost, which a log can bear."""
    try:
        if path.stat().st_size > LOG_LIMIT:
            older = os.open(
                path.with_name(f"{path.name}.1"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600
            )
            with path.open("rb") as source, os.fdopen(older, "wb") as target:
                shutil.copyfileobj(source, target)
            os.truncate(path, 0)
    except OSError as error:
        log.warning("%s: %s", path, error)


def _die_with_parent(parent: int) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None, use_errno=True).prctl  # looked up now: after fork() only the call itself is safe

    def set_signal() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:  # it died before the call
            os._exit(1)

    return set_signal


def _signal(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        child.send_signal(number)


def _cause(code: int) -> str:
    if code < 0:
        try:
            return f"was ended by {signal.Signals(-code).name}"
        except ValueError:
            return f"was ended by signal {-code}"
    return f"ended with code {code}"
