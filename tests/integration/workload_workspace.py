"""What stands under one token of a shard whose workload controllers run, for their tests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.token import new_token
from proxy.tenancy.kinds import NativeKinds
from proxy.tenancy.namespaces import Namespaces
from proxy.workload.api import BINDINGS, CLUSTER_LABEL, CLUSTERS, CRDS, IMPORTS, NAMESPACES, stamp
from proxy.workload.controllers import run
from proxy.workload.shared import group_of
from tests.integration.eventually import eventually

CONFIGMAPS = Resource("", "v1", "configmaps")
WIDGET = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}


class Workspace:
    """What stands under one token of the shard."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.token = new_token()

    def mapped(self, name: str) -> str:
        return f"{self.token}-{name}"

    async def cluster(self, name: str, *, ready: bool = True, spec: Object | None = None) -> Object:
        """Make a WorkloadCluster, with a heart that has beaten once."""
        obj = {
            "apiVersion": CLUSTERS.api_version,
            "kind": "WorkloadCluster",
            "metadata": {"name": self.mapped(name)},
            "spec": spec or {},
        }
        made = await settled(lambda: self.client.create(CLUSTERS, obj))
        if ready:
            await self.beat(name)
        return made

    async def beat(self, name: str, time: str | None = None) -> None:
        status = {"status": {"lastSyncerHeartbeatTime": time or stamp()}}
        await self.client.patch(CLUSTERS, self.mapped(name), status, subresource="status")

    async def namespace(self, name: str, **labels: str) -> None:
        meta = {"name": self.mapped(name), "labels": labels}
        await self.client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": meta})

    async def label(self, name: str, cluster: str | None) -> None:
        patch = {"metadata": {"labels": {CLUSTER_LABEL: cluster}}}
        await self.client.patch(NAMESPACES, self.mapped(name), patch)

    async def config_map(self, namespace: str, name: str) -> Object:
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
        return await self.client.create(CONFIGMAPS, obj, self.mapped(namespace))

    async def label_of(self, namespace: str, name: str | None = None, resource: Resource = CONFIGMAPS) -> str | None:
        """Cluster label of a namespace, or of an object in it."""
        if name is None:
            obj = await self.client.get(NAMESPACES, self.mapped(namespace))
        else:
            obj = await self.client.get(resource, name, self.mapped(namespace))
        found: str | None = (obj["metadata"].get("labels") or {}).get(CLUSTER_LABEL)
        return found

    async def labelled(self, cluster: str | None, namespace: str, name: str | None = None) -> None:
        """Wait for the label."""
        await reaches(lambda: self.label_of(namespace, name), cluster)

    async def imports(self, cluster: Object, resource: str, group: str, schema: Object, **spec: Any) -> str:
        """Make an APIResourceImport as a syncer does; its name on the shard."""
        location = cluster["metadata"]["name"].partition("-")[2]
        version = spec.get("groupVersion", {}).get("version", "v1")
        name = self.mapped(f"{resource}.{location}.{version if version.isalnum() else 'v1'}.{group or 'core'}")
        owner = {
            "apiVersion": CLUSTERS.api_version,
            "kind": "WorkloadCluster",
            "name": cluster["metadata"]["name"],
            "uid": cluster["metadata"]["uid"],
        }
        whole = {
            "location": location,
            "groupVersion": {"group": group, "version": "v1"},
            "scope": "Namespaced",
            "plural": resource,
            "kind": resource[:-1].capitalize(),
            "openAPIV3Schema": schema,
            **spec,
        }
        obj = {
            "apiVersion": IMPORTS.api_version,
            "kind": "APIResourceImport",
            "metadata": {"name": name, "ownerReferences": [owner]},
            "spec": whole,
        }
        await settled(lambda: self.client.create(IMPORTS, obj))
        return name

    async def shared(self, plural: str = "widgets", version: str = "v1", group: str = "example.com") -> Resource:
        """Where objects of a type stand that is bound. Raises StatusError 404 for one that is not."""
        binding = await self.client.get(BINDINGS, self.mapped(f"{plural}.{group}"))
        return Resource(group_of(binding), version, plural)

    async def crd(self, plural: str = "widgets") -> Object:
        """The one that serves a type: the workspace's own, or a shared one."""
        try:
            return await self.client.get(CRDS, f"{plural}.{self.token}-example.com")
        except StatusError as error:
            if error.code != 404:
                raise
        return await self.client.get(CRDS, f"{plural}.{(await self.shared(plural)).group}")

    async def condition(self, resource: Resource, name: str, kind: str) -> Object | None:
        obj = await self.client.get(resource, self.mapped(name))
        conditions = (obj.get("status") or {}).get("conditions") or ()
        return next((item for item in conditions if item["type"] == kind), None)

    async def status(self, resource: Resource, name: str, kind: str) -> str:
        return str((await self.condition(resource, name, kind) or {}).get("status", ""))


async def settled(call: Callable[[], Awaitable[Object]]) -> Object:
    """A write of a kind that the admission policies of the shard may not know yet."""
    deadline = asyncio.get_running_loop().time() + 20
    while True:
        try:
            return await call()
        except StatusError as error:
            if error.code != 503 or asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)


async def reaches(call: Callable[[], Awaitable[Any]], wanted: Any, timeout: float = 60) -> None:
    last: Any = None

    async def check() -> bool:
        nonlocal last
        last = await call()
        return bool(last == wanted)

    try:
        await eventually(check, StatusError, timeout=timeout)
    except AssertionError:
        raise AssertionError(f"{last!r} instead of {wanted!r} after {timeout:g} s") from None


async def gone(client: Client, resource: Resource, name: str) -> None:
    async def check() -> bool:
        try:
            await client.get(resource, name)
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(check, timeout=60)


@asynccontextmanager
async def controllers(client: Client, *, auto_publish: bool = True) -> AsyncIterator[None]:
    shards = {"shard": client}
    parts = run(shards, auto_publish=auto_publish), Namespaces(shards, ["shard"], NativeKinds.on_all(shards)).run()
    task = asyncio.gather(*parts)
    try:
        yield
        assert not task.done(), "the controllers have ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
