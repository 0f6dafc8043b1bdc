"""A deletion above is over when it is over below: whatever dies, nothing is left behind on either side."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, TOKEN_SECRET, finalizer
from syncer.namespaces import CLUSTERS, NAMESPACES
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import CONFIGMAPS, DEPLOYMENTS, RESOURCES, SECRETS, Pair, absent, application, until


async def test_a_deletion_waits_for_what_stands_below(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings", data={"a": "1"})
        await pair.arrives(CONFIGMAPS, "settings")
        assert await pair.held(CONFIGMAPS, "settings")
        # Something below takes its time.
        slow = {"metadata": {"finalizers": ["example.com/slow"]}}
        await pair.below.patch(CONFIGMAPS, "settings", slow, pair.physical)
        await pair.remove(CONFIGMAPS, "settings")
        await until(lambda: pair.stands(CONFIGMAPS, "settings"), lambda obj: obj["metadata"].get("deletionTimestamp"))
        await asyncio.sleep(0.5)
        assert (await pair.above.get(CONFIGMAPS, "settings", pair.namespace))["metadata"]["deletionTimestamp"]
        await pair.below.patch(CONFIGMAPS, "settings", {"metadata": {"finalizers": None}}, pair.physical)
        await pair.leaves(CONFIGMAPS, "settings")
        await absent(pair.above, CONFIGMAPS, "settings", pair.namespace)


async def test_what_the_shard_holds_already_is_not_written_to(pair: Pair) -> None:
    """As manifests/workload/cluster-label.yaml has it, by what the syncer tells."""
    mine = {"labels": {CLUSTER_LABEL: pair.cluster}, "finalizers": [finalizer(pair.cluster)]}

    async def make(resource: Resource, kind: str, name: str, **fields: Any) -> Object:
        obj = {"apiVersion": "v1", "kind": kind, "metadata": {**mine, "name": name}, **fields}
        return await pair.above.create(resource, obj, pair.namespace)

    async def gone(name: str) -> bool:
        return not await pair.held(SECRETS, name)

    async with pair.syncer(sync_up=["secrets", "pods"]):
        cluster = await until(
            lambda: pair.above.get(CLUSTERS, pair.cluster), lambda obj: obj.get("status", {}).get("heldResources")
        )
        assert cluster["status"]["heldResources"] == sorted(RESOURCES)
        made = await make(CONFIGMAPS, "ConfigMap", "settings", data={"a": "1"})
        await pair.arrives(CONFIGMAPS, "settings")
        # Nothing goes down of these, and nothing holds them.
        await make(SECRETS, "Secret", "release", type="helm.sh/release.v1")
        await make(SECRETS, "Secret", TOKEN_SECRET)
        for name in ("release", TOKEN_SECRET):
            await eventually(lambda name=name: gone(name), timeout=60)  # type: ignore[misc]
        found = await pair.above.get(CONFIGMAPS, "settings", pair.namespace)
        assert found["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
        await pair.remove(CONFIGMAPS, "settings")
        await absent(pair.above, CONFIGMAPS, "settings", pair.namespace)
        await absent(pair.below, CONFIGMAPS, "settings", pair.physical)


async def test_a_deletion_while_the_syncer_is_away(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
    await pair.remove(CONFIGMAPS, "settings")
    await asyncio.sleep(0.3)
    assert (await pair.above.get(CONFIGMAPS, "settings", pair.namespace))["metadata"]["deletionTimestamp"]
    async with pair.syncer():
        await absent(pair.above, CONFIGMAPS, "settings", pair.namespace)
        await absent(pair.below, CONFIGMAPS, "settings", pair.physical)


async def test_the_syncer_dies_between_both_halves_of_a_deletion(pair: Pair) -> None:
    """It is gone below already: nothing but the finalizer above tells of it."""
    async with pair.syncer():
        for name in ("deleted", "moved"):
            await pair.make(CONFIGMAPS, name)
            await pair.arrives(CONFIGMAPS, name)
    await pair.remove(CONFIGMAPS, "deleted")
    await pair.change(CONFIGMAPS, "moved", {"metadata": {"labels": {CLUSTER_LABEL: "elsewhere"}}})
    for name in ("deleted", "moved"):
        await pair.below.delete(CONFIGMAPS, name, pair.physical)
    async with pair.syncer():
        await absent(pair.above, CONFIGMAPS, "deleted", pair.namespace)

        async def released() -> bool:
            return not await pair.held(CONFIGMAPS, "moved")

        await eventually(released, timeout=60)


async def test_what_moves_to_another_cluster_is_released(pair: Pair) -> None:
    theirs = finalizer("elsewhere")
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        meta = {"labels": {CLUSTER_LABEL: "elsewhere"}, "finalizers": [finalizer(pair.cluster), theirs]}
        await pair.change(CONFIGMAPS, "settings", {"metadata": meta})
        await pair.leaves(CONFIGMAPS, "settings")
        found = await until(
            lambda: pair.above.get(CONFIGMAPS, "settings", pair.namespace),
            lambda obj: finalizer(pair.cluster) not in obj["metadata"]["finalizers"],
        )
        assert found["metadata"]["finalizers"] == [theirs]
        assert "deletionTimestamp" not in found["metadata"]


async def test_a_namespace_and_all_in_it(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        await pair.make(CONFIGMAPS, "settings")
        await pair.arrives(CONFIGMAPS, "settings")
        await pair.arrives(DEPLOYMENTS, "words")
        await pair.above.delete(NAMESPACES, pair.namespace)
        await absent(pair.above, NAMESPACES, pair.namespace)
        await absent(pair.below, NAMESPACES, pair.physical)


async def test_no_finalizer_for_a_cluster_that_is_deleted(pair: Pair) -> None:
    """Nobody would take it away."""
    async with pair.syncer() as syncer:
        await pair.make(CONFIGMAPS, "before")
        await pair.arrives(CONFIGMAPS, "before")
        await pair.above.delete(CLUSTERS, pair.cluster)
        await asyncio.sleep(1.1)
        await pair.make(CONFIGMAPS, "after")

        async def refused() -> bool:
            return bool(
                syncer.metrics.registry.get_sample_value("kcp_syncer_retries_total", {"resource": "configmaps"})
            )

        await eventually(refused, timeout=60)
        assert not await pair.held(CONFIGMAPS, "after")
        with pytest.raises(StatusError, match="not found"):
            await pair.stands(CONFIGMAPS, "after")


async def test_a_namespace_below_goes_some_time_after_its_last_object(pair: Pair) -> None:
    async with pair.syncer("configmaps", empty_namespace_delay=2.0):
        for name in ("one", "two"):
            await pair.make(CONFIGMAPS, name)
            await pair.arrives(CONFIGMAPS, name)
        await pair.remove(CONFIGMAPS, "one")
        await pair.leaves(CONFIGMAPS, "one")
        await asyncio.sleep(2.5)
        first = await pair.below.get(NAMESPACES, pair.physical)
        assert first["metadata"].get("deletionTimestamp") is None, "there is one object left"
        await pair.remove(CONFIGMAPS, "two")
        await pair.leaves(CONFIGMAPS, "two")
        assert "deletionTimestamp" not in (await pair.below.get(NAMESPACES, pair.physical))["metadata"]
        await absent(pair.below, NAMESPACES, pair.physical)
        await pair.make(CONFIGMAPS, "three")
        await pair.arrives(CONFIGMAPS, "three")
        assert (await pair.below.get(NAMESPACES, pair.physical))["metadata"]["uid"] != first["metadata"]["uid"]
    await pair.below.delete(CONFIGMAPS, "three", pair.physical)
    await pair.change(CONFIGMAPS, "three", {"metadata": {"finalizers": None}})
    await pair.remove(CONFIGMAPS, "three")
    async with pair.syncer("configmaps", empty_namespace_delay=0.5):  # emptied while no syncer was there
        await absent(pair.below, NAMESPACES, pair.physical)
