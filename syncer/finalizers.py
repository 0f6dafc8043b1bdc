"""An object above stays, deleted or moved away, until what stands for it below is gone: a finalizer says so.

The finalizer names the cluster. It is there before anything is made below, so that no crash can leave an object below
of which nobody knows. As a rule the shard has set it when the object was made (manifests/workload/cluster-label.yaml);
where it has not, the syncer does. Where a WorkloadCluster is deleted, the workload controllers take it away.
"""

from __future__ import annotations

import asyncio
import time

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL, finalizer
from syncer.namespaces import CLUSTERS
from syncer.role import SEVERAL, elsewhere

REMEMBERED = 1.0
"""Seconds for which it is believed that the WorkloadCluster is there. The controller that takes finalizers away looks
again after longer than that."""


class Finalizers:
    """Of the objects of one workspace that stand on ``cluster``."""

    def __init__(self, above: Client, cluster: str) -> None:
        self._above = above
        self._cluster = cluster
        self._name = finalizer(cluster)
        self._looked = float("-inf")
        self._looking = asyncio.Lock()

    async def hold(self, resource: Resource, kept: Object) -> Object:
        """Set the finalizer; the object as it is then. Raises StatusError, 409 where it has changed meanwhile or the
        WorkloadCluster is gone."""
        await self.must_be_wanted()
        return await self._write(resource, kept, [*kept["finalizers"], self._name])

    async def release(self, resource: Resource, kept: Object) -> None:
        """Take the finalizer away: nothing below stands for the object any more."""
        try:
            await self._write(resource, kept, [name for name in kept["finalizers"] if name != self._name])
        except StatusError as error:
            if error.code != 404:
                raise

    async def release_left(self, resource: Resource, namespace: str, name: str) -> None:
        """The same for an object that has left the cluster, and that no watch of ours tells of."""
        try:
            meta = (await self._above.get(resource, name, namespace))["metadata"]
        except StatusError as error:
            if error.code != 404:
                raise
            return
        finalizers = meta.get("finalizers") or []
        stays = (meta.get("labels") or {}).get(CLUSTER_LABEL) in (self._cluster, SEVERAL)
        if self._name in finalizers and not stays:
            kept = {"name": name, "namespace": namespace, "version": meta["resourceVersion"], "finalizers": finalizers}
            await self.release(resource, kept)

    async def left(self, resource: Resource) -> list[tuple[str, str]]:
        """Namespace and name of objects that have left the cluster and are held: from before this syncer started."""
        found = []
        async for page in self._above.pages(resource, label_selector=elsewhere(self._cluster), accept=METADATA_LIST):
            for item in page["items"]:
                if self._name in (item["metadata"].get("finalizers") or ()):
                    found.append((item["metadata"]["namespace"], item["metadata"]["name"]))
        return found

    async def _write(self, resource: Resource, kept: Object, finalizers: list[str]) -> Object:
        patch = {"metadata": {"resourceVersion": kept["version"], "finalizers": finalizers or None}}
        return await self._above.patch(resource, kept["name"], patch, kept["namespace"])

    async def must_be_wanted(self) -> None:
        """To be asked before anything is made below. Raises StatusError, 409 where the WorkloadCluster is gone: who
        takes finalizers away then does not look whether something is on its way down."""
        async with self._looking:  # one looks for all that ask meanwhile
            if time.monotonic() - self._looked >= REMEMBERED:
                began = time.monotonic()
                await self._look()
                self._looked = began

    async def _look(self) -> None:
        try:
            cluster = await self._above.get(CLUSTERS, self._cluster)
        except StatusError as error:
            if error.code != 404:
                raise
            raise StatusError(409, f"WorkloadCluster {self._cluster} is gone: nothing is taken down") from error
        if cluster["metadata"].get("deletionTimestamp"):
            raise StatusError(409, f"WorkloadCluster {self._cluster} is being deleted: nothing is taken down")
