"""Whether both sides are equal: what stands below is what is asked for above, its status is told, nothing is left."""

from __future__ import annotations

from typing import Any

from proxy.kube.client import Client, Resource
from syncer.names import CLUSTER_LABEL, LOCATOR, UID, finalizer, name_below, namespace_of
from syncer.transform import skipped
from tests.faults.load import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, SECRETS
from tests.faults.rig import CLUSTER, Rig

ACCOUNTS = Resource("", "v1", "serviceaccounts")
KINDS = (CONFIGMAPS, SECRETS, ACCOUNTS, DEPLOYMENTS)
POD_TOKEN = "kcp.dev/pod-token"

Objects = dict[tuple[str, str], dict[str, Any]]


async def differences(rig: Rig) -> list[str]:
    """All that is not equal, one line each; empty if everything is. Raises StatusError where a side is away."""
    physical = await _namespaces(rig)
    found = []
    for resource in KINDS:
        above = await _above(rig.above, resource)
        below = await _objects(rig.below, resource)
        for (namespace, name), obj in above.items():
            if obj["metadata"].get("deletionTimestamp"):
                found.append(f"{resource.plural} {namespace}/{name} is still being deleted above")
                continue
            place = rig.physical(namespace), name_below(resource.plural, name)
            there = below.pop(place, None)
            if there is None:
                found.append(f"{resource.plural} {namespace}/{name} is missing below")
            else:
                found += [f"{resource.plural} {namespace}/{name}: {why}" for why in _unlike(resource, obj, there)]
        for (where, name), obj in below.items():
            if POD_TOKEN not in (obj["metadata"].get("labels") or {}):
                found.append(f"{resource.plural} {physical.get(where, where)}/{name} is left over below")
    return found


async def _namespaces(rig: Rig) -> dict[str, str]:
    """Name below → name above."""
    listed = await rig.below.list(NAMESPACES, label_selector=f"{CLUSTER_LABEL}={CLUSTER}")
    return {
        item["metadata"]["name"]: namespace_of(item["metadata"]["annotations"], rig.path) or "?"
        for item in listed["items"]
        if LOCATOR in (item["metadata"].get("annotations") or {})
    }


async def _above(client: Client, resource: Resource) -> Objects:
    """What is to run on the cluster."""
    objects = await _objects(client, resource)
    return {key: obj for key, obj in objects.items() if not skipped(resource.plural, obj)}


async def _objects(client: Client, resource: Resource) -> Objects:
    listed = await client.list(resource, label_selector=f"{CLUSTER_LABEL}={CLUSTER}")
    return {(item["metadata"]["namespace"], item["metadata"]["name"]): item for item in listed["items"]}


def _unlike(resource: Resource, above: dict[str, Any], below: dict[str, Any]) -> list[str]:
    found = []
    if finalizer(CLUSTER) not in (above["metadata"].get("finalizers") or ()):
        found.append("is not held above")
    if below["metadata"]["annotations"].get(UID) != above["metadata"]["uid"]:
        found.append("stands for another object")
    number = (above["metadata"].get("annotations") or {}).get("number")
    if below["metadata"]["annotations"].get("number") != number:
        found.append("annotations differ")
    if resource in (CONFIGMAPS, SECRETS) and above.get("data") != below.get("data"):
        found.append(f"data differ: {sorted(above.get('data') or ())}, {sorted(below.get('data') or ())}")
    if resource is DEPLOYMENTS:
        if above["spec"]["replicas"] != below["spec"]["replicas"]:
            found.append("replicas differ")
        told, true = dict(above.get("status") or {}), dict(below.get("status") or {})
        if told.pop("observedGeneration", None) != above["metadata"]["generation"]:
            found.append("the status above is of another generation")
        # A count that an API server does not let sink: it began anew where the object below was made again.
        if told.get("collisionCount", 0) > true.get("collisionCount", 0):
            told["collisionCount"] = true.get("collisionCount")
            told = {key: value for key, value in told.items() if value is not None}
        if true.pop("observedGeneration", None) == below["metadata"]["generation"] and told != true:
            found.append(f"status differs: {told} above, {true} below")
    return found
