"""The end of a workspace: content first, then the LogicalCluster, then what the parent holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError, ignoring
from proxy.tenancy import removal
from proxy.tenancy.departures import Departures
from proxy.tenancy.index import ARRIVED, DELETING, DEPARTED, FROZEN, LOGICAL_CLUSTERS, Workspace, WorkspaceIndex
from proxy.tenancy.kinds import NativeKinds


class Removed(NamedTuple):
    """How far it is."""

    again: float | None = None
    """Seconds until it is to be asked for again; None once all is gone."""
    left: Sequence[str] = ()
    """What keeps it, in a few words each, where that was looked at and takes its time."""
    last: Workspace | None = None
    """What was known of it, where that was so until its end."""


GONE = Removed()


class Ending:
    """``shards``: clients that may impersonate; ``native``: what each shard serves."""

    def __init__(self, shards: Mapping[str, Client], index: WorkspaceIndex, native: Mapping[str, NativeKinds]) -> None:
        self._shards = Identity.TENANCY.on_all(shards)
        self._removers = Identity.REMOVAL.on_all(shards)
        self._index = index
        self._native = native
        self._departures = {shard: Departures() for shard in shards}
        self._waiting: set[str] = set()
        """Tokens of workspaces of which namespaces were all that was left at the last look."""
        index.add_listener(self._changed)

    def _changed(self, workspace: Workspace, exists: bool) -> None:
        if not exists:
            for departures in self._departures.values():
                departures.gone(workspace.token)
            self._waiting.discard(workspace.token)

    async def remove(self, token: str, shard: str) -> Removed:
        """Remove the workspace with ``token`` and all that it holds."""
        client, departures = self._shards[shard], self._departures[shard]
        known = self._index.by_token(token)
        if known is not None and known.stage in (FROZEN, DEPARTED, ARRIVED):
            return Removed(departures.again(token), ["a move to another shard"])
        if known is not None and known.empty and await self._remove_empty(known):
            return Removed(last=known)
        if known is None or known.phase != DELETING:
            patch = {"status": {"phase": DELETING}}
            await ignoring(404, client.patch(LOGICAL_CLUSTERS, token, patch, subresource="status"))
        children = self._index.children(known.path) if known is not None else ()
        if not children and not departures.begins(token):
            return Removed(departures.again(token))
        left = await self._remove_content(token, shard)
        if left:
            return Removed(departures.again(token), left if departures.takes_long(token) else ())
        await ignoring(404, client.delete(LOGICAL_CLUSTERS, token))
        return GONE

    async def _remove_content(self, token: str, shard: str) -> list[str]:
        """What is still there, in a few words each."""
        remover = self._removers[shard]
        if token in self._waiting:  # all else is looked at once they are gone
            namespaces = await removal.delete_namespaces(remover, token)
            if namespaces:
                return namespaces
            self._waiting.discard(token)
            self._departures[shard].emptied(token)
        children = await removal.delete_children(remover, token)
        if children:
            return [f"workspaces: {children}"]
        left = await removal.remove(remover, token, self._native[shard])
        if not left.namespaces:
            self._departures[shard].emptied(token)
        elif not left.others:
            self._waiting.add(token)
        return left.all

    async def _remove_empty(self, workspace: Workspace) -> bool:
        """Whether it was removed: it was not if somebody has used it since the index heard of it."""
        try:
            await self._shards[workspace.shard].delete(LOGICAL_CLUSTERS, workspace.token, version=workspace.empty)
        except StatusError as error:
            if error.code not in (404, 409):
                raise
            return False
        return True
