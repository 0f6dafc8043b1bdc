"""Placements, moves and status of objects on several clusters, on a real shard; what syncers tell is told by hand."""

from __future__ import annotations

import asyncio
import datetime
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.digest import digest
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.shard.control_plane import ControlPlane
from proxy.workload.api import CLUSTERS, NAMESPACES, NEGOTIATED, PLACEMENTS, stamp
from proxy.workload.clusters import Heartbeats
from proxy.workload.events import EVENTS
from proxy.workload.moves import MOVE, STATE
from proxy.workload.placement import Placement
from proxy.workload.summaries import STATUS
from tests.integration.eventually import eventually
from tests.integration.workload_workspace import WIDGET, Workspace, controllers, reaches, settled

DEPLOYMENTS = Resource("apps", "v1", "deployments")


class Placed(Workspace):
    """A workspace with clusters that have labels."""

    async def ready(self, *names: str, **labels: str) -> None:
        for name in names:
            await self.cluster(name)
            await reaches(lambda name=name: self.status(CLUSTERS, name, "Ready"), "True")  # type: ignore[misc]
            if labels:
                patch = {"metadata": {"labels": labels}}
                await self.client.patch(CLUSTERS, self.mapped(name), patch)

    async def placement(self, name: str, **spec: Any) -> None:
        meta = {"name": self.mapped(name)}
        obj = {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": meta, "spec": spec}
        await settled(lambda: self.client.create(PLACEMENTS, obj))

    async def change(self, cluster: str, **spec: Any) -> None:
        await self.client.patch(CLUSTERS, self.mapped(cluster), {"spec": spec})

    async def states(self, namespace: str) -> dict[str, str]:
        obj = await self.client.get(NAMESPACES, self.mapped(namespace))
        labels = obj["metadata"].get("labels") or {}
        return {key.removeprefix(STATE): value for key, value in labels.items() if key.startswith(STATE)}

    async def move(self, namespace: str) -> str:
        obj = await self.client.get(NAMESPACES, self.mapped(namespace))
        return str((obj["metadata"].get("annotations") or {}).get(MOVE, ""))

    async def arrive(self, cluster: str, namespace: str) -> None:
        """As the cluster's syncer does."""
        status = {"arrived": {namespace: await eventually(lambda: self.move(namespace))}}
        await self.client.patch(CLUSTERS, self.mapped(cluster), {"status": status}, subresource="status")

    async def reason(self, namespace: str) -> str:
        return str((await self.condition(NAMESPACES, namespace, "NamespaceScheduled") or {}).get("reason", ""))

    async def events(self, namespace: str) -> dict[str, str]:
        listed = await self.client.list(EVENTS, self.mapped(namespace))
        return {item["reason"]: item["message"] for item in listed["items"]}


@pytest.fixture
async def workspace(shard: ControlPlane) -> AsyncIterator[Placed]:
    async with shard.client() as client, controllers(client):
        yield Placed(client)


async def test_a_drained_cluster_keeps_its_copy_until_there_is_another(workspace: Placed) -> None:
    await workspace.ready("east", "west")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await workspace.config_map("one", "mine")
    await workspace.labelled("east", "one", "mine")
    await workspace.change("east", unschedulable=True, evictAfter=stamp())
    await workspace.labelled("Several", "one")
    assert await workspace.states("one") == {"east": "Leave", "west": "Sync"}
    await workspace.labelled("Several", "one", "mine")
    await reaches(lambda: workspace.reason("one"), "Moving")
    await asyncio.sleep(1)
    assert await workspace.states("one") == {"east": "Leave", "west": "Sync"}
    await workspace.arrive("west", "one")
    await workspace.labelled("west", "one")
    await workspace.labelled("west", "one", "mine")
    assert await workspace.states("one") == {}
    assert await workspace.move("one") == ""
    await reaches(lambda: workspace.reason("one"), "Scheduled")
    events = await workspace.events("one")
    assert events["Scheduled"] == "Runs on east."
    assert events["Moving"] == "Comes to west; stays on east until it runs there. It is being drained."
    assert events["Moved"] == "Runs on west; is removed from east."


async def test_nowhere_to_go(workspace: Placed) -> None:
    await workspace.ready("east")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await workspace.change("east", unschedulable=True, evictAfter=stamp())
    await reaches(lambda: workspace.reason("one"), "NoBetterCluster")
    condition = await workspace.condition(NAMESPACES, "one", "NamespaceScheduled")
    assert condition is not None
    assert condition["status"] == "True"
    assert condition["message"] == "Runs on east. 1 asked for; east is being drained."
    assert await workspace.label_of("one") == "east"
    await workspace.ready("west")
    await reaches(lambda: workspace.states("one"), {"east": "Leave", "west": "Sync"})


async def test_the_target_dies_on_the_way(workspace: Placed) -> None:
    await workspace.ready("east", "west")
    await workspace.namespace("one")
    await workspace.labelled("east", "one")
    await workspace.change("east", unschedulable=True, evictAfter=stamp())
    await reaches(lambda: workspace.states("one"), {"east": "Leave", "west": "Sync"})
    await workspace.ready("north")
    await workspace.client.delete(CLUSTERS, workspace.mapped("west"))
    await reaches(lambda: workspace.states("one"), {"east": "Leave", "north": "Sync"})
    await workspace.arrive("north", "one")
    await workspace.labelled("north", "one")


async def test_silence_and_patience_are_bounded(shard: ControlPlane) -> None:
    async with shard.client() as client, asyncio.TaskGroup() as group:
        workspace = Placed(client)
        informer = Informer(client, CLUSTERS)
        heartbeats = Heartbeats(client, informer, timeout=datetime.timedelta(seconds=4))
        placement = Placement(client, informer, patience=datetime.timedelta(seconds=4))
        tasks = [group.create_task(part.run()) for part in (informer, heartbeats, placement)]
        await workspace.placement("quick", notReadySeconds=1)
        await workspace.ready("east")
        await workspace.namespace("one")
        await workspace.labelled("east", "one")
        await workspace.cluster("west")
        beating = group.create_task(_beat(workspace, "west"))
        await reaches(lambda: workspace.states("one"), {"east": "Leave", "west": "Sync"}, timeout=25)
        begun = asyncio.get_running_loop().time()
        await workspace.labelled("west", "one")
        assert asyncio.get_running_loop().time() - begun > 2, "the old copy has waited"
        for task in (*tasks, beating):
            task.cancel()


async def _beat(workspace: Workspace, cluster: str) -> None:
    while True:
        await workspace.beat(cluster, datetime.datetime.now(datetime.UTC).isoformat())
        await asyncio.sleep(1)


async def test_placements_select(workspace: Placed) -> None:
    await workspace.ready("east")
    await workspace.ready("west", zone="x")
    selector = {"matchLabels": {"tier": "web"}}
    await workspace.placement("web", namespaceSelector=selector, clusterSelector={"matchLabels": {"zone": "x"}})
    await workspace.namespace("web", tier="web")
    await workspace.labelled("west", "web")
    await workspace.namespace("other")
    await workspace.labelled("east", "other")

    async def message() -> str:
        return str((await workspace.condition(NAMESPACES, "web", "NamespaceScheduled") or {}).get("message"))

    await reaches(message, "Runs on west by Placement web.")

    async def status() -> Object:
        found: Object = (await workspace.client.get(PLACEMENTS, workspace.mapped("web"))).get("status") or {}
        return found

    await reaches(status, {"namespaces": 1, "clusters": ["west"]})
    # Another cluster comes to be the right one.
    await workspace.client.patch(CLUSTERS, workspace.mapped("west"), {"metadata": {"labels": {"zone": "y"}}})
    await workspace.client.patch(CLUSTERS, workspace.mapped("east"), {"metadata": {"labels": {"zone": "x"}}})
    await reaches(lambda: workspace.states("web"), {"east": "Sync", "west": "Leave"})
    await workspace.arrive("east", "web")
    await workspace.labelled("east", "web")
    await reaches(status, {"namespaces": 1, "clusters": ["east"]})


async def test_placements_that_make_no_sense_are_refused(workspace: Placed) -> None:
    for spec in (
        {"numberOfClusters": 0},
        {"replicas": "Twice"},
        {"notReadySeconds": -1},
        {"clusterSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}},
        {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "Exists", "values": ["x"]}]}},
    ):
        with pytest.raises(StatusError) as refusal:
            await workspace.placement("odd", **spec)
        assert refusal.value.code == 422


async def test_namespaces_are_spread(workspace: Placed) -> None:
    await workspace.ready("east", "west")
    await workspace.placement("even", spread={"namespaces": True})
    names = [f"n{number}" for number in range(4)]
    for name in names:
        await workspace.namespace(name)
    found = [await eventually(lambda name=name: workspace.label_of(name)) for name in names]  # type: ignore[misc]
    assert sorted(map(str, found)) == ["east", "east", "west", "west"]


async def test_several_clusters_and_one_status(workspace: Placed) -> None:
    await workspace.ready("east", "west", "yonder")
    east = await workspace.client.get(CLUSTERS, workspace.mapped("east"))
    await workspace.imports(east, "deployments", "apps", WIDGET, kind="Deployment")
    await reaches(lambda: workspace.status(NEGOTIATED, "deployments.v1.apps", "Published"), "True")
    await workspace.placement("both", numberOfClusters=2, namespaceSelector={"matchLabels": {"on": "both"}})
    await workspace.namespace("one", on="both")
    await workspace.labelled("Several", "one")
    assert await workspace.states("one") == {"east": "Sync", "west": "Sync"}
    labels = {"app": "words"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "w", "image": "w"}]}}
    obj = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "words"},
        "spec": {"replicas": 3, "selector": {"matchLabels": labels}, "template": template},
    }
    await workspace.client.create(DEPLOYMENTS, obj, workspace.mapped("one"))

    async def tell(cluster: str, *, current: bool = True, **status: Any) -> None:
        found = await workspace.client.get(DEPLOYMENTS, "words", workspace.mapped("one"))
        value = {"spec": digest(found["spec"]), "current": current, "status": status}
        patch = {"metadata": {"annotations": {STATUS + cluster: json.dumps(value)}}}
        await workspace.client.patch(DEPLOYMENTS, "words", patch, workspace.mapped("one"))

    async def replicas() -> int:
        found = await workspace.client.get(DEPLOYMENTS, "words", workspace.mapped("one"))
        return int((found.get("status") or {}).get("availableReplicas", 0))

    async def seen() -> bool:
        found = await workspace.client.get(DEPLOYMENTS, "words", workspace.mapped("one"))
        return bool(found["status"].get("observedGeneration") == found["metadata"]["generation"])

    async def told() -> list[str]:
        found = await workspace.client.get(DEPLOYMENTS, "words", workspace.mapped("one"))
        annotations = found["metadata"].get("annotations") or {}
        return sorted(key.removeprefix(STATUS) for key in annotations if key.startswith(STATUS))

    await tell("east", replicas=2, availableReplicas=2, readyReplicas=2)
    await tell("west", replicas=1, availableReplicas=1, readyReplicas=1)
    await reaches(replicas, 3)
    await workspace.client.patch(
        DEPLOYMENTS, "words", {"metadata": {"annotations": {STATUS + "odd": "{"}}}, workspace.mapped("one")
    )
    await reaches(told, ["east", "west"])
    # West leaves: yonder comes instead.
    await workspace.change("west", unschedulable=True, evictAfter=stamp())
    await reaches(lambda: workspace.states("one"), {"east": "Sync", "yonder": "Sync", "west": "Leave"})
    await tell("yonder", replicas=1, availableReplicas=1, readyReplicas=1)
    await reaches(replicas, 4)
    await workspace.arrive("yonder", "one")
    await workspace.arrive("east", "one")
    await reaches(lambda: workspace.states("one"), {"east": "Sync", "yonder": "Sync"})
    await reaches(replicas, 3)
    assert await told() == ["east", "yonder"]
    # One cluster is left: its syncer writes the status itself.
    await workspace.client.patch(PLACEMENTS, workspace.mapped("both"), {"spec": {"numberOfClusters": 1}})
    await reaches(lambda: workspace.states("one"), {"east": "Sync", "yonder": "Leave"})
    await workspace.arrive("east", "one")
    await workspace.labelled("east", "one")
    await reaches(told, [])
