"""Tunnels to a cluster where several kcps stand behind one address: whichever is asked has some."""

from __future__ import annotations

import signal
from contextlib import AsyncExitStack
from pathlib import Path

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.faults.relay import Relay
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.integration.synced import Synced, cluster_without_nodes, syncer_of

PODS = Resource("", "v1", "pods")
PATH = "root:default:tunnels"


async def test_every_kcp_reaches_the_cluster(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        shard = await stack.enter_async_context(
            ControlPlane(ControlPlaneSettings(folder=tmp_path / "shard", durable=False))
        )
        physical = await stack.enter_async_context(cluster_without_nodes(tmp_path / "physical"))
        options = ("--no-embedded", "--shard", f"eu={shard.kubeconfig}", "--workers", "2")
        kcps = [await stack.enter_async_context(Kcp(tmp_path / name, *options)) for name in ("a", "b")]
        await kcps[0].make_workspace("root:default", "tunnels")
        clients = [await stack.enter_async_context(kcp.client(PATH)) for kcp in kcps]
        below = await stack.enter_async_context(physical.client())
        authorities = b"\n".join(client.connection.ca_data or b"" for client in clients)
        balancer = await stack.enter_async_context(Relay(*(("127.0.0.1", kcp.port) for kcp in kcps)))
        address = f"https://127.0.0.1:{balancer.port}"
        synced = Synced(kcps[0], PATH, physical, tmp_path)
        manifest = await synced.sync("--syncer-image", "none", "--tunnel")
        await syncer_of(manifest, synced, stack, server=address, authorities=authorities)
        await synced.goes_on(clients[0], below, "before")
        spec = {"containers": [{"name": "words", "image": "words:1"}]}
        pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "words"}, "spec": spec}
        await eventually(lambda: below.create(PODS, pod, synced.namespace), StatusError)

        async def reached(client: Client) -> bool:
            """A pod that no node has yet has no log: none but the cluster's API server knows that."""
            try:
                return bool(await client.request("GET", PODS.path("default", "words", "log")) in ("", None))
            except StatusError:
                return False  # it is not shown yet (404), or the cluster cannot be reached (504)

        for client in clients:
            await eventually(lambda client=client: reached(client), timeout=90)  # type: ignore[misc]
        # Each has enough of them, in whatever worker a request lands.
        for _ in range(10):
            for client in clients:
                assert await reached(client)
        # Where one ends the others go on.
        await kcps[0].end(signal.SIGTERM)
        for _ in range(10):
            assert await reached(clients[1])
