"""Running the machine's own tools."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import tests
from tests.clusters.errors import ClusterError

_PR_SET_PDEATHSIG = 1
REPOSITORY = Path(str(tests.__file__)).resolve().parent.parent
SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")
"""Where iptables and runc are, also where the PATH of a user who became root leaves these folders out."""


def environment() -> dict[str, str]:
    """Variables for everything started here: this package can be imported, and system programs are found."""
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    path += [folder for folder in SBIN if folder not in path]
    return {**os.environ, "PATH": os.pathsep.join(path), "PYTHONPATH": str(REPOSITORY)}


def run(*command: str | Path, timeout: float = 60) -> str:
    """Run for ``timeout`` seconds at most; returns what it prints. Raises ClusterError with its last complaint."""
    line = [str(part) for part in command]
    try:
        outcome = subprocess.run(
            line,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            env=environment(),
            timeout=timeout,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ClusterError(f"{line[0]}: {getattr(error, 'strerror', None) or error}") from error
    if outcome.returncode:
        complaint = (outcome.stderr.strip() or outcome.stdout.strip() or f"exit code {outcome.returncode}").splitlines()
        raise ClusterError(f"`{' '.join(line)}` failed: {complaint[-1]}")
    return outcome.stdout


def end_with_parent() -> Callable[[], None]:
    """For ``preexec_fn``: the new process gets SIGTERM when this one ends, the way it ends notwithstanding.

    And it hears Ctrl+C, which whoever is started in the background of a script has been told to ignore.
    """
    prctl = ctypes.CDLL(None).prctl  # looked up now: after fork() only the call itself is safe

    def ask() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)

    return ask


def ip(*arguments: str) -> Any:
    """``ip -json …``, decoded; an empty list where it prints nothing."""
    output = run("ip", "-json", *arguments).strip()
    return json.loads(output) if output else []


def tail(path: Path) -> str:
    """The last line of a log, or nothing."""
    try:
        lines = [line for line in path.read_text(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    return lines[-1][:400] if lines else ""
