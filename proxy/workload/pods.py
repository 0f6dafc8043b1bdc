"""Pods that are bound to a node and deleted: on a cluster its kubelet ends them, on a shard there is none.

Without this such a pod, and its namespace and workspace with it, could never go. What a syncer has taken on has its
finalizer; it gets a while even where it has not.
"""

from __future__ import annotations

from asyncio import TaskGroup

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.times import Since
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import LABEL
from proxy.workload.api import CLUSTER_LABEL

PODS = Resource("", "v1", "pods")
PATIENCE = 60.0
"""Seconds beyond the grace period, for a pod in a namespace that a cluster runs."""
SLIM = ("namespace", "name", "uid", "deletionTimestamp", "deletionGracePeriodSeconds")

Key = tuple[str, str]
"""Namespace and name."""


class EndedPods:
    """Of one shard."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._pods = Informer(
            client, PODS, label_selector=LABEL, field_selector="spec.nodeName!=", metadata_only=True, transform=_slim
        )
        self._pods.add_handler(self._event)
        self._ending: Since[str] = Since()
        """By uid."""
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="ended pods", workers=2)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            group.create_task(self._pods.run())
            group.create_task(self._queue.run())

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        if kind == "DELETED":
            self._ending.forget(new["metadata"]["uid"])
        elif new["metadata"].get("deletionTimestamp"):
            self._queue.add((new["metadata"]["namespace"], new["metadata"]["name"]))

    async def _reconcile(self, key: Key) -> float | None:
        pod = self._pods.store.get(key)
        if pod is None:
            return None
        meta = pod["metadata"]
        if not meta.get("deletionTimestamp"):
            return None
        if meta["claimed"]:
            left = meta.get("deletionGracePeriodSeconds", 0) + PATIENCE - self._ending.seconds(meta["uid"])
            if left > 0:
                return float(left) + 0.5
        try:
            await self._client.delete(PODS, key[1], key[0], uid=meta["uid"], grace=0)
        except StatusError as error:
            if error.code not in (404, 409):
                raise
        return None


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in SLIM if key in meta}
    return {"metadata": {**kept, "claimed": CLUSTER_LABEL in (meta.get("labels") or {})}}
