"""Namespaces below: made when something is to stand in them, removed some time after the last object has left, and at
once when their namespace above is gone."""

from __future__ import annotations

import logging
import time
from asyncio import TaskGroup
from collections import Counter
from collections.abc import Callable

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from syncer.names import CLUSTER_LABEL, LOCATOR, locator, namespace_of, physical_namespace
from syncer.role import Mode, Role, role_of, selector

log = logging.getLogger(__name__)

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CLUSTERS = Resource("workload.kcp.dev", "v1alpha1", "workloadclusters", namespaced=False)


class Foreign(StatusError):
    """A namespace of our name that stands for something else."""

    def __init__(self, name: str) -> None:
        super().__init__(409, f"namespace {name} of the cluster is not ours: it lacks our annotation {LOCATOR}")


EMPTY_FOR = 30.0
"""Seconds: what is deleted and made again finds its namespace, volumes and all."""


class Namespaces:
    """``owner``: owner reference that namespaces below get (``--on-removal=delete``), or None.

    ``empty_for``: seconds for which a namespace without any object of ours stays; ``counted`` tells whether all objects
    of ours are known; ``stays``: nothing is removed below once the WorkloadCluster is deleted."""

    def __init__(
        self,
        above: Client,
        below: Client,
        *,
        workspace: str,
        cluster: str,
        owner: Object | None = None,
        empty_for: float = EMPTY_FOR,
        counted: Callable[[], bool] = lambda: True,
        stays: bool = False,
    ) -> None:
        self._above = above
        self._below = below
        self._workspace = workspace
        self._cluster = cluster
        self._owners = [owner] if owner else []
        self._names: dict[str, str] = {}
        """Namespace below → namespace above, of all that are known on either side."""
        self._usable: set[str] = set()
        """Namespaces below that are there, ours, and not on their way out."""
        self._occupants: Counter[str] = Counter()
        """Namespace below → how many objects of ours stand in it."""
        self._empty_since: dict[str, float] = {}
        """Namespaces below that nothing of ours stands in, by `time.monotonic`."""
        self._empty_for = empty_for
        self._counted = counted
        self._stays = stays
        self._listeners: list[Callable[[str], None]] = []
        self._queue: WorkQueue[str] = WorkQueue(self._reconcile, name="namespaces", workers=2, max_delay=30.0)
        retry = self._queue.retry
        self._up = Informer(above, NAMESPACES, label_selector=selector(cluster), transform=_slim, reconnected=retry)
        self._down = Informer(
            below, NAMESPACES, label_selector=f"{CLUSTER_LABEL}={cluster}", transform=_slim, reconnected=retry
        )
        self._up.add_handler(self._above_event)
        self._down.add_handler(self._below_event)

    def on_change(self, listener: Callable[[str], None]) -> None:
        """``listener(namespace above)`` is called when this cluster's part in it changes, and when its namespace below
        is gone, with all that stood in it."""
        self._listeners.append(listener)

    def below(self, namespace: str) -> str:
        """Name on the cluster."""
        return physical_namespace(self._workspace, namespace)

    def above(self, physical: str) -> str | None:
        """The namespace above, if ``physical`` is one of ours."""
        return self._names.get(physical)

    def is_ours(self, physical: str) -> bool:
        """Whether there is such a namespace on the cluster that was made by a syncer for this workspace."""
        return physical in self._usable

    def role(self, namespace: str) -> Role:
        """This cluster's part in the namespace above."""
        return role_of(self._up.store.get(("", namespace)), self._cluster)

    def occupied(self, physical: str, change: int) -> None:
        """An object of ours has appeared in a namespace below (1), or has gone (-1)."""
        self._occupants[physical] += change
        if self._occupants[physical] > 0:
            self._empty_since.pop(physical, None)
            return
        del self._occupants[physical]
        namespace = self._names.get(physical)
        if namespace is not None:
            self._empty_since[physical] = time.monotonic()
            self._queue.add(namespace)

    def is_synced(self, namespace: str) -> bool:
        """Whether the namespace above is there and has to do with this cluster."""
        return self.role(namespace).mode is not Mode.AWAY

    async def runs_here(self, namespace: str) -> bool:
        """The same, asked and not remembered: where a watch's word is not enough."""
        try:
            found = await self._above.get(NAMESPACES, namespace)
        except StatusError as error:
            # Any other 404 is about something else, the workspace for example.
            if error.code != 404 or error.details.get("kind") != "namespaces":
                raise
            return False
        return role_of(found, self._cluster).mode is not Mode.AWAY

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            group.create_task(self._up.run())
            group.create_task(self._down.run())
            await self.wait_synced()
            group.create_task(self._queue.run())

    async def wait_synced(self) -> None:
        """Until both sides are known."""
        await self._up.wait_synced()
        await self._down.wait_synced()

    async def ensure(self, namespace: str) -> None:
        """Make the namespace below. Raises Foreign where its name is taken by somebody else, StatusError where it is
        just being deleted."""
        name = self.below(namespace)
        if name in self._empty_since:
            self._empty_since[name] = time.monotonic()
        if name in self._usable:
            return
        wanted: Object = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {CLUSTER_LABEL: self._cluster},
                "annotations": {LOCATOR: locator(self._workspace, namespace)},
                "ownerReferences": self._owners,
            },
        }
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
        self._names[name] = namespace
        self._usable.add(name)

    def _above_event(self, kind: str, old: Object | None, new: Object) -> None:
        namespace = new["metadata"]["name"]
        self._names[self.below(namespace)] = namespace
        self._queue.add(namespace)
        if kind != "MODIFIED" or role_of(old, self._cluster) != role_of(new, self._cluster):
            self._tell(namespace)

    def _tell(self, namespace: str) -> None:
        for listener in self._listeners:
            listener(namespace)

    def _below_event(self, kind: str, old: Object | None, new: Object) -> None:
        meta = new["metadata"]
        name = meta["name"]
        namespace = namespace_of(meta.get("annotations") or {}, self._workspace)
        if namespace is None or name != self.below(namespace):
            # Not ours, or somebody has taken our annotation away: nothing there is ours to change any more.
            self._usable.discard(name)
            return
        self._names[name] = namespace
        if kind == "DELETED" or meta.get("deletionTimestamp"):
            self._usable.discard(name)
        else:
            self._usable.add(name)
        self._queue.add(namespace)
        if kind == "DELETED":
            self._tell(namespace)

    async def _reconcile(self, namespace: str) -> float | None:
        name = self.below(namespace)
        below = self._down.store.get(("", name))
        if below is not None and below["metadata"].get("deletionTimestamp"):
            return None
        if self.is_synced(namespace):
            if below is not None:
                await self._own(below)
                return await self._remove_empty(below)
            return None
        if below is None:
            self._names.pop(name, None)
            return None
        return await self._remove(namespace, below)

    async def _own(self, below: Object) -> None:
        """Make the owner the one that ``--on-removal`` asks for: it may have been another before."""
        meta = below["metadata"]
        owners = meta.get("ownerReferences") or []
        wanted = [*(owner for owner in owners if owner["kind"] != "Namespace"), *self._owners]
        if owners == wanted or meta["name"] not in self._usable:
            return
        patch = {"metadata": {"ownerReferences": wanted, "resourceVersion": meta["resourceVersion"]}}
        await self._below.patch(NAMESPACES, meta["name"], patch)

    async def _remove_empty(self, below: Object) -> float | None:
        """Remove a namespace that nothing of ours has stood in for a while; seconds until that is so."""
        name = below["metadata"]["name"]
        if name in self._occupants:
            return None
        since = self._empty_since.setdefault(name, time.monotonic())
        left = since + self._empty_for - time.monotonic()
        if left > 0 or not self._counted():
            return max(left, 1.0)
        log.info("nothing stands in namespace %s any more: removing it", name)
        self._usable.discard(name)
        self._empty_since.pop(name, None)
        await self._delete(below)
        return None

    async def may_remove(self) -> None:
        """To be asked before anything is removed below: with the WorkloadCluster its namespaces lose their label, and
        then what is to stay would seem to have left. Raises StatusError 409."""
        if not self._stays:
            return
        try:
            cluster = await self._above.get(CLUSTERS, self._cluster)
            if not cluster["metadata"].get("deletionTimestamp"):
                return
        except StatusError as error:
            if error.code != 404:
                raise
        raise StatusError(409, f"WorkloadCluster {self._cluster} is deleted: what stands below stays")

    async def _delete(self, below: Object) -> None:
        await self.may_remove()
        try:
            await self._below.delete(NAMESPACES, below["metadata"]["name"], uid=below["metadata"]["uid"])
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    async def _remove(self, namespace: str, below: Object) -> float | None:
        """Remove the namespace below: the one above is gone, or runs elsewhere."""
        name = below["metadata"]["name"]
        if name not in self._usable:
            return None
        if await self.runs_here(namespace):
            return 1.0
        log.info("namespace %s does not run here any more: removing %s", namespace, name)
        await self._delete(below)
        return None


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = ("name", "uid", "resourceVersion", "labels", "annotations", "ownerReferences", "deletionTimestamp")
    return {"metadata": {key: meta[key] for key in kept if key in meta}}
