"""A syncer at work, to be scraped: between a workspace and the shard itself, an API server as good as any cluster's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import yaml

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import Connection, load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.mapping.token import LABEL
from syncer.metrics import ready, serve
from syncer.runner import Settings, Syncer
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

WORKSPACES = Resource("tenancy.kcp.dev", "v1beta1", "workspaces", namespaced=False)
CLUSTERS = Resource("workload.kcp.dev", "v1alpha1", "workloadclusters", namespaced=False)
CONFIGMAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
CLUSTER = "east"


def connection(kcp: Kcp, path: str) -> Connection:
    """Of the administrator, to a workspace."""
    config: Any = yaml.safe_load(kcp.kubeconfig.read_text())
    for entry in config["clusters"]:
        server = entry["cluster"]["server"].partition("/clusters/")[0]
        entry["cluster"]["server"] = f"{server}/clusters/{path}"
    return load_kubeconfig(config)


def named(resource: Resource, kind: str, name: str, **fields: Any) -> Object:
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, **fields}


@asynccontextmanager
async def syncing(kcp: Kcp, port: int) -> AsyncIterator[None]:
    """A syncer that is scraped at ``port`` of loopback, and changes for it to sync, both ways; the first of them have
    arrived."""
    async with Client(connection(kcp, "root:default")) as parent:
        await parent.create(WORKSPACES, named(WORKSPACES, "Workspace", "above", spec={"type": "Universal"}))

        async def ready() -> bool:
            return bool((await parent.get(WORKSPACES, "above")).get("status", {}).get("phase") == "Ready")

        await eventually(ready, timeout=60)
    above, below = connection(kcp, "root:default:above"), load_kubeconfig(kcp.root / "shard" / "admin.kubeconfig")
    async with Client(above) as client, Client(below) as physical:
        cluster = named(CLUSTERS, "WorkloadCluster", CLUSTER, spec={})
        await eventually(lambda: client.create(CLUSTERS, cluster), StatusError, timeout=30)
        settings = Settings(
            workspace="root:default:above",
            cluster=CLUSTER,
            above=above,
            below=below,
            resources=("configmaps", "deployments.apps"),
            poll=1.0,
        )
        syncer = Syncer(settings)
        tasks = [asyncio.create_task(syncer.run()), asyncio.create_task(_scraped(syncer, port))]
        try:
            deployment = named(DEPLOYMENTS, "Deployment", "changes", spec=IDLE)
            deployment["metadata"]["namespace"] = "default"
            await eventually(lambda: client.create(DEPLOYMENTS, deployment), StatusError, timeout=60)
            tasks.append(asyncio.create_task(_change(client)))
            arrived = await eventually(lambda: _arrived(physical, DEPLOYMENTS), timeout=60, interval=0.3)
            tasks.append(asyncio.create_task(_report(physical, arrived["metadata"]["namespace"])))
            await eventually(lambda: _arrived(physical, CONFIGMAPS), timeout=60, interval=0.3)
            await eventually(lambda: _told(client), timeout=60, interval=0.3)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


async def _scraped(syncer: Syncer, port: int) -> None:
    async with serve(syncer.metrics.registry, lambda: ready(syncer.metrics), "127.0.0.1", port):
        await asyncio.Event().wait()


IDLE = {
    "replicas": 0,
    "selector": {"matchLabels": {"app": "changes"}},
    "template": {
        "metadata": {"labels": {"app": "changes"}},
        "spec": {"containers": [{"name": "c", "image": "localhost/none:1"}]},
    },
}
"""Nobody runs it: status is the test's own."""


async def _arrived(physical: Client, resource: Resource) -> Object:
    """The copy below; the original, which is on the same server, belongs to a workspace."""
    listed = await physical.list(resource, label_selector=f"workloads.kcp.dev/cluster={CLUSTER},!{LABEL}")
    return next((item for item in listed["items"] if item["metadata"]["name"] == "changes"), {})


async def _told(client: Client) -> bool:
    """A heartbeat has told of syncing both ways."""
    status = (await client.get(CLUSTERS, CLUSTER)).get("status") or {}
    return {"down", "up", "oldest"} <= set(status.get("lagMilliseconds") or ())


async def _change(client: Client) -> None:
    number = 0
    while True:
        number += 1
        body = named(CONFIGMAPS, "ConfigMap", "changes", data={"number": str(number)})
        body["metadata"]["namespace"] = "default"
        await client.apply(CONFIGMAPS, body, manager="test")
        await asyncio.sleep(0.3)


async def _report(physical: Client, namespace: str) -> None:
    number = 0
    while True:
        number += 1
        patch = {"status": {"observedGeneration": number}}
        await physical.patch(DEPLOYMENTS, "changes", patch, namespace=namespace, subresource="status")
        await asyncio.sleep(0.3)
