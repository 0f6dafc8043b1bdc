"""What others have made is never overwritten, what is ours stays as asked for, and what is not synced is told."""

from __future__ import annotations

import pytest

from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, UID
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import CLAIMS, CONFIGMAPS, DEPLOYMENTS, JOBS, SECRETS, Pair, absent, application


def config_map(name: str, labels: dict[str, str] | None = None, **data: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "labels": labels or {}}, "data": data}


async def test_somebody_elses_object_is_told_above(pair: Pair) -> None:
    async with pair.syncer() as syncer:
        await pair.make(CONFIGMAPS, "first")
        await pair.arrives(CONFIGMAPS, "first")
        await pair.below.create(CONFIGMAPS, config_map("plain", of="theirs"), pair.physical)
        labels = {CLUSTER_LABEL: pair.cluster}  # as controllers copy labels to what they make
        await pair.below.create(CONFIGMAPS, config_map("labelled", labels, of="theirs"), pair.physical)
        for name in ("plain", "labelled"):
            await pair.make(CONFIGMAPS, name, data={"of": "ours"})

            async def told(name: str = name) -> bool:
                return ("Warning", "NotOurs") in await pair.events(name)

            await eventually(told, timeout=60)
            assert (await pair.stands(CONFIGMAPS, name))["data"] == {"of": "theirs"}
        value = syncer.metrics.registry.get_sample_value("kcp_syncer_conflicts", {"resource": "configmaps"})
        assert value == 2
        # Deleted above: theirs stays, and the deletion is not held up.
        for name in ("plain", "labelled"):
            await pair.remove(CONFIGMAPS, name)
            await absent(pair.above, CONFIGMAPS, name, pair.namespace)
            assert (await pair.stands(CONFIGMAPS, name))["data"] == {"of": "theirs"}


async def test_marks_taken_from_our_object_come_back(pair: Pair) -> None:
    async with pair.syncer():
        made = await pair.make(CONFIGMAPS, "settings", data={"a": "1"})
        await pair.arrives(CONFIGMAPS, "settings")
        for taken in ({"annotations": {UID: None}}, {"labels": {CLUSTER_LABEL: None}}):
            await pair.below.patch(CONFIGMAPS, "settings", {"metadata": taken, "data": {"a": "2"}}, pair.physical)
            below = await pair.arrives(CONFIGMAPS, "settings", lambda obj: obj["data"] == {"a": "1"})
            assert below["metadata"]["annotations"][UID] == made["metadata"]["uid"]
            assert below["metadata"]["labels"][CLUSTER_LABEL] == pair.cluster


async def test_nothing_may_be_added_to_settings(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "settings", data={"a": "1"})
        await pair.make(SECRETS, "key", stringData={"a": "1"})
        for resource, name in ((CONFIGMAPS, "settings"), (SECRETS, "key")):
            exact = (await pair.arrives(resource, name))["data"]
            await pair.below.patch(resource, name, {"data": {"more": "Yg=="}}, pair.physical)
            assert (await pair.arrives(resource, name, lambda obj: "more" not in obj["data"]))["data"] == exact


async def test_what_the_cluster_refuses_is_told_above(pair: Pair) -> None:
    """A quota below, of which the workspace knows nothing."""
    quota: Object = {
        "apiVersion": "v1",
        "kind": "ResourceQuota",
        "metadata": {"name": "none"},
        "spec": {"hard": {"count/jobs.batch": "0"}},
    }
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    async with pair.syncer():
        await pair.make(CONFIGMAPS, "first")
        await pair.arrives(CONFIGMAPS, "first")
        await pair.below.request("POST", f"/api/v1/namespaces/{pair.physical}/resourcequotas", body=quota)

        async def counted() -> bool:
            path = f"/api/v1/namespaces/{pair.physical}/resourcequotas/none"
            return bool((await pair.below.request("GET", path)).get("status", {}).get("hard"))

        await eventually(counted, timeout=60)
        await pair.make(JOBS, "once", spec={"template": {"spec": pod}})

        async def told() -> bool:
            return ("Warning", "SyncFailed") in await pair.events("once")

        await eventually(told, timeout=60)
        await pair.below.request("DELETE", f"/api/v1/namespaces/{pair.physical}/resourcequotas/none")
        await pair.arrives(JOBS, "once")

        async def mended() -> bool:
            return ("Normal", "Synced") in await pair.events("once")

        await eventually(mended, timeout=60)


async def test_what_goes_well_is_not_news(pair: Pair) -> None:
    async with pair.syncer():
        await pair.make(DEPLOYMENTS, "words", **application())
        await pair.arrives(DEPLOYMENTS, "words")
        assert await pair.events("words") == []


async def test_a_name_that_is_too_long_for_a_job_is_refused_by_the_workspace(pair: Pair) -> None:
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    with pytest.raises(StatusError) as caught:
        await pair.make(JOBS, "j" * 64, spec={"template": {"spec": pod}})
    assert (caught.value.code, "63" in caught.value.message) == (422, True)


async def test_a_claim_is_bound_by_the_cluster_that_has_it(pair: Pair) -> None:
    spec = {
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
        "volumeName": "of-another-cluster",
    }
    storage: Object = {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "example.com/none",
    }
    await pair.below.request("POST", "/apis/storage.k8s.io/v1/storageclasses", body=storage)
    try:
        async with pair.syncer("persistentvolumeclaims"):
            await pair.make(CLAIMS, "data", spec=spec)
            # What the cluster has filled in is its own, and stays through later changes above.
            below = await pair.arrives(CLAIMS, "data", lambda obj: obj["spec"].get("storageClassName") == "fast")
            assert "volumeName" not in below["spec"]
            await pair.change(CLAIMS, "data", {"metadata": {"labels": {"app": "words"}}})
            below = await pair.arrives(CLAIMS, "data", lambda obj: obj["metadata"]["labels"].get("app") == "words")
            assert below["spec"]["storageClassName"] == "fast"
            status = {"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}}
            await pair.below.patch(CLAIMS, "data", status, pair.physical, subresource="status")

            async def bound() -> bool:
                return bool((await pair.above.get(CLAIMS, "data", pair.namespace))["status"].get("phase") == "Bound")

            await eventually(bound, timeout=60)
    finally:
        await pair.below.request("DELETE", "/apis/storage.k8s.io/v1/storageclasses/fast")
