"""The shards as root describes them: a ClusterWorkspaceShard each, which people label, limit and cordon, and whose
status says how the shard is."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.tenancy import api
from proxy.tenancy.index import WorkspaceIndex
from proxy.tenancy.scheduling import Shard

log = logging.getLogger(__name__)

READY, DRAINED = "Ready", "Drained"
STATUS_EVERY = 1.0
"""Seconds between looks at what the status should say; written where it says something else."""


class Shards:
    """``names``: all shards that this kcp has; their objects are in the workspace root, on the shard of ``client``."""

    def __init__(self, names: Iterable[str], index: WorkspaceIndex, client: Client, url: str) -> None:
        self._names = tuple(names)
        self._index = index
        self._client = Identity.TENANCY.on(client)
        self._url = url
        self._coming: Counter[str] = Counter()
        self.stuck: dict[str, str] = {}
        """By shard, what keeps a workspace from being moved away."""
        self._informer = Informer(self._client, api.SHARDS)

    def on_change(self, changed: Callable[[], None]) -> None:
        """``changed`` is called whenever a ClusterWorkspaceShard is not what it was."""
        self._informer.add_handler(lambda kind, old, new: changed())

    async def run(self) -> None:
        """Keep an object for each shard, and its status true, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._informer.run())
            group.create_task(self._report())

    def now(self) -> list[Shard]:
        """All shards as they are. One without an object, which is made again soon, is like any other."""
        away = set(self._index.missing_shards())
        return [self._shard(name, self._object(name) or {}, name in away) for name in self._names]

    def coming(self, name: str) -> _Coming:
        """``with``: a workspace is being made there that the index does not know yet."""
        return _Coming(self._coming, name)

    def _object(self, name: str) -> Object | None:
        root = self._index.get(api.ROOT)
        return self._informer.store.get(("", root.prefix + name)) if root is not None else None

    def _shard(self, name: str, obj: Object, away: bool) -> Shard:
        spec = obj.get("spec") or {}
        return Shard(
            name=name,
            labels=(obj.get("metadata") or {}).get("labels") or {},
            workspaces=self._index.count(name) + self._coming[name],
            maximum=spec.get("maxWorkspaces"),
            cordoned=bool(spec.get("unschedulable") or spec.get("drain")),
            draining=bool(spec.get("drain")),
            away=away,
        )

    async def _report(self) -> None:
        await self._informer.wait_synced()
        while True:
            try:
                for shard in self.now():
                    await self._tell(shard)
            except StatusError as error:
                log.warning("ClusterWorkspaceShards: %s", error)
            await asyncio.sleep(STATUS_EVERY)

    async def _tell(self, shard: Shard) -> None:
        root = self._index.get(api.ROOT)
        if root is None:
            return
        obj = self._object(shard.name)
        if obj is None:
            obj = await self._client.apply(api.SHARDS, self._new(root.prefix + shard.name), manager="kcp")
        status = obj.get("status") or {}
        conditions = _conditions(status, shard, self._is_drained(shard), self.stuck.get(shard.name, ""))
        if status.get("workspaces") != self._index.count(shard.name) or conditions != status.get("conditions"):
            told = {"workspaces": self._index.count(shard.name), "conditions": conditions}
            await self._client.patch(api.SHARDS, obj["metadata"]["name"], {"status": told}, subresource="status")

    def _is_drained(self, shard: Shard) -> bool:
        """Whether nothing is there but root, not even what is left of workspaces that have moved."""
        if not shard.draining or not self._index.synced:
            return False
        return not any(
            shard.name in (workspace.shard, workspace.other)
            for workspace in self._index.all()
            if workspace.path != api.ROOT
        )

    def _new(self, name: str) -> Object:
        obj: Object = {
            "apiVersion": api.SHARDS.api_version,
            "kind": "ClusterWorkspaceShard",
            "metadata": {"name": name},
            "spec": {"baseURL": self._url},
        }
        return api.complete(api.SHARDS, obj)


class _Coming:
    def __init__(self, counts: Counter[str], name: str) -> None:
        self._counts, self._name = counts, name

    def __enter__(self) -> None:
        self._counts[self._name] += 1

    def __exit__(self, *_: object) -> None:
        self._counts[self._name] -= 1


def _conditions(status: Mapping[str, object], shard: Shard, drained: bool, stuck: str) -> list[dict[str, object]]:
    before = status.get("conditions")
    known = before if isinstance(before, list) else []
    conditions = [item for item in known if item["type"] != DRAINED or shard.draining]
    if shard.draining:
        if drained:
            conditions = api.set_condition(conditions, DRAINED, True)
        else:
            conditions = api.set_condition(conditions, DRAINED, False, "Stuck" if stuck else "Moving", stuck)
    if shard.away:
        return api.set_condition(conditions, READY, False, "Away", "its kube-apiserver does not answer")
    return api.set_condition(conditions, READY, True)
