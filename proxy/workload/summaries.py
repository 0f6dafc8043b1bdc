"""The status of objects that have to do with several clusters: made of what each cluster's syncer says in an annotation
(docs/workloads.md)."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping

from proxy.kube.client import Client, Object, Resource
from proxy.kube.digest import digest
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import ALWAYS, CLUSTER_LABEL, not_there
from proxy.workload.moves import SEVERAL, SYNC
from proxy.workload.summary import summary

log = logging.getLogger(__name__)

STATUS = "experimental.status.workload.kcp.dev/"
"""Before the name of a cluster: annotation of an object."""

KEPT = ("collisionCount",)
"""Of a status, what means something to one server alone, and may not become less."""

Item = tuple[Resource, str, str]
"""Resource, namespace, name."""


class Summaries:
    """One shard's objects. A kind is followed from when there is a workspace that has namespaces on several clusters
    and objects of it. ``involved``: the clusters that a namespace has to do with, and how."""

    def __init__(self, client: Client, involved: Callable[[str], Mapping[str, str]]) -> None:
        self._client = client
        self._involved = involved
        self._kinds: dict[Resource, asyncio.Task[None] | None] = {}
        self._tokens: set[str] = set()
        """Workspaces with such namespaces, now or before."""
        self._changed = asyncio.Event()
        self._informers: dict[Resource, Informer] = {}
        self._queue: WorkQueue[Item] = WorkQueue(self._reconcile, name="summaries", workers=4)

    def add_kind(self, resource: Resource) -> None:
        """There may be objects of that kind."""
        if resource not in ALWAYS:  # those have no status
            self._kinds.setdefault(resource, None)
            self._changed.set()

    def remove_kind(self, resource: Resource) -> None:
        task = self._kinds.pop(resource, None)
        if task is not None:
            task.cancel()

    def want(self, token: str) -> None:
        """The workspace has a namespace that has to do with several clusters."""
        if token not in self._tokens:
            self._tokens.add(token)
            self._changed.set()

    def look_again(self, namespace: str) -> None:
        """It has to do with other clusters now."""
        for resource, informer in self._informers.items():
            for where, name in informer.store:
                if where == namespace:
                    self._queue.add((resource, where, name))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            while True:
                self._changed.clear()
                for resource, task in list(self._kinds.items()):
                    token = token_of(resource.group)  # of native and shared kinds there is none
                    if task is None and (self._tokens if token is None else token in self._tokens):
                        self._kinds[resource] = group.create_task(self._follow(resource))
                await self._changed.wait()

    async def _follow(self, resource: Resource) -> None:
        selector = f"{LABEL},{CLUSTER_LABEL}={SEVERAL}"
        informer = Informer(self._client, resource, label_selector=selector, transform=_slim)

        def event(kind: str, old: Object | None, new: Object) -> None:
            meta = new["metadata"]
            self._queue.add((resource, meta["namespace"], meta["name"]))

        informer.add_handler(event)
        self._informers[resource] = informer
        try:
            await informer.run()
        finally:
            if self._informers.get(resource) is informer:
                del self._informers[resource]

    async def _reconcile(self, item: Item) -> float | None:
        resource, namespace, name = item
        informer = self._informers.get(resource)
        if informer is None:
            return None
        obj = informer.store.get((namespace, name))
        if obj is None:
            await self._forget(item)
            return None
        meta = obj["metadata"]
        told = {key.removeprefix(STATUS): value for key, value in _annotations(meta).items() if key.startswith(STATUS)}
        involved = self._involved(namespace)
        stale = {STATUS + name: None for name in told if name not in involved}
        if stale:
            gone = {"resourceVersion": meta["resourceVersion"], "annotations": stale}
            with not_there():
                await self._client.patch(resource, name, {"metadata": gone}, namespace)
            return None  # the event of that brings us here again
        generation = int(meta.get("generation") or 1)
        statuses = {
            name: status
            for name, value in told.items()
            if (status := read(value, obj["spec"], generation, stays=involved[name] == SYNC)) is not None
        }
        if not statuses:
            return None
        status = {key: value for key, value in summary(statuses, generation).items() if key not in KEPT}
        before = {key: value for key, value in (obj.get("status") or {}).items() if key not in KEPT}
        if status == before:
            return None
        patch = {
            "metadata": {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]},
            "status": status | {key: None for key in before if key not in status},
        }
        with not_there():
            await self._client.patch(resource, name, patch, namespace, subresource="status")
        return None

    async def _forget(self, item: Item) -> None:
        """The object has to do with one cluster only, or is gone: what each has said is of no use any more."""
        resource, namespace, name = item
        with not_there():
            meta = (await self._client.get(resource, name, namespace))["metadata"]
            told = [key for key in _annotations(meta) if key.startswith(STATUS)]
            if told and (meta.get("labels") or {}).get(CLUSTER_LABEL) != SEVERAL:
                gone = {"resourceVersion": meta["resourceVersion"], "annotations": dict.fromkeys(told)}
                await self._client.patch(resource, name, {"metadata": gone}, namespace)


def _annotations(meta: Object) -> dict[str, str]:
    found: dict[str, str] = meta.get("annotations") or {}
    return found


def read(text: str, spec: str, generation: int, *, stays: bool) -> Object | None:
    """The status in an annotation, None for what no syncer has written: ``{"spec": …, "current": …, "status": …}``.

    A syncer does not know of the generations that its own annotations make (those of Deployments do). It says which
    spec its cluster has (a digest) and whether the controllers there have seen it; here that becomes
    ``observedGeneration``. A cluster that is being left (``stays`` false) has none: nothing new goes there.
    """
    try:
        value = json.loads(text)
        told, status = value["spec"], value["status"]
    except (ValueError, TypeError, KeyError):
        return None
    if not isinstance(status, dict):
        return None
    current = value.get("current")
    if isinstance(current, bool) and stays:
        status["observedGeneration"] = generation if current and told == spec else generation - 1
    return status


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    names = ("name", "namespace", "uid", "resourceVersion", "generation", "annotations")
    kept = {key: meta[key] for key in names if key in meta}
    return {"metadata": kept, "spec": digest(obj.get("spec")), "status": obj.get("status")}
