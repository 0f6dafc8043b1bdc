"""Types of a workspace's kinds, as its OpenAPI documents tell of them."""

from __future__ import annotations

import asyncio

import orjson
from cachetools import LRUCache

from proxy.admission.review import GroupVersionKind, GroupVersionResource
from proxy.admission.schema import Schemas, Type, slimmed, type_of_kind
from proxy.discovery import Discovery
from proxy.discovery.documents import Document
from proxy.kube.errors import StatusError
from proxy.tenancy.index import Workspace

DOCUMENTS = 64
"""Of which a worker keeps what they tell, a MiB each at most; workspaces that serve the same share them."""


class Kinds:
    """Of one worker."""

    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery
        self._known: LRUCache[str, tuple[Schemas, dict[GroupVersionKind, Type | None]]] = LRUCache(DOCUMENTS)
        """By the document's ETag."""

    async def of(
        self, workspace: Workspace, kind: GroupVersionKind, resource: GroupVersionResource
    ) -> Type | None:  # fmt: skip
        """None if no document tells of it: a subresource's kind stands with its resource, or with its own group."""
        for group, version in dict.fromkeys(((kind.group, kind.version), (resource.group, resource.version))):
            found = await self._in(workspace, group, version, kind)
            if found is not None:
                return found
        return None

    async def _in(self, workspace: Workspace, group: str, version: str, kind: GroupVersionKind) -> Type | None:
        try:
            made = self._discovery.schemas(workspace, group, version)
            document = made if isinstance(made, Document) else await made
        except StatusError as error:
            if error.code == 404:
                return None
            raise
        known = self._known.get(document.etag)
        if known is None:
            known = self._known[document.etag] = await asyncio.to_thread(_read, document.body), {}
        schemas, types = known
        if kind not in types:
            types[kind] = type_of_kind(schemas, *kind)
        return types[kind]


def _read(body: bytes) -> Schemas:
    schemas = (orjson.loads(body).get("components") or {}).get("schemas") or {}
    return {name: slimmed(schema) for name, schema in schemas.items()}
