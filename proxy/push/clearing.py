"""What is done on a cluster whose WorkloadCluster is deleted, where that is to take everything along."""

from __future__ import annotations

import asyncio
import logging

from proxy.kube.client import METADATA_LIST, Client, Object
from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, namespace_of, syncer_id
from syncer.namespaces import NAMESPACES

log = logging.getLogger(__name__)

OWNER = "workloads.kcp.dev/workspace"
"""Annotation of the namespace below that holds the syncer's own account: path of the workspace."""


async def clear(below: Client, workspace: str, cluster: str) -> bool:
    """Remove what stands below for the WorkloadCluster, and when that is gone the account that it was made with.
    Whether nothing is left. Raises StatusError."""
    listed = await below.list(NAMESPACES, label_selector=f"{CLUSTER_LABEL}={cluster}", accept=METADATA_LIST)
    ours = [
        item["metadata"]
        for item in listed["items"]
        if namespace_of(item["metadata"].get("annotations") or {}, workspace) is not None
    ]
    await asyncio.gather(*(_delete(below, meta) for meta in ours))
    if ours:
        return False
    await _leave(below, workspace, cluster)
    return True


async def _leave(below: Client, workspace: str, cluster: str) -> None:
    """Our own account goes last, and with its namespace all else that was made for it."""
    name = syncer_id(workspace, cluster)
    try:
        meta = (await below.get(NAMESPACES, name))["metadata"]
        if (meta.get("annotations") or {}).get(OWNER) == workspace:
            await _delete(below, meta)
    except StatusError as error:
        if error.code not in (401, 403, 404):  # it is not ours, or is gone already
            raise


async def _delete(below: Client, meta: Object) -> None:
    if meta.get("deletionTimestamp"):
        return
    log.info("removing namespace %s", meta["name"])
    try:
        await below.delete(NAMESPACES, meta["name"], uid=meta["uid"])
    except StatusError as error:
        if error.code not in (404, 409):
            raise
