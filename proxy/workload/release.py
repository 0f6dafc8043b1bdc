"""What a WorkloadCluster holds no more is let go: the finalizers that its syncer has set are taken away.

That is all of it where the WorkloadCluster is deleted. Its syncer may be gone for good, and then nobody else would; a
deletion of an object, a namespace or a workspace would wait for ever. The WorkloadCluster itself stays until that is
done, by a finalizer of its own. And it is all of a resource that the syncer does not sync any more, as it has no rights
to it then; what it synced before stands in an annotation until nothing of it is held. Pods that it showed are removed.
"""

from __future__ import annotations

import asyncio
import logging
import re

from proxy.identities import Identity
from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.times import Since
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.shared import without_identities
from proxy.mapping.token import LABEL, token_of
from proxy.tenancy.kinds import NativeKinds, own_namespaced
from proxy.tenancy.terminating import REMAINING
from proxy.workload.api import CLUSTERS, NAMESPACES
from proxy.workload.holds import HELD
from proxy.workload.pods import PODS

log = logging.getLogger(__name__)

FINALIZER = "workload.kcp.dev/release"
"""On WorkloadClusters."""
HELD_BY = "syncer.workloads.kcp.dev/"
"""Before the name of a WorkloadCluster: finalizer of the objects that its syncer has taken down."""
SYNCED = "workload.kcp.dev/synced-resources"
"""Annotation of WorkloadClusters: resources (``plural[.group]``, with commas between) of which something may be held or
shown."""
SHOWN = "workloads.kcp.dev/synced-up"
"""Label of what a syncer shows, by the name of its cluster."""
HOLDERS = re.compile(re.escape(HELD_BY) + r"([a-z0-9.-]+)")
ALL = ""
"""In the queue, for all namespaces of the shard; no WorkloadCluster is called that."""
PUSHED = "workload.kcp.dev/push"
"""On WorkloadClusters that kcp syncs itself, until what stands below is gone: `proxy.push.fleet` sees to that, and
gives it up after ten minutes."""
ABANDONED = 900.0
"""Seconds after which nobody does, as it seems: a workspace goes even where no `kcp syncer` runs any more."""
SETTLED = 1.5
"""Seconds after which a syncer knows that its WorkloadCluster is being deleted, and a shard that its namespaces do not
hold for it any more: nobody sets finalizers then."""
AGAIN = 600.0
"""Seconds between two looks for namespaces that cannot end for a cluster that is no more."""
LAST = 10.0
"""Seconds after the end of a WorkloadCluster until one more look: what its syncer sent may have waited at the shard."""
PATCHES = 16
"""At a time."""
NEVER_GROUPS = frozenset({"coordination.k8s.io", "rbac.authorization.k8s.io"})
NEVER = frozenset(Resource("", "v1", plural) for plural in ("events", "limitranges", "resourcequotas"))
"""What no syncer takes down, as manifests/workload/cluster-label.yaml has it."""


class Release:
    """Of one shard. ``clusters``: its WorkloadClusters, followed by somebody else; ``native``: what it serves."""

    def __init__(self, client: Client, clusters: Informer, native: NativeKinds) -> None:
        self._workload = client
        self._client = Identity.OBJECTS.on(client)
        self._native = native
        self._clusters = clusters
        self._free: Since[str] = Since()
        """Names on the shard of clusters for which nobody ought to hold any more."""
        self._abandoned: Since[str] = Since()
        """Names of clusters that only `kcp syncer` holds."""
        self.queue: WorkQueue[str] = WorkQueue(self._reconcile, name="releases", workers=4)
        clusters.add_handler(self._event)

    async def run(self) -> None:
        """Until cancelled."""
        await self._clusters.wait_synced()
        self.queue.add(ALL)
        await self.queue.run()

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        name = new["metadata"]["name"]
        if kind == "DELETED":
            self._free.forget(name)
            self._abandoned.forget(name)
            self.queue.add_after(name, LAST)
        elif (
            new["metadata"].get("deletionTimestamp")
            or FINALIZER not in (new["metadata"].get("finalizers") or ())
            or synced(new) not in (recorded(new), None)
        ):
            self.queue.add(name)

    async def _reconcile(self, name: str) -> float | None:
        if name == ALL:
            await self._look_for_orphans()
            return AGAIN
        cluster = self._clusters.store.get(("", name))
        token = token_of(name)
        if token is None:
            return None
        plain = name.removeprefix(f"{token}-")
        if cluster is None:
            await self._release(token, plain)
            return None
        meta = cluster["metadata"]
        finalizers = list(meta.get("finalizers") or ())
        if not meta.get("deletionTimestamp"):
            if FINALIZER not in finalizers:
                await self._write(CLUSTERS, meta, [*finalizers, FINALIZER])
                return None
            return await self._drop(cluster, token, plain)
        if FINALIZER not in finalizers:
            return await self._abandon(meta, finalizers)
        again = await self._let_go(token, plain)
        if again is None:
            await self._write(CLUSTERS, meta, [other for other in finalizers if other != FINALIZER])
        return again

    async def _drop(self, cluster: Object, token: str, plain: str) -> float | None:
        """Let go of what the syncer does not sync any more."""
        now, before = synced(cluster), recorded(cluster)
        if now is None or now == before:
            return None
        if now <= before:
            again = await self._let_go(token, plain, before - now)
            if again is not None:
                return again
            if PODS.plural in before - now:
                await self._hide_pods(token, plain)
        else:
            now |= before  # before anything of it is dropped
        meta = cluster["metadata"]
        annotations = {SYNCED: ",".join(sorted(now))}
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "annotations": annotations}}
        await self._client.patch(CLUSTERS, meta["name"], patch)
        return None

    async def _hide_pods(self, token: str, cluster: str) -> None:
        """They are pictures, and nobody would change them any more."""
        selector = f"{LABEL}={token},{SHOWN}={cluster}"
        for item in (await self._workload.list(PODS, label_selector=selector, accept=METADATA_LIST))["items"]:
            meta = item["metadata"]
            try:
                await self._workload.delete(PODS, meta["name"], meta["namespace"], uid=meta["uid"], grace=0)
            except StatusError as error:
                if error.code not in (404, 409):
                    raise

    async def _let_go(self, token: str, cluster: str, resources: frozenset[str] | None = None) -> float | None:
        """Take the cluster's finalizers from objects of those ``resources``, or of all; seconds until that is to be
        done once more, None where nothing is held and nothing will be."""
        name = f"{token}-{cluster}"
        if await self._still_holds(token, cluster, resources):
            self._free.forget(name)
        settled = self._free.seconds(name) >= SETTLED
        found = await self._release(token, cluster, resources)
        if found or not settled:
            return max(SETTLED - self._free.seconds(name), 0.1)
        self._free.forget(name)
        return None

    async def _look_for_orphans(self) -> None:
        """What keeps a namespace from its end is told by the namespace."""
        listed = await self._client.list(NAMESPACES, field_selector="status.phase=Terminating")
        for item in listed["items"]:
            token = token_of(item["metadata"]["name"])
            for condition in (item.get("status") or {}).get("conditions") or () if token else ():
                if condition["type"] == REMAINING and condition["status"] == "True":
                    for plain in HOLDERS.findall(condition.get("message", "")):
                        if ("", f"{token}-{plain}") not in self._clusters.store:
                            self.queue.add(f"{token}-{plain}")

    async def _abandon(self, meta: Object, finalizers: list[str]) -> float | None:
        """Seconds until what is left to a `kcp syncer` is not waited for any longer."""
        if PUSHED not in finalizers:
            return None
        left = ABANDONED - self._abandoned.seconds(meta["name"])
        if left > 0:
            return left + 0.1
        log.warning("cluster %s: no kcp syncer has cleared it, what stands there stays", meta["name"])
        await self._write(CLUSTERS, meta, [other for other in finalizers if other != PUSHED])
        return None

    async def _still_holds(self, token: str, cluster: str, resources: frozenset[str] | None) -> bool:
        """Whether the shard gives objects the finalizer: in some namespace, until the placement controller sees that
        the cluster goes, or takes less. In one that is being deleted it does not."""
        listed = await self._client.list(NAMESPACES, label_selector=f"{LABEL}={token}", accept=METADATA_LIST)
        metas = [item["metadata"] for item in listed["items"] if not item["metadata"].get("deletionTimestamp")]
        said = [held for meta in metas if (held := (meta.get("annotations") or {}).get(HELD + cluster)) is not None]
        return bool(said) if resources is None else any(not resources.isdisjoint(held.split(",")) for held in said)

    async def _release(self, token: str, cluster: str, resources: frozenset[str] | None = None) -> int:
        """How many objects of the workspace, and of those ``resources``, the cluster still held."""
        mine = HELD_BY + cluster
        selector = f"{LABEL}={token}"
        count = 0
        limit = asyncio.Semaphore(PATCHES)

        async def release(resource: Resource, meta: Object) -> None:
            async with limit:
                await self._write(resource, meta, [name for name in meta["finalizers"] if name != mine])

        for resource in await self._kinds(token, resources):
            try:
                listed = await self._client.list(resource, label_selector=selector, accept=METADATA_LIST)
            except StatusError as error:
                if error.code != 404:
                    raise
                continue
            held = [item["metadata"] for item in listed["items"] if mine in (item["metadata"].get("finalizers") or ())]
            await asyncio.gather(*(release(resource, meta) for meta in held))
            count += len(held)
        if count:
            log.info("cluster %s of workspace %s lets go of %d objects", cluster, token, count)
        return count

    async def _kinds(self, token: str, resources: frozenset[str] | None) -> list[Resource]:
        """Those or all that a syncer may have taken down: what the workspace could have, as what it was told of by its
        clusters may be gone before what they hold."""
        native, own = await asyncio.gather(self._native.namespaced(), own_namespaced(self._client, token))
        found = (kind.resource for kind in (*native, *own))
        return [
            resource
            for resource in found
            if resource.group not in NEVER_GROUPS
            and resource not in NEVER
            and (resources is None or called(resource, token) in resources)
        ]

    async def _write(self, resource: Resource, meta: Object, finalizers: list[str]) -> None:
        """Raises StatusError, 409 where it has changed meanwhile; nothing where it is gone."""
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": finalizers or None}}
        try:
            await self._client.patch(resource, meta["name"], patch, meta.get("namespace"))
        except StatusError as error:
            if error.code != 404:
                raise


def synced(cluster: Object) -> frozenset[str] | None:
    """What its syncer syncs, as it says; None where it has said nothing yet."""
    said = (cluster.get("status") or {}).get("syncedResources")
    return None if said is None else frozenset(said)


def recorded(cluster: Object) -> frozenset[str]:
    said = (cluster["metadata"].get("annotations") or {}).get(SYNCED)
    return frozenset(said.split(",")) if said else frozenset()


def called(resource: Resource, token: str) -> str:
    """What the workspace calls it: ``deployments.apps``."""
    group = without_identities(resource.group.removeprefix(f"{token}-").encode()).decode()
    return f"{resource.plural}.{group}" if group else resource.plural
