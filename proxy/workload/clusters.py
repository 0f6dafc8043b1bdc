"""WorkloadClusters: Ready as long as their syncer's heart beats."""

from __future__ import annotations

import datetime
import time

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.times import parse_time
from proxy.kube.workqueue import WorkQueue
from proxy.workload.api import CLUSTERS, CONNECTED, HEARTBEAT, READY, conditions_of, now, with_condition

TIMEOUT = datetime.timedelta(seconds=60)
"""Silence after which a cluster is not Ready; syncers report every 20 s."""
ERROR = "ErrorHeartbeat"


class Heartbeats:
    """Keeps the conditions of all WorkloadClusters of one shard."""

    def __init__(self, client: Client, clusters: Informer, *, timeout: datetime.timedelta = TIMEOUT) -> None:
        self._client = client
        self._clusters = clusters
        self._timeout = timeout
        self._seen: dict[str, tuple[str, float]] = {}
        """The last heartbeat, in its own words, and when it came, by `time.monotonic`: clocks may be set."""
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, name="workload clusters", workers=4)
        clusters.add_handler(self._event)

    async def run(self) -> None:
        """Until cancelled."""
        await self.queue.run()

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        name = new["metadata"]["name"]
        if kind == "DELETED":
            self._seen.pop(name, None)
            return
        heartbeat = (new.get("status") or {}).get("lastSyncerHeartbeatTime")
        if heartbeat and self._seen.get(name, ("",))[0] != heartbeat:
            self._seen[name] = (heartbeat, time.monotonic() - age(heartbeat, now(), followed=old is not None))
        self.queue.add(name)

    async def _reconcile(self, name: str) -> float | None:
        cluster = self._clusters.store.get(("", name))
        if cluster is None:
            return None
        healthy, message, again = health(self._seen.get(name), time.monotonic(), self._timeout)
        before = conditions_of(cluster)
        conditions = before
        reason = "" if healthy else ERROR
        conditions = with_condition(conditions, HEARTBEAT, healthy, reason, message, severity="Error")
        # Of a cluster that kcp syncs itself it is known what keeps it from that.
        cause = next((each for each in before if each["type"] == CONNECTED and each["status"] == "False"), None)
        if cause is None and (cluster.get("spec") or {}).get("push") and name not in self._seen:
            message += "; a kcp syncer is to sync it, which the operator of kcp runs"
        if cause is not None and not healthy:
            reason, message = cause.get("reason", ""), cause.get("message", "")
        conditions = with_condition(conditions, READY, healthy, reason, message, severity="Error")
        if conditions != before:
            try:
                # There are others who write conditions.
                version = {"resourceVersion": cluster["metadata"]["resourceVersion"]}
                patch = {"metadata": version, "status": {"conditions": conditions}}
                await self._client.patch(CLUSTERS, name, patch, subresource="status")
            except StatusError as error:
                if error.code != 404:
                    raise
        return again


def age(heartbeat: str, moment: datetime.datetime, *, followed: bool) -> float:
    """How many seconds ago a heartbeat came, given that it is seen at ``moment``.

    One that was not there when the cluster was last seen (``followed``) came just now, whatever the clock of the syncer
    says. One that is seen with the cluster itself may be old: there is nothing but its own word, which may not lie in
    the future.
    """
    said = None if followed else parse_time(heartbeat)
    return 0.0 if said is None else max((moment - said).total_seconds(), 0.0)


def health(
    seen: tuple[str, float] | None, moment: float, timeout: datetime.timedelta = TIMEOUT
) -> tuple[bool, str, float | None]:
    """Whether the heart beats, what to say if not, and in how many seconds to look again. ``moment``: by the clock of
    ``seen``."""
    if seen is None:
        return False, "No heartbeat yet seen", None
    heartbeat, came = seen
    left = timeout.total_seconds() - (moment - came)
    if left < 0:
        return False, f"No heartbeat since {heartbeat}", timeout.total_seconds()
    return True, "", left + 0.5
