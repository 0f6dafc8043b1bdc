"""A workspace whose clusters import types: what a syncer would write, written by the test."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.workload.api import CLUSTERS, IMPORTS, NAMESPACES, stamp
from tests.e2e.workspaces.installation import Installation
from tests.integration.eventually import eventually

GROUP = "stars.example.com"
SCHEMA: Object = {
    "type": "object",
    "properties": {
        "spec": {"type": "object", "properties": {"size": {"type": "integer"}}},
        "status": {"type": "object", "properties": {"seen": {"type": "integer"}}},
    },
}


class Importer:
    """``client`` of the workspace at ``path``."""

    def __init__(self, kcp: Installation, path: str, token: str) -> None:
        self.kcp = kcp
        self.path = path
        self.token = token
        self.client: Client = kcp.client(path)

    @classmethod
    async def fresh(cls, kcp: Installation) -> Importer:
        path = await kcp.fresh()
        return cls(kcp, path, await kcp.token_of(path))

    async def cluster(self, name: str = "east") -> None:
        obj = {"apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "metadata": {"name": name}, "spec": {}}
        await self.client.create(CLUSTERS, obj)
        beat = {"status": {"lastSyncerHeartbeatTime": stamp()}}
        await self.client.patch(CLUSTERS, name, beat, subresource="status")

    async def imports(
        self, resource: Resource, kind: str, schema: Object = SCHEMA, at: str = "east", **spec: Any
    ) -> None:
        cluster = await self.client.get(CLUSTERS, at)
        owner = {
            "apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "name": at, "uid": cluster["metadata"]["uid"]
        }  # fmt: skip
        name = f"{resource.plural}.{at}.{resource.version}.{resource.group or 'core'}"
        whole = {
            "location": at,
            "groupVersion": {"group": resource.group, "version": resource.version},
            "scope": "Namespaced" if resource.namespaced else "Cluster",
            "plural": resource.plural,
            "kind": kind,
            "subResources": [{"name": "status"}],
            "openAPIV3Schema": schema,
            **spec,
        }
        meta = {"name": name, "ownerReferences": [owner]}
        obj = {"apiVersion": IMPORTS.api_version, "kind": "APIResourceImport", "metadata": meta, "spec": whole}
        await self.client.create(IMPORTS, obj)

    async def served(self, resource: Resource) -> None:
        """Wait until there is such a resource."""
        await eventually(lambda: self.client.list(resource), StatusError, timeout=60)

    async def namespace(self, name: str) -> None:
        obj = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        await self.client.create(NAMESPACES, obj)

    async def make(self, resource: Resource, kind: str, name: str, namespace: str = "default", **parts: Any) -> Object:
        meta = {"name": name, **parts.pop("metadata", {})}
        obj = {"apiVersion": resource.api_version, "kind": kind, "metadata": meta, **parts}
        return await self.client.create(resource, obj, namespace if resource.namespaced else None)

    async def refused(self, code: int, method: str, path: str, body: Any = None, **options: Any) -> StatusError:
        """The Status of a request that is refused with that code."""
        with pytest.raises(StatusError) as refusal:
            await self.client.request(method, path, body=body, **options)
        assert refusal.value.code == code, refusal.value
        return refusal.value
