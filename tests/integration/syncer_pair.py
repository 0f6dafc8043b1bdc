"""A workspace and a physical cluster with a syncer between them, for its tests."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, finalizer, physical_namespace
from syncer.namespaces import CLUSTERS, NAMESPACES
from syncer.runner import Settings, Syncer
from tests.integration.eventually import eventually

CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
SERVICES = Resource("", "v1", "services")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
JOBS = Resource("batch", "v1", "jobs")
CLAIMS = Resource("", "v1", "persistentvolumeclaims")
EVENTS = Resource("", "v1", "events")
KINDS = {
    CONFIGMAPS: "ConfigMap", SECRETS: "Secret", DEPLOYMENTS: "Deployment", SERVICES: "Service", JOBS: "Job",
    CLAIMS: "PersistentVolumeClaim",
}  # fmt: skip
RESOURCES = ("configmaps", "deployments.apps", "jobs.batch", "secrets", "serviceaccounts", "services")
NUMBERS = itertools.count(1)


class Pair:
    """A workspace and a cluster, with a WorkloadCluster of a name of its own between them, and one namespace."""

    def __init__(self, above: Client, below: Client) -> None:
        self.above = above
        self.below = below
        number = next(NUMBERS)
        self.cluster = f"east-{number}"
        self.workspace = f"root:org:team-{number}"
        self.namespace = f"words-{number}"
        self.physical = physical_namespace(self.workspace, self.namespace)

    async def prepare(self) -> None:
        obj = {
            "apiVersion": CLUSTERS.api_version,
            "kind": "WorkloadCluster",
            "metadata": {"name": self.cluster},
            "spec": {},
        }
        await eventually(lambda: self.above.create(CLUSTERS, obj), StatusError, timeout=60)
        await self.above.create(NAMESPACES, namespace(self.namespace, {CLUSTER_LABEL: self.cluster}))

    @asynccontextmanager
    async def syncer(self, *resources: str, **changes: Any) -> AsyncIterator[Syncer]:
        """``changes``: of `Settings`."""
        settings = Settings(
            workspace=self.workspace,
            cluster=self.cluster,
            above=self.above.connection,
            below=self.below.connection,
            resources=resources or RESOURCES,
            poll=1.0,
            **changes,
        )
        syncer = Syncer(settings)
        task = asyncio.create_task(syncer.run())
        try:
            yield syncer
            assert not task.done(), "the syncer has ended"
        finally:
            task.cancel()
            results = await asyncio.gather(task, return_exceptions=True)
            assert isinstance(results[0], asyncio.CancelledError), results[0]

    async def make(self, resource: Resource, name: str, **fields: Any) -> Object:
        """In the workspace."""
        meta = {"name": name, "labels": {CLUSTER_LABEL: self.cluster}}
        obj = {"apiVersion": resource.api_version, "kind": KINDS[resource], "metadata": meta, **fields}
        return await self.above.create(resource, obj, self.namespace)

    async def remove(self, resource: Resource, name: str) -> None:
        await self.above.delete(resource, name, self.namespace)

    async def change(self, resource: Resource, name: str, patch: Object, **where: Any) -> Object:
        return await self.above.patch(resource, name, patch, self.namespace, **where)

    async def arrives(self, resource: Resource, name: str, check: Callable[[Object], Any] | None = None) -> Object:
        """Wait for an object on the cluster that is as it is to be."""

        async def look() -> Object | None:
            found = await self.below.get(resource, name, self.physical)
            return found if check is None or check(found) else None

        return (await eventually(look, StatusError, timeout=30)) or {}

    async def leaves(self, resource: Resource, name: str) -> None:
        await absent(self.below, resource, name, self.physical)

    async def stands(self, resource: Resource, name: str) -> Object:
        return await self.below.get(resource, name, self.physical)

    async def events(self, name: str) -> list[tuple[str, str]]:
        """Type and reason of what was said of an object above."""
        selector = f"involvedObject.name={name}"
        listed = await self.above.list(EVENTS, self.namespace, field_selector=selector)
        return sorted({(item["type"], item["reason"]) for item in listed["items"]})

    async def held(self, resource: Resource, name: str) -> bool:
        meta = (await self.above.get(resource, name, self.namespace))["metadata"]
        return finalizer(self.cluster) in (meta.get("finalizers") or ())


def namespace(name: str, labels: dict[str, str] | None = None, annotations: dict[str, str] | None = None) -> Object:
    meta = {"name": name, "labels": labels or {}, "annotations": annotations or {}}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": meta}


def application(name: str = "words", **changes: Any) -> Object:
    labels = {"app": name}
    pod = {"containers": [{"name": "words", "image": "words:1"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"spec": {"selector": {"matchLabels": labels}, "template": template, "replicas": 1, **changes}}


async def absent(client: Client, resource: Resource, name: str, where: str | None = None) -> None:
    async def check() -> bool:
        try:
            await client.get(resource, name, where)
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(check, timeout=30)


async def until(call: Callable[[], Awaitable[Object]], check: Callable[[Object], Any]) -> Object:
    async def look() -> Object | None:
        found = await call()
        return found if check(found) else None

    return (await eventually(look, StatusError, timeout=30)) or {}
