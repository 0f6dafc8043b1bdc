"""What `kcp start` tells of itself: metrics of all its parts in one scrape, and whether each of them works."""

from __future__ import annotations

import asyncio
import importlib.metadata
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.metrics.exposition import Workers, process_families
from proxy.metrics.server import Checks
from proxy.metrics.snapshot import GAUGE, Family
from proxy.shard.supervisor import Process

CHECK_TIMEOUT = 3.0
"""Seconds that a check of a shard may take."""
READY_STATES = {"True": "ready", "False": "not-ready"}


class Monitoring:
    """``families()`` and ``checks()`` for `proxy.metrics.server`; what is watched may be added while kcp starts."""

    def __init__(self, clusters: Mapping[str, Informer], processes: Callable[[], Iterable[Process]]) -> None:
        """``clusters``: for each shard, the informer of its WorkloadClusters."""
        self._processes = processes
        self.clients: dict[str, Client] = {}
        self.workers = Workers(())
        self.root_ready = asyncio.Event()
        self._clusters = clusters

    async def families(self) -> Sequence[Family]:
        version = importlib.metadata.version("kcp")
        build = Family("kcp_build_info", GAUGE, "Version of kcp.", ("version",), values={(version,): 1})
        return [
            build,
            *await self.workers.read(),
            *process_families(
                {process.program.name: process.pid for process in self._processes()},
                {process.program.name: process.restarts for process in self._processes()},
            ),
            *cluster_families(self._clusters),
        ]

    async def checks(self) -> Checks:
        found: dict[str, str | None] = {
            process.program.name: None if process.pid is not None else "it does not run"
            for process in self._processes()
        }
        names = list(self.clients)
        answers = await asyncio.gather(*(_shard(self.clients[name]) for name in names))
        found.update({f"shard-{name}": answer for name, answer in zip(names, answers, strict=True)})
        found["workspaces"] = None if self.root_ready.is_set() else "workspace root is not ready yet"
        return found


async def _shard(client: Client) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await client.request("GET", "/readyz")
    except StatusError as error:
        return error.message.splitlines()[0]
    except TimeoutError:
        return f"no answer in {CHECK_TIMEOUT:g} s"
    return None


def cluster_families(clusters: Mapping[str, Informer]) -> Iterable[Family]:
    """Physical clusters, counted: their names are the tenants' own."""
    count = Family("kcp_workload_clusters", GAUGE, "Physical clusters by state.", ("shard", "state"))
    age = Family(
        "kcp_workload_cluster_heartbeat_age_seconds", GAUGE, "Time since the oldest of the last heartbeats.", ("shard",)
    )
    for shard, informer in clusters.items():
        states = dict.fromkeys(("ready", "not-ready", "unknown"), 0)
        oldest = 0.0
        for obj in informer.store.values():
            status = obj.get("status") or {}
            conditions = {entry.get("type"): entry.get("status") for entry in status.get("conditions") or ()}
            states[READY_STATES.get(str(conditions.get("Ready")), "unknown")] += 1
            heartbeat = status.get("lastSyncerHeartbeatTime")
            if heartbeat:
                beaten = datetime.fromisoformat(heartbeat.replace("Z", "+00:00")).timestamp()
                oldest = max(oldest, time.time() - beaten)
        count.values.update({(shard, state): number for state, number in states.items()})
        age.values[(shard,)] = oldest
    return [count, age]
