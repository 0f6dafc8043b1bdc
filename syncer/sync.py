"""Keeps one kind of object equal on both sides: specs go down, status comes up.

Both sides are followed by informers that select on the cluster's label. A key (the object's name above) is worked on by
one worker at a time, with what both informers know then, so the order of events does not matter.
"""

from __future__ import annotations

import hashlib
import json
import logging
from typing import Any, NamedTuple

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from syncer.apis import Api
from syncer.names import CLUSTER_LABEL, name_above, name_below
from syncer.namespaces import Namespaces
from syncer.tokens import Tokens
from syncer.transform import Place, down, needs_token, skipped, status_above

log = logging.getLogger(__name__)

MANAGER = "syncer"


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
        selector = f"{CLUSTER_LABEL}={cluster}"
        self._up = Informer(above, self._resource, label_selector=selector, transform=_slim)
        self._down = Informer(below, self._resource, label_selector=selector, transform=_slim)
        self.queue: WorkQueue[Key] = WorkQueue(self._reconcile, name=f"sync {api.name}", workers=4, max_delay=30.0)
        self._up.add_handler(self._above_event)
        self._down.add_handler(self._below_event)
        namespaces.add_listener(self._namespace_event)

    @property
    def informers(self) -> tuple[Informer, Informer]:
        return self._up, self._down

    def _above_event(self, kind: str, old: Object | None, new: Object) -> None:
        self.queue.add(Key(new["metadata"].get("namespace", ""), new["metadata"]["name"]))

    def _below_event(self, kind: str, old: Object | None, new: Object) -> None:
        key = self._key_of(new)
        if key is not None:
            self.queue.add(key)

    def _key_of(self, below: Object) -> Key | None:
        """The object above that one below stands for; None where its namespace is not ours."""
        namespace = self._namespaces.above(below["metadata"].get("namespace", ""))
        if namespace is None:
            return None
        return Key(namespace, name_above(self._resource.plural, below["metadata"]["name"]))

    def _namespace_event(self, namespace: str) -> None:
        """A namespace below has become known: what stands in it can be told from now on."""
        physical = self._namespaces.below(namespace)
        for where, name in list(self._down.store):
            if where == physical:
                self.queue.add(Key(namespace, name_above(self._resource.plural, name)))

    async def _reconcile(self, key: Key) -> float | None:
        above = self._up.store.get((key.namespace, key.name))
        physical = self._namespaces.below(key.namespace)
        name = name_below(self._resource.plural, key.name)
        below = self._down.store.get((physical, name))
        if above is None or above["metadata"].get("deletionTimestamp"):
            if below is not None and self._namespaces.above(physical) is not None:
                await self._delete(below)
            self._done.pop(key, None)
            return None
        if skipped(self._resource.plural, above):
            return None
        wanted = down(
            self._resource.plural,
            self._resource.group,
            above,
            Place(physical, self._cluster, self._above.connection.server),
        )
        wanted["apiVersion"], wanted["kind"] = self._resource.api_version, self.api.kind
        state = (_digest(wanted), _digest(_asked(below)) if below is not None else "")
        if below is None or self._done.get(key) != state:
            applied = await self._apply(key, wanted, below)
            if applied is None:
                return 30.0
            below = _slim(applied)
            self._done[key] = (state[0], _digest(_asked(below)))
        if "status" in self.api.subresources and below.get("status"):
            await self._report(above, below)
        return None

    async def _apply(self, key: Key, wanted: Object, below: Object | None) -> Object | None:
        """Server-side apply below; None where something of somebody else's stands in the way."""
        await self._namespaces.ensure(key.namespace)
        if needs_token(self._resource.plural, self._resource.group):
            await self._tokens.ensure(key.namespace)
        meta = wanted["metadata"]
        if below is None:
            try:
                found = await self._below.get(self._resource, meta["name"], meta["namespace"])
            except StatusError as error:
                if error.code != 404:
                    raise
            else:
                owner = (found["metadata"].get("labels") or {}).get(CLUSTER_LABEL)
                if owner != self._cluster:
                    log.error(
                        "%s %s/%s exists on the cluster and is not ours: it is left alone",
                        self.api.name, meta["namespace"], meta["name"],
                    )  # fmt: skip
                    return None
        return await self._below.apply(self._resource, wanted, manager=MANAGER)

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

    async def _report(self, above: Object, below: Object) -> None:
        """Write the status above, if it says something new."""
        status = status_above(above, below)
        if status == (above.get("status") or {}):
            return
        meta = above["metadata"]
        patch: dict[str, Any] = {"status": _merge_to(above.get("status") or {}, status)}
        patch["metadata"] = {"resourceVersion": meta["resourceVersion"]}
        try:
            await self._above.patch(self._resource, meta["name"], patch, meta.get("namespace"), subresource="status")
        except StatusError as error:
            # 404: gone meanwhile; 409: it has changed, and its event is on its way.
            if error.code not in (404, 409):
                raise


def _merge_to(before: Object, after: Object) -> Object:
    """The merge patch that turns ``before`` into ``after``."""
    return {**{key: None for key in before if key not in after}, **after}


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
