"""Programs are kept running, and end with us. Small shell scripts stand in for servers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from proxy.shard import supervisor
from proxy.shard.supervisor import Process, ProcessError, Program

Make = Callable[..., Process]


def log_of(process: Process) -> Path:
    assert process.program.log is not None
    return process.program.log


@pytest.fixture
async def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Make]:
    monkeypatch.setattr(supervisor, "FIRST_DELAY", 0.02)
    made: list[Process] = []

    def process(script: str, **options: object) -> Process:
        program = Program(
            name="it",
            argv=["/bin/sh", "-c", script],
            log=tmp_path / "log" / "it.log",
            **options,  # type: ignore[arg-type]
        )
        made.append(Process(program))
        return made[-1]

    yield process
    await asyncio.gather(*(process.stop() for process in made))


async def until(condition: Callable[[], object], timeout: float = 5.0) -> None:
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, "not within time"
        await asyncio.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether the process runs; one that only waits to be buried does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def test_dead_program_is_started_again(make: Make) -> None:
    process = make("exec sleep 60")
    await process.start()
    first = process.pid
    assert first
    os.kill(first, signal.SIGKILL)
    await until(lambda: process.pid not in (None, first))
    assert process.restarts == 1


async def test_stop_ends_it_for_good(make: Make) -> None:
    process = make("exec sleep 60")
    await process.start()
    pid = process.pid
    assert pid
    await process.stop()
    assert not alive(pid)
    assert process.pid is None


async def test_stop_during_a_restart_leaves_nothing(make: Make) -> None:
    mark = f"6{os.getpid()}.25"  # tells our children by their command line
    for moment in range(12):
        process = make(f"exec sleep {mark}")
        await process.start()
        process.mark_ready()
        assert process.pid
        os.kill(process.pid, signal.SIGKILL)
        await asyncio.sleep(0.004 * moment)
        await process.stop()
        assert running_with(mark) == [], f"stopped {4 * moment} ms after the death"


def running_with(mark: str) -> list[int]:
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and alive(int(folder.name)):
            with contextlib.suppress(OSError):
                if mark.encode() in (folder / "cmdline").read_bytes():
                    found.append(int(folder.name))
    return found


async def test_one_that_will_not_end_is_killed(make: Make) -> None:
    process = make("trap '' TERM; echo deaf; while :; do sleep 0.05; done", grace=0.2)
    await process.start()
    pid = process.pid
    assert pid
    await until(lambda: log_of(process).read_text())
    began = time.monotonic()
    await process.stop()
    assert 0.15 < time.monotonic() - began < 2
    assert not alive(pid)


async def test_waits_until_ready(make: Make, tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    process = make(f"sleep 0.2; touch {flag}; exec sleep 60")
    await process.start()
    await process.wait_ready(flag.exists, timeout=5)
    assert flag.exists()


async def test_never_ready_is_told_with_its_last_words(make: Make) -> None:
    process = make("echo error: no disk; exec sleep 60")
    await process.start()
    with pytest.raises(ProcessError, match=r"it was not ready within 0\.3 s: error: no disk"):
        await process.wait_ready(lambda: False, timeout=0.3)


async def test_one_that_dies_at_once_is_given_up(make: Make) -> None:
    process = make("echo some talk; echo Error: bad flag; echo usage; exit 3")
    await process.start()
    with pytest.raises(ProcessError, match="it ended with code 3: Error: bad flag"):
        await process.wait_ready(lambda: False, timeout=10)


async def test_one_that_was_ready_is_never_given_up(make: Make) -> None:
    process = make("exit 3")
    await process.start()
    process.mark_ready()
    await until(lambda: process.restarts > supervisor.PATIENCE)
    process.raise_if_failed()


async def test_program_that_is_not_there(tmp_path: Path) -> None:
    process = Process(Program(name="it", argv=[str(tmp_path / "none")], log=tmp_path / "log"))
    with pytest.raises(ProcessError, match=r"it: cannot run .*none: No such file or directory"):
        await process.start()
    await process.stop()


async def test_settings_for_other_servers_are_not_inherited(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETCD_DATA_DIR", "/elsewhere")
    process = make("env; exec sleep 60", env={"OWN": "1"})
    await process.start()
    await until(lambda: "OWN=1" in log_of(process).read_text())
    assert "ETCD" not in log_of(process).read_text()
    assert "PATH=" in log_of(process).read_text()


async def test_terminal_signals_reach_us_alone(make: Make) -> None:
    process = make("exec sleep 60")
    await process.start()
    assert process.pid
    assert os.getsid(process.pid) == process.pid != os.getsid(0)
    assert os.getpgid(process.pid) != os.getpgid(0)


async def test_restarts_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    program = Program(name="it", argv=["/bin/sleep", "60"], log=tmp_path / "log")
    process = Process(program, on_restart=told.append)
    await process.start()
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    await until(lambda: told)
    await process.stop()
    assert told == ["it was ended by SIGKILL"]


async def test_log_is_private_and_its_size_limited(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "LOG_LIMIT", 100_000)
    monkeypatch.setattr(supervisor, "LOG_CHECK", 0.05)
    process = make("while :; do echo 0123456789012345678901234567890123456789; done")
    await process.start()
    log = log_of(process)
    await until(lambda: log.with_name("it.log.1").exists())
    assert {path.stat().st_mode & 0o777 for path in log.parent.iterdir()} == {0o600}
    os.kill(process.pid or 0, signal.SIGSTOP)
    await until(lambda: log.stat().st_size <= 100_000)
    os.kill(process.pid or 0, signal.SIGKILL)


def test_nothing_outlives_a_killed_parent(tmp_path: Path) -> None:
    script = f"""
import asyncio
from pathlib import Path
from proxy.shard.supervisor import Process, Program

async def main():
    process = Process(Program(name="it", argv=["/bin/sleep", "60"], log=Path({str(tmp_path / "log")!r})))
    await process.start()
    print(process.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout
        pid = int(parent.stdout.readline())
        assert alive(pid)
        parent.kill()
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_without_a_log_it_speaks_where_we_do(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    process = Process(Program(name="it", argv=["/bin/sh", "-c", "echo said; exec sleep 60"], log=None))
    await process.start()
    said = ""

    def heard() -> bool:
        nonlocal said
        said += capfd.readouterr().err
        return "said" in said

    await until(heard)
    assert process.last_words() == ""
    await process.stop()
