"""From what clusters know to what a workspace serves: APIResourceImport → NegotiatedAPIResource → published.

A type that the shard serves itself is published by a condition alone: discovery shows it from then on. Any other type
becomes a CRD of the workspace, with all versions that are imported. A CRD that somebody made by hand wins: the
negotiated resource is then Enforced, and its schema is what imports are measured by.

Imports go with their WorkloadCluster (they name it as their owner). A type that no cluster imports any more stays
as long as there are objects of it: they can be read and deleted, no others made; with the last one it goes.
"""

from __future__ import annotations

import logging
from asyncio import TaskGroup
from collections import defaultdict
from typing import Any

from proxy.identities import Identity
from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.token import LABEL, token_of
from proxy.workload.agreement import agree, by_age, changes_what_is_published, subresources
from proxy.workload.api import ALWAYS, CRDS, IMPORTS, NEGOTIATED, conditions_of, is_true, not_there, with_condition
from proxy.workload.definition import MADE_BY, crd_name
from proxy.workload.events import tell
from proxy.workload.outcome import IN_USE, NOT_WANTED, UNUSED, Outcome
from proxy.workload.publish import Publisher
from proxy.workload.shared import SETTLED, SharedTypes, crd_name_of, keys_of
from proxy.workload.typekey import TypeKey, key_of

log = logging.getLogger(__name__)

COPIED = (
    "groupVersion", "scope", "plural", "singular", "kind", "listKind", "shortNames", "categories", "openAPIV3Schema",
    "subResources", "columnDefinitions",
)  # fmt: skip
LOOK_AGAIN = 60.0
"""Seconds between looks whether objects of a type that no cluster imports any more are gone."""


class Negotiation:
    """One shard's imports. ``auto_publish``: whether a new type is served without anybody's saying so."""

    def __init__(
        self, client: Client, *, auto_publish: bool, look_again: float = LOOK_AGAIN, settled: float = SETTLED
    ) -> None:
        self._client = client
        self._objects = Identity.OBJECTS.on(client)
        self._auto_publish = auto_publish
        self._look_again = look_again
        self.shared = SharedTypes(client, settled=settled, look_again=look_again)
        self._publisher = Publisher(client, self.shared)
        # Schemas are large and wanted only while something changes: they are not kept.
        self.imports = Informer(client, IMPORTS, transform=_without_schema)
        self._negotiated = Informer(client, NEGOTIATED, transform=_without_schema)
        self._crds = Informer(client, CRDS, label_selector=LABEL, metadata_only=True, transform=_slim_crd)
        self._importers: dict[TypeKey, set[str]] = {}
        """Names of the imports of each type."""
        self._by_crd: dict[str, set[TypeKey]] = defaultdict(set)
        """Types that are negotiated, by the name of the CRD that would serve them."""
        self.queue: WorkQueue[TypeKey] = WorkQueue(self._reconcile, name="API imports", workers=4)
        self.imports.add_handler(self._import_event)
        self._negotiated.add_handler(self._negotiated_event)
        self._crds.add_handler(self._crd_event)
        self.shared.bindings.add_handler(self._binding_event)
        self.shared.crds.add_handler(self._shared_crd_event)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            for informer in (self.imports, self._negotiated, self._crds):
                group.create_task(informer.run())
            for informer in (self.imports, self._negotiated, self._crds):
                await informer.wait_synced()
            group.create_task(self.shared.run())
            await self.shared.bindings.wait_synced()
            group.create_task(self.queue.run())

    def _import_event(self, kind: str, old: Object | None, new: Object) -> None:
        name = new["metadata"]["name"]
        before, after = key_of(old) if old else None, key_of(new) if kind != "DELETED" else None
        if before is not None and before != after:
            self._importers.get(before, set()).discard(name)
        if after is not None:
            self._importers.setdefault(after, set()).add(name)
        for key in {before, after} - {None}:
            assert key is not None
            self.queue.add(key)

    def _negotiated_event(self, kind: str, old: Object | None, new: Object) -> None:
        for key in {key_of(old) if old else None, key_of(new)} - {None}:
            assert key is not None
            self._by_crd[crd_name(key)].add(key)
            self.queue.add(key)

    def _crd_event(self, kind: str, old: Object | None, new: Object) -> None:
        # Its status changes several times after each change of it, which means nothing here.
        if old is None or kind == "DELETED" or old != new:
            for key in self._by_crd.get(new["name"], ()):
                self.queue.add(key)

    def _binding_event(self, kind: str, old: Object | None, new: Object) -> None:
        for key in keys_of(new):
            self.queue.add(key)

    def _shared_crd_event(self, kind: str, old: Object | None, new: Object) -> None:
        if kind == "DELETED":  # by somebody, while there are bindings
            for binding in self.shared.bindings.store.values():
                if crd_name_of(binding) == new["metadata"]["name"]:
                    self._binding_event("MODIFIED", binding, binding)

    async def _reconcile(self, key: TypeKey) -> float | None:
        names = sorted(self._importers.get(key, ()))
        found = [await self._client.find(IMPORTS, name) for name in names]
        imports = [obj for obj in found if obj is not None and not obj["metadata"].get("deletionTimestamp")]
        if not imports:
            return await self._retire(key)
        negotiated = await self._client.find(NEGOTIATED, key.name)
        enforced = await self._publisher.enforced(key)
        schema, refused = agree(imports, negotiated, enforced)
        agreed = [obj for obj in by_age(imports) if obj["metadata"]["name"] not in refused]
        negotiated = await self._write_spec(key, negotiated, agreed, schema, imports)
        changing = changes_what_is_published(imports)
        outcome = await self._outcome(key, negotiated, by_hand=enforced is not None, changing=changing)
        await self._write_negotiated(negotiated, outcome)
        for obj in imports:
            await self._write_import(obj, refused.get(obj["metadata"]["name"]), outcome)
        return outcome.again

    async def _write_spec(
        self, key: TypeKey, negotiated: Object | None, agreed: list[Object], schema: Any, imports: list[Object]
    ) -> Object:
        """The NegotiatedAPIResource as the imports have it that agree; if none does, its schema alone may change."""
        first = agreed[0] if agreed else negotiated or by_age(imports)[0]
        spec = {name: first["spec"][name] for name in COPIED if name in first["spec"]}
        spec["openAPIV3Schema"] = schema
        if agreed:
            spec["subResources"] = subresources(agreed)
        if negotiated is None:
            obj = {
                "apiVersion": NEGOTIATED.api_version,
                "kind": "NegotiatedAPIResource",
                "metadata": {"name": key.name},
                "spec": {**spec, "publish": self._auto_publish},
            }
            return await self._client.create(NEGOTIATED, obj)
        changed = {name: value for name, value in spec.items() if negotiated["spec"].get(name) != value}
        if not changed:
            return negotiated
        patch = [{"op": "add", "path": f"/spec/{name}", "value": value} for name, value in changed.items()]
        return await self._client.patch(NEGOTIATED, key.name, patch, kind="json")

    async def _outcome(self, key: TypeKey, negotiated: Object, *, by_hand: bool, changing: bool) -> Outcome:
        """What became of the type."""
        if negotiated["spec"].get("publish") or by_hand:
            return await self._publisher.publish(key, negotiated, changing=changing)
        # No longer wanted: objects are not to get out of reach, while they are synced on.
        if is_true(negotiated, "Published") and key.resource not in ALWAYS and await self._is_needed(key):
            return IN_USE._replace(again=self._look_again)
        return NOT_WANTED._replace(again=await self._publisher.withdraw(key))

    async def _retire(self, key: TypeKey) -> float | None:
        """No cluster imports the type any more: it goes with its last object, which stays in reach until then."""
        self._importers.pop(key, None)
        negotiated = await self._client.find(NEGOTIATED, key.name)
        if negotiated is None:
            if key.group in NATIVE_GROUPS:
                return None
            return await self._publisher.withdraw(key) if not await self._is_needed(key) else self._look_again
        if key.resource not in ALWAYS and is_true(negotiated, "Published") and await self._is_needed(key):
            await self._write_negotiated(negotiated, UNUSED._replace(enforced=is_true(negotiated, "Enforced")))
            return self._look_again
        again = await self._publisher.withdraw(key)
        try:
            await self._client.delete(NEGOTIATED, key.name, uid=negotiated["metadata"]["uid"])
        except StatusError as error:
            if error.code not in (404, 409):
                raise
        self._by_crd[crd_name(key)].discard(key)
        if is_true(negotiated, "Published"):
            await self._tell(negotiated, "NegotiatedAPIResource", "Withdrawn", "No cluster imports it any more.")
        return again

    async def _is_needed(self, key: TypeKey) -> bool:
        """Whether there are objects that could not be reached without the type."""
        if await self._publisher.is_kept(key):
            return False
        params: dict[str, str | int | None] = {"labelSelector": f"{LABEL}={key.token}", "limit": 1}
        try:
            path = (await self._publisher.resource(key)).path()
            listed = await self._objects.request("GET", path, params=params, accept=METADATA_LIST)
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return bool(listed.get("items"))

    async def _write_negotiated(self, negotiated: Object, outcome: Outcome) -> None:
        before = conditions_of(negotiated)
        after = with_condition(before, "Submitted", True)
        after = with_condition(after, "Published", outcome.published, outcome.reason, outcome.message)
        after = with_condition(after, "Enforced", outcome.enforced)
        await self._write_status(NEGOTIATED, negotiated, before, after)
        if outcome.published != is_true(negotiated, "Published"):
            reason = "Published" if outcome.published else "NotPublished"
            message = outcome.message or "The workspace serves it."
            bad = not outcome.published and outcome.reason != NOT_WANTED.reason
            await self._tell(negotiated, "NegotiatedAPIResource", reason, message, warning=bad)

    async def _write_import(self, obj: Object, refusal: str | None, outcome: Outcome) -> None:
        before = conditions_of(obj)
        reason = "IncompatibleSchema" if refusal else ""
        after = with_condition(before, "Compatible", refusal is None, reason, refusal or "")
        after = with_condition(after, "Available", outcome.published, outcome.reason, outcome.message)
        await self._write_status(IMPORTS, obj, before, after)
        if refusal and not any(item["type"] == "Compatible" and item.get("message") == refusal for item in before):
            await self._tell(obj, "APIResourceImport", reason, refusal, warning=True)

    async def _tell(self, obj: Object, kind: str, reason: str, message: str, *, warning: bool = False) -> None:
        """An Event in namespace ``default`` of the workspace."""
        meta = obj["metadata"]
        subject = {"apiVersion": IMPORTS.api_version, "kind": kind, "name": meta["name"], "uid": meta["uid"]}
        namespace = f"{token_of(meta['name'])}-default"
        await tell(self._client, subject, namespace, reason, message, warning=warning)

    async def _write_status(
        self, resource: Resource, obj: Object, before: list[dict[str, Any]], after: list[dict[str, Any]]
    ) -> None:
        if after != before:
            with not_there():
                patch = {"status": {"conditions": after}}
                await self._client.patch(resource, obj["metadata"]["name"], patch, subresource="status")


def _without_schema(obj: Object) -> Object:
    left_out = ("openAPIV3Schema", "columnDefinitions")
    spec = {key: value for key, value in (obj.get("spec") or {}).items() if key not in left_out}
    conditions = [{"type": item["type"], "status": item["status"]} for item in conditions_of(obj)]
    return {"metadata": {"name": obj["metadata"]["name"]}, "spec": spec, "status": {"conditions": conditions}}


def _slim_crd(obj: Object) -> Object:
    meta = obj["metadata"]
    ours = MADE_BY in (meta.get("annotations") or {})
    return {"name": meta["name"], "uid": meta["uid"], "generation": meta.get("generation"), "ours": ours}
