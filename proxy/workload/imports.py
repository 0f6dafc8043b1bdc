"""From what clusters know to what a workspace serves: APIResourceImport → NegotiatedAPIResource → published.

A type that the shard serves itself is published by a condition alone: discovery shows it from then on. Any other type
becomes a CRD of the workspace. A CRD that somebody made by hand wins: the negotiated resource is then Enforced.

Imports go with their WorkloadCluster (they name it as their owner). A type that no cluster imports any more stays
served as long as there are objects of it, so that these can be read, moved and deleted; with the last one it goes.
"""

from __future__ import annotations

import logging
from asyncio import TaskGroup
from typing import Any

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import LABEL
from proxy.workload.api import ALWAYS, IMPORTS, NEGOTIATED, conditions_of, is_true, with_condition
from proxy.workload.publish import Outcome, Publisher
from proxy.workload.schema import Incompatible, common
from proxy.workload.typekey import TypeKey, key_of

log = logging.getLogger(__name__)

COPIED = (
    "groupVersion", "scope", "plural", "singular", "kind", "listKind", "shortNames", "categories", "openAPIV3Schema",
    "subResources", "columnDefinitions",
)  # fmt: skip
LOOK_AGAIN = 60.0
"""Seconds between looks whether objects of a type that no cluster imports any more are gone."""
STRATEGY = "UpdateUnpublished"
"""Of an import that names none."""


class Negotiation:
    """One shard's imports. ``auto_publish``: whether a new type is served without anybody's saying so."""

    def __init__(self, client: Client, *, auto_publish: bool, look_again: float = LOOK_AGAIN) -> None:
        self._client = client
        self._auto_publish = auto_publish
        self._look_again = look_again
        self._publisher = Publisher(client)
        # Schemas are large and wanted only while something changes: they are not kept.
        self._imports = Informer(client, IMPORTS, transform=_without_schema)
        self._negotiated = Informer(client, NEGOTIATED, transform=_without_schema)
        self._importers: dict[TypeKey, set[str]] = {}
        """Names of the imports of each type."""
        self.queue: WorkQueue[TypeKey] = WorkQueue(self._reconcile, name="API imports", workers=4)
        self._imports.add_handler(self._import_event)
        self._negotiated.add_handler(self._negotiated_event)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            group.create_task(self._imports.run())
            group.create_task(self._negotiated.run())
            await self._imports.wait_synced()
            await self._negotiated.wait_synced()
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
            self.queue.add(key)

    async def _reconcile(self, key: TypeKey) -> float | None:
        names = sorted(self._importers.get(key, ()))
        found = [await self._get(IMPORTS, name) for name in names]
        imports = [obj for obj in found if obj is not None and not obj["metadata"].get("deletionTimestamp")]
        if not imports:
            return await self._retire(key)
        negotiated = await self._get(NEGOTIATED, key.name)
        schema, refused = agree(imports, negotiated)
        first = next((obj for obj in imports if obj["metadata"]["name"] not in refused), negotiated or imports[0])
        spec = {name: first["spec"][name] for name in COPIED if name in first["spec"]}
        spec["openAPIV3Schema"] = schema
        if negotiated is None:
            negotiated = await self._client.create(
                NEGOTIATED,
                {
                    "apiVersion": NEGOTIATED.api_version,
                    "kind": "NegotiatedAPIResource",
                    "metadata": {"name": key.name},
                    "spec": {**spec, "publish": self._auto_publish},
                },
            )
        elif any(negotiated["spec"].get(name) != value for name, value in spec.items()):
            negotiated = await self._client.patch(
                NEGOTIATED, key.name, [{"op": "add", "path": f"/spec/{name}", "value": spec[name]} for name in spec],
                kind="json",
            )  # fmt: skip
        outcome = await self._publisher.publish(key, negotiated)
        await self._write_negotiated(negotiated, outcome)
        for obj in imports:
            await self._write_import(obj, refused.get(obj["metadata"]["name"]), outcome)
        return None

    async def _retire(self, key: TypeKey) -> float | None:
        """No cluster imports the type any more: it goes with its last object, which stays in reach until then."""
        self._importers.pop(key, None)
        negotiated = await self._get(NEGOTIATED, key.name)
        if negotiated is None:
            return None
        if key.resource not in ALWAYS and await self._has_objects(key, negotiated):
            return self._look_again
        await self._publisher.withdraw(key)
        try:
            await self._client.delete(NEGOTIATED, key.name, uid=negotiated["metadata"]["uid"])
        except StatusError as error:
            if error.code not in (404, 409):
                raise
        return None

    async def _has_objects(self, key: TypeKey, negotiated: Object) -> bool:
        params: dict[str, str | int | None] = {"labelSelector": f"{LABEL}={key.token}", "limit": 1}
        try:
            listed = await self._client.request("GET", key.resource.path(), params=params, accept=METADATA_LIST)
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

    async def _write_import(self, obj: Object, refusal: str | None, outcome: Outcome) -> None:
        before = conditions_of(obj)
        reason = "IncompatibleSchema" if refusal else ""
        after = with_condition(before, "Compatible", refusal is None, reason, refusal or "")
        after = with_condition(after, "Available", outcome.published, outcome.reason, outcome.message)
        await self._write_status(IMPORTS, obj, before, after)

    async def _write_status(
        self, resource: Resource, obj: Object, before: list[dict[str, Any]], after: list[dict[str, Any]]
    ) -> None:
        if after == before:
            return
        try:
            patch = {"status": {"conditions": after}}
            await self._client.patch(resource, obj["metadata"]["name"], patch, subresource="status")
        except StatusError as error:
            if error.code != 404:
                raise

    async def _get(self, resource: Resource, name: str) -> Object | None:
        try:
            return await self._client.get(resource, name)
        except StatusError as error:
            if error.code != 404:
                raise
            return None


def agree(imports: list[Object], negotiated: Object | None) -> tuple[Any, dict[str, str]]:
    """The schema that all of ``imports`` share, and for each one that can have no part in it the reason.

    A published schema is changed only by imports whose ``schemaUpdateStrategy`` says so. A cluster that can do more
    than what is published changes nothing; one that can do less is out.
    """
    reference = (negotiated or imports[0])["spec"]
    before: Any = negotiated["spec"].get("openAPIV3Schema") if negotiated else None
    published = negotiated is not None and is_true(negotiated, "Published")
    schema: Any = None
    refused: dict[str, str] = {}
    for obj in imports:
        offered = obj["spec"].get("openAPIV3Schema") or {"type": "object"}
        strategy = obj["spec"].get("schemaUpdateStrategy", STRATEGY)
        fixed = before is not None and (strategy == "UpdateNever" or (strategy == STRATEGY and published))
        try:
            for name in ("scope", "kind"):
                if obj["spec"][name] != reference[name]:
                    raise Incompatible(name, f"{obj['spec'][name]} here, {reference[name]} there")
            if fixed:
                if common(before, offered) != before:
                    raise Incompatible("", f"it would narrow the schema in use, which {strategy} forbids")
                offered = before
            schema = offered if schema is None else common(schema, offered)
        except Incompatible as error:
            refused[obj["metadata"]["name"]] = str(error)
    return (schema if schema is not None else before or {"type": "object"}), refused


def _without_schema(obj: Object) -> Object:
    left_out = ("openAPIV3Schema", "columnDefinitions")
    spec = {key: value for key, value in (obj.get("spec") or {}).items() if key not in left_out}
    return {"metadata": {"name": obj["metadata"]["name"]}, "spec": spec}
