"""Tells the workspace when a namespace that moves here has arrived: `docs/workloads.md`, "Moving"."""

from __future__ import annotations

import logging
from collections.abc import Collection

from proxy.kube.client import Client
from proxy.kube.workqueue import WorkQueue
from syncer.namespaces import CLUSTERS, Namespaces
from syncer.role import Mode
from syncer.sync import KindSync

log = logging.getLogger(__name__)

SOONEST, LATEST = 0.3, 5.0
"""Seconds between looks at a namespace that moves: the first, and after many."""


class Arrivals:
    """``kinds``: all that is synced; may grow. To be run when it is known what is to be synced."""

    def __init__(self, above: Client, *, cluster: str, namespaces: Namespaces, kinds: Collection[KindSync]) -> None:
        self._above = above
        self._cluster = cluster
        self._namespaces = namespaces
        self._kinds = kinds
        self._told: dict[str, str] = {}
        """What the WorkloadCluster's status says: namespace → move."""
        self._waits: dict[str, float] = {}
        self.started = False
        self._queue: WorkQueue[str] = WorkQueue(self._reconcile, name="arrivals", workers=2, max_delay=30.0)
        namespaces.on_change(self._queue.add)

    async def run(self) -> None:
        """Until cancelled."""
        await self._namespaces.wait_synced()
        self._queue.add("")
        await self._queue.run()

    async def _reconcile(self, namespace: str) -> float | None:
        if not namespace:
            await self._remember()
            return None
        role = self._namespaces.role(namespace)
        move = role.move if role.mode is Mode.SHARED else ""
        if self._told.get(namespace, "") == move:
            self._waits.pop(namespace, None)
            return None
        if move:
            for kind in list(self._kinds):
                if not await kind.is_there(namespace):
                    wait = self._waits[namespace] = min(self._waits.get(namespace, SOONEST) * 1.3, LATEST)
                    return wait
            log.info("namespace %s has arrived", namespace)
        self._waits.pop(namespace, None)
        await self._tell(namespace, move)
        return None

    async def _remember(self) -> None:
        """What a syncer before this one has told."""
        cluster = await self._above.get(CLUSTERS, self._cluster)
        self._told |= (cluster.get("status") or {}).get("arrived") or {}
        for namespace in self._told:
            self._queue.add(namespace)

    async def _tell(self, namespace: str, move: str) -> None:
        status = {"arrived": {namespace: move or None}}
        await self._above.patch(CLUSTERS, self._cluster, {"status": status}, subresource="status")
        if move:
            self._told[namespace] = move
        else:
            self._told.pop(namespace, None)
