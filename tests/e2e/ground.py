"""The physical clusters of two teams, and the place where their pods find a kcp on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from proxy.shard.addresses import free_port, port_is_free
from tests.clusters import Cluster, ClusterError, PhysicalCluster, kind
from tests.clusters.cluster import PROXY_PORT, choose, host_address
from tests.clusters.spec import Runtime

TEAM_CLUSTERS = ("ztp-sno-cluster", "ztp-virtual-cluster")


@dataclass(frozen=True, slots=True)
class Ground:
    """Two clusters that are up; kcp is to listen at ``address`` and ``port``.

    ``other_port`` is reached from the clusters as well.
    """

    runtime: Runtime
    address: str
    port: int
    other_port: int
    clusters: tuple[Cluster, Cluster]

    @property
    def url(self) -> str:
        """Of kcp."""
        return f"https://{self.address}:{self.port}"

    @property
    def flags(self) -> list[str]:
        """For ``kcp start``."""
        port = [] if self.port == PROXY_PORT else ["--secure-port", str(self.port)]
        return ["--bind-address", self.address, *port]


@asynccontextmanager
async def ground(
    root: Path, *, runtime: Runtime | None = None, say: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Ground]:
    """Starts the clusters in ``root``; leaves nothing of them. ``say`` gets what plays the nodes, and why.

    Raises ClusterError.
    """
    if runtime == "kind":
        async with _kind(root, say) as made:
            yield made
        return
    nodes, remark = await asyncio.to_thread(choose, root, runtime)
    say(remark)
    address = await asyncio.to_thread(host_address, root, nodes)
    port = PROXY_PORT if port_is_free(address, PROXY_PORT) else free_port(address)
    other = free_port(address)
    first, second = (PhysicalCluster(name, root=root, runtime=nodes, ports=(port, other)) for name in TEAM_CLUSTERS)
    async with AsyncExitStack() as stack:
        for cluster in (first, second):
            stack.push_async_callback(cluster.destroy)
        await asyncio.gather(first.start(say), second.start(say))
        yield Ground(nodes, address, port, other, (first, second))


@asynccontextmanager
async def _kind(root: Path, say: Callable[[str], None]) -> AsyncIterator[Ground]:
    reason = await asyncio.to_thread(kind.obstacle)
    if reason is not None:
        raise ClusterError(f"kind cannot make clusters: {reason}")
    say("kind, as asked for")
    first, second = (kind.KindCluster(name, root=root) for name in TEAM_CLUSTERS)
    async with AsyncExitStack() as stack:
        for cluster in (first, second):
            stack.push_async_callback(cluster.destroy)
            await cluster.start(say)
            await asyncio.to_thread(cluster.load)
        address = await asyncio.to_thread(kind.host_address)
        port = PROXY_PORT if port_is_free(address, PROXY_PORT) else free_port(address)
        yield Ground("kind", address, port, free_port(address), (first, second))
