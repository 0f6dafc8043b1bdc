"""The process that runs one cluster: ``python -m tests.clusters.keeper FOLDER``.

It ends with SIGTERM, when its folder is deleted, or by force; the programs of the cluster always end with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

from proxy.binaries import BinaryError
from proxy.kube.client import Client, Resource
from proxy.kube.config import write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings, full_cluster
from proxy.shard.pki import PkiError
from proxy.shard.supervisor import Process, ProcessError, Program
from tests.clusters import cgroups, kwok, network, node, node_files, requirements, spec
from tests.clusters.errors import ClusterError
from tests.clusters.spec import Spec
from tests.clusters.system import environment, tail

NODES = Resource("", "v1", "nodes", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
Runner = Callable[[Spec], AbstractAsyncContextManager[tuple[ControlPlane, Process]]]
"""Runs a cluster's control plane and the program that stands for its node."""
NODE_TIMEOUT = 120.0
"""Seconds for a node to become Ready: 8 on an idle machine."""


async def keep(cluster: Spec) -> None:
    """Run the cluster until told to end."""
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    run = real_node if cluster.runtime == "nodes" else kwok_node
    starting = asyncio.create_task(_up(cluster, run, end))
    watching = asyncio.create_task(_end_without_folder(cluster, end))
    try:
        await starting
    finally:
        watching.cancel()


async def _up(cluster: Spec, run: Runner, end: asyncio.Event) -> None:
    async with run(cluster) as (plane, node), plane.client() as client:
        waiting = asyncio.create_task(_until_ready(client, cluster.node, node))
        ending = asyncio.create_task(end.wait())
        await asyncio.wait((waiting, ending), return_when=asyncio.FIRST_COMPLETED)
        if not ending.done():
            waiting.result()
            cluster.kubeconfig.unlink(missing_ok=True)
            cluster.kubeconfig.symlink_to(plane.kubeconfig)
            cluster.ready.write_text(f"{time.time()}\n")
            await ending
        waiting.cancel()
        cluster.ready.unlink(missing_ok=True)


@asynccontextmanager
async def real_node(cluster: Spec) -> AsyncIterator[tuple[ControlPlane, Process]]:
    """A control plane in this network namespace, with a node beside it."""
    await asyncio.to_thread(
        network.configure_node, address=cluster.address, gateway=cluster.gateway, ports=cluster.ports
    )
    plane = ControlPlane(
        settings(
            cluster,
            port=6443,
            service_range=node_files.SERVICE_RANGE,
            serving_hosts=("10.233.0.1",),
            apiserver_args=(
                f"--advertise-address={cluster.address}",
                "--endpoint-reconciler-type=lease",
                "--authorization-mode=Node",  # added to RBAC
                "--enable-admission-plugins=NodeRestriction",
                "--kubelet-preferred-address-types=InternalIP",
                f"--kubelet-certificate-authority={cluster.control_plane / 'pki' / 'apiserver-ca.crt'}",
            ),
        )
    )
    write_node_files(cluster, plane)
    groups = cgroups.create(cluster.group)
    cgroups.write(groups, cluster.groups)
    program = Program(
        name="node",
        argv=node.command("start", cluster.folder),
        log=cluster.log / "node.log",
        env=environment(),
        grace=0,  # unshare does not listen; nothing on the node is worth more than a power cut would spare
    )
    inside = Process(program)
    await inside.start()  # beside the control plane: importing images takes about as long as that takes to start
    try:
        async with plane:
            yield plane, inside
    finally:
        await inside.stop()
        for group in await asyncio.to_thread(cgroups.remove, groups):
            logging.warning("%s could not be removed", group)


@asynccontextmanager
async def kwok_node(cluster: Spec) -> AsyncIterator[tuple[ControlPlane, Process]]:
    """A control plane on loopback whose node is played by KWOK."""
    async with ControlPlane(settings(cluster)) as plane, kwok.node(cluster, plane) as process:
        yield plane, process


def settings(cluster: Spec, *, apiserver_args: tuple[str, ...] = (), **changes: Any) -> ControlPlaneSettings:
    """A full cluster's, at the cluster's address; arguments are added to what that has."""
    base = full_cluster(
        cluster.control_plane, name=cluster.name, bind_address=cluster.address, durable=False, **changes
    )
    return dataclasses.replace(base, apiserver_args=(*base.apiserver_args, *apiserver_args))


def write_node_files(cluster: Spec, plane: ControlPlane) -> None:
    """Certificates and configuration of containerd, kubelet and kube-proxy."""
    folder, pki = cluster.node_folder, plane.pki
    (folder / "cni").mkdir(parents=True, exist_ok=True)
    server, ca = f"https://{cluster.address}:6443", pki.apiserver_ca.cert_file
    users = {
        "kubelet": pki.client_ca.client("kubelet", user=f"system:node:{cluster.node}", groups=["system:nodes"]),
        "kube-proxy": pki.client_ca.client("kube-proxy", user="system:kube-proxy"),
    }
    for name, user in users.items():
        write_kubeconfig(folder / f"{name}.kubeconfig", node_files.kubeconfig(cluster, server=server, ca=ca, user=user))
    serving = pki.apiserver_ca.server("kubelet-serving", [cluster.address, cluster.node])
    plugins = requirements.plugin_folder()
    if plugins is None:
        raise ClusterError(f"not installed: {requirements.PLUGINS_PACKAGE}")
    files = {
        "containerd.toml": node_files.containerd(
            cluster, plugins=plugins, snapshotter=requirements.snapshotter(folder)
        ),
        "cni/10-pods.conflist": node_files.pod_network(),
        "kubelet.yaml": node_files.kubelet(cluster, serving=serving, client_ca=pki.client_ca.cert_file),
        "kube-proxy.yaml": node_files.kube_proxy(cluster, kubeconfig=folder / "kube-proxy.kubeconfig"),
    }
    for file, text in files.items():
        (folder / file).write_text(text)


async def _until_ready(client: Client, name: str, node: Process) -> None:
    """Until the node is Ready and pods can be made in namespace default. Raises ProcessError if its program fails."""
    deadline = time.monotonic() + NODE_TIMEOUT
    while time.monotonic() < deadline:
        node.raise_if_failed()
        with contextlib.suppress(StatusError):
            conditions = (await client.get(NODES, name))["status"].get("conditions", ())
            if any(each["type"] == "Ready" and each["status"] == "True" for each in conditions):
                await client.get(SERVICE_ACCOUNTS, "default", "default")
                node.mark_ready()
                return
        await asyncio.sleep(0.1)
    raise ClusterError(f"node {name} was not Ready within {NODE_TIMEOUT:g} s")


async def _end_without_folder(cluster: Spec, end: asyncio.Event) -> None:
    while spec.spec_file(cluster.folder).exists():  # noqa: ASYNC110  (a file)
        await asyncio.sleep(3)
    end.set()


def main() -> int:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname).1s %(name)s: %(message)s")
    cluster = spec.read(Path(sys.argv[1]))
    try:
        asyncio.run(keep(cluster))
    except (ClusterError, ProcessError, BinaryError, PkiError, StatusError, OSError) as error:
        inside = tail(cluster.log / "node.log") if cluster.runtime == "nodes" else ""
        cluster.failure.write_text(f"{error}{f' ({inside})' if inside else ''}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
