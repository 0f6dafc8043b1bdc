"""Namespaces below: made when something is to stand in them, removed when their namespace above is gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from syncer.names import CLUSTER_LABEL, LOCATOR, locator, namespace_of, physical_namespace

log = logging.getLogger(__name__)

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)


class Foreign(StatusError):
    """A namespace of our name that stands for something else."""

    def __init__(self, name: str) -> None:
        super().__init__(409, f"namespace {name} of the cluster is not ours: it lacks our annotation {LOCATOR}")


class Namespaces:
    """``owner``: owner reference that namespaces below get (``--on-removal=delete``), or None."""

    def __init__(
        self, above: Client, below: Client, *, workspace: str, cluster: str, owner: Object | None = None
    ) -> None:
        self._above = above
        self._below = below
        self._workspace = workspace
        self._cluster = cluster
        self._owner = owner
        self._ours: dict[str, str] = {}
        """Namespace below → namespace above."""
        self._listeners: list[Callable[[str], None]] = []
        selector = f"{CLUSTER_LABEL}={cluster}"
        self._up = Informer(above, NAMESPACES, label_selector=selector)
        self._down = Informer(below, NAMESPACES, label_selector=selector)
        self._queue: WorkQueue[str] = WorkQueue(self._reconcile, name="namespaces", workers=2, max_delay=30.0)
        self._up.add_handler(lambda kind, old, new: self._queue.add(new["metadata"]["name"]))
        self._down.add_handler(self._below_event)

    def add_listener(self, listener: Callable[[str], None]) -> None:
        """``listener(namespace above)`` is called when a namespace below becomes known as ours."""
        self._listeners.append(listener)

    def below(self, namespace: str) -> str:
        return physical_namespace(self._workspace, namespace)

    def above(self, physical: str) -> str | None:
        """The namespace above, if ``physical`` is known to be ours."""
        return self._ours.get(physical)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._up.run())
            group.create_task(self._down.run())
            await self._up.wait_synced()
            await self._down.wait_synced()
            group.create_task(self._queue.run())

    async def wait_synced(self) -> None:
        await self._up.wait_synced()
        await self._down.wait_synced()

    async def ensure(self, namespace: str) -> None:
        """Make the namespace below. Raises Foreign where its name is taken by somebody else."""
        name = self.below(namespace)
        if self._ours.get(name) == namespace:
            return
        wanted: Object = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {CLUSTER_LABEL: self._cluster},
                "annotations": {LOCATOR: locator(self._workspace, namespace)},
            },
        }
        if self._owner is not None:
            wanted["metadata"]["ownerReferences"] = [self._owner]
        try:
            found = await self._below.create(NAMESPACES, wanted)
        except StatusError as error:
            if error.code != 409:
                raise
            found = await self._below.get(NAMESPACES, name)
        meta = found["metadata"]
        if namespace_of(meta.get("annotations") or {}, self._workspace) != namespace:
            raise Foreign(name)
        if meta.get("deletionTimestamp"):
            raise StatusError(409, f"namespace {name} is still being deleted on the cluster")
        if (meta.get("labels") or {}).get(CLUSTER_LABEL) != self._cluster:
            patch = {"metadata": {"labels": {CLUSTER_LABEL: self._cluster}}}
            await self._below.patch(NAMESPACES, name, patch)
        self._known(name, namespace)

    def _below_event(self, kind: str, old: Object | None, new: Object) -> None:
        meta = new["metadata"]
        namespace = namespace_of(meta.get("annotations") or {}, self._workspace)
        if namespace is None or meta["name"] != self.below(namespace):
            return
        if kind == "DELETED" or meta.get("deletionTimestamp"):
            self._ours.pop(meta["name"], None)
        else:
            self._known(meta["name"], namespace)
        self._queue.add(namespace)

    def _known(self, name: str, namespace: str) -> None:
        if self._ours.get(name) != namespace:
            self._ours[name] = namespace
            for listener in self._listeners:
                listener(namespace)

    async def _reconcile(self, namespace: str) -> float | None:
        """Remove the namespace below once the one above is gone, or runs elsewhere."""
        if ("", namespace) in self._up.store:
            return None
        below = self._down.store.get(("", self.below(namespace)))
        if below is None or below["metadata"].get("deletionTimestamp"):
            return None
        try:
            # The informer's word is not enough to delete a namespace: ask.
            found = await self._above.get(NAMESPACES, namespace)
            if (found["metadata"].get("labels") or {}).get(CLUSTER_LABEL) == self._cluster:
                return 1.0
        except StatusError as error:
            if error.code != 404 or error.details.get("kind") != "namespaces":
                raise
        log.info("namespace %s is gone from the workspace: removing %s", namespace, self.below(namespace))
        try:
            await self._below.delete(NAMESPACES, self.below(namespace), uid=below["metadata"]["uid"])
        except StatusError as error:
            if error.code not in (404, 409):
                raise
        return None
