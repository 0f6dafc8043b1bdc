"""What one shard tells: its native resources, the CRDs and the imports of all workspaces on it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Callable
from typing import Any

from proxy.discovery.catalog import Group, groups_of
from proxy.discovery.crds import PrivateCRD, private_crd
from proxy.discovery.documents import AGGREGATED
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.token import LABEL, token_of

log = logging.getLogger(__name__)

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
NEGOTIATED = Resource("apiresource.kcp.dev", "v1alpha1", "negotiatedapiresources", namespaced=False)
NATIVE_EVERY = 60.0
"""Seconds between looks at the shard's own resources, which change when it is upgraded."""

Import = tuple[str, str, str]
"""Group, version, plural."""


class ShardCatalog:
    """``changed(token)`` is called for each workspace whose resources change, ``changed(None)`` for all of them."""

    def __init__(self, name: str, client: Client, changed: Callable[[str | None], None]) -> None:
        self.name = name
        self.client = client
        self.native: tuple[Group, ...] = ()
        self.version: Object = {}
        self._changed = changed
        self._crds: dict[str, dict[str, PrivateCRD]] = {}
        self._imports: dict[str, dict[str, Import]] = {}
        self._native_ready = asyncio.Event()
        self._crd_informer = Informer(client, CRDS, transform=_slim_crd)
        self._crd_informer.add_handler(self._crd_event)
        self._import_informer = Informer(client, NEGOTIATED, transform=_slim_import)
        self._import_informer.add_handler(self._import_event)

    def crds(self, token: str) -> list[PrivateCRD]:
        return list(self._crds.get(token, {}).values())

    def imports(self, token: str) -> frozenset[Import]:
        return frozenset(self._imports.get(token, {}).values())

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_native())
            group.create_task(self._crd_informer.run())
            group.create_task(self._import_informer.run())

    async def wait_synced(self) -> None:
        await self._native_ready.wait()
        await self._crd_informer.wait_synced()
        await self._import_informer.wait_synced()

    @property
    def synced(self) -> bool:
        return self._native_ready.is_set() and self._crd_informer.synced and self._import_informer.synced

    async def refresh(self, token: str) -> None:
        """Look at one workspace's CRDs and imports directly, where a watch may lag behind."""
        selector = f"{LABEL}={token}"
        with contextlib.suppress(StatusError):
            listed = await asyncio.gather(
                self.client.list(CRDS, label_selector=selector), self.client.list(NEGOTIATED, label_selector=selector)
            )
            for obj in listed[0]["items"]:
                self._put_crd(obj["metadata"]["name"], private_crd(obj))
            for obj in listed[1]["items"]:
                self._put_import(obj["metadata"]["name"], _slim_import(obj)["import"])

    async def _follow_native(self) -> None:
        delay = 0.1
        while True:
            try:
                documents = await asyncio.gather(
                    self.client.request("GET", "/api", accept=AGGREGATED),
                    self.client.request("GET", "/apis", accept=AGGREGATED),
                    self.client.request("GET", "/version"),
                )
            except StatusError as error:
                log.debug("discovery of shard %s: %s", self.name, error)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, 10.0)
                continue
            delay = 0.1
            native = tuple(group for group in groups_of(documents[:2]) if group.name in NATIVE_GROUPS)
            self.version = documents[2]
            if native != self.native:
                self.native = native
                self._changed(None)
            self._native_ready.set()
            await asyncio.sleep(NATIVE_EVERY)

    def _crd_event(self, kind: str, old: Object | None, new: Object) -> None:
        name = new["metadata"]["name"]
        if kind == "DELETED":
            for token, crds in list(self._crds.items()):
                if crds.pop(name, None) is not None:
                    if not crds:
                        del self._crds[token]
                    self._changed(token)
            return
        self._put_crd(name, new["crd"])

    def _put_crd(self, name: str, crd: PrivateCRD | None) -> None:
        if crd is not None and self._crds.get(crd.token, {}).get(name) != crd:
            self._crds.setdefault(crd.token, {})[name] = crd
            self._changed(crd.token)

    def _import_event(self, kind: str, old: Object | None, new: Object) -> None:
        self._put_import(new["metadata"]["name"], None if kind == "DELETED" else new["import"])

    def _put_import(self, name: str, published: Import | None) -> None:
        token = token_of(name)
        if token is None:
            return
        known = self._imports.setdefault(token, {})
        before = known.get(name)
        if published is None:
            known.pop(name, None)
        else:
            known[name] = published
        if not known:
            del self._imports[token]
        if before != published:
            self._changed(token)


def _slim_crd(obj: Object) -> Object:
    return {"metadata": {"name": obj["metadata"]["name"]}, "crd": private_crd(obj)}


def _slim_import(obj: Object) -> Object:
    spec: dict[str, Any] = obj.get("spec") or {}
    version = spec.get("groupVersion") or {}
    conditions = {item["type"]: item["status"] for item in (obj.get("status") or {}).get("conditions") or ()}
    shown = conditions.get("Published") == "True"
    published = (version.get("group", ""), version.get("version", ""), spec.get("plural", "")) if shown else None
    return {"metadata": {"name": obj["metadata"]["name"]}, "import": published}
