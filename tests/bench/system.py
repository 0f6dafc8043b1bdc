"""What is measured: a `kcp start` of its own in a temporary folder, and its kube-apiserver beside it."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Self

from proxy.kube.client import Client, Resource
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from tests.bench.load import Target
from tests.bench.peers import RELAY

WORKSPACES = Resource("tenancy.kcp.dev", "v1beta1", "workspaces", namespaced=False)
RBAC = "rbac.authorization.k8s.io"
ROLES = Resource(RBAC, "v1", "clusterroles", namespaced=False)
BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", namespaced=False)
USER, USER_TOKEN = "bench", "bench-token"
LOGICAL = Resource("internal.kcp.dev", "v1alpha1", "logicalclusters", namespaced=False)
TICKS = os.sysconf("SC_CLK_TCK")


class System:
    """``async with System() as system``; ``workspace`` is a new Universal one, ``token`` what it is called by below."""

    def __init__(self, workers: int, *options: str) -> None:
        """``options``: further flags of `kcp start`."""
        self._workers = workers
        self._options = options
        self._folder = tempfile.TemporaryDirectory(prefix="kcp-bench-")
        self.root = Path(self._folder.name) / ".kcp"
        self.ready_seconds = 0.0
        """From `kcp start` until it says that it is ready."""
        self.token = ""
        self.name = "bench"
        self.peers: dict[str, int] = {}
        """Process ids of other proxies that are measured."""
        self.scraped = free_port()
        """Where its metrics are, on loopback."""

    async def __aenter__(self) -> Self:
        self._port = free_port()
        self.url = f"https://127.0.0.1:{self._port}"
        tokens = Path(self._folder.name) / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text(f"{USER_TOKEN},{USER},1,dev\n")
        await self._start()
        kubeconfig = self.root / "admin.kubeconfig"
        self.root_client = Client(load_kubeconfig(kubeconfig, "root"))
        await self.create_workspace("benchmarks", "Organization")
        self.org = Client(load_kubeconfig(at(kubeconfig, f"{self.url}/clusters/root:benchmarks")))
        await self.create_workspace(self.name, "Universal", self.org)
        self.token = await self.token_of(f"root:benchmarks:{self.name}")
        self.client = Client(load_kubeconfig(at(kubeconfig, f"{self.url}/clusters/root:benchmarks:{self.name}")))
        await grant(self.org, "tenancy.kcp.dev", "clusterworkspaces/content", "access")
        await grant(self.client, "", "configmaps", "*")
        return self

    async def _start(self) -> None:
        command = [sys.executable, "-m", "proxy.cli.kcp", "start", "--bind-address", "127.0.0.1"]
        command += ["--secure-port", str(self._port), "--root-directory", str(self.root)]
        command += ["--workers", str(self._workers), "--metrics-bind-address", f"127.0.0.1:{self.scraped}"]
        command += ["--token-auth-file", str(Path(self._folder.name) / "tokens.csv"), *self._options]
        said = Path(self._folder.name) / "said"
        began = time.perf_counter()
        with said.open("wb") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)  # noqa: ASYNC220
        while "kcp is ready" not in said.read_text():
            if self.process.poll() is not None:
                raise RuntimeError(f"kcp start ended: {said.read_text()}")
            await asyncio.sleep(0.02)
        self.ready_seconds = time.perf_counter() - began
        self.shard = Client(load_kubeconfig(self.root / "shard" / "admin.kubeconfig"))

    async def _end(self) -> None:
        await self.shard.close()
        self.process.terminate()
        await asyncio.to_thread(self.process.wait, 60)

    async def restart(self) -> None:
        """End it in good order and start it again, with all that it has stored; `ready_seconds` is of this start."""
        await self._end()
        await self._start()

    async def __aexit__(self, *exc: object) -> None:
        for client in (self.root_client, self.org, self.client):
            await client.close()
        await self._end()
        self._folder.cleanup()

    async def create_workspace(self, name: str, kind: str, parent: Client | None = None) -> float:
        """Seconds from the request until the workspace is Ready."""
        client = parent or self.root_client
        began = time.perf_counter()
        body = {
            "apiVersion": WORKSPACES.api_version,
            "kind": "Workspace",
            "metadata": {"name": name},
            "spec": {"type": kind},
        }
        made = await client.create(WORKSPACES, body)
        version = made["metadata"]["resourceVersion"]
        if (made.get("status") or {}).get("phase") == "Ready":
            return time.perf_counter() - began
        selector = f"metadata.name={name}"
        async for event in client.watch(WORKSPACES, resource_version=version, field_selector=selector):
            if (event["object"].get("status") or {}).get("phase") == "Ready":
                break
        return time.perf_counter() - began

    async def token_of(self, path: str) -> str:
        for item in (await self.shard.list(LOGICAL))["items"]:
            if item["spec"]["path"] == path:
                return str(item["metadata"]["name"])
        raise StatusError(404, path)

    def direct(self) -> Target:
        """The kube-apiserver itself, as its administrator; paths need the workspace's prefix."""
        connection = self.shard.connection
        tls = connection.ssl_context()
        assert tls is not None
        return Target("direct", connection.server, tls, (("authorization", f"Bearer {connection.token}"),))

    def proxied(self) -> Target:
        """The workspace, as a user with a token and RBAC's leave."""
        connection = self.client.connection
        tls = ssl.create_default_context(cadata=(connection.ca_data or b"").decode())
        return Target("proxy", connection.server, tls, (("authorization", f"Bearer {USER_TOKEN}"),))

    def peer(self, name: str, url: str) -> Target:
        """Another proxy before the same kube-apiserver, which shows the same certificate."""
        asks = self.direct() if name == RELAY else self.proxied()
        return Target(name, url, self.proxied().tls, asks.headers)

    def processes(self) -> dict[str, list[int]]:
        """Process ids by what they are: proxy workers, kcp itself (controllers), kube-apiserver, etcd, ..."""
        found: dict[str, list[int]] = {"kcp": [self.process.pid]} | {name: [pid] for name, pid in self.peers.items()}
        for pid in _children(self.process.pid):
            line = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            name = "proxy" if b"proxy.server.worker" in line else Path(line[0].decode()).name
            found.setdefault(name, []).append(pid)
        return found

    def cpu(self) -> dict[str, float]:
        """CPU seconds used so far, by kind of process."""
        return {name: sum(cpu_seconds(pid) for pid in pids) for name, pids in self.processes().items()}

    def memory(self) -> dict[str, float]:
        """Resident MiB, by kind of process."""
        return {name: sum(memory_mib(pid) for pid in pids) for name, pids in self.processes().items()}


async def grant(client: Client, group: str, resource: str, verb: str, user: str = USER) -> None:
    """To ``user``, in a whole workspace, or a whole shard."""
    rule = {"apiGroups": [group], "resources": [resource], "verbs": [verb]}
    await client.create(ROLES, {"metadata": {"name": user}, "rules": [rule]})
    role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": user}
    subjects = [{"apiGroup": RBAC, "kind": "User", "name": user}]
    await client.create(BINDINGS, {"metadata": {"name": user}, "roleRef": role, "subjects": subjects})


def at(kubeconfig: Path, server: str) -> dict[str, Any]:
    import yaml

    config: dict[str, Any] = yaml.safe_load(kubeconfig.read_text())
    for cluster in config["clusters"]:
        cluster["cluster"]["server"] = server
    return config


def _children(pid: int) -> list[int]:
    return [
        int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()
    ]


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def memory_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024
    return 0.0
