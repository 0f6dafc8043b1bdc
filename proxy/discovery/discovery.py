"""Discovery of workspaces, answered from memory in each worker; OpenAPI fetched once and kept.

Workspaces of a shard with the same type, imports and CRDs share one view; one that has nothing beyond its type costs
nothing at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Collection, Mapping
from typing import Any, Protocol

from cachetools import LRUCache

from proxy.discovery.catalog import Resource, resources_of, select, without_writes
from proxy.discovery.crds import groups_of_crds
from proxy.discovery.documents import Document, document
from proxy.discovery.negotiate import JSON, discovery_form, openapi_form
from proxy.discovery.openapi import path_of
from proxy.discovery.schemas import Schemas
from proxy.discovery.shard import CRDS, NEGOTIATED, ShardCatalog
from proxy.discovery.view import View
from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.mapping.detours import Converter
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.paths import NOT_THERE
from proxy.server.messages import Reply, Request
from proxy.server.replies import page_not_found, refusal

VIEWS = 1024
"""Different views that are kept per shard beyond those in use."""
OTHER_PATHS = ("/healthz", "/livez", "/openapi/v2", "/openapi/v3", "/readyz", "/version")


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
    """``shards``: a client for each, which may impersonate; ``admission``: those that ask this proxy about writes."""

    def __init__(self, shards: Mapping[str, Client], admission: Collection[str] = ()) -> None:
        clients = Identity.DISCOVERY.on_all(shards)
        self._shards = {name: _Shard(name, client, name in admission) for name, client in clients.items()}

    async def run(self) -> None:
        """Follow the shards until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard in self._shards.values():
                group.create_task(shard.catalog.run())

    async def wait_synced(self) -> None:
        await asyncio.gather(*(shard.catalog.wait_synced() for shard in self._shards.values()))

    def unsynced(self) -> list[str]:
        """Shards that were never read."""
        return [name for name, shard in self._shards.items() if not shard.catalog.synced]

    def kept_bytes(self) -> int:
        """Memory of OpenAPI documents that are kept."""
        return sum(shard.schemas.kept_bytes for shard in self._shards.values())

    def view(self, workspace: Place) -> View:
        """What the workspace serves now."""
        return self._shards[workspace.shard].view(workspace.token, workspace.type)

    def serves(self, workspace: Place, group: str, version: str, resource: str) -> bool:
        """Whether the workspace has the resource; ``group`` plain. Its CRDs count from their creation."""
        return (group, version, resource) in self.view(workspace).served

    def is_left(self, workspace: Place, group: str, version: str, resource: str) -> bool:
        """Whether what there is of the resource may only be read and deleted: no cluster imports it any more."""
        return (group, version, resource) in self.view(workspace).left

    def group_version_exists(self, workspace: Place, group: str, version: str) -> bool:
        return (group, version) in self.view(workspace).group_versions

    def schemas(self, workspace: Place, group: str, version: str) -> Document | Awaitable[Document]:
        """The OpenAPI document, version 3, of a group version. Raises StatusError 404 while there is none."""
        schemas = self._shards[workspace.shard].schemas
        return schemas.v3(workspace.token, self.view(workspace), group, version)

    def nothing_at(self, workspace: Place, request: Request, path: str) -> Reply:
        """404: a Status for paths of groups that are served, and plain text for all others, as of a kube-apiserver."""
        root, _, rest = path[1:].rstrip("/").partition("/")
        group = rest.partition("/")[0]
        served = root == "apis" and (
            group in NATIVE_GROUPS and any(group == name for name, _ in self.view(workspace).group_versions)
        )
        if served or (root == "api" and rest):
            return refusal(StatusError(404, NOT_THERE), request)
        return page_not_found()

    def converters(self, shard: str) -> Mapping[str, Converter]:
        """Conversion webhooks of a shard's workspaces, by the CRD's name there."""
        return self._shards[shard].catalog.converters

    async def catch_up_crd(self, shard: str, name: str) -> None:
        """Look at a CRD of a shard itself, before it is said that it is not as somebody says."""
        await self._shards[shard].catalog.catch_up(CRDS, name)

    async def refresh(self, workspace: Place, group: str, version: str, resource: str) -> None:
        """Look at the shard itself before saying that a resource is not there: read your writes, by any worker.

        A few GETs, and none where nothing could make it appear; takes half a second at most, or a second.
        """
        shard = self._shards[workspace.shard].catalog
        if group not in NATIVE_GROUPS:
            await shard.look_at_type(workspace.token, group, version, resource)
        elif shard.could_import(group, version, resource):
            await shard.catch_up(NEGOTIATED, f"{workspace.prefix}{resource}.{version}.{group or 'core'}")

    def reply(self, workspace: Place, request: Request, path: str, query: str) -> Reply | Awaitable[Reply] | None:
        """The answer to a discovery, OpenAPI or version path; None for any other path. Raises StatusError.

        ``path`` and ``query`` are those inside the workspace.
        """
        asked, path = path, path.rstrip("/") or "/"
        root = path.split("/", 2)[1]
        if root not in ("", "api", "apis", "openapi", "version") or (root in ("", "version") and path != f"/{root}"):
            return None
        shard = self._shards[workspace.shard]
        view = shard.view(workspace.token, workspace.type)
        if request.method not in (b"GET", b"HEAD"):
            if root in ("api", "apis") and view.get(path, JSON) is None:
                return page_not_found()
            raise StatusError(405, "the server does not allow this method on the requested resource")
        if root == "openapi":
            # Here a slash at the end makes another path.
            return _openapi_reply(shard.schemas, workspace.token, view, request, asked, query)
        accept = request.header(b"accept")
        if root == "version":
            found: Document | None = shard.version
        elif root == "":
            found = document({"paths": sorted([*view.paths(), *OTHER_PATHS])}, indented=True)
        elif view.get(path, JSON) is None:
            found = None
        else:
            found = view.get(path, discovery_form(accept, path in ("/api", "/apis")))
        return self.nothing_at(workspace, request, path) if found is None else found.reply(request)


class _Shard:
    """One shard's catalog, the views of its workspaces, and their OpenAPI."""

    def __init__(self, name: str, client: Client, admission: bool) -> None:
        self.catalog = ShardCatalog(name, client, self._native_changed, admission=admission)
        self.schemas = Schemas(self.catalog)
        self.version = document({})
        self._by_type: dict[frozenset[Resource], View] = {}
        self._shared: LRUCache[Any, View] = LRUCache(VIEWS)

    def _native_changed(self) -> None:
        self.version = document(self.catalog.version, indented=True)
        self._by_type.clear()
        self._shared.clear()
        for holding in self.catalog.holdings.values():
            holding.forget()

    def view(self, token: str, workspace_type: str) -> View:
        holding = self.catalog.holdings.get(token)
        wanted = resources_of(workspace_type)
        if holding is None:
            view = self._by_type.get(wanted)
            if view is None:
                view = self._by_type[wanted] = View(select(self.catalog.native, wanted, ()))
            return view
        if holding.view is not None and holding.view[0] is wanted:
            return holding.view[1]
        imports, shapes = frozenset(holding.imports.values()), self.catalog.shapes_of(holding)
        key = (wanted, imports, shapes)
        view = self._shared.get(key)
        if view is None:
            native = select(self.catalog.native, wanted, {imported.type for imported in imports})
            left = {imported.type for imported in imports if imported.left and imported.type[::2] not in wanted}
            view = self._shared[key] = View(without_writes([*native, *groups_of_crds(shapes)], left), shapes, left)
        holding.view = (wanted, view)
        return view


def _openapi_reply(
    schemas: Schemas, token: str, view: View, request: Request, path: str, query: str
) -> Reply | Awaitable[Reply]:
    form = openapi_form(request.header(b"accept"), path == "/openapi/v2")
    if path == "/openapi/v3":
        return schemas.index(token, view).reply(request)
    if path == "/openapi/v2":
        return (
            _not_acceptable() if form is None else _when_made(schemas.v2(token, view, form), request, immutable=False)
        )
    for group, version in view.shown_group_versions():
        if path == f"/openapi/v3/{path_of(group, version)}":
            if form is None:
                return _not_acceptable()
            named = query.startswith("hash=") and query[5:] == schemas.hash(token, view, group)
            immutable = named and schemas.settled(token, group)
            return _when_made(schemas.v3(token, view, group, version), request, immutable=immutable)
    return Reply(404, [], b"") if path.startswith("/openapi/v3/") else page_not_found()


def _not_acceptable() -> Reply:
    """As k8s.io/kube-openapi's handlers say it."""
    return Reply(406, [(b"vary", b"Accept")], b"")


def _when_made(made: Document | Awaitable[Document], request: Request, *, immutable: bool) -> Reply | Awaitable[Reply]:
    if isinstance(made, Document):
        return made.reply(request, immutable=immutable)
    return _later(made, request, immutable)


async def _later(made: Awaitable[Document], request: Request, immutable: bool) -> Reply:
    return (await made).reply(request, immutable=immutable)


class Scopes:
    """The mapping's question about private kinds (`proxy.mapping.scopes.PrivateScopes`), for one workspace."""

    __slots__ = ("_view",)

    def __init__(self, discovery: Discovery, workspace: Place) -> None:
        self._view = discovery.view(workspace)

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool:
        return (group, resource) in self._view.cluster_scoped_resources

    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool:
        return (group, kind) in self._view.cluster_scoped_kinds

    def kind_of(self, group: str, resource: str) -> str:
        return self._view.kinds.get((group, resource), "")

    def shared_group(self, group: str, resource: str) -> str:
        return self._view.shared_groups.get((group, resource), "")

    def shared_group_of_kind(self, group: str, kind: str) -> str:
        return self._view.shared_groups_of_kinds.get((group, kind), "")
