"""Run what takes long, and say how long it takes."""

from __future__ import annotations

import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.binaries.find import BinaryError

Progress = Callable[[str], None]


def run(
    command: Sequence[str | Path], folder: Path, environment: dict[str, str], what: str, progress: Progress
) -> None:
    """Run to the end, reporting the time that has passed. Raises BinaryError with the last line of what it printed."""
    started = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        try:
            process = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=subprocess.STDOUT)
        except OSError as error:
            raise BinaryError(f"{what}: {command[0]}: {error.strerror}") from error
        try:
            while True:
                try:
                    code = process.wait(timeout=1)
                    break
                except subprocess.TimeoutExpired:
                    progress(f"{what} ({time.monotonic() - started:.0f} s)")
        except BaseException:
            process.kill()
            process.wait()
            raise
        if code:
            log.seek(0)
            lines = [line.strip() for line in log.read().splitlines() if line.strip()]
            raise BinaryError(f"{what} failed: {lines[-1] if lines else f'exit code {code}'}")
