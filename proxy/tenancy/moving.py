"""Moves workspaces from shard to shard while they are used.

What is wanted stands in WorkspaceMoves, in root; how far it has come, in the LogicalClusters on both shards, so that
whoever goes on after a crash knows. The stages (`proxy.tenancy.index`):

- Copying: the content is copied to a LogicalCluster that is Arriving on the other shard, again and again until little
  is left to copy. The move can be called off.
- Frozen: every worker has said that it lets no write pass (`proxy.tenancy.presence`), and the rest is copied. A freeze
  that takes too long is lifted.
- Departed: every worker has said that it serves nothing from here and has ended the watches. There is no way back.
- Arrived, on the other shard, which serves it from now on, while what is left on the first is removed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.mapping.token import LABEL
from proxy.tenancy import api
from proxy.tenancy.copying import Copier, purge
from proxy.tenancy.index import (
    ARRIVED,
    ARRIVING,
    COPYING,
    DEPARTED,
    FROZEN,
    LOGICAL_CLUSTERS,
    READY,
    Workspace,
    WorkspaceIndex,
)
from proxy.tenancy.kinds import NativeKinds
from proxy.tenancy.moves import COMPLETED, FAILED, OVER, PENDING, name_of_move
from proxy.tenancy.opening import open_workspace
from proxy.tenancy.presence import Workers
from proxy.tenancy.scheduling import Unschedulable, choose
from proxy.tenancy.shards import Shards

log = logging.getLogger(__name__)

AT_ONCE = 2
"""Workspaces that move at the same time, up to the switch."""
SWITCHED = OVER | {ARRIVED}
LOOK = 0.5
"""Seconds between looks at what is wanted."""
FEW = 20
"""Changes in a pass after which the rest is copied in a freeze."""
PASSES = 6
"""After which it is tried anyhow."""
FROZEN_AT_MOST = 25.0
"""Seconds; then the freeze is lifted, and tried again later."""
SAID_WITHIN = 5.0
"""Seconds in which all workers say that they let no write pass; the freeze is lifted else."""
AGAIN = 3.0
"""Seconds until something that has failed is tried again."""
CLEAN_AGAIN = 0.3


class CalledOff(Exception):
    """The move is not wanted any more, or cannot be."""


class Moving:
    """``root_shard``: where root is; ``native``: what each shard serves."""

    def __init__(
        self,
        shards: Mapping[str, Client],
        index: WorkspaceIndex,
        directory: Shards,
        root_shard: str,
        native: Mapping[str, NativeKinds],
    ) -> None:
        self._shards = Identity.MOVING.on_all(shards)
        self._index = index
        self._directory = directory
        self._native = native
        self._root = self._shards[root_shard]
        self._wanted = Informer(self._root, api.MOVES)
        self._tasks: dict[str, asyncio.Task[None]] = {}
        """By token."""
        self._workers = {name: Workers(client) for name, client in self._shards.items()}
        self._frozen: dict[str, float] = {}
        """Since when workspaces take no writes, by token (`time.monotonic`)."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._wanted.run())
            await self._wanted.wait_synced()
            while True:
                try:
                    await self._look(group)
                except StatusError as error:
                    log.warning("moves of workspaces: %s", error)
                await asyncio.sleep(LOOK)

    async def _look(self, group: asyncio.TaskGroup) -> None:
        for token in [token for token, task in self._tasks.items() if task.done()]:
            del self._tasks[token]
        for moving in [found for found in self._index.all() if found.stage and found.other in self._shards]:
            self._begin(group, moving)
        if not self._index.synced:
            return  # what has begun goes on as far as it can
        for obj in self._moves():
            if (obj.get("status") or {}).get("phase") in OVER:
                continue
            workspace: Workspace | None = self._index.get(obj["spec"]["workspace"])
            why = self._against(obj, workspace)
            if why:
                await self._tell(obj, phase=FAILED, message=why)
            elif workspace is not None and not workspace.stage and workspace.token not in self._tasks:
                if workspace.shard == obj["spec"]["shard"]:
                    await self._complete(workspace)
                elif self._under_way() < AT_ONCE and not self._kin_moves(workspace):
                    self._begin(group, workspace)
                else:
                    await self._tell(obj, phase=PENDING, message="other workspaces are moving")
        await self._drain()
        for copy in self._index.arriving():
            if self._index.by_token(copy.token) is None and copy.token not in self._tasks:
                await self._remove_arriving(copy)

    def _under_way(self) -> int:
        """Moves that are before the switch."""
        known = [self._index.by_token(token) for token in self._tasks]
        return sum(workspace is not None and workspace.stage != ARRIVED for workspace in known)

    def _kin_moves(self, workspace: Workspace) -> bool:
        """Whether its parent moves or a child: each names an object that the other has by a uid that changes."""
        kin = [self._index.get(workspace.parent or ""), *self._index.children(workspace.path)]
        return any(other is not None and (other.stage or other.token in self._tasks) for other in kin)

    def _against(self, obj: Object, workspace: Workspace | None) -> str:
        """Why that move cannot be, if it cannot."""
        if workspace is None:
            return "there is no such workspace" if not self._index.missing_shards() else ""
        if workspace.path == api.ROOT:
            return "root stays where it is"
        if obj["spec"]["shard"] not in self._shards:
            return f'shard "{obj["spec"]["shard"]}" not found'
        if workspace.stage and workspace.shard != obj["spec"]["shard"] != workspace.other:
            return f"it is moving to shard {workspace.other}"
        return ""

    def _moves(self) -> list[Object]:
        root = self._index.get(api.ROOT)
        prefix = root.prefix if root is not None else "-"
        return [obj for (_, name), obj in sorted(self._wanted.store.items()) if name.startswith(prefix)]

    def _move_of(self, workspace: Workspace) -> Object | None:
        for obj in self._moves():
            over = (obj.get("status") or {}).get("phase") in OVER
            if obj["spec"]["workspace"] == workspace.path and not over:
                return obj
        return None

    def _begin(self, group: asyncio.TaskGroup, workspace: Workspace) -> None:
        if workspace.token not in self._tasks:
            self._tasks[workspace.token] = group.create_task(self._carry(workspace.token))

    # one workspace

    async def _carry(self, token: str) -> None:
        """As far as it goes, again and again."""
        while True:
            workspace = self._index.by_token(token)
            if workspace is None:
                return
            try:
                if not await self._step(workspace):
                    return
            except StatusError as error:
                log.warning("workspace %s moves from shard to shard: %s", workspace.path, error)
                with suppress(StatusError):
                    # In plain names: whoever may read moves is told.
                    await self._report(workspace, message=str(error).replace(workspace.prefix, ""))
                await asyncio.sleep(AGAIN)

    async def _step(self, workspace: Workspace) -> bool:
        """From one stage to the next; False where there is none."""
        if workspace.stage == "":
            move = self._move_of(workspace)
            if move is None or workspace.shard == move["spec"]["shard"]:
                return False
            await open_workspace(self._shards[workspace.shard], workspace)
            await self._set(workspace, {"move": {"shard": move["spec"]["shard"], "stage": COPYING}})
        elif workspace.stage == COPYING:
            try:
                await self._copy(workspace)
            except CalledOff as off:
                log.info("workspace %s does not move: %s", workspace.path, off)
                await self._call_off(workspace.token, str(off))
                return False
        elif workspace.stage == FROZEN:  # whoever froze it is gone
            await self._set(workspace, {"move": {"stage": COPYING}})
        elif workspace.stage == DEPARTED:
            await self._switch(workspace)
        else:
            await self._clean(workspace)
        return True

    async def _set(self, workspace: Workspace, spec: Object) -> Workspace:
        """Change the LogicalCluster that it is served from; the workspace as the index knows it then."""
        client = self._shards[workspace.shard]
        changed = await client.patch(LOGICAL_CLUSTERS, workspace.token, {"spec": spec})
        generation = changed["metadata"]["generation"]
        now: Workspace | None = workspace
        while now is not None and now.shard == workspace.shard and now.stage and now.generation < generation:
            now = await self._index.wait_while(now, 10.0)
        if now is workspace:
            now = await self._index.wait_while(workspace, 10.0)
        if now is None:
            raise StatusError(404, f"workspace {workspace.path} is gone")
        return now

    def _check(self, token: str, path: str) -> None:
        """Raises CalledOff."""
        workspace = self._index.by_token(token)
        if workspace is None or workspace.phase != READY:
            raise CalledOff(f"workspace {path} is {'gone' if workspace is None else workspace.phase}")
        move = self._move_of(workspace)
        if move is None or move["spec"]["shard"] != workspace.other:
            raise CalledOff("it was called off")

    async def _copy(self, workspace: Workspace) -> None:
        await self._index.wait_synced()  # all children are known
        self._check(workspace.token, workspace.path)
        token, target = workspace.token, workspace.other
        copier = Copier(self._shards[workspace.shard], self._shards[target], token, self._native[workspace.shard])
        with self._directory.coming(target):
            await self._arrive(workspace)
            for _ in range(PASSES):
                changes = await copier.run(last=False)
                await self._report(workspace, phase=COPYING, objects=copier.objects, message="")
                self._check(token, workspace.path)
                if changes <= FEW:
                    break
            workers = self._workers[workspace.shard]
            await workers.present()
            self._check(token, workspace.path)
            began = time.monotonic()
            frozen = await self._set(workspace, {"move": {"stage": FROZEN}})
            try:
                async with asyncio.timeout(FROZEN_AT_MOST):
                    async with asyncio.timeout(SAID_WITHIN):
                        await workers.follow(token, frozen.generation)
                    await self._report(workspace, phase=FROZEN)
                    while await copier.run(last=True):
                        pass
                    await self._adopt_children(frozen)
                    self._check(token, workspace.path)
            except (TimeoutError, StatusError) as error:
                await self._set(frozen, {"move": {"stage": COPYING}})
                why = str(error) or "it took too long"
                raise StatusError(504, f"the freeze was lifted, to be tried again: {why}") from error
        self._frozen[token] = began
        await self._set(frozen, {"move": {"stage": DEPARTED}})

    async def _arrive(self, workspace: Workspace) -> None:
        """Make the LogicalCluster on the other shard."""
        source, target = self._shards[workspace.shard], self._shards[workspace.other]
        original = await source.get(LOGICAL_CLUSTERS, workspace.token)
        kept = ("path", "type", "owner", "ownerRole", "parentUID")
        spec = {
            **{key: original["spec"][key] for key in kept if key in original["spec"]},
            "moves": workspace.moves + 1,
            "move": {"shard": workspace.shard, "stage": ARRIVING},
        }
        there = await target.find(LOGICAL_CLUSTERS, workspace.token)
        if there is None:
            obj = {
                "apiVersion": LOGICAL_CLUSTERS.api_version,
                "kind": "LogicalCluster",
                "metadata": {"name": workspace.token},
                "spec": spec,
            }
            there = await target.apply(LOGICAL_CLUSTERS, obj, manager="kcp")
        move = there["spec"].get("move") or {}
        if there["spec"]["path"] != workspace.path or move != spec["move"]:
            raise CalledOff(f"shard {workspace.other} has another workspace of its token")
        patch = {"status": {"phase": READY}}
        await target.patch(LOGICAL_CLUSTERS, workspace.token, patch, subresource="status")

    async def _adopt_children(self, workspace: Workspace) -> None:
        """Child workspaces belong to ClusterWorkspaces that have other uids on the other shard."""
        selector = f"{LABEL}={workspace.token}"
        source = workspace.other if workspace.stage == ARRIVED else workspace.shard
        target = workspace.shard if workspace.stage == ARRIVED else workspace.other
        uids: list[dict[str, str]] = []
        for shard in (source, target):
            listed = await self._shards[shard].list(api.CLUSTER_WORKSPACES, label_selector=selector)
            uids.append({item["metadata"]["name"]: item["metadata"]["uid"] for item in listed["items"]})
        adopted = {old: uids[1][name] for name, old in uids[0].items() if name in uids[1]}
        for child in self._index.children(workspace.path):
            if child.uid in adopted:
                spec = {"spec": {"parentUID": adopted[child.uid]}}
                for shard in {child.shard, child.other} - {""}:
                    try:
                        await self._shards[shard].patch(LOGICAL_CLUSTERS, child.token, spec)
                    except StatusError as error:
                        if error.code != 404:
                            raise

    async def _switch(self, workspace: Workspace) -> None:
        target = self._shards[workspace.other]
        there = await target.get(LOGICAL_CLUSTERS, workspace.token)
        # After a crash, the index may have heard of the one shard alone; workers do not speak of a stage that is over.
        if (there["spec"].get("move") or {}).get("stage") == ARRIVING:
            await self._report(workspace, phase=DEPARTED)
            await self._workers[workspace.shard].follow(workspace.token, workspace.generation)
            patch = {"spec": {"move": {"shard": workspace.shard, "stage": ARRIVED}}}
            await target.patch(LOGICAL_CLUSTERS, workspace.token, patch)
        began = self._frozen.pop(workspace.token, None)
        took = {"frozenSeconds": round(time.monotonic() - began, 3)} if began is not None else {}
        while self._index.by_token(workspace.token) is workspace:
            await self._index.wait_while(workspace, 10.0)
        await self._report(workspace, phase=ARRIVED, **took)

    async def _clean(self, workspace: Workspace) -> None:
        """Remove what is left where it was."""
        source, token = self._shards[workspace.other], workspace.token
        await self._index.wait_synced()
        await self._adopt_children(workspace)
        await self._purge(workspace.other, token)
        await _ignoring_404(source.delete(LOGICAL_CLUSTERS, token))
        while await source.find(LOGICAL_CLUSTERS, token) is not None:  # noqa: ASYNC110
            await asyncio.sleep(CLEAN_AGAIN)
        await self._complete(workspace)
        await self._set(workspace, {"move": None})

    async def _complete(self, workspace: Workspace) -> None:
        """Say where it is, in its parent and in the move."""
        parent = self._index.get(workspace.parent) if workspace.parent else None
        if parent is not None:
            location = {"current": workspace.shard, "target": workspace.shard}
            patch = {"status": {"location": location}}
            name = parent.prefix + workspace.name
            await _ignoring_404(
                self._shards[parent.shard].patch(api.CLUSTER_WORKSPACES, name, patch, subresource="status")
            )
        move = self._move_of(workspace)
        if move is not None:
            await self._tell(move, phase=COMPLETED, message="")

    async def _call_off(self, token: str, why: str) -> None:
        """Users go on where they are; what was copied is removed."""
        workspace = self._index.by_token(token)
        if workspace is not None and workspace.stage == FROZEN:
            workspace = await self._set(workspace, {"move": {"stage": COPYING}})
        if workspace is None or workspace.stage != COPYING:
            return
        await self._remove_copy(workspace.other, token)
        move = self._move_of(workspace)
        if move is not None:
            await self._tell(move, phase=FAILED, message=why)
        await _ignoring_404(self._set(workspace, {"move": None}))

    async def _remove_arriving(self, copy: Workspace) -> None:
        """A copy of what is gone: it was deleted while it was copied."""
        for shard, client in self._shards.items():
            if shard != copy.shard and await client.find(LOGICAL_CLUSTERS, copy.token) is not None:
                return
        now = await self._shards[copy.shard].find(LOGICAL_CLUSTERS, copy.token)
        if now is not None and (now["spec"].get("move") or {}).get("stage") == ARRIVING:
            await self._remove_copy(copy.shard, copy.token)

    async def _remove_copy(self, shard: str, token: str) -> None:
        await self._purge(shard, token)
        await _ignoring_404(self._shards[shard].delete(LOGICAL_CLUSTERS, token))

    async def _purge(self, shard: str, token: str) -> None:
        delay = CLEAN_AGAIN
        while await purge(self._shards[shard], token, self._native[shard]):
            await asyncio.sleep(delay)
            delay = min(delay * 1.5, AGAIN)

    # what is told

    async def _report(self, workspace: Workspace, **status: Any) -> None:
        move = self._move_of(workspace)
        if move is not None:
            source = workspace.other if workspace.stage == ARRIVED else workspace.shard
            await self._tell(move, **{"from": source}, **status)

    async def _tell(self, move: Object, **status: Any) -> None:
        name = move["metadata"]["name"]
        move = self._wanted.store.get(("", name)) or move
        before = move.get("status") or {}
        if all(before.get(key) == value for key, value in status.items()):
            return
        await _ignoring_404(self._root.patch(api.MOVES, name, {"status": status}, subresource="status"))

    # draining

    async def _drain(self) -> None:
        shards = self._directory.now()
        for shard in [shard for shard in shards if shard.draining]:
            room = AT_ONCE - sum((obj.get("status") or {}).get("phase") not in SWITCHED for obj in self._moves())
            for workspace in list(self._index.all()):
                if workspace.shard != shard.name or workspace.stage or workspace.path == api.ROOT:
                    continue
                if self._move_of(workspace) is None:
                    if room <= 0:
                        break
                    room -= await self._send_away(workspace, shard.name)

    async def _send_away(self, workspace: Workspace, shard: str) -> int:
        """How many moves that makes."""
        root = self._index.get(api.ROOT)
        parent = self._index.get(workspace.parent or "")
        if root is None or parent is None:
            return 0
        pair = await self._shards[parent.shard].find(api.CLUSTER_WORKSPACES, parent.prefix + workspace.name)
        wanted = ((pair or {}).get("spec") or {}).get("shard")
        chosen = choose(self._directory.now(), wanted)
        if isinstance(chosen, Unschedulable):
            self._directory.stuck[shard] = f"{workspace.path}: {chosen.message}"
            return 0
        self._directory.stuck.pop(shard, None)
        name = root.prefix + name_of_move(workspace.path)
        before = self._wanted.store.get(("", name))
        if before is not None:
            await _ignoring_404(self._root.delete(api.MOVES, name, uid=before["metadata"]["uid"]))
        obj = {
            "apiVersion": api.MOVES.api_version,
            "kind": "WorkspaceMove",
            "metadata": {"name": name},
            "spec": {"workspace": workspace.path, "shard": chosen},
        }
        await self._root.apply(api.MOVES, api.complete(api.MOVES, obj), manager="kcp")
        while ("", name) not in self._wanted.store:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        return 1


async def _ignoring_404(call: Any) -> None:
    try:
        await call
    except StatusError as error:
        if error.code != 404:
            raise
