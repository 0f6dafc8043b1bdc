"""A namespace on two clusters, and one that moves, as their syncers see it. Labels of the controllers are put by hand.

One control plane stands for both clusters: they are told apart by their label, and by workspaces of different names.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane
from syncer.names import CLUSTER_LABEL
from syncer.namespaces import CLUSTERS, NAMESPACES
from syncer.role import MOVE, SEVERAL, SPEC_DIFF, STATE, STATUS
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import ACCOUNTS, CONFIGMAPS, DEPLOYMENTS, Pair, application


@pytest.fixture
async def pair(shard: ControlPlane, plane: ControlPlane) -> AsyncIterator[Pair]:
    async with shard.client() as above, plane.client() as below:
        made = Pair(above, below)
        await made.prepare()
        async with made.syncer():
            yield made


async def place(pair: Pair, label: str | None, move: str | None = None, **states: str | None) -> None:
    """Label the namespace: ``states`` of clusters, ``here`` being the pair's own."""
    named = {STATE + (pair.cluster if name == "here" else name): state for name, state in states.items()}
    meta = {"labels": {CLUSTER_LABEL: label, **named}, "annotations": {MOVE: move}}
    await pair.above.patch(NAMESPACES, pair.namespace, {"metadata": meta})


async def make(pair: Pair, name: str, *, label: str = SEVERAL, **fields: Any) -> None:
    await pair.make(DEPLOYMENTS, name, **application(name, **fields))
    if label != pair.cluster:
        await pair.change(DEPLOYMENTS, name, {"metadata": {"labels": {CLUSTER_LABEL: label}}})


def replicas(count: int) -> Any:
    return lambda obj: obj["spec"]["replicas"] == count


async def available(pair: Pair, name: str, count: int) -> None:
    """What the cluster's own controllers would report."""
    found = await pair.stands(DEPLOYMENTS, name)
    status = {"observedGeneration": found["metadata"]["generation"], "replicas": count, "updatedReplicas": count}
    status |= {"availableReplicas": count, "readyReplicas": count}
    await pair.below.patch(DEPLOYMENTS, name, {"status": status}, pair.physical, subresource="status")


async def arrived(pair: Pair) -> str | None:
    cluster = await pair.above.get(CLUSTERS, pair.cluster)
    found: str | None = ((cluster.get("status") or {}).get("arrived") or {}).get(pair.namespace)
    return found


async def status_there(pair: Pair, name: str) -> Object:
    found = await pair.above.get(DEPLOYMENTS, name, pair.namespace)
    told = json.loads((found["metadata"].get("annotations") or {}).get(STATUS + pair.cluster, "{}"))
    value: Object = told.get("status") or {}
    return value


async def test_replicas_are_shared_out(pair: Pair) -> None:
    await place(pair, SEVERAL, here="Sync", aaa="Sync")
    await make(pair, "five", replicas=5)
    await pair.arrives(DEPLOYMENTS, "five", replicas(2))
    await place(pair, SEVERAL, aaa=None, zzz="Sync")
    await pair.arrives(DEPLOYMENTS, "five", replicas(3))
    await pair.change(DEPLOYMENTS, "five", {"metadata": {"annotations": {"workloads.kcp.dev/replicas": "Repeat"}}})
    await pair.arrives(DEPLOYMENTS, "five", replicas(5))
    await place(pair, pair.cluster, here=None, zzz=None)
    await pair.change(DEPLOYMENTS, "five", {"metadata": {"annotations": {"workloads.kcp.dev/replicas": None}}})
    await pair.arrives(DEPLOYMENTS, "five", replicas(5))


async def test_status_of_one_of_several_is_an_annotation(pair: Pair) -> None:
    await place(pair, SEVERAL, here="Sync", aaa="Sync")
    await make(pair, "words", replicas=2)
    await pair.arrives(DEPLOYMENTS, "words", replicas(1))
    await available(pair, "words", 1)

    async def told() -> bool:
        return (await status_there(pair, "words")).get("availableReplicas") == 1

    await eventually(told, timeout=60)
    above = await pair.above.get(DEPLOYMENTS, "words", pair.namespace)
    assert not above.get("status"), "that of all clusters is not one cluster's to write"
    below = await pair.stands(DEPLOYMENTS, "words")
    assert STATUS + pair.cluster not in below["metadata"].get("annotations", {})
    await place(pair, pair.cluster, here=None, aaa=None)

    async def whole() -> bool:
        found = await pair.above.get(DEPLOYMENTS, "words", pair.namespace)
        return (found.get("status") or {}).get("replicas") == 2

    await pair.arrives(DEPLOYMENTS, "words", replicas(2))
    await available(pair, "words", 2)
    await eventually(whole, timeout=60)


async def test_a_patch_for_one_cluster(pair: Pair) -> None:
    operations = [
        {"op": "test", "path": "/replicas", "value": 1},
        {"op": "replace", "path": "/replicas", "value": 4},
        {"op": "add", "path": "/template/spec/nodeSelector", "value": {"zone": "a"}},
    ]
    await make(pair, "words", label=pair.cluster)
    await pair.arrives(DEPLOYMENTS, "words", replicas(1))
    other = {"metadata": {"annotations": {SPEC_DIFF + "zzz": "nonsense"}}}
    await pair.change(DEPLOYMENTS, "words", other)
    await pair.change(
        DEPLOYMENTS, "words", {"metadata": {"annotations": {SPEC_DIFF + pair.cluster: json.dumps(operations)}}}
    )
    changed = await pair.arrives(DEPLOYMENTS, "words", replicas(4))
    assert changed["spec"]["template"]["spec"]["nodeSelector"] == {"zone": "a"}
    assert not [key for key in changed["metadata"]["annotations"] if key.startswith(SPEC_DIFF)]
    assert (await pair.above.get(DEPLOYMENTS, "words", pair.namespace))["spec"]["replicas"] == 1
    await pair.change(DEPLOYMENTS, "words", {"metadata": {"annotations": {SPEC_DIFF + pair.cluster: None}}})
    back = await pair.arrives(DEPLOYMENTS, "words", replicas(1))
    assert "nodeSelector" not in back["spec"]["template"]["spec"]


async def test_where_it_leaves_all_stays_as_it_is(pair: Pair) -> None:
    await make(pair, "words", label=pair.cluster, replicas=3)
    await make(pair, "other", label=pair.cluster)
    await pair.arrives(DEPLOYMENTS, "words", replicas(3))
    uid = (await pair.arrives(DEPLOYMENTS, "other"))["metadata"]["uid"]
    await place(pair, SEVERAL, here="Leave", zzz="Sync")
    for name in ("words", "other"):
        labels = {"metadata": {"labels": {CLUSTER_LABEL: SEVERAL}}, "spec": {"replicas": 7}}
        await pair.change(DEPLOYMENTS, name, labels)
    await available(pair, "words", 3)

    async def told() -> bool:
        return (await status_there(pair, "words")).get("availableReplicas") == 3

    await eventually(told, timeout=60)
    assert (await pair.stands(DEPLOYMENTS, "words"))["spec"]["replicas"] == 3
    await pair.remove(DEPLOYMENTS, "words")
    await pair.leaves(DEPLOYMENTS, "words")
    assert (await pair.stands(DEPLOYMENTS, "other"))["metadata"]["uid"] == uid
    await place(pair, "zzz", here=None, zzz=None)
    await pair.leaves(DEPLOYMENTS, "other")


async def test_arrival_is_told_when_all_of_it_runs(pair: Pair) -> None:
    await make(pair, "words", label="zzz", replicas=2)
    await pair.make(CONFIGMAPS, "settings", data={"k": "v"})
    await pair.change(CONFIGMAPS, "settings", {"metadata": {"labels": {CLUSTER_LABEL: "zzz"}}})
    await place(pair, SEVERAL, zzz="Leave", here="Sync")
    for resource, name in ((DEPLOYMENTS, "words"), (CONFIGMAPS, "settings")):
        await pair.change(resource, name, {"metadata": {"labels": {CLUSTER_LABEL: SEVERAL}}})
    # What the control plane has put into the namespace is synced as well.
    for resource, name in ((CONFIGMAPS, "kube-root-ca.crt"), (ACCOUNTS, "default")):
        await pair.change(resource, name, {"metadata": {"labels": {CLUSTER_LABEL: SEVERAL}}})
    await place(pair, SEVERAL, "first", zzz="Leave", here="Sync")
    await pair.arrives(DEPLOYMENTS, "words", replicas(2))
    await available(pair, "words", 1)
    with pytest.raises(AssertionError):
        await eventually(lambda: arrived(pair), timeout=2)
    await available(pair, "words", 2)
    await eventually(lambda: arrived(pair), StatusError, timeout=60)
    assert await arrived(pair) == "first"
    await place(pair, SEVERAL, "second", zzz="Leave", here="Sync")

    async def again() -> bool:
        return await arrived(pair) == "second"

    await eventually(again, timeout=60)
    await place(pair, pair.cluster, zzz=None, here=None)

    async def forgotten() -> bool:
        return await arrived(pair) is None

    await eventually(forgotten, timeout=60)
