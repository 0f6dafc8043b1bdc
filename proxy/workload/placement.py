"""Where namespaces run: the first Ready and schedulable WorkloadCluster of their workspace.

The decision is a label on the namespace. Objects get the same label when they are written (an admission policy of the
shard); those that were there before, or slipped by, get it here.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import (
    CLUSTER_LABEL,
    NAMESPACES,
    NEGOTIATED,
    OPT_OUT,
    READY,
    conditions_of,
    is_true,
    with_condition,
)

log = logging.getLogger(__name__)

SCHEDULED = "NamespaceScheduled"
NOWHERE = "No clusters are available to schedule Namespaces to."
ALWAYS = (
    Resource("", "v1", "configmaps"),
    Resource("", "v1", "secrets"),
    Resource("", "v1", "serviceaccounts"),
)
"""Kinds that every workspace has and syncers take down."""

Item = tuple[Resource, str, str]


class Placement:
    """One shard's namespaces."""

    def __init__(self, client: Client, clusters: Informer) -> None:
        self._client = client
        self._clusters = clusters
        self._namespaces = Informer(client, NAMESPACES, label_selector=LABEL, transform=_slim_namespace)
        self._negotiated = Informer(client, NEGOTIATED, transform=_slim_negotiated)
        self._unlabelled: dict[Resource, Informer] = {}
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, name="namespaces", workers=4)
        self._objects: WorkQueue[Item] = WorkQueue(self._label_object, name="cluster labels", workers=4)
        self._new_resources: asyncio.Queue[Resource] = asyncio.Queue()
        clusters.add_handler(self._cluster_event)
        self._namespaces.add_handler(self._namespace_event)
        self._negotiated.add_handler(self._negotiated_event)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._namespaces.run())
            group.create_task(self._negotiated.run())
            for informer in (self._namespaces, self._negotiated, self._clusters):
                await informer.wait_synced()
            group.create_task(self.queue.run())
            group.create_task(self._objects.run())
            for resource in ALWAYS:
                self._new_resources.put_nowait(resource)
            while True:
                resource = await self._new_resources.get()
                if resource not in self._unlabelled:
                    group.create_task(self._follow(resource).run())

    def _follow(self, resource: Resource) -> Informer:
        """Objects of a kind that carry no cluster label yet."""
        selector = f"{LABEL},!{CLUSTER_LABEL}"
        informer = Informer(
            self._client, resource, label_selector=selector, metadata_only=True, transform=_slim_metadata
        )
        informer.add_handler(
            lambda kind, old, new: self._objects.add(
                (resource, new["metadata"].get("namespace", ""), new["metadata"]["name"])
            )
        )
        self._unlabelled[resource] = informer
        return informer

    # events

    def _cluster_event(self, kind: str, old: Object | None, new: Object) -> None:
        token = token_of(new["metadata"]["name"])
        for _, name in self._namespaces.store:
            if token is not None and name.startswith(f"{token}-"):
                self.queue.add(name)

    def _namespace_event(self, kind: str, old: Object | None, new: Object) -> None:
        self.queue.add(new["metadata"]["name"])

    def _negotiated_event(self, kind: str, old: Object | None, new: Object) -> None:
        resource = new.get("resource")
        if resource is not None and kind != "DELETED" and resource not in self._unlabelled:
            self._new_resources.put_nowait(resource)

    # one namespace

    async def _reconcile(self, name: str) -> float | None:
        namespace = self._namespaces.store.get(("", name))
        token = token_of(name)
        if namespace is None or token is None or namespace["metadata"].get("deletionTimestamp"):
            return None
        labels = namespace["metadata"].get("labels") or {}
        clusters = self._clusters_of(token)
        current = labels.get(CLUSTER_LABEL)
        if OPT_OUT in labels:
            return None
        chosen = choose(clusters, current)
        if chosen != current:
            await self._label(NAMESPACES, "", name, chosen)
        if clusters or current:
            await self._say(namespace, chosen)
        if chosen != current or chosen is None:
            if chosen or current:
                await self._relabel(name, chosen)
        else:
            for resource, informer in list(self._unlabelled.items()):
                for where, item in list(informer.store):
                    if where == name:
                        self._objects.add((resource, where, item))
        return None

    def _clusters_of(self, token: str) -> list[Object]:
        return [obj for (_, name), obj in self._clusters.store.items() if name.startswith(f"{token}-")]

    async def _say(self, namespace: Object, chosen: str | None) -> None:
        """The namespace's condition; nothing is written where nothing changes."""
        before = conditions_of(namespace)
        reason, message = ("", "") if chosen else ("Unschedulable", NOWHERE)
        conditions = with_condition(before, SCHEDULED, chosen is not None, reason, message)
        mine = next(item for item in conditions if item["type"] == SCHEDULED)
        if mine in before:
            return
        mine = {key: value for key, value in mine.items() if key != "severity"}
        if mine in before:
            return
        patch = {"status": {"conditions": [mine]}}
        await _if_there(
            self._client.patch(NAMESPACES, namespace["metadata"]["name"], patch, kind="strategic", subresource="status")
        )

    async def _relabel(self, namespace: str, cluster: str | None) -> None:
        """Everything in a namespace follows it to another cluster, or to none."""
        for resource in list(self._unlabelled):
            wanted = f"{CLUSTER_LABEL}!={cluster}" if cluster else CLUSTER_LABEL
            try:
                listed = await self._client.list(
                    resource, namespace, label_selector=f"{LABEL},{wanted}", accept=METADATA_LIST
                )
            except StatusError as error:
                if error.code == 404:
                    continue
                raise
            for item in listed["items"]:
                await self._label(resource, namespace, item["metadata"]["name"], cluster)

    async def _label_object(self, item: Item) -> float | None:
        resource, namespace, name = item
        if (namespace, name) not in self._unlabelled[resource].store:
            return None
        found = self._namespaces.store.get(("", namespace))
        cluster = ((found or {}).get("metadata", {}).get("labels") or {}).get(CLUSTER_LABEL)
        if cluster:
            await self._label(resource, namespace, name, cluster)
        return None

    async def _label(self, resource: Resource, namespace: str, name: str, cluster: str | None) -> None:
        patch = {"metadata": {"labels": {CLUSTER_LABEL: cluster}}}
        await _if_there(self._client.patch(resource, name, patch, namespace or None))


def choose(clusters: list[Object], current: str | None) -> str | None:
    """Plain name of the cluster that a namespace is to run on: the one it has, while it exists, else the first that is
    Ready and schedulable, by age and name."""
    by_name = {_plain(cluster): cluster for cluster in clusters if not cluster["metadata"].get("deletionTimestamp")}
    if current in by_name:
        return current
    fit = [
        (cluster["metadata"].get("creationTimestamp", ""), name)
        for name, cluster in by_name.items()
        if is_true(cluster, READY) and not (cluster.get("spec") or {}).get("unschedulable")
    ]
    return min(fit)[1] if fit else None


def _plain(cluster: Object) -> str:
    name: str = cluster["metadata"]["name"]
    return name.partition("-")[2]


async def _if_there(call: Any) -> None:
    try:
        await call
    except StatusError as error:
        if error.code != 404:
            raise


def _slim_namespace(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("name", "labels", "deletionTimestamp", "resourceVersion") if key in meta}
    conditions = [item for item in conditions_of(obj) if item["type"] == SCHEDULED]
    return {"metadata": kept, "status": {"conditions": conditions}}


def _slim_metadata(obj: Object) -> Object:
    meta = obj["metadata"]
    return {"metadata": {"name": meta["name"], "namespace": meta.get("namespace", "")}}


def _slim_negotiated(obj: Object) -> Object:
    spec = obj.get("spec") or {}
    version = spec.get("groupVersion") or {}
    group, token = version.get("group", ""), token_of(obj["metadata"]["name"])
    resource = None
    if token is not None and spec.get("scope") == "Namespaced" and is_true(obj, "Published"):
        mapped = group if group in NATIVE_GROUPS else f"{token}-{group}"
        resource = Resource(mapped, version.get("version", ""), spec["plural"])
    return {"metadata": {"name": obj["metadata"]["name"]}, "resource": resource}
