"""A node played by KWOK: pods get Running and ready, but nothing runs. Except for the syncer, see `SyncerHost`."""

from __future__ import annotations

import asyncio
import base64
import logging
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.binaries import find
from proxy.kube.client import Client, Resource
from proxy.kube.config import write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.shard.control_plane import ControlPlane
from proxy.shard.pki import private_folder
from proxy.shard.supervisor import Process, Program
from tests.clusters.spec import Spec
from tests.clusters.system import environment
from tests.images import SYNCER

log = logging.getLogger(__name__)

NODES = Resource("", "v1", "nodes", namespaced=False)
PODS = Resource("", "v1", "pods")
SECRETS = Resource("", "v1", "secrets")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
MANAGED = "kwok.x-k8s.io/node=fake"
TOKEN_LIFE = 10 * 365 * 86400
"""Seconds."""


@asynccontextmanager
async def node(cluster: Spec, plane: ControlPlane) -> AsyncIterator[Process]:
    """Runs KWOK with one node of 8 processors and 32 GiB, and the host of syncers."""
    argv = [
        str(find("kwok")),
        f"--kubeconfig={plane.kubeconfig}",
        f"--config={Path(__file__).with_name('stages.yaml')}",
        "--manage-all-nodes=false",
        f"--manage-nodes-with-annotation-selector={MANAGED}",
        "--node-lease-duration-seconds=40",
        "--server-address=127.0.0.1:0",
    ]
    process = Process(Program(name="kwok", argv=argv, log=cluster.log / "kwok.log"))
    async with plane.client() as client:
        await _create_node(client, cluster.node)
        await process.start()
        host = SyncerHost(cluster, plane, client)
        running = asyncio.create_task(host.run())
        try:
            yield process
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await host.stop()
            await process.stop()


async def _create_node(client: Client, name: str) -> None:
    key, _, value = MANAGED.partition("=")
    amounts = {"cpu": "8", "memory": "32Gi", "pods": "110"}
    body = {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "annotations": {key: value}, "labels": {"kubernetes.io/hostname": name}},
        "status": {"allocatable": amounts, "capacity": amounts},
    }
    try:
        await client.create(NODES, body)
    except StatusError as error:
        if error.code != 409:
            raise


class SyncerHost:
    """Runs the containers of `SYNCER` pods as processes of this machine, since KWOK runs nothing.

    A process gets the arguments that stand in the pod, the pod's secrets as files, and, in place of the mounted token
    of its service account, a kubeconfig with such a token: its rights are the ones it would have in a real pod.
    """

    def __init__(self, cluster: Spec, plane: ControlPlane, client: Client) -> None:
        self._folder = private_folder(cluster.folder / "pods")
        self._log = cluster.log
        self._plane = plane
        self._client = client
        self._pods = Informer(client, PODS)
        self._queue = WorkQueue(self._reconcile)
        self._running: dict[tuple[str, str], Process] = {}
        self._pods.add_handler(lambda _, __, pod: self._queue.add(_key(pod)))

    async def run(self) -> None:
        """For ever."""
        await asyncio.gather(self._pods.run(), self._queue.run())

    async def stop(self) -> None:
        await asyncio.gather(*(process.stop() for process in self._running.values()))

    async def _reconcile(self, key: tuple[str, str]) -> None:
        pod = self._pods.store.get(key)
        wanted = pod is not None and not pod["metadata"].get("deletionTimestamp") and _is_syncer(pod)
        if wanted and key not in self._running:
            assert pod is not None
            self._running[key] = await self._start(pod)
        elif not wanted and key in self._running:
            await self._running.pop(key).stop()
            shutil.rmtree(self._folder / "-".join(key), ignore_errors=True)

    async def _start(self, pod: dict[str, Any]) -> Process:
        namespace, name = _key(pod)
        folder = private_folder(self._folder / f"{namespace}-{name}")
        container = pod["spec"]["containers"][0]
        mounted = await self._mount_secrets(pod, container, folder)
        arguments = [translated(argument, mounted) for argument in container.get("args", ())]
        kubeconfig = folder / "in-cluster.kubeconfig"
        await self._write_in_cluster(kubeconfig, namespace, pod["spec"].get("serviceAccountName", "default"))
        start = "import sys; from syncer.main import main; sys.exit(main())"
        # No pod, so its namespace must be said; and ports are the machine's, on which others may have such pods.
        own = [f"--to-kubeconfig={kubeconfig}", "--metrics-bind-address=off"]
        secret = [each.partition("=")[2] for each in arguments if each.startswith("--token-secret=")]
        own += [f"--token-secret={namespace}/{each}" for each in secret]
        argv = [sys.executable, "-c", start, *arguments, *own]
        log.info("pod %s/%s: %s", namespace, name, " ".join(arguments))
        process = Process(Program(name=name, argv=argv, log=self._log / f"{name}.log", env=environment()))
        await process.start()
        process.mark_ready()
        return process

    async def _mount_secrets(self, pod: dict[str, Any], container: dict[str, Any], folder: Path) -> dict[str, Path]:
        """Writes the secrets among the container's volumes; mount path → folder."""
        volumes = {each["name"]: each["secret"] for each in pod["spec"].get("volumes", ()) if "secret" in each}
        mounted = {}
        for mount in container.get("volumeMounts", ()):
            if mount["name"] in volumes:
                place = private_folder(folder / mount["name"])
                secret = await self._client.get(SECRETS, volumes[mount["name"]]["secretName"], _key(pod)[0])
                for key, value in secret.get("data", {}).items():
                    (place / key).touch(mode=0o600)
                    (place / key).write_bytes(base64.b64decode(value))
                mounted[mount["mountPath"].rstrip("/") + "/"] = place
        return mounted

    async def _write_in_cluster(self, path: Path, namespace: str, account: str) -> None:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_LIFE},
        }
        answer = await self._client.request("POST", SERVICE_ACCOUNTS.path(namespace, account, "token"), body=review)
        ca = base64.b64encode(self._plane.pki.apiserver_ca.cert).decode()
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "it", "cluster": {"server": self._plane.server, "certificate-authority-data": ca}}],
            "users": [{"name": "it", "user": {"token": answer["status"]["token"]}}],
            "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it", "namespace": namespace}}],
            "current-context": "it",
        }
        write_kubeconfig(path, config)


def _key(pod: dict[str, Any]) -> tuple[str, str]:
    return pod["metadata"]["namespace"], pod["metadata"]["name"]


def _is_syncer(pod: dict[str, Any]) -> bool:
    return any(container.get("image") == SYNCER for container in pod["spec"]["containers"])


def translated(argument: str, mounted: dict[str, Path]) -> str:
    """A container's argument with folders of this machine in place of mounted ones (path with slash → folder)."""
    for place, folder in mounted.items():
        argument = argument.replace(f"={place}", f"={folder}{os.sep}")
    return argument
