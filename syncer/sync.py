"""Keeps one kind of object equal on both sides: specs go down, status comes up.

Both sides are followed by informers that select on the cluster's label.
"""

from __future__ import annotations

import asyncio
import logging
import time

import orjson

from proxy.kube.client import METADATA_LIST, Object
from proxy.kube.errors import StatusError
from syncer import kept
from syncer.apis import Api
from syncer.events import Subject
from syncer.followed import LOOK_AGAIN, Followed, Key, Side, Sides
from syncer.names import CLUSTER_LABEL, MANAGER, is_taken, name_above, name_below
from syncer.role import STATUS, Mode, Role, adapt, runs, selector, status_here
from syncer.transform import Place, down, merge_patch, needs_token, status_above, surplus, without_refused

log = logging.getLogger(__name__)

ABSENT = "1"
"""Resource version that says in server-side apply: only if there is no such object yet (409 otherwise)."""
WORKERS = 32
"""Of each kind: many that are on their way together cost both sides less than one after the other, as they share their
etcd's trips to the disk."""
REFUSALS = (400, 403, 413, 422)
"""Answers that waiting does not change: they are told where the object stands."""


class KindSync(Followed):
    """One API resource, namespaced."""

    def __init__(self, api: Api, sides: Sides) -> None:
        self._done: dict[Key, tuple[bytes, Role, bytes]] = {}
        """What was applied last and what stood below then: equal again means nothing to do."""
        self._troubled: set[Key] = set()
        """Of which an Event told that they could not be synced."""
        self._left: set[Key] = set()
        """Objects that are not ours any more, and that we hold until they are gone below."""
        self._asked: dict[Key, float] = {}
        self._told: dict[Key, float] = {}
        """When the first change above, or below, was seen that is not on the other side yet."""
        self._keep_above = kept.above(api.resource.plural, sides.cluster)
        self._keep_below = kept.below(sides.cluster)
        super().__init__(
            api,
            sides,
            name=api.name,
            workers=WORKERS,
            above=Side(transform=self._keep_above, label_selector=selector(sides.cluster)),
            below=Side(transform=self._keep_below, label_selector=f"{CLUSTER_LABEL}={sides.cluster}"),
        )

    # what is counted

    @property
    def failed(self) -> int:
        """Objects that are not below as they are asked for, and not for want of time."""
        return len(self._conflicts) + self._queue.failing

    @property
    def objects(self) -> int:
        return len(self._done)

    @property
    def oldest(self) -> float | None:
        return min((*self._asked.values(), *self._told.values()), default=None)

    # what happens

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        group.create_task(self._find_left())

    async def _find_left(self) -> None:
        """What left the cluster while no syncer was there to see it."""
        delay = 1.0
        while True:
            try:
                for namespace, name in await self._sides.finalizers.left(self._resource):
                    self._left.add(Key(namespace, name))
                    self._queue.add(Key(namespace, name))
                return
            except StatusError as error:
                log.warning("%s that have left: %s", self.api.name, error)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 30.0)

    def _above_event(self, kind: str, old: Object | None, new: Object) -> None:
        key = Key(new["namespace"], new["name"])
        if kind == "DELETED":
            if new["held"]:
                self._left.add(key)
        elif not new["skip"] and (old is None or old["digest"] != new["digest"]):
            self._asked.setdefault(key, time.monotonic())
        self._queue.add(key)

    def _below_event(self, kind: str, old: Object | None, new: Object) -> None:
        physical = new["namespace"]
        if old is None or kind == "DELETED":
            self._sides.namespaces.occupied(physical, 1 if old is None else -1)
        namespace = self._sides.namespaces.above(physical)
        if namespace is not None:
            key = Key(namespace, name_above(self._resource.plural, new["name"]))
            if kind != "DELETED" and "status" in self.api.subresources and (not old or old["status"] != new["status"]):
                self._told.setdefault(key, time.monotonic())
            self._queue.add(key)

    def _namespace_event(self, namespace: str) -> None:
        for where, name in list(self._up.store):
            if where == namespace:
                self._queue.add(Key(namespace, name))

    async def _reconcile(self, key: Key) -> float | None:
        try:
            again = await self._converge(key)
        except StatusError as error:
            self._sides.metrics.retries.labels(self.api.name).inc()
            above = self._up.store.get(key)
            if above is not None and error.code in REFUSALS:
                self._troubled.add(key)
                self._sides.events.warning(
                    self._subject(above), "SyncFailed", f"Not synced to cluster {self._sides.cluster}: {error}"
                )
            raise
        self._asked.pop(key, None)
        self._told.pop(key, None)
        return again

    async def _converge(self, key: Key) -> float | None:
        plural = self._resource.plural
        namespaces = self._sides.namespaces
        there = self._up.store.get(key)
        if is_taken(plural, key.name):
            if there is not None:
                message = f"Not synced to cluster {self._sides.cluster}: the name has a meaning of its own there"
                self._sides.events.warning(self._subject(there), "NameTaken", message)
                await self._let_go(there)
            return None
        # The namespace decides: what still carries the label when the namespace has left is on its way to follow.
        role = namespaces.role(key.namespace)
        above = there if role.mode is not Mode.AWAY else None
        below = self._down.store.get(self._place(key))
        if above is None or above["deleting"]:
            return await self._leave(key, there, below)
        if above["skip"]:
            await self._let_go(above)
            return None
        self._left.discard(key)
        if below is not None and not below["mine"]:
            return self._in_the_way(key, above)
        if role.mode is not Mode.LEAVING:
            below = await self._bring(key, above, below, role)
            if below is None:
                return LOOK_AGAIN
        if below is not None and "status" in self.api.subresources and below["status"] != kept.NOTHING:
            await self._report(key, above, below, role)
        return None

    async def is_there(self, namespace: str) -> bool:
        """Whether all objects of a namespace above are on the cluster, and what they bring is available there."""
        if not all(self._runs(Key(where, name)) for where, name in list(self._up.store) if where == namespace):
            return False
        # The watch may not have told of all of them yet.
        try:
            listed = await self._sides.above.list(self._resource, namespace, accept=METADATA_LIST)
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
        if above["deleting"] or above["skip"]:
            return True
        below = self._down.store.get(self._place(key))
        return (
            below is not None
            and below["stands"] == above["uid"]
            and runs(
                self._resource.group, plural, below["generation"], below["replicas"], orjson.loads(below["status"])
            )
        )

    # down

    async def _bring(self, key: Key, above: Object, below: Object | None, role: Role) -> Object | None:
        """Make the object below what it is to be; None where that has to wait."""
        state = above["digest"], role, below["digest"] if below is not None else b""
        if self._done.get(key) == state and above["held"]:
            return below
        if not above["held"]:
            above = self._up.saw(await self._sides.finalizers.hold(self._resource, above))
        elif below is None:
            await self._sides.finalizers.must_be_wanted()
        applied = await self._apply(key, above, below, role)
        if applied is None:
            return None
        if key in self._troubled:
            self._troubled.discard(key)
            message = f"Applied to cluster {self._sides.cluster}"
            self._sides.events.normal(self._subject(above), "Synced", message)
        found = self._down.saw(applied)
        self._done[key] = above["digest"], role, found["digest"]
        began = self._asked.pop(key, None)
        if began is not None:
            self._sides.metrics.arrived("down", self.api.name, time.monotonic() - began)
        return found

    async def _apply(self, key: Key, above: Object, below: Object | None, role: Role) -> Object | None:
        """Server-side apply below; None where something is in the way, or the object below has to go first."""
        sides = self._sides
        group, plural = self._resource.group, self._resource.plural
        physical = sides.namespaces.below(key.namespace)
        place = Place(physical, sides.cluster, sides.above.connection.server)
        content = orjson.loads(above["content"])
        wanted = down(group, plural, content, place)
        wanted["apiVersion"], wanted["kind"] = self._resource.api_version, self.api.kind
        adapt(wanted, content, role, sides.cluster)
        await sides.namespaces.ensure(key.namespace)
        if needs_token(group, plural):
            sides.tokens.want(key.namespace)
        if below is None:
            # What is not known here may be there all the same, and be somebody else's.
            found = await self._create(wanted)
            if found is not None:
                self._conflicts.discard(key)
                return await self._exact(wanted, found)
            below = await self._find(key)
            if below is None:
                raise StatusError(
                    409, f"{self.api.name} {physical}/{wanted['metadata']['name']} was there for a moment"
                )
            if not below["mine"]:
                self._in_the_way(key, above)
                return None
        self._conflicts.discard(key)
        wanted["metadata"]["uid"] = below["uid"]
        try:
            return await self._exact(wanted, await sides.below.apply(self._resource, wanted, manager=MANAGER))
        except StatusError as error:
            if error.code != 422 or below["stands"] in (None, above["uid"]):
                raise
            # Deleted above and made again, with something that cannot be changed in an object: as above, so below.
            log.info("%s %s/%s is another one now: replacing it below", self.api.name, *key)
            await self._delete(below)
            return None

    async def _create(self, wanted: Object) -> Object | None:
        """None where there is such an object already."""
        meta = {**wanted["metadata"], "resourceVersion": ABSENT}
        try:
            return await self._sides.below.apply(self._resource, {**wanted, "metadata": meta}, manager=MANAGER)
        except StatusError as error:
            if error.code != 409:
                raise
            return None

    async def _exact(self, wanted: Object, found: Object) -> Object:
        """Take away what others have added where nobody may add anything."""
        patch = surplus(self._resource.group, self._resource.plural, wanted, found)
        if not patch:
            return found
        meta = found["metadata"]
        patch["metadata"] = {"resourceVersion": meta["resourceVersion"]}
        return await self._sides.below.patch(self._resource, meta["name"], patch, meta["namespace"])

    def _in_the_way(self, key: Key, above: Object) -> float:
        """Something of somebody else's stands where the object is to stand: it is left alone."""
        self._done.pop(key, None)
        place = f"{self.api.name} {'/'.join(self._place(key))}"
        message = f"{place} exists on cluster {self._sides.cluster} and is not ours: it is left alone"
        if key not in self._conflicts:
            self._conflicts.add(key)
            log.warning("%s", message)
        self._troubled.add(key)
        self._sides.events.warning(self._subject(above), "NotOurs", message)
        return LOOK_AGAIN

    def _subject(self, above: Object) -> Subject:
        return Subject(self._resource.api_version, self.api.kind, above["namespace"], above["name"], above["uid"])

    def _place(self, key: Key) -> tuple[str, str]:
        """Namespace and name below."""
        return self._sides.namespaces.below(key.namespace), name_below(self._resource.plural, key.name)

    # away

    async def _leave(self, key: Key, above: Object | None, below: Object | None) -> float | None:
        """Nothing of it is to stand below. ``above``: what is there still."""
        self._done.pop(key, None)
        self._conflicts.discard(key)
        self._troubled.discard(key)
        if above is not None and not above["deleting"] and await self._sides.namespaces.runs_here(key.namespace):
            return 1.0  # our picture of the namespaces is late
        if below is not None and below["mine"]:
            if self._sides.namespaces.above(below["namespace"]) is not None:
                await self._delete(below)
            return None  # its last event comes
        if not (above["held"] if above is not None else key in self._left):
            return None
        # A watch may be late: the finalizer goes only when it is sure.
        found = await self._find(key)
        if found is not None and found["mine"]:
            await self._delete(found)
            return 1.0
        if above is not None:
            await self._sides.finalizers.release(self._resource, above)
        else:
            await self._sides.finalizers.release_left(self._resource, key.namespace, key.name)
        self._left.discard(key)
        return None

    async def _let_go(self, above: Object) -> None:
        """Of what never goes down nothing can stand below."""
        if above["held"]:
            await self._sides.finalizers.release(self._resource, above)

    async def _find(self, key: Key) -> Object | None:
        """What stands below, asked and not remembered."""
        namespace, name = self._place(key)
        found = await self._sides.below.find(self._resource, name, namespace)
        return None if found is None else self._keep_below(found)

    async def _delete(self, below: Object) -> None:
        if below["deleting"]:
            return
        await self._sides.namespaces.may_remove()
        try:
            await self._sides.below.delete(
                self._resource, below["name"], below["namespace"], propagation="Background", uid=below["uid"]
            )
        except StatusError as error:
            if error.code not in (404, 409):
                raise

    # up

    async def _report(self, key: Key, above: Object, below: Object, role: Role) -> None:
        """Write the status above, if it says something new; of what is not ours alone only our part of it."""
        here: Object = orjson.loads(below["status"])
        subresource: str | None = None
        if role.mode is Mode.ALONE:
            told = status_above(here, above["generation"], below["generation"])
            status = merge_patch(orjson.loads(above["status"]), told)
            if not status:
                return
            patch = {"metadata": {"resourceVersion": above["version"]}, "status": status}
            subresource = "status"
        else:
            text = status_here(here, below["generation"], orjson.loads(above["content"]).get("spec"))
            if above["told"] == text:
                return
            patch = {"metadata": {"uid": above["uid"], "annotations": {STATUS + self._sides.cluster: text}}}
        try:
            await self._tell(above, patch, subresource)
        except StatusError as error:
            # 404: gone meanwhile; 409: it has changed, and its event is on its way.
            if error.code not in (404, 409):
                raise
            return
        began = self._told.pop(key, None)
        if began is not None:
            self._sides.metrics.arrived("up", self.api.name, time.monotonic() - began)

    async def _tell(self, above: Object, patch: Object, subresource: str | None) -> None:
        async def told(patch: Object) -> None:
            written = await self._sides.above.patch(
                self._resource, above["name"], patch, above["namespace"], subresource=subresource
            )
            self._up.saw(written)

        try:
            await told(patch)
        except StatusError as error:
            # The object below was made again, where a count begins anew, and the one above has been there all along.
            left = without_refused(patch.get("status") or {}, error)
            if error.code != 422 or not left:
                raise
            await told({**patch, "status": left})
