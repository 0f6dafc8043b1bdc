"""What the syncer tells the workspace about its cluster: that it lives, and what APIs it has."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Callable, Sequence

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from syncer.apis import HASH, IMPORTS, Api, find_apis, import_of

log = logging.getLogger(__name__)

CLUSTERS = Resource("workload.kcp.dev", "v1alpha1", "workloadclusters", namespaced=False)
HEARTBEAT = 20.0


class Report:
    """``apis_found`` is called with what both sides are to sync, whenever that was looked at."""

    def __init__(
        self,
        above: Client,
        below: Client,
        *,
        cluster: str,
        wanted: Sequence[str],
        poll: float,
        apis_found: Callable[[list[Api]], None],
    ) -> None:
        self._above = above
        self._below = below
        self._cluster = cluster
        self._wanted = list(wanted)
        self._poll = poll
        self._apis_found = apis_found
        self._synced: list[str] = []
        self._imported = asyncio.Event()
        """Set when the imports have changed, so that the next heartbeat says so at once."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._import_apis())
            group.create_task(self._beat())

    async def _beat(self) -> None:
        """Report life; a workspace that is away or does not know us any more is told about once, and tried again."""
        complained = ""
        await self._imported.wait()
        while True:
            self._imported.clear()
            wait = HEARTBEAT
            try:
                # A heartbeat promises that work is done: not before the cluster itself could be reached.
                await self._below.request("GET", "/version", timeout=10)
                now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
                status = {"lastSyncerHeartbeatTime": now, "syncedResources": self._synced}
                await self._above.patch(CLUSTERS, self._cluster, {"status": status}, subresource="status")
                complained = ""
            except StatusError as error:
                text = explain(error, self._cluster)
                if text != complained:
                    log.error("%s", text)
                    complained = text
                wait = 2.0 if error.code >= 500 else 10.0
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._imported.wait(), wait)

    async def _import_apis(self) -> None:
        complained = ""
        while True:
            wait = self._poll
            try:
                apis = await find_apis(self._below, self._wanted)
                missing = set(self._wanted) - {api.name for api in apis}
                if missing:
                    log.warning("the cluster does not serve %s", ", ".join(sorted(missing)))
                await self._write_imports(apis)
                synced = [api.name for api in apis]
                if synced != self._synced:
                    self._synced = synced
                    self._imported.set()
                self._apis_found(apis)
                complained = ""
            except StatusError as error:
                text = explain(error, self._cluster)
                if text != complained:
                    log.error("API import: %s", text)
                    complained = text
                wait = 1.0 if error.code >= 500 else 10.0
            await asyncio.sleep(wait)

    async def _write_imports(self, apis: list[Api]) -> None:
        cluster = await self._above.get(CLUSTERS, self._cluster)
        owner = {
            "apiVersion": CLUSTERS.api_version,
            "kind": "WorkloadCluster",
            "name": self._cluster,
            "uid": cluster["metadata"]["uid"],
        }
        listed = await self._above.list(IMPORTS)
        there = {
            obj["metadata"]["name"]: obj for obj in listed["items"] if obj["spec"].get("location") == self._cluster
        }
        for api in apis:
            wanted = await import_of(self._below, api, self._cluster)
            wanted["metadata"]["ownerReferences"] = [owner]
            name = wanted["metadata"]["name"]
            await self._write(there.pop(name, None), wanted)
        for obj in there.values():
            await self._above.delete(IMPORTS, obj["metadata"]["name"], uid=obj["metadata"]["uid"])

    async def _write(self, current: Object | None, wanted: Object) -> None:
        if current is None:
            try:
                await self._above.create(IMPORTS, wanted)
            except StatusError as error:
                if error.code != 409:
                    raise
            return
        digest = wanted["metadata"]["annotations"][HASH]
        if (current["metadata"].get("annotations") or {}).get(HASH) != digest:
            wanted["metadata"]["resourceVersion"] = current["metadata"]["resourceVersion"]
            await self._above.replace(IMPORTS, wanted)


def explain(error: StatusError, cluster: str) -> str:
    """One line for whoever reads the log."""
    if error.code == 401:
        return (
            "the workspace does not accept the token: it has expired, or the workspace or its service account is gone"
        )
    if error.code == 403:
        return f"the workspace may not be entered any more: {error}"
    if error.code == 404:
        return f"WorkloadCluster {cluster} does not exist in the workspace (or the workspace is gone)"
    return str(error)
