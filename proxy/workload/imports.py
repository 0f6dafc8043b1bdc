"""From what clusters know to what a workspace serves: APIResourceImport → NegotiatedAPIResource → published.

A type that the shard serves itself is published by a condition alone: discovery shows it from then on. Any other type
becomes a CRD of the workspace. A CRD that somebody made by hand wins: the negotiated resource is then Enforced.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any, NamedTuple

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import CRDS, IMPORTS, NEGOTIATED, conditions_of, with_condition
from proxy.workload.schema import Incompatible, common

log = logging.getLogger(__name__)

MADE_BY = "apiresource.kcp.dev/negotiated"
"""Annotation of a CRD that was made from a NegotiatedAPIResource."""
COPIED = (
    "groupVersion", "scope", "plural", "singular", "kind", "listKind", "shortNames", "categories", "openAPIV3Schema",
    "subResources", "columnDefinitions",
)  # fmt: skip
LOOK_AGAIN = 60.0
"""Seconds between looks whether objects of a type that no cluster imports any more are gone."""


class Key(NamedTuple):
    """One type in one workspace."""

    token: str
    plural: str
    version: str
    group: str

    @property
    def name(self) -> str:
        """Of the NegotiatedAPIResource, on the shard."""
        return f"{self.token}-{self.plural}.{self.version}.{self.group or 'core'}"


class Negotiation:
    """One shard's imports. ``auto_publish``: whether a new type is served without anybody's saying so."""

    def __init__(self, client: Client, *, auto_publish: bool) -> None:
        self._client = client
        self._auto_publish = auto_publish
        # Schemas are large and wanted only while something changes: they are not kept.
        self._imports = Informer(client, IMPORTS, transform=_without_schema)
        self._negotiated = Informer(client, NEGOTIATED, transform=_without_schema)
        self._native: dict[str, frozenset[str]] = {}
        self.queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="API imports", workers=4)
        self._imports.add_handler(self._event)
        self._negotiated.add_handler(self._event)
        self.published: dict[str, set[Resource]] = {}
        """Token → native resources that its workspace serves by import."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._imports.run())
            group.create_task(self._negotiated.run())
            await self._imports.wait_synced()
            await self._negotiated.wait_synced()
            group.create_task(self.queue.run())

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        key = _key(new)
        if key is not None:
            self.queue.add(key)

    async def _reconcile(self, key: Key) -> float | None:
        names = [obj["metadata"]["name"] for obj in self._imports.store.values() if _key(obj) == key]
        if not names:
            return await self._retire(key)
        imports = [obj for obj in [await self._get(IMPORTS, name) for name in sorted(names)] if obj is not None]
        imports = [obj for obj in imports if not obj["metadata"].get("deletionTimestamp")]
        if not imports:
            return await self._retire(key)
        negotiated = await self._get(NEGOTIATED, key.name)
        schema, refused = self._agree(imports, negotiated)
        spec = {name: imports[0]["spec"][name] for name in COPIED if name in imports[0]["spec"]}
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
            negotiated = await self._client.patch(NEGOTIATED, key.name, {"spec": spec})
        published, enforced = await self._publish(key, negotiated)
        await self._write_negotiated(negotiated, published, enforced)
        for obj in imports:
            await self._write_import(obj, refused.get(obj["metadata"]["name"]), published)
        return None

    def _agree(self, imports: list[Object], negotiated: Object | None) -> tuple[Any, dict[str, str]]:
        """The common schema, and for each import that cannot have a part in it the reason."""
        before = (negotiated or {}).get("spec", {}).get("openAPIV3Schema")
        is_published = negotiated is not None and _is_true(negotiated, "Published")
        schema: Any = None
        refused: dict[str, str] = {}
        for obj in imports:
            offered = obj["spec"].get("openAPIV3Schema") or {"type": "object"}
            try:
                merged = offered if schema is None else common(schema, offered)
            except Incompatible as error:
                refused[obj["metadata"]["name"]] = str(error)
                continue
            strategy = obj["spec"].get("schemaUpdateStrategy", "UpdateUnpublished")
            may_change = strategy == "UpdatePublished" or (strategy == "UpdateUnpublished" and not is_published)
            if before is not None and merged != before and not may_change:
                try:
                    # A cluster that can do more than what is published changes nothing; one that can do less is out.
                    if common(before, merged) != before:
                        raise Incompatible("", f"the published schema would be narrowed, which {strategy} forbids")
                    merged = before
                except Incompatible as error:
                    refused[obj["metadata"]["name"]] = str(error)
                    continue
            schema = merged
        return (schema if schema is not None else before or {"type": "object"}), refused

    async def _publish(self, key: Key, negotiated: Object) -> tuple[bool, bool]:
        """Whether the workspace serves the type now, and whether by a CRD that is not ours."""
        wanted = bool(negotiated["spec"].get("publish"))
        if key.group in NATIVE_GROUPS:
            return wanted and key.plural in await self._native_resources(key.group, key.version), False
        name = f"{key.plural}.{key.token}-{key.group}"
        crd = await self._get(CRDS, name)
        if crd is not None and MADE_BY not in (crd["metadata"].get("annotations") or {}):
            return True, True
        if not wanted:
            return crd is not None, False
        desired = crd_of(key, negotiated["spec"])
        if crd is None:
            crd = await self._client.create(CRDS, desired)
        elif crd["spec"]["versions"][0].get("schema") != desired["spec"]["versions"][0]["schema"]:
            desired["metadata"]["resourceVersion"] = crd["metadata"]["resourceVersion"]
            crd = await self._client.replace(CRDS, desired)
        return True, False

    async def _native_resources(self, group: str, version: str) -> frozenset[str]:
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        if path not in self._native:
            try:
                listed = await self._client.request("GET", path)
            except StatusError as error:
                if error.code != 404:
                    raise
                return frozenset()
            self._native[path] = frozenset(entry["name"] for entry in listed.get("resources") or ())
        return self._native[path]

    async def _write_negotiated(self, negotiated: Object, published: bool, enforced: bool) -> None:
        before = conditions_of(negotiated)
        conditions = with_condition(before, "Submitted", True)
        conditions = with_condition(conditions, "Published", published, "" if published else "NotPublished")
        conditions = with_condition(conditions, "Enforced", enforced)
        if conditions != before:
            patch = {"status": {"conditions": conditions}}
            await self._client.patch(NEGOTIATED, negotiated["metadata"]["name"], patch, subresource="status")

    async def _write_import(self, obj: Object, refusal: str | None, published: bool) -> None:
        before = conditions_of(obj)
        reason, message = ("IncompatibleSchema", refusal) if refusal else ("", "")
        conditions = with_condition(before, "Compatible", refusal is None, reason, message or "")
        conditions = with_condition(conditions, "Available", published)
        if conditions != before:
            patch = {"status": {"conditions": conditions}}
            try:
                await self._client.patch(IMPORTS, obj["metadata"]["name"], patch, subresource="status")
            except StatusError as error:
                if error.code != 404:
                    raise

    async def _retire(self, key: Key) -> float | None:
        """No cluster imports the type any more: it goes with its last object, which stays in reach until then."""
        negotiated = await self._get(NEGOTIATED, key.name)
        if negotiated is None:
            return None
        group = key.group if key.group in NATIVE_GROUPS else f"{key.token}-{key.group}"
        resource = Resource(group, key.version, key.plural, negotiated["spec"]["scope"] == "Namespaced")
        try:
            path = resource.path()
            params: dict[str, str | int | None] = {"labelSelector": f"{LABEL}={key.token}", "limit": 1}
            listed = await self._client.request("GET", path, params=params, accept=METADATA_LIST)
            if listed.get("items"):
                return LOOK_AGAIN
        except StatusError as error:
            if error.code != 404:
                raise
        crd = await self._get(CRDS, f"{key.plural}.{group}") if key.group not in NATIVE_GROUPS else None
        if crd is not None and MADE_BY in (crd["metadata"].get("annotations") or {}):
            await self._delete(CRDS, crd)
        await self._delete(NEGOTIATED, negotiated)
        return None

    async def _get(self, resource: Resource, name: str) -> Object | None:
        try:
            return await self._client.get(resource, name)
        except StatusError as error:
            if error.code != 404:
                raise
            return None

    async def _delete(self, resource: Resource, obj: Object) -> None:
        try:
            await self._client.delete(resource, obj["metadata"]["name"], uid=obj["metadata"]["uid"])
        except StatusError as error:
            if error.code not in (404, 409):
                raise


def crd_of(key: Key, spec: Object) -> Object:
    """The workspace's CRD for a negotiated type, named as on the shard."""
    group = f"{key.token}-{key.group}"
    subresources = {item["name"] for item in spec.get("subResources") or ()}
    version: Object = {
        "name": key.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": spec.get("openAPIV3Schema") or {"type": "object"}},
    }
    if "status" in subresources:
        version["subresources"] = {"status": {}}
    if spec.get("columnDefinitions"):
        version["additionalPrinterColumns"] = spec["columnDefinitions"]
    names = {
        name: spec[name]
        for name in ("plural", "singular", "kind", "listKind", "shortNames", "categories")
        if spec.get(name)
    }
    return {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{key.plural}.{group}", "annotations": {MADE_BY: "true"}},
        "spec": {"group": group, "scope": spec["scope"], "names": names, "versions": [version]},
    }


def _key(obj: Object) -> Key | None:
    token = token_of(obj["metadata"]["name"])
    spec = obj.get("spec") or {}
    version = spec.get("groupVersion") or {}
    if token is None or not spec.get("plural"):
        return None
    return Key(token, spec["plural"], version.get("version", ""), version.get("group", ""))


def _is_true(obj: Object, kind: str) -> bool:
    return any(item["type"] == kind and item["status"] == "True" for item in conditions_of(obj))


def _without_schema(obj: Object) -> Object:
    spec = {
        key: value
        for key, value in (obj.get("spec") or {}).items()
        if key not in ("openAPIV3Schema", "columnDefinitions")
    }
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    return {"metadata": meta, "spec": spec, "status": obj.get("status") or {}}
