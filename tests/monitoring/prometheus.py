"""A real Prometheus: Debian's package, unpacked beside the other programs, so that no service is started by it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import yaml

from proxy.binaries.find import cache_folder
from proxy.shard.addresses import free_port
from tests.clusters.errors import ClusterError
from tests.clusters.system import REPOSITORY, run

PACKAGE = "prometheus"
_DOWNLOAD = f"apt-get download -qq {PACKAGE} || {{ apt-get update -qq && apt-get download -qq {PACKAGE}; }}"
"""The second way is for machines that have not looked at their mirror yet; it needs root."""


def program(name: str) -> Path | None:
    """``prometheus`` or ``promtool``, if there."""
    for found in (shutil.which(name), cache_folder().parent / PACKAGE / "usr" / "bin" / name):
        if found and Path(found).exists():
            return Path(found)
    return None


@asynccontextmanager
async def scraping(folder: Path, *, kcp: int, syncer: int) -> AsyncIterator[str]:
    """URL of a Prometheus with the configuration of ``manifests/monitoring``, but for the ports of loopback that it
    scrapes, and how often."""
    port = free_port()
    config = yaml.safe_load((REPOSITORY / "manifests" / "monitoring" / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(REPOSITORY / "grafana" / "rules" / "kcp.yaml")]
    config["scrape_configs"][0]["static_configs"][0]["targets"] = [f"127.0.0.1:{kcp}"]
    config["scrape_configs"][1]["static_configs"][0]["targets"] = [f"127.0.0.1:{syncer}"]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    process = await asyncio.create_subprocess_exec(
        str(program("prometheus")),
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        await process.wait()


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
