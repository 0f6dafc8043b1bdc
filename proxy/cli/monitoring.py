"""What `kcp start` tells of itself: metrics of all its parts in one scrape, and whether each of them works."""

from __future__ import annotations

import asyncio
import contextlib
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.tally import Tallies
from proxy.metrics.certificates import Certificates
from proxy.metrics.controllers import queue_families
from proxy.metrics.exposition import Workers, process_families
from proxy.metrics.server import Checks
from proxy.metrics.shards import Shards
from proxy.metrics.snapshot import Family, gauge
from proxy.metrics.workload import cluster_families, import_family
from proxy.release import own_version
from proxy.shard.store import Store, StoreError
from proxy.shard.supervisor import Process
from proxy.workload.controllers import Followed

FULL = "it is at its quota and takes no more writes; kcp doctor says what to do"
CHECK_TIMEOUT = 3.0
"""Seconds that a check of a shard may take."""


class Monitoring:
    """``families()`` and ``checks()`` for `proxy.metrics.server`; what is watched may be added while kcp starts."""

    def __init__(self, followed: Mapping[str, Followed], processes: Callable[[], Iterable[Process]]) -> None:
        """``followed``: what the workload controllers know of each shard."""
        self._processes = processes
        self.clients: dict[str, Client] = {}
        self.workers = Workers(())
        self.root_ready = asyncio.Event()
        self.tallies = Tallies()
        self.certificates = Certificates()
        self.shards = Shards()
        self.store: tuple[str, Store] | None = None
        """The etcd that is our own, with the name of its shard."""
        self._followed = followed

    def forget(self, shard: str) -> None:
        """It is no shard any more."""
        self.clients.pop(shard, None)
        self.shards.forget(shard)

    async def families(self) -> Sequence[Family]:
        return [
            _build_info(),
            *await self.workers.read(),
            *process_families(
                {process.program.name: process.pid for process in self._processes()},
                {process.program.name: process.restarts for process in self._processes()},
            ),
            *cluster_families({shard: known.clusters for shard, known in self._followed.items()}),
            import_family({shard: known.imports for shard, known in self._followed.items()}),
            *queue_families(self.tallies),
            *self.shards.families(),
            await self._fullness(),
            self.certificates.family(),
        ]

    async def checks(self) -> Checks:
        found: dict[str, str | None] = {
            process.program.name: None if process.pid is not None else "it does not run"
            for process in self._processes()
        }
        names = list(self.clients)
        shards = asyncio.gather(*(_shard(self.clients[name]) for name in names))
        found.update(await self.workers.problems())
        if found.get("etcd", "") is None:
            found["etcd"] = await self.space()
        answers = await shards
        found.update({f"shard-{name}": answer for name, answer in zip(names, answers, strict=True)})
        found["workspaces"] = None if self.root_ready.is_set() else "workspace root is not ready yet"
        return found

    async def space(self) -> str | None:
        """What is wrong if our own etcd is full. Whether it answers is said elsewhere."""
        with contextlib.suppress(StoreError):
            if self.store is not None and (await self.store[1].status()).full:
                return FULL
        return None

    async def _fullness(self) -> Family:
        family = gauge("kcp_shard_storage_full", "Whether a shard's own etcd takes no more writes.", "shard")
        if self.store is not None:
            shard, store = self.store
            with contextlib.suppress(StoreError):
                family.values[(shard,)] = float((await store.status()).full)
        return family


def _build_info() -> Family:
    labels = (own_version(), platform.python_version())
    return gauge("kcp_build_info", "Versions of kcp and Python.", "version", "python", values={labels: 1})


async def _shard(client: Client) -> str | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT):
            await client.request("GET", "/readyz")
    except StatusError as error:
        return error.message.splitlines()[0]
    except TimeoutError:
        return f"no answer in {CHECK_TIMEOUT:g} s"
    return None
