"""Discovery of workspaces, answered from memory in each worker; OpenAPI fetched once and kept.

Workspaces with the same type and imports and without CRDs of their own share one view, so an empty one costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import Any, Protocol

import orjson
from cachetools import LRUCache

from proxy.discovery.catalog import resources_of, select
from proxy.discovery.crds import groups_of_crds
from proxy.discovery.documents import Document, View, document
from proxy.discovery.openapi import filter_v2, filter_v3, resource_of_path
from proxy.discovery.shard import ShardCatalog
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.request import map_accept
from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Reply, Request

VIEWS = 1024
REFRESH_EVERY = 0.3
"""Seconds between direct looks at a shard for one workspace."""
OPENAPI_APPEARS_WITHIN = 3.0
"""Seconds that a new CRD's schema may take to be published by the shard."""


class Place(Protocol):
    """What is needed of a workspace."""

    @property
    def token(self) -> str: ...
    @property
    def type(self) -> str: ...
    @property
    def shard(self) -> str: ...
    @property
    def prefix(self) -> str: ...


class Discovery:
    """``shards``: a client with full rights for each."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = {
            name: ShardCatalog(name, client, partial(self._changed, name)) for name, client in shards.items()
        }
        self._by_token: dict[str, tuple[str, View]] = {}
        self._shared: LRUCache[Any, View] = LRUCache(VIEWS)
        self._openapi: LRUCache[Any, Document] = LRUCache(VIEWS)
        self._refreshed: LRUCache[str, float] = LRUCache(VIEWS)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            for shard in self._shards.values():
                group.create_task(shard.run())

    async def wait_synced(self) -> None:
        await asyncio.gather(*(shard.wait_synced() for shard in self._shards.values()))

    def unsynced(self) -> list[str]:
        return [name for name, shard in self._shards.items() if not shard.synced]

    def _changed(self, shard: str, token: str | None) -> None:
        if token is not None:
            self._by_token.pop(token, None)
            return
        self._by_token.clear()
        self._shared.clear()
        self._openapi.clear()

    # look-ups

    def view(self, workspace: Place) -> View:
        known = self._by_token.get(workspace.token)
        if known is not None and known[0] == workspace.type:
            return known[1]
        shard = self._shards[workspace.shard]
        imports = shard.imports(workspace.token)
        crds = shard.crds(workspace.token)
        key = (workspace.shard, workspace.type, imports)
        view = self._shared.get(key)
        if view is None:
            view = self._shared[key] = View(select(shard.native, resources_of(workspace.type), imports))
        if crds:
            view = View([*view.groups, *groups_of_crds(crds)])
        self._by_token[workspace.token] = (workspace.type, view)
        return view

    def serves(self, workspace: Place, group: str, version: str, resource: str) -> bool:
        """Whether the workspace has the resource (``group`` plain)."""
        return (group, version, resource) in self.view(workspace).served

    def group_version_exists(self, workspace: Place, group: str, version: str) -> bool:
        return (group, version) in self.view(workspace).group_versions

    async def refresh(self, workspace: Place, group: str) -> None:
        """Look at the shard itself before saying that something is not there: read your writes, through any worker."""
        now = time.monotonic()
        if now - self._refreshed.get(workspace.token, 0.0) >= REFRESH_EVERY:
            self._refreshed[workspace.token] = now
            await self._shards[workspace.shard].refresh(workspace.token)

    def crd_is_cluster_scoped(self, workspace: Place, group: str, *, plural: str = "", kind: str = "") -> bool:
        for crd in self._shards[workspace.shard].crds(workspace.token):
            if crd.group == group and (crd.plural == plural if plural else crd.kind == kind):
                return crd.cluster_scoped
        return False

    # answers

    def reply(self, workspace: Place, request: Request, path: str, query: str) -> Reply | Awaitable[Reply] | None:
        """The answer to a discovery, OpenAPI or version path; None for any other path. Raises StatusError."""
        if path.startswith("/openapi/"):
            return self._openapi_reply(workspace, request, path.rstrip("/"))
        path = path.rstrip("/") or "/"
        if path == "/version":
            return _reply(document(self._shards[workspace.shard].version), request)
        if path == "/":
            return _reply(document({"paths": self._paths(workspace)}), request)
        if not (path in ("/api", "/apis") or path.startswith(("/api/", "/apis/"))):
            return None
        accept = request.header(b"accept")
        aggregated = b"APIGroupDiscoveryList" in accept and b"v=v2;" in accept + b";"
        if not aggregated:
            map_accept(accept)
        found = self.view(workspace).get(path, aggregated)
        if found is None:
            return None
        return _reply(found, request)

    def _paths(self, workspace: Place) -> list[str]:
        paths = {"/api", "/apis", "/healthz", "/livez", "/readyz", "/openapi/v2", "/openapi/v3", "/version"}
        for group, version in self.view(workspace).group_versions:
            paths |= {f"/apis/{group}", f"/apis/{group}/{version}"} if group else {f"/api/{version}"}
        return sorted(paths)

    def _openapi_reply(self, workspace: Place, request: Request, path: str) -> Reply | Awaitable[Reply] | None:
        view = self.view(workspace)
        if path == "/openapi/v3":
            return _reply(self._openapi_index(workspace, view), request)
        if path == "/openapi/v2":
            accept = request.header(b"accept")
            if b"json" not in accept and b"*/*" not in accept and accept:
                raise StatusError(406, "only the following media types are accepted: application/json")
            return self._openapi_v2(workspace, view, request)
        group, version = _group_version(path.removeprefix("/openapi/v3/"))
        if (group, version) not in view.group_versions:
            return None
        return self._openapi_v3(workspace, view, group, version, request)

    def _openapi_index(self, workspace: Place, view: View) -> Document:
        key = ("index", view)
        known = self._openapi.get(key)
        if known is None:
            paths = {}
            for group, version in sorted(view.group_versions):
                path = f"apis/{group}/{version}" if group else f"api/{version}"
                paths[path] = {"serverRelativeURL": f"/openapi/v3/{path}?hash={self._hash(workspace, view, group)}"}
            known = self._openapi[key] = document({"paths": paths})
        return known

    def _hash(self, workspace: Place, view: View, group: str) -> str:
        """Changes whenever the document of a group may have changed."""
        shard = self._shards[workspace.shard]
        if group in NATIVE_GROUPS:
            seed = repr((shard.version.get("gitVersion"), sorted(s for s in view.served if s[0] == group)))
        else:
            seed = repr(
                sorted((crd.plural, crd.resource_version) for crd in shard.crds(workspace.token) if crd.group == group)
            )
        return hashlib.sha256(seed.encode()).hexdigest().upper()

    async def _openapi_v3(self, workspace: Place, view: View, group: str, version: str, request: Request) -> Reply:
        path = f"apis/{group}/{version}" if group else f"api/{version}"
        shard = self._shards[workspace.shard]
        if group not in NATIVE_GROUPS:
            body = await self._private_v3(shard, workspace, f"/openapi/v3/apis/{workspace.prefix}{group}/{version}")
            return _reply(_raw(strip_bytes(body, workspace.token)), request)
        kept = frozenset(served for served in view.served if served[:2] == (group, version))
        key = (workspace.shard, path, kept)
        known = self._openapi.get(key)
        if known is None:
            body = await _fetch(shard.client, f"/openapi/v3/{path}")
            filtered = await asyncio.to_thread(filter_v3, body, lambda template: resource_of_path(template) in kept)
            known = self._openapi[key] = _raw(filtered)
        return _reply(known, request)

    async def _private_v3(self, shard: ShardCatalog, workspace: Place, path: str) -> bytes:
        deadline = time.monotonic() + OPENAPI_APPEARS_WITHIN
        while True:
            try:
                return await _fetch(shard.client, path)
            except StatusError as error:
                if error.code != 404 or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.1)

    async def _openapi_v2(self, workspace: Place, view: View, request: Request) -> Reply:
        # Private schemas follow their CRDs with a delay of the shard's own, so they are not kept for long.
        has_crds = bool(self._shards[workspace.shard].crds(workspace.token))
        key = ("v2", view, int(time.monotonic() / 5) if has_crds else 0)
        known = self._openapi.get(key)
        if known is None:
            body = await _fetch(self._shards[workspace.shard].client, "/openapi/v2")
            served, prefix = view.served, workspace.prefix

            def keep(template: str) -> bool:
                resource = resource_of_path(template.replace(prefix, ""))
                foreign = resource is not None and resource[0] not in NATIVE_GROUPS and prefix not in template
                return resource in served and not foreign

            filtered = await asyncio.to_thread(filter_v2, body, keep)
            known = self._openapi[key] = _raw(strip_bytes(filtered, workspace.token))
        return _reply(known, request)


class Scopes:
    """The mapping's question about private kinds, answered for one workspace."""

    __slots__ = ("_discovery", "_workspace")

    def __init__(self, discovery: Discovery, workspace: Place) -> None:
        self._discovery = discovery
        self._workspace = workspace

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool:
        return group not in NATIVE_GROUPS and self._discovery.crd_is_cluster_scoped(
            self._workspace, group, plural=resource
        )

    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool:
        return group not in NATIVE_GROUPS and self._discovery.crd_is_cluster_scoped(self._workspace, group, kind=kind)


def _group_version(path: str) -> tuple[str, str]:
    parts = path.split("/")
    if parts[0] == "apis" and len(parts) == 3:
        return parts[1], parts[2]
    return ("", parts[1]) if parts[0] == "api" and len(parts) == 2 else ("", "")


async def _fetch(client: Client, path: str) -> bytes:
    value = await client.request("GET", path, accept="application/json", timeout=60)
    return orjson.dumps(value)


def _raw(body: bytes) -> Document:
    return Document(body, b"application/json", b'"%b"' % hashlib.sha256(body).hexdigest().upper().encode())


def _reply(found: Document, request: Request) -> Reply:
    headers = [(b"content-type", found.content_type), (b"etag", found.etag), (b"vary", b"Accept")]
    if found.etag in request.header(b"if-none-match"):
        return Reply(304, headers, b"")
    return Reply(200, headers, found.body)
