"""Which workspaces there are: a watch of the LogicalClusters of all shards, looked up by path or token.

Used by the data plane (every request) and by controllers. Holds one small object per workspace and nothing else.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.informer import Informer
from proxy.tenancy.implied import Implied

LOGICAL_CLUSTERS = Resource("internal.kcp.dev", "v1alpha1", "logicalclusters", namespaced=False)

INITIALIZING, READY, DELETING = PHASES = "Initializing", "Ready", "Deleting"
COPYING, FROZEN, DEPARTED, ARRIVING, ARRIVED = "Copying", "Frozen", "Departed", "Arriving", "Arrived"
"""Stages of a move (manifests/shard/logicalclusters.yaml)."""
UNOPENED, OPENING, OPEN = "Unopened", "Opening", "Open"
"""Whether what a workspace starts with is there (`proxy.tenancy.opening`)."""
IMPLIED, WANTED, MADE = "Implied", "Wanted", "Made"
"""Whether a role in the parent gives its owner his rights (`proxy.tenancy.owner_roles`)."""


@dataclass(frozen=True, slots=True)
class Workspace:
    """One workspace as the data plane sees it."""

    path: str
    """``root:telcops:team-a``."""
    token: str
    """``k3fq7zn2a``: what its names on the shard begin with, without the dash."""
    type: str
    phase: str
    owner: str
    """Plain name of who made it."""
    shard: str
    uid: str = ""
    """uid of the ClusterWorkspace in the parent that it belongs to; empty for root."""
    moves: int = 0
    """How many times it was moved to another shard."""
    stage: str = ""
    """Of the move that it is in; empty while it stays."""
    other: str = ""
    """The other shard of that move."""
    generation: int = 0
    """Of its LogicalCluster."""
    unopened: bool = False
    """Whether what it starts with is not there yet, or only a part of it."""
    empty: str = ""
    """Resource version in which its LogicalCluster says that nothing of it is there; empty where it does not."""
    owner_role: str = MADE
    """`IMPLIED`, `WANTED` or `MADE`."""

    @property
    def takes_writes(self) -> bool:
        """Whether its content may be changed now."""
        return self.stage not in (FROZEN, DEPARTED, ARRIVING)

    @property
    def implied(self) -> bool:
        """Whether its owner has his rights because he is its owner, and not by a role."""
        return self.owner_role != MADE and bool(self.owner)

    @property
    def prefix(self) -> str:
        return f"{self.token}-"

    @property
    def name(self) -> str:
        """Last part of the path."""
        return self.path.rpartition(":")[2]

    @property
    def parent(self) -> str | None:
        """Path of the parent, None for root."""
        return self.path.rpartition(":")[0] or None


Listener = Callable[[Workspace, bool], None]


class WorkspaceIndex:
    """Follows all shards; a shard that is away keeps its workspaces here and makes no other shard wait.

    While a workspace moves, two shards have a LogicalCluster of its token. It is where it is served from: not where it
    is still arriving, and of two that are left where it went last.
    """

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._by_path: dict[str, Workspace] = {}
        self._by_token: dict[str, Workspace] = {}
        self._copies: dict[str, Workspace] = {}
        """By token: what workspaces that move have on the shard where they are not served from."""
        self._children: dict[str, set[str]] = {}
        self._counts: Counter[str] = Counter()
        self._changed = asyncio.Event()
        self._listeners: list[Listener] = []
        self._informers = {
            name: self._informer(name, client) for name, client in Identity.PRESENCE.on_all(shards).items()
        }
        self._trusted: dict[str, float] = {}
        self.implied = Implied()
        """Of those that are not being deleted."""

    def _informer(self, shard: str, client: Client) -> Informer:
        informer = Informer(client, LOGICAL_CLUSTERS, transform=lambda obj: _slim(shard, obj), many=True)
        informer.add_handler(self._event)
        return informer

    async def run(self) -> None:
        """Follow the shards until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    async def follow(self, shard: str) -> None:
        """Follow one shard until cancelled; begun anew, it begins with a list."""
        informer = self._informers[shard]
        try:
            await informer.run()
        finally:
            informer.connected = False

    def trust(self, shard: str, until: float) -> None:
        """What is known of ``shard`` is good until then, by `time.monotonic`."""
        self._trusted[shard] = until

    def trusted(self, shard: str) -> bool:
        """Whether what is known of ``shard`` may be acted on (`proxy.tenancy.presence`)."""
        return time.monotonic() < self._trusted.get(shard, math.inf)

    @property
    def synced(self) -> bool:
        """Whether the first list of every shard is in."""
        return all(informer.synced for informer in self._informers.values())

    def synced_with(self, shard: str) -> bool:
        """Whether the workspaces of one shard are known."""
        return self._informers[shard].synced

    async def wait_synced_with(self, shard: str) -> None:
        """Until the workspaces of one shard are known; the others may be away."""
        await self._informers[shard].wait_synced()

    async def wait_synced(self) -> None:
        await asyncio.gather(*(informer.wait_synced() for informer in self._informers.values()))

    @property
    def shards(self) -> Iterable[str]:
        return self._informers.keys()

    def missing_shards(self) -> list[str]:
        """Shards whose workspaces were never listed, or whose watch is down now."""
        return [name for name, informer in self._informers.items() if not (informer.synced and informer.connected)]

    def get(self, path: str) -> Workspace | None:
        return self._by_path.get(path)

    def by_token(self, token: str) -> Workspace | None:
        return self._by_token.get(token)

    def children(self, path: str) -> list[Workspace]:
        return [self._by_path[child] for child in sorted(self._children.get(path, ()))]

    async def wait_while(self, workspace: Workspace, timeout: float) -> Workspace | None:
        """What there is of ``workspace`` as soon as that has changed, or after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while self._by_token.get(workspace.token) is workspace:
                    await self._changed.wait()
        except TimeoutError:
            pass
        return self._by_token.get(workspace.token)

    def count(self, shard: str) -> int:
        """How many workspaces are on ``shard``, copies of those that move among them."""
        return self._counts[shard] + sum(copy.shard == shard for copy in self._copies.values())

    def all(self) -> Iterable[Workspace]:
        return self._by_path.values()

    def __len__(self) -> int:
        return len(self._by_path)

    def add_listener(self, listener: Listener) -> None:
        """Called with ``(workspace, exists)`` at each change, and once for each workspace known now."""
        self._listeners.append(listener)
        for workspace in list(self._by_path.values()):
            listener(workspace, True)

    async def wait_for(self, path: str, timeout: float) -> Workspace | None:
        """The workspace as soon as it is known here, or None after ``timeout`` seconds."""
        try:
            async with asyncio.timeout(timeout):
                while path not in self._by_path:
                    await self._changed.wait()
        except TimeoutError:
            pass  # the shard may have answered in that moment
        return self._by_path.get(path)

    def arriving(self) -> list[Workspace]:
        """Copies that nobody is served from yet."""
        return [copy for copy in self._copies.values() if copy.stage == ARRIVING]

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        changed: Workspace = new["workspace"]
        token = changed.token
        known = [self._by_token.get(token), self._copies.pop(token, None)]
        copies = [copy for copy in known if copy is not None and copy.shard != changed.shard]
        if kind != "DELETED":
            copies.append(changed)
        copies.sort(key=lambda copy: (copy.stage != ARRIVING, copy.moves))
        workspace = copies.pop() if copies and copies[-1].stage != ARRIVING else None
        if copies:
            self._copies[token] = copies[-1]
        if workspace is None:
            self._remove(token)
            return
        before = self._by_token.get(token)
        if before == workspace:
            return
        if before is not None:
            self._counts[before.shard] -= 1
        self._counts[workspace.shard] += 1
        self._by_token[token] = workspace
        before = self._by_path.get(workspace.path)
        self._by_path[workspace.path] = workspace
        if workspace.parent:
            self._children.setdefault(workspace.parent, set()).add(workspace.path)
            if before is not None:
                self.implied.remove(workspace.parent, before.owner, workspace.path)
            if workspace.implied and workspace.phase != DELETING:
                self.implied.add(workspace.parent, workspace.owner, workspace.path)
        self._tell(workspace, True)

    def _remove(self, token: str) -> None:
        workspace = self._by_token.pop(token, None)
        if workspace is None:
            return
        self._counts[workspace.shard] -= 1
        # Another workspace may have the path by now (deleted, and made again under the same name).
        if self._by_path.get(workspace.path) is workspace:
            del self._by_path[workspace.path]
            self.implied.remove(workspace.parent or "", workspace.owner, workspace.path)
            siblings = self._children.get(workspace.parent or "", set())
            siblings.discard(workspace.path)
            if not siblings:
                self._children.pop(workspace.parent or "", None)
        self._tell(workspace, False)

    def _tell(self, workspace: Workspace, exists: bool) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
        for listener in self._listeners:
            listener(workspace, exists)


def phase_of(obj: Object) -> str:
    """Of a LogicalCluster. What is opened when it is first used has nothing to wait for."""
    phase: str = (obj.get("status") or {}).get("phase") or (READY if "content" in obj["spec"] else INITIALIZING)
    return phase


def _slim(shard: str, obj: Object) -> Object:
    """What is kept of a LogicalCluster."""
    meta, spec = obj["metadata"], obj["spec"]
    move = spec.get("move") or {}
    workspace = Workspace(
        path=spec["path"],
        token=meta["name"],
        type=spec["type"],
        phase=phase_of(obj),
        owner=spec.get("owner", ""),
        shard=shard,
        uid=spec.get("parentUID", ""),
        moves=spec.get("moves", 0),
        stage=move.get("stage", ""),
        other=move.get("shard", ""),
        generation=meta.get("generation", 0) if move else 0,
        unopened=spec.get("content", OPEN) != OPEN,
        empty=meta["resourceVersion"] if spec.get("content") == UNOPENED else "",
        owner_role=spec.get("ownerRole", MADE),
    )
    return {"metadata": {"name": meta["name"]}, "workspace": workspace}
