"""Where namespaces run: the first Ready and schedulable WorkloadCluster of their workspace.

The decision is a label on the namespace; a condition says whether there is one. What stands in the namespace gets the
same label (`proxy.workload.labels`).
"""

from __future__ import annotations

import datetime
from asyncio import TaskGroup
from collections import defaultdict

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import (
    CLUSTER_LABEL,
    NAMESPACES,
    OPT_OUT,
    READY,
    conditions_of,
    is_true,
    now,
    parse_time,
    with_condition,
)
from proxy.workload.labels import Labels

SCHEDULED = "NamespaceScheduled"
NOWHERE = "No clusters are available to schedule Namespaces to."


class Placement:
    """One shard's namespaces. ``clusters``: its WorkloadClusters, followed by somebody else."""

    def __init__(self, client: Client, clusters: Informer) -> None:
        self._client = client
        self._clusters = clusters
        self._namespaces = Informer(client, NAMESPACES, label_selector=LABEL, transform=_slim)
        self._labels = Labels(client)
        self._clusters_of: dict[str, dict[str, Object]] = defaultdict(dict)
        """Token → plain name → WorkloadCluster."""
        self._namespaces_of: dict[str, set[str]] = defaultdict(set)
        """Token → names on the shard."""
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, name="namespaces", workers=4)
        clusters.add_handler(self._cluster_event)
        self._namespaces.add_handler(self._namespace_event)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            group.create_task(self._namespaces.run())
            group.create_task(self._labels.run())
            # Nothing is decided on half a picture: a cluster that is not known yet would be taken for deleted.
            await self._clusters.wait_synced()
            await self._namespaces.wait_synced()
            await self._labels.wait_synced()
            group.create_task(self.queue.run())

    def _cluster_event(self, kind: str, old: Object | None, new: Object) -> None:
        token, _, name = new["metadata"]["name"].partition("-")
        if kind == "DELETED":
            self._clusters_of[token].pop(name, None)
        else:
            self._clusters_of[token][name] = new
        if kind == "DELETED" or old is None or _matters(old) != _matters(new):
            for namespace in self._namespaces_of[token]:
                self.queue.add(namespace)

    def _namespace_event(self, kind: str, old: Object | None, new: Object) -> None:
        name = new["metadata"]["name"]
        token = token_of(name)
        if token is None:
            return
        if kind == "DELETED":
            self._namespaces_of[token].discard(name)
            self._labels.forget(name)
        else:
            self._namespaces_of[token].add(name)
            self.queue.add(name)

    async def _reconcile(self, name: str) -> float | None:
        namespace = self._namespaces.store.get(("", name))
        token = token_of(name)
        if namespace is None or token is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        labels = namespace["metadata"].get("labels") or {}
        clusters = self._clusters_of[token]
        current = chosen = labels.get(CLUSTER_LABEL)
        again = None
        if OPT_OUT not in labels:
            moment = now()
            chosen, again = choose(clusters, current, moment), next_eviction(clusters.get(current or ""), moment)
        known = bool(clusters) or current is not None or bool(conditions_of(namespace))
        if not known:
            return None  # of a workspace that has never had anything to do with clusters
        if chosen != current:
            patch = {"metadata": {"labels": {CLUSTER_LABEL: chosen}}}
            if not await self._patch(name, patch):
                return None
        await self._labels.follow(name, chosen)
        if OPT_OUT not in labels:
            # Last: a condition that is there tells, after a restart, that objects may still carry a label.
            await self._say(namespace, chosen)
        return again

    async def _say(self, namespace: Object, chosen: str | None) -> None:
        """The namespace's condition; nothing is written where nothing changes."""
        before = conditions_of(namespace)
        reason, message = ("", "") if chosen else ("Unschedulable", NOWHERE)
        after = with_condition(before, SCHEDULED, chosen is not None, reason, message)
        if after != before:
            mine = [item for item in after if item["type"] == SCHEDULED]
            await self._patch(namespace["metadata"]["name"], {"status": {"conditions": mine}}, "status")

    async def _patch(self, name: str, patch: Object, subresource: str | None = None) -> bool:
        """Whether the namespace was there."""
        try:
            await self._client.patch(NAMESPACES, name, patch, kind="strategic", subresource=subresource)
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return True


def choose(clusters: dict[str, Object], current: str | None, moment: datetime.datetime) -> str | None:
    """Name of the cluster that a namespace is to run on: the one it has, while it exists and is not being emptied,
    else the first that is Ready and schedulable, by age and name. ``clusters`` by their plain names."""
    there = {name: obj for name, obj in clusters.items() if not obj["metadata"].get("deletionTimestamp")}
    staying = {name: obj for name, obj in there.items() if next_eviction(obj, moment) != 0.0}
    if current in staying:
        return current
    fit = [
        (obj["metadata"].get("creationTimestamp", ""), name)
        for name, obj in staying.items()
        if is_true(obj, READY) and not (obj.get("spec") or {}).get("unschedulable")
    ]
    return min(fit)[1] if fit else None


def next_eviction(cluster: Object | None, moment: datetime.datetime) -> float | None:
    """Seconds until the cluster is to be emptied, 0 if that time has come, None if there is none."""
    at = parse_time(((cluster or {}).get("spec") or {}).get("evictAfter"))
    return max((at - moment).total_seconds(), 0.0) if at else None


def _matters(cluster: Object) -> tuple[object, ...]:
    """The part of a cluster that placement looks at; heartbeats are not in it."""
    spec = cluster.get("spec") or {}
    gone = cluster["metadata"].get("deletionTimestamp")
    return is_true(cluster, READY), bool(spec.get("unschedulable")), spec.get("evictAfter"), gone


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("name", "labels", "deletionTimestamp", "resourceVersion") if key in meta}
    conditions = [item for item in conditions_of(obj) if item["type"] == SCHEDULED]
    return {"metadata": kept, "status": {"conditions": conditions}}
