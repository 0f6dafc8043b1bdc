"""What objects take of a quota is in a workspace what it is in a cluster, to the last byte."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest_asyncio

from proxy.kube.config import load_kubeconfig
from proxy.shard.control_plane import ControlPlane
from tests.e2e.workspaces.installation import Installation
from tests.e2e.workspaces.twins import Api, Twins
from tests.integration.eventually import eventually

MERGE = "application/merge-patch+json"
PLACE = "/api/v1/namespaces/usage"
CLAIMS = "/apis/resource.k8s.io/v1/namespaces/usage/resourceclaims"
CLASSES = "/apis/scheduling.k8s.io/v1/priorityclasses"
Object = dict[str, Any]
SETTLED, SETTLES = 4.0, 30.0
"""Seconds in which nothing has changed, and after which nothing changes any more, however busy the machine is."""

SOON = 1.0
"""Seconds: what a busy machine may take."""

HARD = (
    "pods", "count/pods", "cpu", "memory", "ephemeral-storage", "requests.cpu", "requests.memory",
    "requests.ephemeral-storage", "limits.cpu", "limits.memory", "limits.ephemeral-storage",
    "requests.example.com/gpu", "hugepages-2Mi", "requests.hugepages-2Mi", "services", "count/services",
    "services.nodeports", "services.loadbalancers", "persistentvolumeclaims", "requests.storage",
    "count/persistentvolumeclaims", "gold.storageclass.storage.k8s.io/requests.storage",
    "gold.storageclass.storage.k8s.io/persistentvolumeclaims", "count/resourceclaims.resource.k8s.io",
    "gpu.deviceclass.resource.k8s.io/devices", "nic.deviceclass.resource.k8s.io/devices", "configmaps", "secrets",
    "replicationcontrollers", "count/replicationcontrollers", "count/deployments.apps",
    "count/leases.coordination.k8s.io", "count/things.nobody.example.com", "count/events",
)  # fmt: skip


def selector(scope: str, operator: str, *values: str) -> Object:
    term = {"scopeName": scope, "operator": operator}
    return {"scopeSelector": {"matchExpressions": [term | ({"values": list(values)} if values else {})]}}


SCOPED: Mapping[str, Object] = {
    "terminating": {"scopes": ["Terminating"]},
    "not-terminating": {"scopes": ["NotTerminating"]},
    "best-effort": {"scopes": ["BestEffort"]},
    "not-best-effort": {"scopes": ["NotBestEffort", "NotTerminating"]},
    "classes": {"scopes": ["PriorityClass"]},
    "high": selector("PriorityClass", "In", "usage-high", "other"),
    "not-high": selector("PriorityClass", "NotIn", "usage-high"),
    "no-class": selector("PriorityClass", "DoesNotExist"),
    "others": selector("CrossNamespacePodAffinity", "Exists"),
    "attributes": selector("VolumeAttributesClass", "In", "fast"),
}


def hard_of(name: str) -> list[str]:
    if name == "attributes":
        return ["persistentvolumeclaims", "requests.storage"]
    return ["pods"] if name == "best-effort" else ["pods", "count/pods", "requests.cpu", "limits.memory"]


def container(name: str, requests: Object | None = None, limits: Object | None = None, **more: Any) -> Object:
    resources = {key: value for key, value in (("requests", requests), ("limits", limits)) if value}
    return {"name": name, "image": "i", "resources": resources, **more}


ANTI = {"topologyKey": "x", "labelSelector": {}, "namespaceSelector": {}}
FULL = container("c", {"cpu": "300m", "memory": "100Mi"}, {"cpu": "1", "memory": "1Gi"})
GPU = {"cpu": "1", "memory": "1Gi", "example.com/gpu": "2", "hugepages-2Mi": "4Mi"}
PODS: Mapping[str, Object] = {
    "plain": {"containers": [FULL]},
    "two": {"containers": [FULL, container("d", {"ephemeral-storage": "1Gi"}, {"ephemeral-storage": "3Gi"})]},
    "none": {"containers": [container("c")]},
    "short": {"containers": [FULL], "activeDeadlineSeconds": 600, "priorityClassName": "usage-high"},
    "high": {"containers": [container("c")], "priorityClassName": "usage-high"},
    "low": {"containers": [FULL], "priorityClassName": "usage-low"},
    "starts": {
        "containers": [FULL],
        "initContainers": [
            container("a", {"cpu": "2"}),
            container("b", {"cpu": "100m", "memory": "1Gi"}, restartPolicy="Always"),
            container("e", {"cpu": "1900m", "memory": "1500Mi"}, {"memory": "2Gi"}),
        ],
    },
    "huge": {"containers": [container("c", GPU, GPU)]},
    "whole": {"containers": [FULL], "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "3", "memory": "4Gi"}}},
    "apart": {
        "containers": [FULL],
        "affinity": {"podAntiAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [ANTI]}},
    },
    "ended": {"containers": [FULL], "restartPolicy": "Never"},
    "failed": {"containers": [FULL], "restartPolicy": "Never", "activeDeadlineSeconds": 5},
    "goes": {"containers": [FULL], "priorityClassName": "usage-high"},
}  # fmt: skip
SERVICES: Mapping[str, Object] = {
    "plain": {"ports": [{"port": 80}]},
    "nodes": {"type": "NodePort", "ports": [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]},
    "balanced": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    "unported": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": False, "ports": [{"port": 80}]},
    "elsewhere": {"type": "ExternalName", "externalName": "x.example.com"},
    "goes": {"type": "LoadBalancer", "ports": [{"port": 80}]},
}


def volume(storage: str, **more: Any) -> Object:
    return {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}, **more}


VOLUMES: Mapping[str, Object] = {
    "plain": volume("1Gi", storageClassName=""),
    "gold": volume("2Gi", storageClassName="gold"),
    "odd": volume("1073741824500m", storageClassName="gold"),
    "fast": volume("1Gi", storageClassName="silver", volumeAttributesClassName="fast"),
    "goes": volume("5Gi", storageClassName="gold"),
}


def devices(*requests: Object) -> Object:
    return {"devices": {"requests": [{"name": f"r-{at}", **request} for at, request in enumerate(requests)]}}


DEVICES: Mapping[str, Object] = {
    "two": devices({"exactly": {"deviceClassName": "gpu", "count": 2}}),
    "all": devices({"exactly": {"deviceClassName": "nic", "allocationMode": "All"}}),
    "either": devices(
        {"firstAvailable": [
            {"name": "a", "deviceClassName": "gpu", "count": 3}, {"name": "b", "deviceClassName": "gpu", "count": 1},
            {"name": "d", "deviceClassName": "nic", "count": 4},
        ]}
    ),
    "goes": devices({"exactly": {"deviceClassName": "gpu", "count": 1}}),
}  # fmt: skip


@pytest_asyncio.fixture(loop_scope="session")
async def clusters(plain: ControlPlane, kcp: Installation) -> AsyncIterator[Twins]:
    """The plain cluster, and a new workspace of type Cluster."""
    path = await kcp.fresh("Cluster")
    twins = Twins(Api("plain", plain.connection), Api("workspace", load_kubeconfig(kcp.config(path))))
    yield twins
    await twins.plain.close()
    await twins.workspace.close()


async def statuses(api: Api) -> dict[str, Object]:
    found = await api.must("GET", f"{PLACE}/resourcequotas")
    return {item["metadata"]["name"]: item.get("status") or {} for item in found["items"]}


async def settled(api: Api) -> dict[str, Object]:
    """The statuses once they stay as they are."""
    seen, since = await statuses(api), time.monotonic()
    ends = since + SETTLES
    while (now := time.monotonic()) < min(since + SETTLED, ends):
        await asyncio.sleep(0.2)
        if (found := await statuses(api)) != seen:
            seen, since = found, now
    return seen


async def prepared(api: Api) -> None:
    await api.must("POST", "/api/v1/namespaces", {"metadata": {"name": "usage"}})
    for name, value in (("usage-high", 1000), ("usage-low", 10)):
        await api.must("POST", CLASSES, {"metadata": {"name": name}, "value": value})
    await api.until("GET", f"{PLACE}/serviceaccounts/default", wanted=lambda answer: answer.status == 200)
    await api.until("GET", f"{PLACE}/configmaps/kube-root-ca.crt", wanted=lambda answer: answer.status == 200)


async def quotas(api: Api) -> None:
    spec: Object = {"hard": dict.fromkeys(HARD, "100") | {"memory": "100Ti", "requests.storage": "100Ti"}}
    many = [key for key in HARD if "memory" in key or "storage" in key or "hugepages" in key]
    spec["hard"] |= dict.fromkeys(many, "100Ti")
    await api.must("POST", f"{PLACE}/resourcequotas", {"metadata": {"name": "all"}, "spec": spec})
    for name, scope in SCOPED.items():
        hard = {key: "100Ti" if "memory" in key or "storage" in key else "100" for key in hard_of(name)}
        body = {"metadata": {"name": name}, "spec": {"hard": hard, **scope}}
        await api.must("POST", f"{PLACE}/resourcequotas", body)

    async def all_used() -> bool:
        found = await statuses(api)
        return all("used" in status for status in found.values()) and len(found) == 1 + len(SCOPED)

    await eventually(all_used)


async def objects(api: Api) -> list[Any]:
    """Which were refused: in the name of one quota of several."""
    refused = []
    for path, made in (
        (f"{PLACE}/pods", PODS), (f"{PLACE}/services", SERVICES),
        (f"{PLACE}/persistentvolumeclaims", VOLUMES), (CLAIMS, DEVICES),
    ):  # fmt: skip
        for name, spec in made.items():
            answer = await api.ask("POST", path, {"metadata": {"name": name}, "spec": spec})
            if answer.status != 201:
                refused.append((name, answer.status))
    await api.must("POST", f"{PLACE}/secrets", {"metadata": {"name": "s"}})
    return refused


async def changed(api: Api) -> None:
    for name, phase in (("ended", "Succeeded"), ("failed", "Failed")):
        await api.must("PATCH", f"{PLACE}/pods/{name}/status", {"status": {"phase": phase}}, content_type=MERGE)
    resized = {"name": "c", "image": "i", "imageID": "", "ready": False, "restartCount": 0,
               "resources": {"requests": {"cpu": "5", "memory": "100Mi"}, "limits": {"memory": "7Gi"}}}  # fmt: skip
    await api.must(
        "PATCH", f"{PLACE}/pods/plain/status", {"status": {"containerStatuses": [resized]}}, content_type=MERGE
    )
    await api.must("PATCH", f"{PLACE}/services/nodes", {"spec": {"type": "ClusterIP"}}, content_type=MERGE)
    for path in (f"{PLACE}/pods", f"{PLACE}/services", f"{PLACE}/persistentvolumeclaims", CLAIMS):
        await api.must("DELETE", f"{path}/goes")
    await api.must("DELETE", f"{PLACE}/secrets/s")


async def test_what_objects_take(clusters: Twins) -> None:
    """Quotas before objects and after them, and what goes without admission's notice."""

    async def scenario(api: Api) -> list[Any]:
        await prepared(api)
        seen: list[Any] = [await objects(api)]
        await quotas(api)
        seen.append(await settled(api))
        await changed(api)
        seen.append(await settled(api))
        for path in (f"{PLACE}/pods", f"{PLACE}/services", f"{PLACE}/persistentvolumeclaims", CLAIMS):
            for item in (await api.must("GET", path))["items"]:
                await api.must("DELETE", f"{path}/{item['metadata']['name']}?gracePeriodSeconds=0")
        seen.append(await settled(api))
        seen.append(await objects(api))  # which admission counts
        seen.append(await statuses(api))
        await changed(api)
        seen.append(await settled(api))
        for name in ("usage-high", "usage-low"):
            await api.must("DELETE", f"{CLASSES}/{name}")
        await api.must("DELETE", PLACE)
        return seen

    nothing, first, *_ = await clusters.same(scenario)
    assert nothing == []
    assert first["all"]["used"]["pods"] == str(len(PODS))


async def test_it_takes_no_longer(clusters: Twins) -> None:
    """Until what is deleted is free again. Printed, for comparison."""

    async def until(api: Api, place: str, amount: str, within: float = 60) -> float:
        began = time.monotonic()

        async def used() -> bool:
            status = (await api.must("GET", f"{place}/resourcequotas/q")).get("status") or {}
            return bool(status.get("used", {}).get("secrets") == amount)

        try:
            await eventually(used, timeout=within, interval=0.005)
        except AssertionError as error:
            raise AssertionError(f"{api.name}: {amount} was not reached") from error
        return time.monotonic() - began

    async def taken(api: Api, place: str) -> None:
        """One secret more, counted. A cluster counts nothing for what comes before its servers
        have seen what its controller wrote last, and finds out minutes later: there, once more."""
        for more in (True, True, False):
            await asyncio.sleep(1)
            await api.must("POST", f"{place}/secrets", {"metadata": {"name": "s"}})
            try:
                await until(api, place, "1", 20)
            except AssertionError:
                if api is clusters.workspace or not more:
                    raise
                await api.must("DELETE", f"{place}/secrets/s")
            else:
                return

    for api in (clusters.plain, clusters.workspace):
        place = f"{PLACE}-soon"
        await api.must("POST", "/api/v1/namespaces", {"metadata": {"name": "usage-soon"}})
        await api.must(
            "POST", f"{place}/resourcequotas", {"metadata": {"name": "q"}, "spec": {"hard": {"secrets": "9"}}}
        )
        took = [await until(api, place, "0")]
        for _ in range(5):
            await taken(api, place)
            await asyncio.sleep(1)  # a cluster's controller that still counts takes back what the next one takes
            await api.must("DELETE", f"{place}/secrets/s")
            took.append(await until(api, place, "0"))
        await api.must("DELETE", place)
        print(f"{api.name}: new {took[0]:.3f} s, deleted {', '.join(f'{each:.3f}' for each in took[1:])} s")
        assert max(took[1:]) < SOON
