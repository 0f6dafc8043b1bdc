"""``python -m tests``: all tests, in three runs of pytest side by side.

Much of their time goes by in waiting, for control planes to start and for what they do to arrive: two runs leave a
quarter of two cores idle. Progress is shown as it comes; what a run has to say at its end follows in one piece.

Three runs keep two cores so busy that what is to happen within a time may not: few tests of `TIMED` that failed are
tried once more, alone, so that it is seen whether that was the reason. They have failed all the same.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import FAILED

HERE = Path(__file__).parent
RUNS = (("integration",), ("e2e", "integration/conversion"))
"""Folders of the first runs; the last one has all others. Physical clusters, whose networks have fixed names, are
started in one run alone."""
MOVED = ("integration/pushing", "integration/syncing")
"""What the last run has of the others' folders, so that all take about as long."""
PROCESSORS = max((os.cpu_count() or 1) // (len(RUNS) + 1), 1)
"""That a program in Go may use at once: where all are busy, it takes a fifth less if it does not try for more."""
TIMED = ("integration", "e2e", "clients")
"""Folders whose tests wait for control planes and their clients."""
AGAIN = 3
"""Failed tests that are tried once more, at most: of more, something else is the reason."""
TESTS_FAILED, NONE_SELECTED = pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED
_END = re.compile(r"=+ (FAILURES|ERRORS|warnings summary|short test summary info|.*\bin [\d.]+s.*) =+$")
_BROKEN = "INTERNALERROR>"
"""What pytest begins a line with when it cannot go on; it has nothing to say at its end then."""
_CLOSING = re.compile(r"=* ?\d+ .*\bin [\d.]+s\b")
_TIMED = re.compile(re.escape(FAILED) + rf"(tests/(?:{'|'.join(TIMED)})/\S+(?:\[.*?\])?) \((?:setup|call)\)")
"""What fails while all is taken down is what was seen of all tests."""
_COUNT = re.compile(r"(\d+) (passed|failed|errors?|skipped|xfailed|xpassed)\b")


def groups() -> list[list[str]]:
    """The folders of each run."""
    folders = sorted(path.parent.name for path in HERE.glob("*/__init__.py") if any(path.parent.rglob("test_*.py")))
    named = [name for names in RUNS for name in names]
    return [*map(list, RUNS), [*(name for name in folders if name not in named), *MOVED]]


def left_out(folders: list[str]) -> list[str]:
    """What is inside of ``folders`` and stands in another run."""
    apart = [*(name for names in RUNS for name in names if "/" in name), *MOVED]
    return [name for name in apart if name not in folders]


@dataclass
class Outcome:
    """Of one run of pytest."""

    code: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    """How many tests ended how."""
    failures: list[str] = field(default_factory=list)
    """A line each."""


async def run_folders(folders: list[str], arguments: list[str]) -> Outcome:
    paths = [str(HERE / folder) for folder in folders]
    paths += [f"--ignore={HERE / name}" for name in left_out(folders)]
    return await run(paths, arguments)


async def run(paths: list[str], arguments: list[str]) -> Outcome:
    outcome = Outcome()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "pytest", *paths, *arguments),
        env={"GOMAXPROCS": str(PROCESSORS), **os.environ},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        limit=2**24,
    )
    assert process.stdout is not None
    ending: list[str] = []
    closing = ""
    async for raw in process.stdout:
        line = raw.decode(errors="replace").rstrip("\n")
        if _CLOSING.match(line):
            closing = line
        if line.startswith(FAILED):
            outcome.failures.append(line)
        if ending or _END.match(line) or line.startswith(_BROKEN):
            ending.append(line)
        else:
            print(line, flush=True)
    print("\n".join(ending), flush=True)
    for number, how in _COUNT.findall(closing):
        outcome.counts["failed" if how.startswith("error") else how] += int(number)
    outcome.code = await process.wait()
    if outcome.code not in (0, NONE_SELECTED, TESTS_FAILED):
        broken = [line for line in ending if line.startswith(_BROKEN)][-20:]
        outcome.failures += [*broken, f"pytest {' '.join(paths)} ended with {outcome.code}"]
    return outcome


async def run_all(arguments: list[str]) -> int:
    outcomes = await asyncio.gather(*(run_folders(folders, arguments) for folders in groups()))
    counts = sum((outcome.counts for outcome in outcomes), Counter[str]())
    # With arguments that select tests, a run may have none of them.
    codes = {outcome.code for outcome in outcomes} - {NONE_SELECTED}
    failures = [line for outcome in outcomes for line in outcome.failures]
    again = [found for line in failures if (found := _TIMED.match(line))]
    if 0 < len(again) == len(failures) <= AGAIN:
        names = [found[1] for found in again]
        print(f"once more, alone: {' '.join(names)}", flush=True)
        alone = await run([str(HERE.parent / name) for name in names], [])
        still = {found[1] for line in alone.failures if (found := _TIMED.match(line))}
        passed = [name for name in names if alone.code in (0, TESTS_FAILED) and name not in still]
        failures += [f"passes alone: {name}" for name in passed]
    for line in failures:
        print(line)
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return max(map(abs, codes), default=NONE_SELECTED)


if __name__ == "__main__":
    sys.exit(asyncio.run(run_all(sys.argv[1:])))
