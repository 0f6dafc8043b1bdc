"""The life of workspaces: from a Workspace in its parent to content on a shard, and back to nothing.

A Workspace and a ClusterWorkspace of one name in one parent are a pair: whichever is missing is made, deleting one
deletes both. The LogicalCluster on the shard is the fact: it is made first and removed last, so a controller that dies
anywhere goes on where it was.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer, without_managed_fields
from proxy.kube.tally import Tallies
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import PREFIX_LENGTH, new_token, token_of
from proxy.tenancy import api, content, pairs
from proxy.tenancy.ending import GONE, Ending
from proxy.tenancy.index import (
    DELETING,
    IMPLIED,
    LOGICAL_CLUSTERS,
    MADE,
    READY,
    UNOPENED,
    WANTED,
    Workspace,
    WorkspaceIndex,
)
from proxy.tenancy.kinds import NativeKinds
from proxy.tenancy.lean import apply_lean
from proxy.tenancy.orphans import Orphans
from proxy.tenancy.owners import Owners
from proxy.tenancy.scheduling import Unschedulable, choose
from proxy.tenancy.shards import Shards

log = logging.getLogger(__name__)

WORKERS = 16
ALL_WITHIN = 30.0
"""Seconds until all that shards have is listed."""
UNSCHEDULABLE_AGAIN = 10.0
"""Seconds until a workspace that no shard may take is looked at again without a change of a ClusterWorkspaceShard."""


class Key(NamedTuple):
    """One pair: the parent's shard, and the name that both objects have there."""

    shard: str
    name: str


class _Settled(NamedTuple):
    """A ClusterWorkspace whose workspace is on a shard, and may be told to be Ready."""

    pair: Object
    shard: str


class Lifecycle:
    """``external_url``: ``https://HOST:PORT`` as clients reach the proxy; ``native``: what each shard serves."""

    def __init__(
        self,
        shards: Mapping[str, Client],
        index: WorkspaceIndex,
        directory: Shards,
        external_url: str,
        native: Mapping[str, NativeKinds],
        tallies: Tallies | None = None,
    ) -> None:
        self._shards = Identity.TENANCY.on_all(shards)
        self._index = index
        self._directory = directory
        self._ending = Ending(shards, index, native)
        self._orphans = Orphans(shards, index, self._ending, self._belongs)
        self._owners = {shard: Owners(client, self._shards) for shard, client in self._shards.items()}
        self._url = external_url.rstrip("/")
        self._workspaces: dict[str, Informer] = {}
        self._pairs: dict[str, Informer] = {}
        self._types: dict[str, Informer] = {}
        self._made: dict[str, tuple[str, str]] = {}
        """uid of a ClusterWorkspace → (token, shard) of its new LogicalCluster, which the index may not know yet."""
        self._waited: set[str] = set()
        """uid of a ClusterWorkspace that was told to wait, which its informer may not know yet."""
        self._told: set[str] = set()
        """uid of a ClusterWorkspace that was written Ready, which its informer may not know yet."""
        self._tallies = tallies or Tallies()
        self._heard: dict[str, float] = {}
        """uid of a ClusterWorkspace that is not Ready yet → when we first saw it, by `time.monotonic`."""
        self._waiting: set[Key] = set()
        """Pairs that no shard may take."""
        self.queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="workspaces", workers=WORKERS, max_delay=10.0)
        for shard, client in self._shards.items():
            for table, resource in (
                (self._workspaces, api.WORKSPACES),
                (self._pairs, api.CLUSTER_WORKSPACES),
                (self._types, api.TYPES),
            ):
                many = table is not self._types
                informer = Informer(client, resource, transform=without_managed_fields, many=many)
                table[shard] = informer
                informer.add_handler(self._event(shard) if many else self._type_event(shard))
        index.add_listener(self._index_event)
        directory.on_change(self._try_waiting)

    async def run(self) -> None:
        """Follow and act until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers():
                group.create_task(informer.run())
            group.create_task(self._orphans.run())
            await self._hear_of_all()
            group.create_task(self.queue.run())

    async def _hear_of_all(self) -> None:
        """Nothing can be decided before, and thousands of pairs would be looked at in vain again and again. What is
        heard of until then is what there was before, for the queue."""
        await self._index.wait_synced()
        with suppress(TimeoutError):  # a shard that is away again keeps none of the others waiting
            async with asyncio.timeout(ALL_WITHIN):
                await asyncio.gather(*(informer.wait_synced() for informer in self._informers()))

    def _informers(self) -> list[Informer]:
        return [*self._workspaces.values(), *self._pairs.values(), *self._types.values()]

    # events

    def _event(self, shard: str) -> Callable[[str, Object | None, Object], None]:
        return lambda kind, old, new: self.queue.add(Key(shard, new["metadata"]["name"]))

    def _type_event(self, shard: str) -> Callable[[str, Object | None, Object], None]:
        def event(kind: str, old: Object | None, new: Object) -> None:
            token = token_of(new["metadata"]["name"])
            for _, name in list(self._pairs[shard].store):
                if token is not None and name.startswith(f"{token}-"):
                    self.queue.add(Key(shard, name))

        return event

    def _index_event(self, workspace: Workspace, exists: bool) -> None:
        """A parent waits for its children, a pair for its LogicalCluster."""
        for path in (workspace.path, workspace.parent):
            key = self._key(path) if path else None
            if key is not None:
                self.queue.add(key)

    def _try_waiting(self) -> None:
        for key in self._waiting:
            self.queue.add(key)
        self._waiting.clear()

    def _key(self, path: str) -> Key | None:
        """Key of the pair of the workspace at ``path``."""
        above, _, name = path.rpartition(":")
        parent = self._index.get(above)
        return Key(parent.shard, parent.prefix + name) if parent is not None else None

    # one pair

    async def _reconcile(self, key: Key) -> float | None:
        if not self._knows(key.shard):
            return 0.1
        workspace = self._workspaces[key.shard].store.get(("", key.name))
        pair = self._pairs[key.shard].store.get(("", key.name))
        token = token_of(key.name)
        if token is None or (workspace is None and pair is None):
            return None
        parent = self._index.by_token(token)
        if parent is None and not await self._is_gone(token):
            return 0.1  # the index has not heard of the parent yet
        if parent is not None and (parent.shard != key.shard or not parent.takes_writes):
            return 1.0  # a copy of what moves to another shard or has moved from here
        if api.deleting(workspace) or api.deleting(pair) or parent is None or parent.phase == DELETING:
            return await self._delete(key, workspace, pair, parent)
        return await self._ensure(key, workspace, pair, parent)

    def _knows(self, shard: str) -> bool:
        """Whether what is decided about pairs on ``shard`` rests on a whole picture. The index has to be whole too: a
        workspace of a shard that was never heard of would be made a second time elsewhere."""
        lists = (self._workspaces[shard], self._pairs[shard], self._types[shard])
        return self._index.synced and all(informer.synced for informer in lists)

    def _belongs(self, workspace: Workspace) -> bool:
        """Whether a ClusterWorkspace is known that ``workspace`` belongs to; True as long as not all are known."""
        if not all(map(self._knows, self._shards)):
            return True
        parent = self._index.get(workspace.parent) if workspace.parent else None
        if parent is None:
            return False
        pair = self._pairs[parent.shard].store.get(("", parent.prefix + workspace.name))
        return workspace.uid in self._made or (pair is not None and pair["metadata"]["uid"] == workspace.uid)

    async def _is_gone(self, token: str) -> bool:
        """Whether no shard has the LogicalCluster; raises StatusError where one cannot be asked."""
        for client in self._shards.values():
            try:
                await client.get(LOGICAL_CLUSTERS, token)
            except StatusError as error:
                if error.code != 404:
                    raise
            else:
                return False
        return True

    async def _ensure(self, key: Key, workspace: Object | None, pair: Object | None, parent: Workspace) -> float | None:
        url = f"{self._url}/clusters/{parent.path}:{key.name[PREFIX_LENGTH:]}"
        if workspace is not None and pair is not None:
            status: dict[str, Any] = pair.get("status") or {}
            if status.get("phase") == READY and (workspace.get("status") or {}).get("phase") == READY:
                # Addresses change with the proxy's own; nothing else does once a workspace is Ready.
                if status.get("baseURL") != url or workspace["status"].get("URL") != url:
                    await pairs.say_ready(self._shards[key.shard], key.name, url, status)
                self._told.discard(pair["metadata"]["uid"])
                child = self._index.get(f"{parent.path}:{key.name[PREFIX_LENGTH:]}")
                if child is None or child.owner_role != WANTED or child.uid != pair["metadata"]["uid"]:
                    return None
                return await self._owners[key.shard].make_wanted(child, parent.prefix, key.name, pair)
            if pair["metadata"]["uid"] in self._told:
                return None
        settled = await self._settle(key, workspace, pair, parent)
        if not isinstance(settled, _Settled):
            return settled
        uid, status = settled.pair["metadata"]["uid"], settled.pair.get("status") or {}
        conditions = api.set_condition(list(status.get("conditions") or ()), api.SCHEDULED, True)
        conditions = api.set_condition(conditions, api.SHARD_VALID, True)
        location = {"current": settled.shard, "target": settled.shard}
        details = {"location": location, "conditions": conditions}
        await pairs.say_ready(self._shards[key.shard], key.name, url, details)
        self._told.add(uid)
        self._waited.discard(uid)
        self._tallies.created.observe(time.monotonic() - self._heard.pop(uid))
        return None

    async def _settle(
        self, key: Key, workspace: Object | None, pair: Object | None, parent: Workspace
    ) -> _Settled | float | None:
        """Make what there is to be of it in the parent and on a shard; or say when to look again."""
        client = self._shards[key.shard]
        if pair is None:
            pair = await pairs.create_half(client, api.CLUSTER_WORKSPACES, "ClusterWorkspace", workspace)
        if workspace is None:
            await pairs.create_half(client, api.WORKSPACES, "Workspace", pair)
        kind, uid = pair["spec"]["type"], pair["metadata"]["uid"]
        path = f"{parent.path}:{key.name[PREFIX_LENGTH:]}"
        self._heard.setdefault(uid, time.monotonic())
        if ("", parent.prefix + api.type_name(kind)) not in self._types[key.shard].store:
            message = f'ClusterWorkspaceType "{api.type_name(kind)}" not found in {parent.path}'
            await self._wait(key, parent, pair, "UnknownType", message)
            return None
        place = self._place_of(path, uid)
        if place is None:
            if self._index.get(path) is not None:
                return 0.1  # another workspace of that path is still on its way out
            chosen = choose(self._directory.now(), pair["spec"].get("shard"))
            if isinstance(chosen, Unschedulable):
                await self._wait(key, parent, pair, "Unschedulable", chosen.message)
                self._waiting.add(key)
                return UNSCHEDULABLE_AGAIN
            place = await self._place(chosen, path, kind, pair)
        token, shard = place
        await self._initialize(shard, token, kind)
        return _Settled(pair, shard)

    async def _initialize(self, shard: str, token: str, kind: str) -> None:
        """Make what must be there from the beginning: the types that its children may have are read here, not there."""
        if kind in api.TYPES_IN:
            client = self._shards[shard]
            await content.initialize(client, f"{token}-", kind)
            await client.patch(LOGICAL_CLUSTERS, token, {"status": {"phase": READY}}, subresource="status")

    def _place_of(self, path: str, uid: str) -> tuple[str, str] | None:
        """Token and shard of the LogicalCluster that belongs to the ClusterWorkspace with ``uid``."""
        known = self._index.get(path)
        if known is not None and known.uid == uid:
            return known.token, known.shard
        return self._made.get(uid)

    async def _place(self, shard: str, path: str, kind: str, pair: Object) -> tuple[str, str]:
        """Make the LogicalCluster."""
        spec = {"path": path, "type": kind, "parentUID": pair["metadata"]["uid"]}
        _, owner = api.owner_of(pair, pair["metadata"]["name"][:PREFIX_LENGTH])
        if owner:
            spec |= {"owner": owner, "ownerRole": MADE if self._has_waited(pair) else IMPLIED}
        if kind not in api.TYPES_IN:
            spec["content"] = UNOPENED
        with self._directory.coming(shard):
            token = await create_logical_cluster(self._shards[shard], spec)
        self._made[pair["metadata"]["uid"]] = (token, shard)
        return token, shard

    def _has_waited(self, pair: Object) -> bool:
        """Whether it was told to wait, and its owner has got his role."""
        conditions = (pair.get("status") or {}).get("conditions") or ()
        return pair["metadata"]["uid"] in self._waited or any(item["type"] == api.SCHEDULED for item in conditions)

    async def _wait(self, key: Key, parent: Workspace, pair: Object, reason: str, message: str) -> None:
        """Say why it is not placed. Its owner can take it back: by a role, as no LogicalCluster implies it yet."""
        if not self._has_waited(pair):
            await self._owners[key.shard].grant(parent.prefix, key.name, pair)
            self._waited.add(pair["metadata"]["uid"])
        await pairs.say_waiting(self._shards[key.shard], pair, reason, message)

    # the end

    async def _delete(
        self, key: Key, workspace: Object | None, pair: Object | None, parent: Workspace | None
    ) -> float | None:
        """Content first, then the LogicalCluster, then what the parent holds. Called until nothing is left."""
        client = self._shards[key.shard]
        workspace = await pairs.condemn(client, api.WORKSPACES, workspace)
        pair = await pairs.condemn(client, api.CLUSTER_WORKSPACES, pair)
        token, shard = self._place_for_deletion(key, pair, parent)
        removed = GONE
        if token is not None and shard is not None:
            removed = await self._ending.remove(token, shard)
            if removed.again is not None:
                if pair is not None and removed.left:
                    await pairs.say_left(client, pair, removed.left)
                return removed.again
        has_role = removed.last is None or removed.last.owner_role != IMPLIED
        if parent is not None and has_role:
            await self._owners[key.shard].revoke(parent.prefix, key.name, pair or workspace or {})
        for resource, obj in ((api.CLUSTER_WORKSPACES, pair), (api.WORKSPACES, workspace)):
            if obj is not None:
                await pairs.release(client, resource, obj)
        if pair is not None:
            self._made.pop(pair["metadata"]["uid"], None)
            self._heard.pop(pair["metadata"]["uid"], None)
            self._told.discard(pair["metadata"]["uid"])
            self._waited.discard(pair["metadata"]["uid"])
        return None

    def _place_for_deletion(
        self, key: Key, pair: Object | None, parent: Workspace | None
    ) -> tuple[str | None, str | None]:
        uid = pair["metadata"]["uid"] if pair is not None else None
        if uid in self._made:
            token, shard = self._made[uid]
            made = self._index.by_token(token)
            return token, made.shard if made is not None else shard  # it may have moved
        if parent is not None:
            known = self._index.get(f"{parent.path}:{key.name[PREFIX_LENGTH:]}")
            if known is not None and (uid is None or known.uid == uid):
                return known.token, known.shard
        for other in self._index.all():
            if uid is not None and other.uid == uid:
                return other.token, other.shard
        return None, None


async def create_logical_cluster(client: Client, spec: Object) -> str:
    """Its token: a name that nobody has, proved by making the object.

    Applied, not posted: an API server sits 2 s on a POST for a CRD that is younger than that, which would hold up the
    first start. The proof is the same, as the path of a LogicalCluster cannot be changed.
    """
    while True:
        token = new_token()
        obj: Object = {
            "apiVersion": LOGICAL_CLUSTERS.api_version,
            "kind": "LogicalCluster",
            "metadata": {"name": token},
            "spec": spec,
        }
        try:
            await apply_lean(client, LOGICAL_CLUSTERS, obj)
        except StatusError as error:
            if error.code != 409 and not (error.code == 422 and "the path cannot change" in error.message):
                raise
        else:
            return token
