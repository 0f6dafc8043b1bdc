"""Decisions that stand: a read that is asked again in the same way goes the way it went before, without being decided
anew.

What a decision rests on is kept with it and looked at each time: the credentials and the rights (their leases), the
workspace and its parent (the same objects in the index), and what the workspace serves (the same view). So it ends
with any event that could have changed it, and in no case lasts longer than `AT_MOST`.

Only a plain GET of one object or of one namespace's list stands: its headers and its target, which together are the
key, are all that decided it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from proxy.auth.authenticator import Authenticator
from proxy.auth.authorizer import Authorizer
from proxy.auth.identity import User
from proxy.auth.leases import Lease, both
from proxy.discovery import Discovery, Scopes
from proxy.discovery.view import View
from proxy.mapping.paths import RequestInfo
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.request import attributes_of
from proxy.server.messages import SHARD, Forward, Request
from proxy.tenancy.index import Workspace, WorkspaceIndex

MOST = 4096
"""Decisions that are kept in a worker: about 1 KiB each. The oldest goes first."""
AT_MOST = 10.0
"""Seconds."""
CLUSTERS = b"/clusters/"


@dataclass(frozen=True, slots=True)
class _Standing:
    forward: Forward
    info: RequestInfo
    user: User
    workspace: Workspace
    parent: Workspace | None
    view: View
    lease: Lease


class Standing:
    """Those of one worker."""

    def __init__(
        self, index: WorkspaceIndex, authenticator: Authenticator, authorizer: Authorizer, discovery: Discovery
    ) -> None:
        self._index = index
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._discovery = discovery
        self._kept: dict[tuple[bytes, bytes], _Standing | None] = {}
        """None for what was asked once: most requests come once, and are not worth it."""

    def find(self, request: Request) -> Forward | None:
        """What was decided for such a request, if it still stands; the record is then as it would have become."""
        kept = self._kept.get((request.key, request.target))
        if kept is None:
            return None
        workspace, parent = kept.workspace, kept.parent
        index = self._index
        if (
            not kept.lease.good(time.monotonic())
            or index.get(workspace.path) is not workspace
            or not index.trusted(workspace.shard)
            or (parent is not None and index.get(parent.path) is not parent)
            or self._discovery.view(workspace) is not kept.view
        ):
            return None
        record = request.record
        record.workspace, record.shard = workspace.path, workspace.shard
        record.info, record.user = kept.info, kept.user
        record.allowed = True
        record.step = SHARD
        return kept.forward

    def keep(self, request: Request, forward: Forward) -> None:
        """``forward`` was decided just now, without waiting for anything."""
        place = (request.key, request.target)
        if place not in self._kept:
            if len(self._kept) >= MOST:
                del self._kept[next(iter(self._kept))]
            self._kept[place] = None
            return
        record = request.record
        info, user, workspace = record.info, record.user, self._index.get(record.workspace)
        if info is None or user is None or workspace is None or forward.streaming or forward.body:
            return
        # Default roles, which RBAC's objects wait for, pods that are reached where they run, and impersonation have
        # reasons of their own; so has root where it is meant by a path that names no workspace.
        named = request.target.startswith(CLUSTERS) or user.workspace_token is not None
        if info.group == RBAC or info.subresource or record.acting_as is not None or not named:
            return
        attributes = attributes_of(info, workspace.prefix, Scopes(self._discovery, workspace))
        credentials = self._authenticator.lease(request, workspace)
        rights = self._authorizer.lease(user, workspace, attributes)
        if credentials is None or rights is None:
            return
        until = Lease(time.monotonic() + AT_MOST, ())
        parent = self._index.get(workspace.parent) if workspace.parent else None
        view = self._discovery.view(workspace)
        self._kept[place] = _Standing(forward, info, user, workspace, parent, view, both((credentials, rights, until)))
