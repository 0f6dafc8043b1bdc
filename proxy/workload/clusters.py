"""WorkloadClusters: Ready as long as their syncer's heart beats."""

from __future__ import annotations

import datetime

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.workload.api import CLUSTERS, HEARTBEAT, READY, conditions_of, now, parse_time, with_condition

TIMEOUT = datetime.timedelta(seconds=60)
"""Silence after which a cluster is not Ready; syncers report every 20 s."""
ERROR = "ErrorHeartbeat"


class Heartbeats:
    """Keeps the conditions of all WorkloadClusters of one shard."""

    def __init__(self, client: Client, clusters: Informer) -> None:
        self._client = client
        self._clusters = clusters
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, name="workload clusters", workers=4)
        clusters.add_handler(self._event)

    async def run(self) -> None:
        await self.queue.run()

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        self.queue.add(new["metadata"]["name"])

    async def _reconcile(self, name: str) -> float | None:
        cluster = self._clusters.store.get(("", name))
        if cluster is None:
            return None
        healthy, message, again = health((cluster.get("status") or {}).get("lastSyncerHeartbeatTime"), now())
        before = conditions_of(cluster)
        conditions = before
        for kind in (HEARTBEAT, READY):
            conditions = with_condition(conditions, kind, healthy, "" if healthy else ERROR, message)
        if conditions != before:
            try:
                patch = {"status": {"conditions": conditions}}
                await self._client.patch(CLUSTERS, name, patch, subresource="status")
            except StatusError as error:
                if error.code != 404:
                    raise
        return again


def health(heartbeat: str | None, moment: datetime.datetime) -> tuple[bool, str, float | None]:
    """Whether the heart beats, what to say if not, and in how many seconds to look again."""
    last = parse_time(heartbeat)
    if last is None:
        return False, "No heartbeat yet seen", None
    silent = moment - last
    if silent > TIMEOUT:
        return False, f"No heartbeat since {heartbeat}", None
    return True, "", (TIMEOUT - silent).total_seconds() + 0.5
