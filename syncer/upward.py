"""Shows in the workspace what the cluster's own controllers have made of its workloads: pods, secrets, events, ...

The object above is a picture: made, changed and removed by this syncer alone, an admission policy of the shard
(`manifests/workload/synced-up.yaml`) keeps others off. It has the name of the one below and belongs to the
WorkloadCluster, with which it goes. What cannot be changed in a picture (a pod's node) makes a new one.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict

import orjson

from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from syncer import shown
from syncer.apis import Api
from syncer.followed import LOOK_AGAIN, Followed, GroupKind, Key, Side, Sides
from syncer.names import SYNCED_UP
from syncer.namespaces import CLUSTERS
from syncer.transform import merge_patch, status_above

log = logging.getLogger(__name__)

WORKERS = 4
OWNER_KNOWN = 10.0
"""Seconds for which it is believed that the WorkloadCluster is there."""


class UpSync(Followed):
    """One API resource, namespaced, of those that can be shown (`shown.PICTURES`)."""

    def __init__(self, api: Api, sides: Sides) -> None:
        self._picture = shown.PICTURES[api.name]
        self._told: dict[Key, float] = {}
        """When the first change below was seen that is not above yet."""
        self._owner: tuple[float, Object] = (float("-inf"), {})
        self._tellers: dict[tuple[str, str, str, str], set[str]] = defaultdict(set)
        """Namespace below, and group, kind and name of what is told of there → names of what tells of it."""
        if self._picture.about is not None:
            sides.curious.append(self._tell_again)
        self._keep_above = shown.above(self._picture)
        super().__init__(
            api,
            sides,
            name=f"{api.name}/up",
            workers=WORKERS,
            above=Side(transform=self._keep_above, label_selector=f"{SYNCED_UP}={sides.cluster}"),
            # By no label of ours: nothing about what controllers make says whose it is but its namespace.
            below=Side(transform=shown.below(sides.cluster, self._picture), label_selector=self._picture.selector),
        )

    # what is counted

    @property
    def objects(self) -> int:
        return len(self._up.store)

    @property
    def oldest(self) -> float | None:
        return min(self._told.values(), default=None)

    def _uid(self, key: Key, below: str | None) -> str | None:
        above = self._up.store.get(key)
        if above is None or (below is not None and not shown.is_of(above["shows"], below)):
            return None
        return str(above["uid"])

    # what happens

    def _above_event(self, kind: str, old: Object | None, new: Object) -> None:
        self._queue.add(Key(new["namespace"], new["name"]))

    def _below_event(self, kind: str, old: Object | None, new: Object) -> None:
        if new is shown.FOREIGN:
            return
        if new["subject"] is not None:
            self._keep_teller(new, gone=kind == "DELETED")
        namespace = self._sides.namespaces.above(new["namespace"])
        if namespace is not None:
            key = Key(namespace, new["name"])
            self._told.setdefault(key, time.monotonic())
            self._queue.add(key)

    def _keep_teller(self, kept: Object, *, gone: bool) -> None:
        subject: shown.Subject = kept["subject"]
        place = (kept["namespace"], subject.group, subject.kind, subject.name)
        if not gone:
            self._tellers[place].add(kept["name"])
        elif tellers := self._tellers.get(place):
            tellers.discard(kept["name"])
            if not tellers:
                del self._tellers[place]

    def _tell_again(self, kind: GroupKind, key: Key) -> None:
        """What tells of that object could not be shown until it was there, or refers to the one before it."""
        place = (self._sides.namespaces.below(key.namespace), *kind, key.name)
        for name in self._tellers.get(place, ()):
            self._queue.add(Key(key.namespace, name))

    def _namespace_event(self, namespace: str) -> None:
        physical = self._sides.namespaces.below(namespace)
        names = {name for where, name in self._up.store if where == namespace}
        names |= {name for where, name in self._down.store if where == physical}
        for name in names:
            self._queue.add(Key(namespace, name))

    async def _reconcile(self, key: Key) -> float | None:
        try:
            again = await self._converge(key)
        except StatusError:
            self._sides.metrics.retries.labels(self.name).inc()
            raise
        began = self._told.pop(key, None)
        if began is not None and again is None and key in self._up.store:
            self._sides.metrics.lag.labels("up", self.name).observe(time.monotonic() - began)
        return again

    async def _converge(self, key: Key) -> float | None:
        namespaces = self._sides.namespaces
        physical = namespaces.below(key.namespace)
        above = self._up.store.get(key)
        below = self._down.store.get((physical, key.name))
        wanted = namespaces.above(physical) is not None and namespaces.is_synced(key.namespace)
        if not below or below["mine"] or not wanted:
            self._conflicts.discard(key)
            if above is not None:
                await self._remove(above)
            return None
        subject = self._subject(key, below)
        if above is not None and self._is_another(above, below, subject):
            await self._remove(above)
            return None  # its last event comes
        fresh = above is None
        if above is None:
            if below["deleting"] or (below["subject"] is not None and subject is None):
                return None
            above = await self._show(key, below, subject)
            if above is None:
                return LOOK_AGAIN
        try:
            await self._follow(above, below)
        except StatusError as error:
            if error.code != 422 or fresh:
                raise
            # What has happened below cannot happen to one and the same object.
            await self._remove(above)
        return None

    def _subject(self, key: Key, below: Object) -> str | None:
        """The uid above of what is told of; None where the workspace does not have that (yet, or any more)."""
        subject: shown.Subject | None = below["subject"]
        if subject is None:
            return None
        return self._sides.uid((subject.group, subject.kind), Key(key.namespace, subject.name), subject.uid)

    def _is_another(self, above: Object, below: Object, subject: str | None) -> bool:
        """Whether what stands above cannot become the picture of what is below."""
        return (
            above["shows"] != below["shows"]
            or (above["deleting"] and not below["deleting"])
            or (subject is not None and above["subject"].uid != subject)
        )

    async def _show(self, key: Key, below: Object, subject: str | None) -> Object | None:
        """Make the object above; None where that is not possible now."""
        obj = shown.shown(below, key.namespace, await self._cluster(), self._fields(key, below, subject))
        obj |= {"apiVersion": self._resource.api_version, "kind": self.api.kind}
        try:
            made = await self._sides.above.create(self._resource, obj)
        except StatusError as error:
            if error.reason == "AlreadyExists":
                return await self._find(key)
            if error.code == 404 or any(cause.get("reason") == "NamespaceTerminating" for cause in error.causes):
                return None
            raise
        self._conflicts.discard(key)
        return self._up.saw(made)

    def _fields(self, key: Key, below: Object, subject: str | None) -> Object:
        """What the picture is made with."""
        picture = self._picture
        fields: Object = orjson.loads(below["fixed"])
        if picture.about is not None:
            fields[picture.about] |= {"namespace": key.namespace, "uid": subject}
        return fields if picture.subresource else {**fields, **self._moving(key.namespace, below)}

    def _moving(self, namespace: str, below: Object) -> Object:
        """What follows, as it is to be above."""
        text: bytes = below["moving"]
        if self._picture.about is not None:
            # Those who tell something name the namespace as they know it.
            text = text.replace(below["namespace"].encode(), namespace.encode())
        fields: Object = orjson.loads(text)
        return fields

    async def _find(self, key: Key) -> Object | None:
        """What stands above, if it is a picture of ours of which no event has come yet."""
        found = await self._sides.above.get(self._resource, key.name, key.namespace)
        if (found["metadata"].get("labels") or {}).get(SYNCED_UP) == self._sides.cluster:
            return self._keep_above(found)
        if key not in self._conflicts:
            log.warning("%s %s/%s of the workspace is another one: it stays", self.api.name, *key)
        self._conflicts.add(key)
        return None

    async def _cluster(self) -> Object:
        """Owner reference to the WorkloadCluster. Raises StatusError where that is gone."""
        if time.monotonic() - self._owner[0] > OWNER_KNOWN:
            found = await self._sides.above.get(CLUSTERS, self._sides.cluster)
            meta = found["metadata"]
            if meta.get("deletionTimestamp"):
                raise StatusError(409, f"WorkloadCluster {self._sides.cluster} is being deleted: nothing is shown")
            owner = {
                "apiVersion": CLUSTERS.api_version,
                "kind": "WorkloadCluster",
                "name": meta["name"],
                "uid": meta["uid"],
            }
            self._owner = time.monotonic(), owner
        return self._owner[1]

    async def _follow(self, above: Object, below: Object) -> None:
        """Make the picture say what is below. Raises StatusError 422 where it cannot."""
        try:
            moving = self._moving(above["namespace"], below)
            if "status" in moving:
                moving["status"] = status_above(moving["status"], above["generation"], below["generation"])
            patch = merge_patch(orjson.loads(above["moving"]), moving)
            if patch:
                await self._patch(above, patch, subresource=self._picture.subresource)
            meta = {
                field: changes
                for field in ("labels", "annotations")
                if (changes := merge_patch(above[field], below[field]))
            }
            if meta:
                await self._patch(above, {"metadata": meta})
            if below["deleting"] and not above["deleting"]:
                await self._delete(above, max(1, below["grace"]))
        except StatusError as error:
            # It has gone, or is another one: the event of that is on its way.
            if error.code not in (404, 409):
                raise

    async def _patch(self, above: Object, patch: Object, *, subresource: str | None = None) -> None:
        # Nobody else writes: that it is the same object is enough.
        patch["metadata"] = {**patch.get("metadata", {}), "uid": above["uid"]}
        written = await self._sides.above.patch(
            self._resource, above["name"], patch, above["namespace"], subresource=subresource
        )
        self._up.saw(written)

    async def _remove(self, above: Object) -> None:
        await self._delete(above, 0)

    async def _delete(self, above: Object, grace: int) -> None:
        try:
            await self._sides.above.delete(
                self._resource, above["name"], above["namespace"], grace=grace, uid=above["uid"]
            )
        except StatusError as error:
            if error.code not in (404, 409):
                raise
