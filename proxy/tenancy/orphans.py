"""Workspaces whose ClusterWorkspace is gone without our finalizer having been asked: their content goes too."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping

from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.tenancy import api
from proxy.tenancy.ending import Ending
from proxy.tenancy.index import LOGICAL_CLUSTERS, Workspace, WorkspaceIndex

log = logging.getLogger(__name__)

EVERY = 60.0
"""Seconds from one look at all workspaces to the next."""


class Orphans:
    """``belongs(workspace)``: whether something in the parent is known that it belongs to, or whether that cannot be
    said yet."""

    def __init__(
        self,
        shards: Mapping[str, Client],
        index: WorkspaceIndex,
        ending: Ending,
        belongs: Callable[[Workspace], bool],
    ) -> None:
        self._shards = Identity.TENANCY.on_all(shards)
        self._index = index
        self._ending = ending
        self._belongs = belongs

    async def run(self) -> None:
        """Look and act until cancelled."""
        while True:
            for workspace in list(self._index.all()):
                if await self._is_orphan(workspace):
                    log.warning("workspace %s has no ClusterWorkspace any more: removing its content", workspace.path)
                    try:
                        await self._ending.remove(workspace.token, workspace.shard)
                    except StatusError as error:
                        log.warning("workspace %s: %s", workspace.path, error)
            await asyncio.sleep(EVERY)

    async def _is_orphan(self, workspace: Workspace) -> bool:
        parent = self._index.get(workspace.parent) if workspace.parent else None
        if workspace.parent is None or (parent is None and self._index.missing_shards()):
            return False
        if self._belongs(workspace) or workspace.stage or (parent is not None and parent.stage):
            return False
        return await self._belongs_to_nothing(workspace)

    async def _belongs_to_nothing(self, workspace: Workspace) -> bool:
        """Whether the shards themselves say that nothing in the parent belongs to ``workspace``: of two shards the
        index may have heard one thing and not yet the other."""
        try:
            own = await self._shards[workspace.shard].find(LOGICAL_CLUSTERS, workspace.token)
            parent = self._index.get(workspace.parent or "")
            if own is None or parent is None:
                return own is not None
            above = await self._shards[parent.shard].find(LOGICAL_CLUSTERS, parent.token)
            if above is None or above["spec"].get("move") or self._index.get(parent.path) is not parent:
                return False
            pair = await self._shards[parent.shard].find(api.CLUSTER_WORKSPACES, parent.prefix + workspace.name)
        except StatusError as error:
            log.warning("workspace %s: %s", workspace.path, error)
            return False
        return pair is None or pair["metadata"]["uid"] != own["spec"].get("parentUID")
