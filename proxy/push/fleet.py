"""All clusters of all workspaces that kcp syncs itself: which there are, what keeps them from it, and their end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import partial
from typing import NamedTuple

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer, without_managed_fields
from proxy.kube.times import Since
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import PREFIX_LENGTH, token_of
from proxy.push.clearing import clear
from proxy.push.pushed import Pushed, Surroundings
from proxy.push.wanted import SECRET_TYPE, Problem, Wanted, is_push, secret_of, wanted
from proxy.tenancy.index import DELETING, Workspace, WorkspaceIndex
from proxy.workload.api import CLUSTERS, CONNECTED, conditions_of, with_condition
from proxy.workload.release import PUSHED

log = logging.getLogger(__name__)

SECRETS = Resource("", "v1", "secrets")
SETTLED = 1.5
"""Seconds after which nothing of what was under way when syncing ended comes to pass any more."""
PATIENCE = 600.0
"""Seconds: a cluster that cannot be cleared for so long keeps its WorkloadCluster, and its workspace, no longer."""
AGAIN, LATER = 1.0, 30.0
"""Seconds between looks at what waits for something that is under way, and for something that may never come."""


class Key(NamedTuple):
    """A WorkloadCluster: its shard, and its name there."""

    shard: str
    name: str


class Said(NamedTuple):
    """What is to be said of a cluster."""

    version: str
    """Of its Secret."""
    problem: Problem | None
    """None: it is connected."""


class Running(NamedTuple):
    pushed: Pushed
    task: asyncio.Task[None]


class Fleet(Collector):
    """Of an installation. ``shards``: the administrator's clients of all of them."""

    def __init__(self, shards: Mapping[str, Client], surroundings: Surroundings) -> None:
        self._shards = Identity.PUSHING.on_all(shards)
        self._around = surroundings
        self._running: dict[Key, Running] = {}
        self._counts: Counter[str] = Counter()
        """Of those, by token of the workspace."""
        self._said: dict[Key, Said] = {}
        self._last: dict[Key, Wanted] = {}
        """Of clusters that are being deleted: how they were synced to the end."""
        self._ending: Since[str] = Since()
        """Those, by uid."""
        self._start()

    def _start(self) -> None:
        self._index = WorkspaceIndex(self._shards)
        self._index.add_listener(self._workspace_event)
        self._clusters: dict[str, Informer] = {}
        self._secrets: dict[str, Informer] = {}
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="pushed clusters", workers=8, max_delay=30.0)
        self._words: WorkQueue[Key] = WorkQueue(self._tell, name="conditions", workers=4, max_delay=30.0)
        for shard, client in self._shards.items():
            clusters = self._clusters[shard] = Informer(client, CLUSTERS, transform=without_managed_fields)
            clusters.add_handler(partial(self._cluster_event, shard))
            # No others are read: a shard's Secrets are everybody's.
            secrets = self._secrets[shard] = Informer(
                client, SECRETS, field_selector=f"type={SECRET_TYPE}", transform=_data
            )
            secrets.add_handler(partial(self._secret_event, shard))

    @property
    def synced(self) -> bool:
        """Whether it is known what there is, on every shard."""
        informers = (*self._clusters.values(), *self._secrets.values())
        return self._index.synced and all(informer.synced for informer in informers)

    async def run(self) -> None:
        """Until cancelled."""
        self._start()
        try:
            async with asyncio.TaskGroup() as group:
                for work in (self._index.run(), self._queue.run(), self._words.run()):
                    group.create_task(work)
                for informer in (*self._clusters.values(), *self._secrets.values()):
                    group.create_task(informer.run())
        finally:
            await asyncio.gather(*(self._stop(key) for key in list(self._running)))
            self._said.clear()

    def collect(self) -> Iterator[Metric]:
        """``kcp_syncer_clusters{state}``: ``syncing``, or ``waiting`` for something to become better."""
        family = GaugeMetricFamily("kcp_syncer_clusters", "Clusters that kcp syncs itself.", labels=("state",))
        working = sum(each.pushed.working for each in self._running.values())
        family.add_metric(("syncing",), working)
        family.add_metric(("waiting",), len(self._running) - working)
        yield family

    # what happens

    def _workspace_event(self, workspace: Workspace, exists: bool) -> None:
        for shard in {workspace.shard, workspace.other} & self._clusters.keys():
            self._all_of(shard, f"{workspace.token}-")

    def _cluster_event(self, shard: str, kind: str, old: Object | None, new: Object) -> None:
        if kind == "DELETED":
            self._ending.forget(new["metadata"]["uid"])
        key = Key(shard, new["metadata"]["name"])
        self._queue.add(key)
        if key in self._said:
            self._words.add(key)

    def _secret_event(self, shard: str, kind: str, old: Object | None, new: Object) -> None:
        token = token_of(new["metadata"]["namespace"])
        if token is not None:
            self._all_of(shard, f"{token}-")

    def _all_of(self, shard: str, prefix: str) -> None:
        """A workspace, or a Secret in it, has changed."""
        for _, name in list(self._clusters[shard].store):
            if name.startswith(prefix):
                self._queue.add(Key(shard, name))

    async def _reconcile(self, key: Key) -> float | None:
        cluster = self._clusters[key.shard].store.get(("", key.name))
        token = token_of(key.name)
        if cluster is None or token is None:
            await self._stop(key)
            self._said.pop(key, None)
            self._last.pop(key, None)
            return None
        if not is_push(cluster):
            await self._stop(key)
            await self._keep_finalizer(key, cluster, wanted=False)
            self._said.pop(key, None)
            others = [each for each in conditions_of(cluster) if each["type"] != CONNECTED]
            if others != conditions_of(cluster):
                await self._write(key, cluster, others, None)
            return None
        workspace = self._index.by_token(token)
        # Half a picture would end what is right.
        if workspace is None or not self._secrets[key.shard].synced:
            return AGAIN
        if workspace.shard != key.shard:  # a copy that nobody is served from: it moves, or has moved
            await self._stop(key)
            self._said.pop(key, None)
            return None
        namespace, name = secret_of(cluster)
        there = wanted(
            cluster,
            self._secrets[key.shard].store.get((f"{token}-{namespace}", name)),
            shard=key.shard,
            workspace=workspace.path,
            name=key.name[PREFIX_LENGTH:],
        )
        if cluster["metadata"].get("deletionTimestamp"):
            return await self._end(key, cluster, there)
        running = self._running.get(key)
        if running is not None and (running.pushed.wanted == there or (there.problem and workspace.phase == DELETING)):
            return None  # with its workspace a Secret goes, too, maybe first
        await self._stop(key)
        if self._counts[token] >= self._around.clusters:
            message = (
                f"{self._around.clusters} clusters of this workspace are synced by kcp, which is as many as may be"
            )
            self._say(key, there, Problem("TooManyClusters", message))
            return LATER
        await self._keep_finalizer(key, cluster, wanted=there.delete)
        pushed = Pushed(there, self._around, lambda problem: self._say(key, there, problem))
        self._counts[token] += 1
        self._running[key] = Running(pushed, asyncio.create_task(pushed.run(), name=str(pushed)))
        return None

    async def _stop(self, key: Key) -> Pushed | None:
        running = self._running.pop(key, None)
        if running is None:
            return None
        token = token_of(key.name) or ""
        self._counts[token] -= 1
        if not self._counts[token]:
            del self._counts[token]
        running.task.cancel()
        await asyncio.gather(running.task, return_exceptions=True)
        log.info("%s: not synced any more", running.pushed)
        return running.pushed

    # the end

    async def _end(self, key: Key, cluster: Object, there: Wanted) -> float | None:
        """The WorkloadCluster is being deleted."""
        before = await self._stop(key)
        if before is not None and before.wanted.problem is None:
            self._last[key] = before.wanted
        if PUSHED not in (cluster["metadata"].get("finalizers") or ()):
            return None
        if not there.delete:
            await self._keep_finalizer(key, cluster, wanted=False)
            return None
        if there.problem is not None:
            there = self._last.get(key, there)
        pushed = Pushed(there, self._around, lambda problem: self._say(key, there, problem))
        age = self._ending.seconds(cluster["metadata"]["uid"])
        if age < SETTLED:
            return SETTLED
        try:
            connection = await pushed.connection()
            async with pushed.client(connection) as below:
                if not await clear(below, there.workspace, there.cluster):
                    return AGAIN
        except (Problem, StatusError) as error:
            if age < PATIENCE and not (isinstance(error, Problem) and error.reason == "SecretNotFound"):
                if isinstance(error, Problem):
                    self._say(key, there, error)
                raise StatusError(503, f"{pushed} cannot be cleared: {error}") from error
            log.warning("%s cannot be cleared, what stands there stays: %s", pushed, error)
        await self._keep_finalizer(key, cluster, wanted=False)
        return None

    async def _keep_finalizer(self, key: Key, cluster: Object, *, wanted: bool) -> None:
        meta = cluster["metadata"]
        finalizers = list(meta.get("finalizers") or ())
        if (PUSHED in finalizers) is wanted:
            return
        changed = [*finalizers, PUSHED] if wanted else [name for name in finalizers if name != PUSHED]
        patch = {"metadata": {"resourceVersion": meta["resourceVersion"], "finalizers": changed or None}}
        with contextlib.suppress(_Gone):
            await self._patch(key, patch)

    # what is said

    def _say(self, key: Key, wanted: Wanted, problem: Problem | None) -> None:
        said = Said(wanted.version, problem)
        if self._said.get(key) != said:
            level = logging.WARNING if problem else logging.INFO
            log.log(level, "cluster %s of %s: %s", wanted.cluster, wanted.workspace, problem or "connected")
        self._said[key] = said
        self._words.add(key)

    async def _tell(self, key: Key) -> float | None:
        """Make condition Connected say what is so."""
        cluster = self._clusters[key.shard].store.get(("", key.name))
        if cluster is None or key not in self._said:
            return None
        version, problem = self._said[key]
        before = conditions_of(cluster)
        conditions = with_condition(
            before,
            CONNECTED,
            problem is None,
            problem.reason if problem else "",
            problem.message if problem else "",
            severity="Error",
        )
        about = {"secretVersion": version}
        if conditions != before or ((cluster.get("status") or {}).get("push") or {}) != about:
            await self._write(key, cluster, conditions, about)
        return None

    async def _write(self, key: Key, cluster: Object, conditions: list[Object], about: Object | None) -> None:
        version = {"resourceVersion": cluster["metadata"]["resourceVersion"]}
        with contextlib.suppress(_Gone):
            await self._patch(
                key, {"metadata": version, "status": {"conditions": conditions, "push": about}}, subresource="status"
            )

    async def _patch(self, key: Key, patch: Object, subresource: str | None = None) -> None:
        """Raises _Gone where there is nothing to patch, StatusError else, 409 where it has changed meanwhile."""
        try:
            await self._shards[key.shard].patch(CLUSTERS, key.name, patch, subresource=subresource)
        except StatusError as error:
            if error.code == 404:
                raise _Gone from error
            raise


class _Gone(Exception):
    pass


def _data(obj: Object) -> Object:
    meta = obj["metadata"]
    return {"metadata": {key: meta[key] for key in ("name", "namespace", "resourceVersion")}, "data": obj.get("data")}
