"""Other proxies before the same kube-apiserver: what they do is less (no mapping, no authentication, no metrics), so
their cost is what a proxy costs at all."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from proxy.binaries.build import compile_packages
from proxy.binaries.find import cache_folder
from proxy.shard.addresses import free_port

RELAY = "TLS relay"
"""The one that knows nobody: requests that pass it are the administrator's."""
GO_PROXY = Path(__file__).parent / "reverseproxy"


def go_proxy() -> Path:
    """Go's `httputil.ReverseProxy` as a program, built when its source has changed. Raises BinaryError."""
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(GO_PROXY.iterdir()))).hexdigest()[:12]
    place = cache_folder().parent / f"bench-{digest}" / "reverseproxy"
    if not place.is_file():
        compile_packages({GO_PROXY.name: place}, GO_PROXY, "building Go's reverse proxy", lambda _: None)
    return place


@contextmanager
def running(pki: Path, server: str) -> Iterator[dict[str, tuple[int, str]]]:
    """Process id and URL of each peer, before the kube-apiserver at ``server``; ``pki``: the folder of `kcp start`."""
    commands: dict[str, list[str]] = {
        "Go ReverseProxy": [str(go_proxy())],
        "aiohttp": [sys.executable, "-m", "tests.bench.peers.aiohttp_proxy"],
        RELAY: [sys.executable, "-m", "tests.bench.peers.relay"],
    }
    flags = {
        "cert": "serving.crt", "key": "serving.key", "ca": "apiserver-ca.crt",
        "tokens": "tokens.csv",
    }  # fmt: skip
    processes: list[subprocess.Popen[bytes]] = []
    found: dict[str, tuple[int, str]] = {}
    try:
        for name, command in commands.items():
            address = f"127.0.0.1:{free_port()}"
            command += [part for flag, file in flags.items() for part in (f"--{flag}", str(pki / file))]
            process = subprocess.Popen([*command, "--listen", address, "--server", server])
            processes.append(process)
            found[name] = (process.pid, f"https://{address}")
        yield found
    finally:
        for process in processes:
            process.kill()
            process.wait()


async def reachable(url: str) -> None:
    """Wait until somebody listens there."""
    host, _, port = url.partition("://")[2].partition(":")
    async with asyncio.timeout(60):
        while True:
            try:
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
