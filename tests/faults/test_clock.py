"""The wall clock of one process is wrong, whatever it is written in, and nothing else is."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from proxy.kube.client import Resource
from proxy.kube.times import parse_time
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.faults.clock import set_clock, why_not

REASON = why_not()
pytestmark = pytest.mark.skipif(REASON is not None, reason=REASON or "")
HOUR, DAY = 3600, 86400
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
PROGRAM = """
import ctypes, threading, time
c = ctypes.CDLL(None)
c.time.restype = ctypes.c_long
def ask():
    while True: time.time(); time.monotonic()
for _ in range(3): threading.Thread(target=ask, daemon=True).start()
while input():
    there, day = ctypes.c_long(), (ctypes.c_long * 2)()
    assert not c.gettimeofday(day, None)
    assert c.time(ctypes.byref(there)) == there.value
    print(time.time(), time.clock_gettime(5), there.value, day[0], time.monotonic(), *map(time.clock_gettime, (6, 7)))
"""
"""Wall clocks, by all ways that there are to ask for them, then clocks that nobody sets."""


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-u", "-c", PROGRAM]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _errors(process: subprocess.Popen[str]) -> list[float]:
    """How much each of the process's clocks is before ours."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("?\n")
    process.stdin.flush()
    told = [float(word) for word in process.stdout.readline().split()]
    ours = [time.time()] * 4 + list(map(time.clock_gettime, (1, 6, 7)))
    return [theirs - mine for theirs, mine in zip(told, ours, strict=True)]


def test_wall_clocks_of_a_python_process_are_wrong_and_monotonic_ones_true(process: subprocess.Popen[str]) -> None:
    assert _errors(process) == pytest.approx([0] * 7, abs=5)

    for ahead in (HOUR, -HOUR, 1000 * DAY, 0):
        set_clock(process.pid, ahead)
        assert _errors(process) == pytest.approx([ahead] * 4 + [0] * 3, abs=5)


def test_a_process_that_asks_all_the_time_can_be_set_again_and_again(process: subprocess.Popen[str]) -> None:
    for ahead in range(100, 300):
        set_clock(process.pid, ahead)

    assert _errors(process) == pytest.approx([299] * 4 + [0] * 3, abs=5)


def test_what_a_process_starts_has_the_right_clock() -> None:
    program = (
        "import subprocess, sys; input(); subprocess.run([sys.executable, '-c', 'import time; print(time.time())'])"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        time.sleep(0.1)
        set_clock(process.pid, DAY)
        out, _ = process.communicate(b"\n")

    assert float(out) == pytest.approx(time.time(), abs=30)


def test_a_process_that_is_not_there_is_named() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()

    with pytest.raises(ProcessLookupError):
        set_clock(process.pid, HOUR)


async def test_what_a_kube_apiserver_dates_jumps_with_its_clock(tmp_path: Path) -> None:
    async def made(name: str) -> float:
        """How much it was ahead of us, by the object's word."""
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        at = parse_time((await client.create(NAMESPACES, body))["metadata"]["creationTimestamp"])
        assert at is not None
        return (at - datetime.now(UTC)).total_seconds()

    settings = ControlPlaneSettings(folder=tmp_path / "plane", durable=False)
    async with ControlPlane(settings) as plane, plane.client() as client:
        pid = plane.processes["kube-apiserver"].pid
        assert pid is not None
        assert await made("now") == pytest.approx(0, abs=30)
        set_clock(pid, DAY)
        assert await made("tomorrow") == pytest.approx(DAY, abs=30)
        set_clock(pid, -HOUR)
        assert await made("an-hour-ago") == pytest.approx(-HOUR, abs=30)
        set_clock(pid, 0)
        assert await made("now-again") == pytest.approx(0, abs=30)
