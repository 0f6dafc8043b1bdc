"""What is written into a Workspace and its ClusterWorkspace: a pair of one name in one parent."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError, ignoring
from proxy.mapping.token import LABEL, token_of
from proxy.tenancy import api
from proxy.tenancy.index import READY
from proxy.tenancy.lean import apply_lean


async def create_half(client: Client, resource: Resource, kind: str, other: Object | None) -> Object:
    """The missing object of a pair, after the one that is there."""
    assert other is not None
    meta = other["metadata"]
    owner = (meta.get("annotations") or {}).get(api.OWNER)
    obj: Object = {
        "apiVersion": resource.api_version,
        "kind": kind,
        "metadata": {
            "name": meta["name"],
            "labels": {LABEL: token_of(meta["name"])},  # the shard would do it, at some cost
            "annotations": {api.OWNER: owner} if owner else {},
        },
        "spec": {key: other["spec"][key] for key in ("type", "shard") if key in other["spec"]},
    }
    try:
        return await apply_lean(client, resource, api.complete(resource, obj))
    except StatusError as error:
        if error.code != 409:
            raise
        return await client.get(resource, meta["name"])


async def say_ready(client: Client, name: str, url: str, details: Object) -> None:
    """``details``: of the ClusterWorkspace's status."""
    of_pair = {"status": {**details, "phase": READY, "baseURL": url}}
    await asyncio.gather(
        client.patch(api.CLUSTER_WORKSPACES, name, of_pair, subresource="status"),
        client.patch(api.WORKSPACES, name, {"status": {"phase": READY, "URL": url}}, subresource="status"),
    )


async def say_waiting(client: Client, pair: Object, reason: str, message: str) -> None:
    """Why the ClusterWorkspace ``pair`` is not placed, unless that stands there."""
    name, status = pair["metadata"]["name"], pair.get("status") or {}
    before = list(status.get("conditions") or ())
    conditions = api.set_condition(before, api.SCHEDULED, False, reason, message)
    if conditions == before and status.get("phase"):
        return
    phase = status.get("phase") or "Scheduling"
    of_pair = {"status": {"phase": phase, "conditions": conditions}}
    await asyncio.gather(
        client.patch(api.CLUSTER_WORKSPACES, name, of_pair, subresource="status"),
        client.patch(api.WORKSPACES, name, {"status": {"phase": phase}}, subresource="status"),
    )


async def condemn(client: Client, resource: Resource, obj: Object | None) -> Object | None:
    """``obj`` as it is once it is being deleted; None where it is gone."""
    if obj is None or api.deleting(obj):
        return obj
    meta = obj["metadata"]
    try:
        now = await client.delete(resource, meta["name"], uid=meta["uid"])
    except StatusError as error:
        if error.code not in (404, 409):
            raise
        return None
    return now if now["metadata"].get("finalizers") else None


async def say_left(client: Client, pair: Object, left: Sequence[str]) -> None:
    """Tell in the ClusterWorkspace ``pair`` what keeps it."""
    status = pair.get("status") or {}
    before = list(status.get("conditions") or ())
    message = f"still there: {', '.join(left[:5])}"
    conditions = api.set_condition(before, api.CONTENT_DELETED, False, "SomeResourcesRemain", message)
    if conditions != before:
        patch = {"status": {"conditions": conditions}}
        name = pair["metadata"]["name"]
        await ignoring(404, client.patch(api.CLUSTER_WORKSPACES, name, patch, subresource="status"))


async def release(client: Client, resource: Resource, obj: Object) -> None:
    """Take our finalizer off. Raises StatusError 409 where the object is another than ``obj`` by now."""
    meta = obj["metadata"]
    finalizers = meta.get("finalizers") or []
    if api.FINALIZER not in finalizers:
        return
    kept = [item for item in finalizers if item != api.FINALIZER]
    patch = {"metadata": {"finalizers": kept, "uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}}
    try:
        await client.patch(resource, meta["name"], patch)
    except StatusError as error:
        if error.code != 404:
            raise
