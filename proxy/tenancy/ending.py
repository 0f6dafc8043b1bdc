"""The end of a workspace: content first, then the LogicalCluster, then what the parent holds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError, ignoring
from proxy.tenancy import removal
from proxy.tenancy.index import ARRIVED, DELETING, DEPARTED, FROZEN, LOGICAL_CLUSTERS, Workspace, WorkspaceIndex
from proxy.tenancy.kinds import NativeKinds


class Removed(NamedTuple):
    """How far it is."""

    left: list[str]
    """What is still there."""
    last: Workspace | None = None
    """What was known of it, where that was so until its end."""


class Ending:
    """``shards``: clients that may impersonate; ``native``: what each shard serves."""

    def __init__(self, shards: Mapping[str, Client], index: WorkspaceIndex, native: Mapping[str, NativeKinds]) -> None:
        self._shards = Identity.TENANCY.on_all(shards)
        self._removers = Identity.REMOVAL.on_all(shards)
        self._index = index
        self._native = native

    async def remove(self, token: str, shard: str) -> Removed:
        """Remove the workspace with ``token`` and all that it holds."""
        client = self._shards[shard]
        known = self._index.by_token(token)
        if known is not None and known.stage in (FROZEN, DEPARTED, ARRIVED):
            return Removed(["a move to another shard"])
        if known is not None and known.empty and await self._remove_empty(known):
            return Removed([], known)
        if known is None or known.phase != DELETING:
            patch = {"status": {"phase": DELETING}}
            await ignoring(404, client.patch(LOGICAL_CLUSTERS, token, patch, subresource="status"))
        remover = self._removers[shard]
        children = await removal.delete_children(remover, token)
        if children:
            return Removed([f"workspaces: {children}"])
        left = await removal.remove(remover, token, self._native[shard])
        if not left:
            await ignoring(404, client.delete(LOGICAL_CLUSTERS, token))
        return Removed(left)

    async def _remove_empty(self, workspace: Workspace) -> bool:
        """Whether it was removed: it was not if somebody has used it since the index heard of it."""
        try:
            await self._shards[workspace.shard].delete(LOGICAL_CLUSTERS, workspace.token, version=workspace.empty)
        except StatusError as error:
            if error.code not in (404, 409):
                raise
            return False
        return True
