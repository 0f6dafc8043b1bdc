"""Keeps one kind of object equal on both sides: specs go down, status comes up.

Both sides are followed by informers that select on the cluster's label. A key (the object's name above) is worked on by
one worker at a time, with what both informers know then, so the order of events does not matter.
"""

from __future__ import annotations

import hashlib
import json
import logging
from asyncio import TaskGroup
from typing import Any, NamedTuple

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from syncer.apis import Api
from syncer.names import CLUSTER_LABEL, UID, is_taken, name_above, name_below
from syncer.namespaces import Namespaces
from syncer.role import STATUS, Mode, Role, adapt, runs, selector
from syncer.tokens import Tokens
from syncer.transform import Place, down, merge_patch, needs_token, skipped, status_above

log = logging.getLogger(__name__)

MANAGER = "syncer"
LOOK_AGAIN = 30.0
"""Seconds until it is seen whether what stands in the way below is gone."""


class Key(NamedTuple):
    """An object above."""

    namespace: str
    name: str


class KindSync:
    """One API resource, namespaced."""

    def __init__(
        self, api: Api, above: Client, below: Client, *, cluster: str, namespaces: Namespaces, tokens: Tokens
    ) -> None:
        self.api = api
        self._resource: Resource = api.resource
        self._above = above
        self._below = below
        self._cluster = cluster
        self._namespaces = namespaces
        self._tokens = tokens
        self._done: dict[Key, tuple[str, str]] = {}
        """What was applied last and what stood below then: equal again means nothing to do."""
        self._complained: set[Key] = set()
        """Objects below that are in our way, told once."""
        self._up = Informer(above, self._resource, label_selector=selector(cluster), transform=_slim)
        self._down = Informer(below, self._resource, label_selector=f"{CLUSTER_LABEL}={cluster}", transform=_slim)
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name=f"sync {api.name}", workers=4, max_delay=30.0)
        self._up.add_handler(self._above_event)
        self._down.add_handler(self._below_event)
        namespaces.on_change(self._namespace_event)

    async def run(self) -> None:
        """Until cancelled."""
        # What an object below stands for is told by its namespace.
        await self._namespaces.wait_synced()
        async with TaskGroup() as group:
            for informer in (self._up, self._down):
                group.create_task(informer.run())
            # Nothing is done on half a picture: an object missing from one side would be taken for deleted.
            await self._up.wait_synced()
            await self._down.wait_synced()
            group.create_task(self._queue.run())

    def _above_event(self, kind: str, old: Object | None, new: Object) -> None:
        self._queue.add(Key(new["metadata"]["namespace"], new["metadata"]["name"]))

    def _below_event(self, kind: str, old: Object | None, new: Object) -> None:
        namespace = self._namespaces.above(new["metadata"]["namespace"])
        if namespace is not None:
            self._queue.add(Key(namespace, name_above(self._resource.plural, new["metadata"]["name"])))

    def _namespace_event(self, namespace: str) -> None:
        """It has come, or is to go, or what stood in it below is gone."""
        for where, name in list(self._up.store):
            if where == namespace:
                self._queue.add(Key(namespace, name))

    async def _reconcile(self, key: Key) -> float | None:
        plural = self._resource.plural
        if is_taken(plural, key.name):
            if (key.namespace, key.name) in self._up.store:
                log.warning("%s %s/%s is not synced: the name has a meaning of its own below", self.api.name, *key)
            return None
        # The namespace decides: what still carries the label when the namespace has left is on its way to follow.
        role = self._namespaces.role(key.namespace)
        above = self._up.store.get(key) if role.mode is not Mode.AWAY else None
        physical = self._namespaces.below(key.namespace)
        below = self._down.store.get((physical, name_below(plural, key.name)))
        if above is None or above["metadata"].get("deletionTimestamp"):
            self._done.pop(key, None)
            self._complained.discard(key)
            if below is not None and self._namespaces.above(physical) is not None:
                await self._delete(below)
            return None
        if skipped(plural, above):
            return None
        if role.mode is not Mode.LEAVING:
            wait, below = await self._bring(key, above, below, role)
            if wait is not None:
                return wait
        if below is not None and "status" in self.api.subresources and below.get("status"):
            await self._report(above, below, role)
        return None

    async def _bring(
        self, key: Key, above: Object, below: Object | None, role: Role
    ) -> tuple[float | None, Object | None]:
        """Make the object below what it is to be; seconds until to look again, or the object."""
        plural = self._resource.plural
        physical = self._namespaces.below(key.namespace)
        place = Place(physical, self._cluster, self._above.connection.server)
        wanted = down(self._resource.group, plural, above, place)
        wanted["apiVersion"], wanted["kind"] = self._resource.api_version, self.api.kind
        adapt(wanted, above, role, self._cluster)
        state = (_digest(wanted), _digest(_asked(below)) if below is not None else "")
        if below is None or self._done.get(key) != state:
            if below is None and not await self._is_free(key, wanted):
                return LOOK_AGAIN, None
            applied = await self._apply(key, wanted, below)
            if applied is None:
                return LOOK_AGAIN, None
            below = _slim(applied)
            self._done[key] = (state[0], _digest(_asked(below)))
        return None, below

    async def is_there(self, namespace: str) -> bool:
        """Whether all objects of a namespace above are on the cluster, and what they bring is available there."""
        if not all(self._runs(Key(where, name)) for where, name in list(self._up.store) if where == namespace):
            return False
        # The watch may not have told of all of them yet.
        try:
            listed = await self._above.list(self._resource, namespace, accept=METADATA_LIST)
        except StatusError as error:
            if error.code != 404:
                raise
            return True
        return all(self._runs(Key(namespace, item["metadata"]["name"])) for item in listed["items"])

    def _runs(self, key: Key) -> bool:
        plural = self._resource.plural
        if is_taken(plural, key.name):
            return True
        above = self._up.store.get(key)
        if above is None:
            return False
        if above["metadata"].get("deletionTimestamp") or skipped(plural, above):
            return True
        below = self._down.store.get((self._namespaces.below(key.namespace), name_below(plural, key.name)))
        if below is None or (below["metadata"].get("annotations") or {}).get(UID) != above["metadata"]["uid"]:
            return False
        return runs(self._resource.group, plural, below)

    async def _is_free(self, key: Key, wanted: Object) -> bool:
        """Whether nothing of somebody else's stands where the object is to stand."""
        meta = wanted["metadata"]
        try:
            found = await self._below.get(self._resource, meta["name"], meta["namespace"])
        except StatusError as error:
            if error.code != 404:
                raise
        else:
            if (found["metadata"].get("labels") or {}).get(CLUSTER_LABEL) != self._cluster:
                if key not in self._complained:
                    self._complained.add(key)
                    log.error(
                        "%s %s/%s exists on the cluster and is not ours: it is left alone",
                        self.api.name, meta["namespace"], meta["name"],
                    )  # fmt: skip
                return False
        self._complained.discard(key)
        return True

    async def _apply(self, key: Key, wanted: Object, below: Object | None) -> Object | None:
        """Server-side apply below; None where the object below has to go first."""
        await self._namespaces.ensure(key.namespace)
        if needs_token(self._resource.group, self._resource.plural):
            self._tokens.want(key.namespace)
        try:
            return await self._below.apply(self._resource, wanted, manager=MANAGER)
        except StatusError as error:
            if error.code != 422 or below is None or not _is_another(wanted, below):
                raise
            # Deleted above and made again, with something that cannot be changed in an object: as above, so below.
            log.info("%s %s/%s is another one now: replacing it below", self.api.name, *key)
            await self._delete(below)
            return None

    async def _delete(self, below: Object) -> None:
        meta = below["metadata"]
        if meta.get("deletionTimestamp"):
            return
        try:
            await self._below.delete(
                self._resource, meta["name"], meta["namespace"], propagation="Background", uid=meta["uid"]
            )
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    async def _report(self, above: Object, below: Object, role: Role) -> None:
        """Write the status above, if it says something new; what is not ours alone only as our part of it."""
        meta = above["metadata"]
        told = status_above(above, below)
        subresource: str | None = None
        if role.mode is Mode.ALONE:
            status = merge_patch(above.get("status") or {}, told)
            if not status:
                return
            patch = {"metadata": {"resourceVersion": meta["resourceVersion"]}, "status": status}
            subresource = "status"
        else:
            text = json.dumps(told, sort_keys=True, separators=(",", ":"))
            if (meta.get("annotations") or {}).get(STATUS + self._cluster) == text:
                return
            patch = {"metadata": {"uid": meta["uid"], "annotations": {STATUS + self._cluster: text}}}
        try:
            await self._above.patch(self._resource, meta["name"], patch, meta["namespace"], subresource=subresource)
        except StatusError as error:
            # 404: gone meanwhile; 409: it has changed, and its event is on its way.
            if error.code not in (404, 409):
                raise


def _is_another(wanted: Object, below: Object) -> bool:
    """Whether the object below stands for one above that is gone."""
    uid = (below["metadata"].get("annotations") or {}).get(UID)
    return uid is not None and uid != wanted["metadata"]["annotations"][UID]


def _slim(obj: Object) -> Object:
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {**{key: value for key, value in obj.items() if key != "metadata"}, "metadata": meta}


def _asked(below: Object) -> Object:
    """The part of an object below that is ours to keep: all but its status and what changes with each write."""
    meta = below["metadata"]
    kept = {key: meta[key] for key in ("labels", "annotations", "generation", "uid") if key in meta}
    rest = {key: value for key, value in below.items() if key not in ("metadata", "status")}
    return {**rest, "metadata": kept}


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
