"""A workspace and a physical cluster, with a syncer as its users have one: by ``kubectl kcp workload sync``; only the
pod is a process here."""

from __future__ import annotations

import asyncio
import base64
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import yaml

from proxy.binaries import find
from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import load_kubeconfig, write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from proxy.shard.commands import SHARD_CONTROLLERS
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.workload.api import CLUSTERS, is_true
from syncer.names import UID, physical_namespace
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
KUBECTL_KCP = (sys.executable, "-c", "from proxy.cli.kubectl_kcp import main; main()")


def cluster_without_nodes(folder: Path) -> ControlPlane:
    controllers = (*SHARD_CONTROLLERS, "resourcequota-controller", "serviceaccount-token-controller")
    return ControlPlane(ControlPlaneSettings(folder=folder, durable=False, admission_off=(), controllers=controllers))


async def run(*command: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    return output.decode()


class Synced:
    """A workspace with WorkloadCluster ``east``, seen from both sides."""

    def __init__(self, kcp: Kcp, path: str, physical: ControlPlane, folder: Path) -> None:
        self.kcp, self.path, self.physical, self.folder = kcp, path, physical, folder
        self.namespace = physical_namespace(self.path, "default")

    async def sync(self, *options: str) -> str:
        """``kubectl kcp workload sync east``"""
        everywhere = yaml.safe_load(self.kcp.kubeconfig.read_text())
        server = load_kubeconfig(self.kcp.kubeconfig, "system:admin").server
        for cluster in everywhere["clusters"]:
            cluster["cluster"]["server"] = f"{server}/clusters/{self.path}"
        file = self.folder / "workspace.kubeconfig"
        write_kubeconfig(file, everywhere)
        return await run(*KUBECTL_KCP, "workload", "sync", "east", *options, f"--kubeconfig={file}")

    async def goes_on(self, above: Client, below: Client, value: str) -> None:
        """A change comes down, the cluster is alive, and a deletion comes to its end."""
        for name in ("kept", f"new-{value}"):
            body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "default"}}
            await above.apply(CONFIGMAPS, {**body, "data": {"value": value}}, manager="test")

        async def arrived() -> bool:
            kept = await above.get(CONFIGMAPS, "kept", "default")
            for name in ("kept", f"new-{value}"):
                found = await below.get(CONFIGMAPS, name, self.namespace)
                if found["data"] != {"value": value}:
                    return False
            found = await below.get(CONFIGMAPS, "kept", self.namespace)
            return bool(found["metadata"]["annotations"][UID] == kept["metadata"]["uid"])

        await eventually(arrived, StatusError, timeout=90)
        await above.delete(CONFIGMAPS, f"new-{value}", "default")

        async def gone() -> bool:
            there = await above.find(CONFIGMAPS, f"new-{value}", "default")
            return there is None and await below.find(CONFIGMAPS, f"new-{value}", self.namespace) is None

        await eventually(gone, StatusError, timeout=90)

        async def alive() -> bool:
            return is_true(await above.get(CLUSTERS, "east"), "Ready")

        await eventually(alive, StatusError, timeout=90)


async def syncer_of(
    manifest: str, synced: Synced, stack: AsyncExitStack, *, server: str = "", authorities: bytes = b""
) -> tuple[str, str]:
    """Apply the manifest, and run its pod as a process; where it keeps its token, when it does.

    ``server``: where it is to find the proxy, which shows a certificate of one of ``authorities`` (PEM).
    """
    file = synced.folder / "syncer.yaml"
    file.touch(mode=0o600)
    file.write_text(manifest)
    await run(str(find("kubectl")), f"--kubeconfig={synced.physical.kubeconfig}", "apply", "-f", str(file))
    documents = [document for document in yaml.safe_load_all(manifest) if document]
    namespace = documents[0]["metadata"]["name"]
    given = next(each for each in documents if each["metadata"]["name"] == "kcp-syncer-config")
    folder = synced.folder / "config"
    folder.mkdir()
    config = yaml.safe_load(given["stringData"]["kubeconfig"])
    if server:
        config["clusters"][0]["cluster"] |= {
            "server": f"{server}/clusters/{synced.path}",
            "certificate-authority-data": base64.b64encode(authorities).decode(),
        }
    write_kubeconfig(folder / "kubeconfig", config)
    replaced = {
        "--from-kubeconfig": str(folder / "kubeconfig"),
        "--token-secret": f"{namespace}/kcp-syncer-token",
        "--metrics-bind-address": f"127.0.0.1:{free_port()}",
    }
    pod = next(each for each in documents if each["kind"] == "Deployment")["spec"]["template"]["spec"]
    names = [argument.partition("=") for argument in pod["containers"][0]["args"]]
    arguments = [f"{name}{equals}{replaced.get(name, value)}" for name, equals, value in names]
    with (synced.folder / "syncer.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from syncer.main import main; main()", *arguments),
            f"--to-kubeconfig={synced.physical.kubeconfig}",
            stdout=log,
            stderr=log,
        )

    async def end() -> None:
        log = (synced.folder / "syncer.log").read_text()
        assert process.returncode is None, f"the syncer has ended: {log[-2000:]}"
        process.terminate()
        await process.wait()

    stack.push_async_callback(end)
    secret = "kcp-syncer-token", namespace
    async with synced.physical.client() as below:
        await eventually(lambda: below.get(SECRETS, *secret), StatusError, timeout=60)
    return secret
