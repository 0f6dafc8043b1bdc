"""Which objects of a workspace have a syncer's finalizer from the moment at which they are made, on a real shard; what
syncers tell is told by hand."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.shard.control_plane import ControlPlane
from proxy.workload.api import CLUSTERS, NAMESPACES, OPT_OUT, PLACEMENTS, stamp
from proxy.workload.clusters import Heartbeats
from proxy.workload.holds import HELD
from proxy.workload.moves import STATE
from proxy.workload.placement import Placement
from syncer.kept import above
from syncer.names import SYNCED_UP, finalizer, is_taken
from syncer.transform import KEPT_ABOVE
from tests.integration.eventually import eventually
from tests.integration.privileged import privileged_as
from tests.integration.workload_workspace import CONFIGMAPS, WIDGET, Workspace, controllers, gone, reaches, settled

SECRETS = Resource("", "v1", "secrets")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
EAST, WEST, OWN = finalizer("east"), finalizer("west"), "example.com/own"


class Held(Workspace):
    async def holding(self, cluster: str, *resources: str) -> Object:
        """A cluster that is Ready and tells what its syncer holds."""
        made = await self.cluster(cluster, ready=False)
        status = {"lastSyncerHeartbeatTime": stamp(), "heldResources": list(resources)}
        await self.client.patch(CLUSTERS, self.mapped(cluster), {"status": status}, subresource="status")
        await reaches(lambda: self.status(CLUSTERS, cluster, "Ready"), "True")
        return made

    async def told(self, namespace: str) -> dict[str, str]:
        found = (await self.client.get(NAMESPACES, self.mapped(namespace)))["metadata"].get("annotations") or {}
        return {key.removeprefix(HELD): value for key, value in found.items() if key.startswith(HELD)}

    async def placed(self, namespace: str, cluster: str, resources: str = "configmaps,secrets") -> None:
        """Wait until the shard itself goes by it: its admission follows namespaces a moment later."""
        await self.labelled(cluster, namespace)
        await reaches(lambda: self.told(namespace), {cluster: resources})
        await reaches(lambda: self.probe(namespace), [finalizer(cluster)])

    async def probe(self, namespace: str) -> list[str]:
        """Finalizers that a ConfigMap would have."""
        obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "probe-"}}
        path = CONFIGMAPS.path(self.mapped(namespace))
        made = await self.client.request("POST", path, body=obj, params={"dryRun": "All"})
        return list(made["metadata"].get("finalizers") or ())

    async def make(self, namespace: str, resource: Resource, kind: str, name: str, **fields: Any) -> list[str]:
        """Its finalizers."""
        meta = {"name": name, **fields.pop("metadata", {})}
        obj = {"apiVersion": resource.api_version, "kind": kind, "metadata": meta, **fields}
        made = await settled(lambda: self.client.create(resource, obj, self.mapped(namespace)))
        return list(made["metadata"].get("finalizers") or ())

    async def finalizers(self, namespace: str, name: str, resource: Resource = CONFIGMAPS) -> list[str]:
        meta = (await self.client.get(resource, name, self.mapped(namespace)))["metadata"]
        return list(meta.get("finalizers") or ())


@pytest.fixture
async def workspace(shard: ControlPlane) -> AsyncIterator[Held]:
    async with shard.client() as client, controllers(client):
        made = Held(client)
        await made.holding("east", "secrets", "configmaps")
        await made.namespace("words")
        await made.placed("words", "east")
        yield made


async def test_objects_are_held_from_the_start(workspace: Held) -> None:
    await workspace.namespace("elsewhere", **{OPT_OUT: ""})
    assert await workspace.make("words", CONFIGMAPS, "ConfigMap", "settings") == [EAST]
    own = {"metadata": {"finalizers": [OWN], "labels": {"app": "words"}}}
    assert await workspace.make("words", CONFIGMAPS, "ConfigMap", "owned", **own) == [OWN, EAST]
    assert await workspace.make("words", SECRETS, "Secret", "password") == [EAST]
    # Nobody would take it away there, nor of what is not synced.
    assert await workspace.make("elsewhere", CONFIGMAPS, "ConfigMap", "settings") == []
    assert await workspace.make("words", ACCOUNTS, "ServiceAccount", "robot") == []
    # What was in the namespace before gets it with its label.
    await reaches(lambda: workspace.finalizers("words", "kube-root-ca.crt"), [EAST])


async def test_what_never_goes_down_is_not_held(workspace: Held) -> None:
    """The admission policy and the syncer mean the same."""
    data = {"service-account-token": {"kubernetes.io/service-account.name": "default"}}
    skipped = above("secrets", "east")
    for number, kind in enumerate(sorted(KEPT_ABOVE)):
        meta = {"annotations": data.get(kind.rpartition("/")[2], {})}
        name = f"kept-{number}"
        assert await workspace.make("words", SECRETS, "Secret", name, metadata=meta, type=kind) == [], kind
        made = await workspace.client.get(SECRETS, name, workspace.mapped("words"))
        assert skipped(made)["skip"]
    picture = {"metadata": {"labels": {SYNCED_UP: "east"}}}
    assert await workspace.make("words", CONFIGMAPS, "ConfigMap", "picture", **picture) == []
    for resource, kind, name in (
        (CONFIGMAPS, "ConfigMap", "kcp-root-ca.crt"),
        (SECRETS, "Secret", "kcp-default-token"),
    ):
        assert is_taken(resource.plural, name)
        assert await workspace.make("words", resource, kind, name) == []


async def test_nobody_loses_it_by_an_update(workspace: Held) -> None:
    namespace, client = workspace.mapped("words"), workspace.client
    obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "applied", "namespace": namespace}}
    await client.apply(CONFIGMAPS, {**obj, "data": {"a": "1"}}, manager="somebody")
    found = await client.apply(CONFIGMAPS, {**obj, "data": {"b": "1"}}, manager="somebody")
    assert found["metadata"]["finalizers"] == [EAST]
    assert found["data"] == {"b": "1"}
    found = await client.apply(
        CONFIGMAPS, {**obj, "metadata": {**obj["metadata"], "finalizers": [OWN]}}, manager="somebody"
    )
    assert sorted(found["metadata"]["finalizers"]) == [OWN, EAST]
    found = await client.apply(CONFIGMAPS, {**obj, "data": {"b": "1"}}, manager="somebody")
    assert found["metadata"]["finalizers"] == [EAST], "one's own goes, and no other"
    replaced = await client.replace(CONFIGMAPS, {**obj, "data": {"c": "1"}})
    assert replaced["metadata"]["finalizers"] == [EAST]
    version = replaced["metadata"]["resourceVersion"]
    replaced = await client.replace(CONFIGMAPS, {**obj, "data": {"c": "1"}})
    assert replaced["metadata"]["resourceVersion"] == version, "nothing has changed, and nothing is written"


async def test_its_syncer_lets_go(shard: ControlPlane, workspace: Held) -> None:
    namespace = workspace.mapped("words")
    account = f"system:serviceaccount:{workspace.mapped('default')}:syncer-east"
    await workspace.make("words", CONFIGMAPS, "ConfigMap", "settings", metadata={"finalizers": [OWN]})
    none = {"metadata": {"finalizers": [OWN]}}
    async with shard.client(headers=privileged_as(account)) as syncer:
        released = await syncer.patch(CONFIGMAPS, "settings", none, namespace)
        assert released["metadata"]["finalizers"] == [OWN], "it is not given back at once"
        found = await workspace.client.patch(CONFIGMAPS, "settings", {"data": {"a": "1"}}, namespace)
        assert found["metadata"]["finalizers"] == [OWN, EAST], "it stands there still"
        # Being deleted it gets no new one, whoever writes.
        await workspace.client.delete(CONFIGMAPS, "settings", namespace)
        released = await syncer.patch(CONFIGMAPS, "settings", none, namespace)
        assert released["metadata"]["finalizers"] == [OWN]
    await workspace.client.patch(CONFIGMAPS, "settings", {"metadata": {"finalizers": None}}, namespace)
    await gone_from(workspace, "settings")


async def gone_from(workspace: Held, name: str) -> None:
    async def check() -> bool:
        try:
            await workspace.finalizers("words", name)
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(check, timeout=60)


async def test_a_deleted_cluster_holds_nothing_while_people_go_on(workspace: Held) -> None:
    """Its syncer is gone for good; objects are made and changed all the time."""
    await workspace.namespace("by-hand", **{OPT_OUT: ""})
    await workspace.label("by-hand", "east")
    await workspace.placed("by-hand", "east")
    going = True
    names: list[tuple[str, str]] = []

    async def write() -> None:
        while going:
            for namespace in ("words", "by-hand"):
                name = f"many-{len(names)}"
                await workspace.make(namespace, CONFIGMAPS, "ConfigMap", name)
                names.append((namespace, name))
                old = names[len(names) // 2]
                patch = {"data": {"at": str(len(names))}}
                await workspace.client.patch(CONFIGMAPS, old[1], patch, workspace.mapped(old[0]))

    writing = asyncio.create_task(write())
    await asyncio.sleep(0.5)
    await workspace.client.delete(CLUSTERS, workspace.mapped("east"))
    await gone(workspace.client, CLUSTERS, workspace.mapped("east"))
    await asyncio.sleep(0.5)
    going = False
    await writing
    for namespace in ("words", "by-hand"):
        listed = await workspace.client.list(CONFIGMAPS, workspace.mapped(namespace))
        held = [item["metadata"]["name"] for item in listed["items"] if item["metadata"].get("finalizers")]
        assert held == []
        assert await workspace.told(namespace) == {}
    # What its syncer would have held to the end.
    await workspace.client.delete(NAMESPACES, workspace.mapped("words"))
    await gone(workspace.client, NAMESPACES, workspace.mapped("words"))


async def test_a_namespace_that_moves(workspace: Held) -> None:
    await workspace.make("words", CONFIGMAPS, "ConfigMap", "settings")
    await workspace.holding("west", "configmaps")
    await workspace.client.patch(CLUSTERS, workspace.mapped("east"), {"spec": {"evictAfter": stamp()}})
    # The old copy stays until the new one is there: held by both, what is new by the new one alone.
    await reaches(lambda: workspace.finalizers("words", "settings"), [EAST, WEST])
    assert await workspace.told("words") == {"west": "configmaps"}
    labels = (await workspace.client.get(NAMESPACES, workspace.mapped("words")))["metadata"]["labels"]
    assert {key: value for key, value in labels.items() if key.startswith(STATE)} == {
        f"{STATE}east": "Leave",
        f"{STATE}west": "Sync",
    }
    assert await workspace.make("words", CONFIGMAPS, "ConfigMap", "new") == [WEST]
    assert await workspace.make("words", SECRETS, "Secret", "new") == []


async def test_several_clusters(workspace: Held) -> None:
    await workspace.holding("west", "configmaps")
    spec = {"numberOfClusters": 2}
    meta = {"name": workspace.mapped("both")}
    obj = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": meta, "spec": spec}
    await settled(lambda: workspace.client.create(PLACEMENTS, obj))
    await workspace.labelled("Several", "words")
    await reaches(lambda: workspace.told("words"), {"east": "configmaps,secrets", "west": "configmaps"})
    await reaches(lambda: workspace.finalizers("words", "kube-root-ca.crt"), [EAST, WEST])
    assert sorted(await workspace.make("words", CONFIGMAPS, "ConfigMap", "both")) == [EAST, WEST]
    assert await workspace.make("words", SECRETS, "Secret", "one") == [EAST]


@pytest.mark.parametrize("strategy", ["UpdateUnpublished", "UpdatePublished"], ids=["shared", "its own"])
async def test_imported_types(shard: ControlPlane, strategy: str) -> None:
    async with shard.client() as client, controllers(client):
        workspace = Held(client)
        east = await workspace.holding("east", "configmaps", "widgets.example.com")
        await workspace.imports(east, "widgets", "example.com", WIDGET, schemaUpdateStrategy=strategy)
        await workspace.namespace("words")
        await workspace.placed("words", "east", "configmaps,widgets.example.com")
        own = Resource(f"{workspace.token}-example.com", "v1", "widgets")
        resource = await eventually(workspace.shared, StatusError) if strategy == "UpdateUnpublished" else own

        async def made() -> list[str]:
            return await workspace.make("words", resource, "Widget", "w")

        assert await eventually(made, StatusError) == [EAST]


async def test_a_cluster_that_does_not_come_back(shard: ControlPlane) -> None:
    """Deletions of what is new do not wait for it."""
    async with shard.client() as client, asyncio.TaskGroup() as group:
        workspace = Held(client)
        informer = Informer(client, CLUSTERS)
        heartbeats = Heartbeats(client, informer, timeout=datetime.timedelta(seconds=4))
        tasks = [group.create_task(part.run()) for part in (informer, heartbeats, Placement(client, informer))]
        meta = {"name": workspace.mapped("soon")}
        spec = {"notReadySeconds": 1}
        obj = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": meta, "spec": spec}
        await settled(lambda: client.create(PLACEMENTS, obj))
        await workspace.holding("east", "configmaps")
        await workspace.namespace("words")
        await reaches(lambda: workspace.told("words"), {"east": "configmaps"})
        await reaches(lambda: workspace.told("words"), {})
        assert await workspace.label_of("words") == "east", "there is no other"
        await reaches(lambda: workspace.probe("words"), [])
        await workspace.beat("east", "2099-01-01T00:00:00Z")
        await reaches(lambda: workspace.told("words"), {"east": "configmaps"})
        for task in tasks:
            task.cancel()
