"""A kcp, a physical cluster's API server and a syncer between them, each as processes that can be killed.

All is set up as users do it, with the manifest that `kubectl kcp workload sync` prints; only the pod is a process here,
with the arguments and the rights that the manifest gives to it.
"""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import yaml

from proxy.binaries import find
from proxy.kube.client import Client, Resource
from proxy.kube.config import write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from syncer.names import physical_namespace
from syncer.namespaces import CLUSTERS
from tests.bench.system import System
from tests.faults.relay import Relay
from tests.integration import etcd_copies

ACCOUNTS = Resource("", "v1", "serviceaccounts")
CLUSTER = "east"


class Rig:
    """``above`` is the workspace's client (its owner), ``below`` the cluster's (its administrator).

    The syncer reaches both sides through relays that can be cut.
    """

    def __init__(self, folder: Path, *, resources: tuple[str, ...] = (), flags: tuple[str, ...] = ()) -> None:
        self.folder = folder
        self.system = System(workers=2)
        settings = ControlPlaneSettings(folder=folder / "physical", controllers=("*",), admission_off=())
        self.plane = ControlPlane(settings)
        self.path = f"root:benchmarks:{self.system.name}"
        self.metrics_port = free_port()
        self.relays: dict[str, Relay] = {}
        self._resources = resources
        self._flags = flags
        self._stack = AsyncExitStack()
        self._syncer: subprocess.Popen[bytes] | None = None
        self._rival: subprocess.Popen[bytes] | None = None

    @property
    def above(self) -> Client:
        return self.system.client

    def physical(self, namespace: str) -> str:
        return physical_namespace(self.path, namespace)

    async def __aenter__(self) -> Self:
        try:
            await self._stack.enter_async_context(self.system)
            await self._stack.enter_async_context(self.plane)
            self.below = await self._stack.enter_async_context(self.plane.client())
            for side, server in (("above", self.system.url), ("below", self.plane.server)):
                relay = Relay(("127.0.0.1", int(server.rpartition(":")[2])))
                self.relays[side] = await self._stack.enter_async_context(relay)
            await self._install()
            self.start_syncer()
        except BaseException:
            await self.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for syncer in (self._syncer, self._rival):
            if syncer is not None:
                syncer.kill()
                syncer.wait()
        await self._stack.aclose()

    # the syncer

    async def _install(self) -> None:
        admin = self.system.root / "admin.kubeconfig"
        config = yaml.safe_load(admin.read_text())
        for cluster in config["clusters"]:
            cluster["cluster"]["server"] = f"{self.system.url}/clusters/{self.path}"
        write_kubeconfig(self.folder / "workspace.kubeconfig", config)
        command = [sys.executable, "-c", "from proxy.cli.kubectl_kcp import main; main()", "workload", "sync", CLUSTER]
        command += ["--syncer-image", "none", f"--kubeconfig={self.folder / 'workspace.kubeconfig'}"]
        if self._resources:
            command.append("--resources=" + ",".join(self._resources))
        self.manifest = (await _run(*command)).decode()
        file = self.folder / "syncer.yaml"
        file.touch(mode=0o600)
        file.write_text(self.manifest)
        await _run(str(find("kubectl")), f"--kubeconfig={self.plane.kubeconfig}", "apply", "-f", str(file))
        documents = [document for document in yaml.safe_load_all(self.manifest) if document]
        self.namespace = str(documents[0]["metadata"]["name"])
        (self.folder / "kcp").mkdir(exist_ok=True)
        given = next(each for each in documents if each["metadata"]["name"] == "kcp-syncer-config")
        above = yaml.safe_load(given["stringData"]["kubeconfig"])
        above["clusters"][0]["cluster"]["server"] = (
            f"https://127.0.0.1:{self.relays['above'].port}/clusters/{self.path}"
        )
        write_kubeconfig(self.folder / "kcp" / "kubeconfig", above)
        await self._write_below()
        pod = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]["spec"]
        replaced = {
            "--from-kubeconfig": str(self.folder / "kcp" / "kubeconfig"),
            "--token-secret": f"{self.namespace}/kcp-syncer-token",
            "--metrics-bind-address": f"127.0.0.1:{self.metrics_port}",
        }
        names = [argument.partition("=") for argument in pod["containers"][0]["args"]]
        self._arguments = [f"{name}={replaced.get(name, value)}" for name, _, value in names]
        self._arguments += [f"--to-kubeconfig={self.folder / 'below.kubeconfig'}", *self._flags]

    async def _write_below(self) -> None:
        """The service account of the pod, as a kubeconfig."""
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": 24 * 3600},
        }
        path = ACCOUNTS.path(self.namespace, "kcp-syncer", "token")
        token = (await self.below.request("POST", path, body=request))["status"]["token"]
        config: Any = yaml.safe_load(self.plane.kubeconfig.read_text())
        config["clusters"][0]["cluster"]["server"] = f"https://127.0.0.1:{self.relays['below'].port}"
        config["users"][0]["user"] = {"token": token}
        write_kubeconfig(self.folder / "below.kubeconfig", config)

    def start_syncer(self) -> None:
        self._syncer = self._start(self._arguments)

    def kill_syncer(self) -> None:
        """With SIGKILL."""
        assert self._syncer is not None
        self._syncer.kill()
        self._syncer.wait()

    def start_rival(self) -> None:
        """A second syncer for the same cluster, as somebody starts it by mistake."""
        arguments = [each for each in self._arguments if not each.startswith("--metrics-bind-address")]
        self._rival = self._start([*arguments, f"--metrics-bind-address=127.0.0.1:{free_port()}"])

    def kill_rival(self) -> None:
        assert self._rival is not None
        self._rival.kill()
        self._rival.wait()
        self._rival = None

    def _start(self, arguments: list[str]) -> subprocess.Popen[bytes]:
        program = "from syncer.main import main; main()"
        with (self.folder / "syncer.log").open("ab") as log:
            return subprocess.Popen([sys.executable, "-c", program, *arguments], stdout=log, stderr=log)

    @property
    def syncer_pid(self) -> int:
        assert self._syncer is not None
        assert self._syncer.poll() is None, f"the syncer has ended: {self.log()[-2000:]}"
        return self._syncer.pid

    def log(self) -> str:
        """What syncers have said so far."""
        return (self.folder / "syncer.log").read_text()

    async def synced(self, timeout: float = 60) -> None:
        """Wait until the syncer has told of its cluster and knows all that it is to sync."""
        async with asyncio.timeout(timeout):
            while True:
                try:
                    status = (await self.above.get(CLUSTERS, CLUSTER)).get("status") or {}
                    ready = any(
                        each["type"] == "Ready" and each["status"] == "True" for each in status.get("conditions") or ()
                    )
                    if ready and status.get("syncedResources") and await self.ready():
                        return
                except StatusError:
                    pass
                await asyncio.sleep(0.2)

    async def ready(self) -> bool:
        """Whether the syncer calls itself ready, all kinds known."""
        text = await self.scrape()
        return (
            sample(text, "kcp_syncer_connected", side="above")
            == sample(text, "kcp_syncer_connected", side="below")
            == 1
        )

    async def scrape(self) -> str:
        """The syncer's metrics; nothing where it does not answer."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.metrics_port)
        except OSError:
            return ""
        writer.write(b"GET /metrics HTTP/1.0\r\nHost: x\r\n\r\n")
        try:
            return (await asyncio.wait_for(reader.read(-1), 5)).decode()
        except (OSError, TimeoutError):
            return ""
        finally:
            writer.close()

    # the physical cluster's store

    async def back_up(self) -> Path:
        """A copy of the physical cluster's etcd, which stands still for it."""
        copy = self.folder / "backup"
        await self.plane.stop()
        try:
            etcd_copies.copy(self.etcd_folders["physical"], copy)
        finally:
            await self.plane.start()
        return copy

    async def restore(self, copy: Path) -> None:
        """All that happened on the physical cluster since then has not happened."""
        await self.plane.stop()
        try:
            etcd_copies.copy(copy, self.etcd_folders["physical"])
        finally:
            await self.plane.start()

    @property
    def etcd_folders(self) -> dict[str, Path]:
        return {"shard": self.system.root / "etcd", "physical": self.plane.settings.folder / "etcd"}

    # what can be killed

    def pids(self, what: str) -> list[int]:
        """Process ids of ``syncer``, ``worker`` (of the proxy), ``controllers`` (kcp's and Kubernetes'), ``shard
        apiserver``, ``shard etcd``, ``physical apiserver``, ``physical etcd``."""
        if what == "syncer":
            return [self.syncer_pid]
        if what == "controllers":
            found = self.system.processes()
            return [*found["kcp"], *found.get("kube-controller-manager", ())]
        side, _, name = what.partition(" ")
        program = {"apiserver": "kube-apiserver", "etcd": "etcd", "": "proxy"}[name]
        if side == "physical":
            pid = self.plane.processes[program].pid
            return [] if pid is None else [pid]
        return self.system.processes().get(program, [])


def sample(text: str, name: str, **labels: str) -> float:
    """Sum of the samples of that name with those labels among others; 0 if there is none."""
    total = 0.0
    for line in text.splitlines():
        found = re.match(rf"{name}(?:{{(.*)}})? (\S+)$", line)
        if found and all(f'{key}="{value}"' in (found[1] or "") for key, value in labels.items()):
            total += float(found[2])
    return total


async def _run(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, errors = await process.communicate()
    if process.returncode:
        raise RuntimeError(f"{command[0]} failed: {errors.decode()}")
    return out
