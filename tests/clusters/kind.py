"""Clusters that kind makes in Docker, from ``manifests/kind``: what people try kcp with first, and what workflows have.

Environment variable ``KIND_NODE_IMAGE`` chooses the release of Kubernetes.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import manifests
from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from syncer.image.errors import ImageError
from tests import images
from tests.clusters.errors import ClusterError
from tests.clusters.spec import Runtime

CONFIGS = Path(manifests.__file__).parent / "kind"
IMAGE = "KIND_NODE_IMAGE"
NETWORK = "kind"
"""Docker's network that kind's nodes are in."""
CREATION = 600.0
"""Seconds, with the node's image to be fetched."""
READY = 120.0


def obstacle() -> str | None:
    """Why there can be no such clusters here."""
    for program in ("docker", "kind"):
        if shutil.which(program) is None:
            return f"there is no {program} on PATH"
    try:
        _run("docker", "version", "--format", "{{.Server.Version}}")
    except ClusterError as error:
        return str(error)
    return None


def host_address() -> str:
    """This machine's address for servers that pods of kind's clusters use; there is none before the first cluster."""
    [network] = json.loads(_run("docker", "network", "inspect", NETWORK))
    for config in network["IPAM"]["Config"]:
        gateway: str = config.get("Gateway", "")
        if "." in gateway:
            return gateway
    raise ClusterError(f"Docker's network {NETWORK} has no IPv4 gateway")


class KindCluster:
    """``config`` is a file of ``manifests/kind``. Kept when it is stopped, gone when destroyed."""

    runtime: Runtime = "kind"

    def __init__(self, name: str, *, root: Path, config: str = "physical.yaml") -> None:
        self.name = name
        self.folder = root / name
        self._config = CONFIGS / config
        self._node = f"{name}-control-plane"

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "kubeconfig"

    @property
    def address(self) -> str:
        address: str = self._inspected()["NetworkSettings"]["Networks"][NETWORK]["IPAddress"]
        return address

    @property
    def process(self) -> int | None:
        pid: int = self._inspected()["State"]["Pid"]
        return pid or None

    def client(self) -> Client:
        return Client(load_kubeconfig(self.kubeconfig))

    async def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        if self.kubeconfig.exists():
            await asyncio.to_thread(_run, "docker", "start", self._node)
        else:
            say(f"{self.name}: kind makes it")
            await asyncio.to_thread(self._create)
        await self._until_ready()

    async def stop(self) -> None:
        await asyncio.to_thread(_run, "docker", "stop", self._node)

    async def destroy(self) -> None:
        await asyncio.to_thread(_run, "kind", "delete", "cluster", "--name", self.name)
        await asyncio.to_thread(shutil.rmtree, self.folder, ignore_errors=True)

    def load(self) -> None:
        """Give it the images that tests run. Raises ClusterError."""
        try:
            archives = images.ensure()
        except ImageError as error:
            raise ClusterError(str(error)) from error
        for archive in archives:
            _run("kind", "load", "image-archive", "--name", self.name, str(archive))

    def read(self, path: str) -> str:
        """A file of the node."""
        return _run("docker", "exec", self._node, "cat", path)

    def _create(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.kubeconfig.touch(mode=0o600)
        image = os.environ.get(IMAGE)
        chosen = ("--image", image) if image else ()
        where = ("--config", str(self._config), "--kubeconfig", str(self.kubeconfig))
        try:
            _run("kind", "create", "cluster", "--name", self.name, *where, *chosen, timeout=CREATION)
        except ClusterError:
            self.kubeconfig.unlink()
            raise

    async def _until_ready(self) -> None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + READY
        async with self.client() as client:
            while True:
                try:
                    await client.request("GET", "/api/v1/namespaces/default")
                except StatusError as error:
                    if loop.time() > deadline:
                        raise ClusterError(f"cluster {self.name} is not ready after {READY:g} s: {error}") from error
                    await asyncio.sleep(0.2)
                else:
                    return

    def _inspected(self) -> dict[str, Any]:
        [found] = json.loads(_run("docker", "inspect", self._node))
        return dict(found)


def _run(*command: str, timeout: float = 120.0) -> str:
    """What it prints. Raises ClusterError with its last words."""
    what = " ".join(command[:3])
    try:
        outcome = subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)
    except subprocess.TimeoutExpired as error:
        raise ClusterError(f"{what} took more than {timeout:g} s") from error
    except OSError as error:
        raise ClusterError(f"{what}: {error.strerror}") from error
    if outcome.returncode:
        lines = outcome.stderr.strip().splitlines()
        raise ClusterError(f"{what}: {lines[-1] if lines else f'exit code {outcome.returncode}'}")
    return outcome.stdout
