"""The workload controllers on a real shard: heartbeats, API import, placement, cluster labels."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator

import pytest

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.mapping.token import new_token
from proxy.shard.control_plane import ControlPlane
from proxy.workload.api import CLUSTER_LABEL, CLUSTERS, NAMESPACES, NEGOTIATED, OPT_OUT, stamp
from proxy.workload.clusters import Heartbeats
from tests.integration.eventually import eventually
from tests.integration.workload_workspace import CONFIGMAPS, WIDGET, Workspace, controllers, reaches

DEPLOYMENTS = Resource("apps", "v1", "deployments")


@pytest.fixture
async def workspace(shard: ControlPlane) -> AsyncIterator[Workspace]:
    """A workspace of its own, on a shard whose controllers run."""
    async with shard.client() as client, controllers(client):
        yield Workspace(client)


# heartbeats


async def test_before_the_first_heartbeat(workspace: Workspace) -> None:
    await workspace.cluster("east", ready=False)
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "False")
    for kind in ("Ready", "HeartbeatHealthy"):
        condition = await workspace.condition(CLUSTERS, "east", kind)
        assert condition is not None
        assert condition["reason"] == "ErrorHeartbeat"
        assert condition["message"] == "No heartbeat yet seen"


async def test_a_heartbeat_makes_ready(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "HeartbeatHealthy"), "True")


async def test_silence_ends_ready(shard: ControlPlane) -> None:
    async with shard.client() as client, asyncio.TaskGroup() as group:
        workspace = Workspace(client)
        informer = Informer(client, CLUSTERS)
        heartbeats = Heartbeats(client, informer, timeout=datetime.timedelta(seconds=2))
        tasks = [group.create_task(part.run()) for part in (informer, heartbeats)]
        await workspace.cluster("east")
        await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
        await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "False")
        condition = await workspace.condition(CLUSTERS, "east", "Ready")
        assert condition is not None
        assert condition["message"].startswith("No heartbeat since 20")
        await workspace.beat("east")
        await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
        for task in tasks:
            task.cancel()


async def test_silence_while_the_controllers_were_away(shard: ControlPlane) -> None:
    async with shard.client() as client:
        workspace = Workspace(client)
        await workspace.cluster("east", ready=False)
        await workspace.beat("east", "2020-01-01T00:00:00Z")
        async with controllers(client):
            await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "False")


async def test_the_syncers_clock_does_not_matter(workspace: Workspace) -> None:
    await workspace.cluster("east", ready=False)
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "False")
    await workspace.beat("east", "2020-01-01T00:00:00Z")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")


# placement


async def test_a_namespace_and_what_is_in_it_get_the_cluster(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await reaches(lambda: workspace.status(NAMESPACES, "one", "NamespaceScheduled"), "True")
    await workspace.labelled("east", "one", "kube-root-ca.crt")  # made by a controller before the label was there
    await workspace.config_map("one", "mine")
    await workspace.labelled("east", "one", "mine")
    accounts = Resource("", "v1", "serviceaccounts")
    await reaches(lambda: workspace.label_of("one", "default", accounts), "east")


async def test_the_policy_labels_at_creation(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")

    async def at_once() -> bool:
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "x-"}}
        path = CONFIGMAPS.path(workspace.mapped("one"))
        made = await workspace.client.request("POST", path, body=obj, params={"dryRun": "All"})
        return (made["metadata"].get("labels") or {}).get(CLUSTER_LABEL) == "east"

    await eventually(at_once)


async def test_a_kind_that_was_imported_is_labelled_too(workspace: Workspace) -> None:
    cluster = await workspace.cluster("east")
    await workspace.imports(cluster, "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, "widgets.v1.example.com", "Published"), "True")
    await workspace.namespace("out", **{OPT_OUT: ""})
    resource = await workspace.shared()
    widget = {"apiVersion": resource.api_version, "kind": "Widget", "metadata": {"name": "w"}}
    await eventually(lambda: workspace.client.create(resource, widget, workspace.mapped("out")), StatusError)
    assert await workspace.label_of("out", "w", resource) is None
    patch = {"metadata": {"labels": {OPT_OUT: None}}}
    await workspace.client.patch(NAMESPACES, workspace.mapped("out"), patch)
    await reaches(lambda: workspace.label_of("out", "w", resource), "east")


async def test_no_cluster_is_ready(workspace: Workspace) -> None:
    await workspace.cluster("east", ready=False)
    await workspace.namespace("one")
    await reaches(lambda: workspace.status(NAMESPACES, "one", "NamespaceScheduled"), "False")
    condition = await workspace.condition(NAMESPACES, "one", "NamespaceScheduled")
    assert condition is not None
    assert condition["reason"] == "Unschedulable"
    assert condition["message"] == "No clusters are available to schedule Namespaces to. east is not Ready."
    await workspace.beat("east")
    await workspace.labelled("east", "one")
    await reaches(lambda: workspace.status(NAMESPACES, "one", "NamespaceScheduled"), "True")


async def test_clusters_of_others_do_not_count(workspace: Workspace) -> None:
    other = Workspace(workspace.client)
    await other.cluster("east")
    await reaches(lambda: other.status(CLUSTERS, "east", "Ready"), "True")
    await workspace.namespace("one")
    await other.namespace("one")
    await other.labelled("east", "one")
    assert await workspace.label_of("one") is None
    assert await workspace.condition(NAMESPACES, "one", "NamespaceScheduled") is None


async def test_opted_out(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
    await workspace.namespace("out", **{OPT_OUT: "true"})
    await workspace.namespace("in")
    await workspace.labelled("east", "in")
    assert await workspace.label_of("out") is None


async def test_unschedulable_clusters_get_nothing_new(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await workspace.cluster("west")
    await workspace.namespace("old")
    await workspace.labelled("east", "old")
    await reaches(lambda: workspace.status(CLUSTERS, "west", "Ready"), "True")
    await workspace.client.patch(CLUSTERS, workspace.mapped("east"), {"spec": {"unschedulable": True}})

    async def elsewhere() -> bool:
        name = new_token()
        await workspace.namespace(name)
        await eventually(lambda: workspace.label_of(name))
        return await workspace.label_of(name) == "west"

    await eventually(elsewhere, interval=0.3)
    assert await workspace.label_of("old") == "east"


async def test_eviction(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
    await workspace.cluster("west")
    await reaches(lambda: workspace.status(CLUSTERS, "west", "Ready"), "True")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await workspace.config_map("one", "mine")
    at = stamp(datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=2))
    await workspace.client.patch(CLUSTERS, workspace.mapped("east"), {"spec": {"evictAfter": at}})
    # From then on it is on its way: test_placement.
    await asyncio.sleep(0.5)
    assert await workspace.label_of("one") == "east"
    await workspace.labelled("Several", "one")
    await workspace.labelled("Several", "one", "mine")


async def test_a_deleted_cluster_loses_its_namespaces(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await workspace.labelled("east", "one", "kube-root-ca.crt")
    await workspace.client.delete(CLUSTERS, workspace.mapped("east"))
    await workspace.labelled(None, "one")
    await workspace.labelled(None, "one", "kube-root-ca.crt")
    await reaches(lambda: workspace.status(NAMESPACES, "one", "NamespaceScheduled"), "False")
    await workspace.cluster("west")
    await workspace.labelled("west", "one")
    await workspace.labelled("west", "one", "kube-root-ca.crt")


async def test_a_label_changed_by_hand_is_followed(workspace: Workspace) -> None:
    await workspace.cluster("east")
    await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
    await workspace.cluster("west")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await workspace.config_map("one", "mine")
    await workspace.labelled("east", "one", "mine")
    await workspace.label("one", "west")
    await workspace.labelled("west", "one", "mine")
    assert await workspace.label_of("one") == "west"
    await workspace.label("one", "no-such-cluster")
    await workspace.labelled("east", "one")
    await workspace.labelled("east", "one", "mine")


async def test_what_changed_while_the_controllers_were_away(shard: ControlPlane) -> None:
    async with shard.client() as client:
        workspace = Workspace(client)
        async with controllers(client):
            await workspace.cluster("east")
            await reaches(lambda: workspace.status(CLUSTERS, "east", "Ready"), "True")
            await workspace.cluster("west")
            await workspace.namespace("moved")
            await workspace.labelled("east", "moved", "kube-root-ca.crt")
            await workspace.namespace("freed")
            await workspace.labelled("east", "freed", "kube-root-ca.crt")
            await reaches(lambda: workspace.status(NAMESPACES, "freed", "NamespaceScheduled"), "True")
        await workspace.label("moved", "west")
        await client.patch(NAMESPACES, workspace.mapped("freed"), {"metadata": {"labels": {OPT_OUT: ""}}})
        await workspace.label("freed", None)
        assert await workspace.label_of("moved", "kube-root-ca.crt") == "east"
        async with controllers(client):
            await workspace.labelled("west", "moved", "kube-root-ca.crt")
            await workspace.labelled(None, "freed", "kube-root-ca.crt")
