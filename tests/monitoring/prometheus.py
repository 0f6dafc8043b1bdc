"""A real Prometheus: Debian's package, unpacked beside the other programs, so that no service is started by it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path

from proxy.binaries.find import cache_folder
from tests.clusters.errors import ClusterError
from tests.clusters.system import run

PACKAGE = "prometheus"
_DOWNLOAD = f"apt-get download -qq {PACKAGE} || {{ apt-get update -qq && apt-get download -qq {PACKAGE}; }}"
"""The second way is for machines that have not looked at their mirror yet; it needs root."""


def program(name: str) -> Path | None:
    """``prometheus`` or ``promtool``, if there."""
    for found in (shutil.which(name), cache_folder().parent / PACKAGE / "usr" / "bin" / name):
        if found and Path(found).exists():
            return Path(found)
    return None


def install(say: Callable[[str], None]) -> None:
    """Obtain it where that can be done; it is no error where it cannot: its tests say that they are skipped."""
    if program("prometheus") and program("promtool"):
        return
    target = cache_folder().parent / PACKAGE
    target.mkdir(parents=True, exist_ok=True)
    say("obtaining Prometheus")
    with tempfile.TemporaryDirectory(dir=target.parent) as folder:
        try:
            run("sh", "-c", f"cd {folder} && chmod 755 . && {_DOWNLOAD}", timeout=300)
            [archive] = Path(folder).glob("*.deb")
            run("dpkg-deb", "-x", archive, target, timeout=120)
        except (ClusterError, ValueError) as error:
            say(f"no Prometheus, dashboards and alerts will not be tested: {error}")
