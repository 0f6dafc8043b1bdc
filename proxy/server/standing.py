"""Decisions that stand: a read that is asked again in the same way goes the way it went before, without being decided
anew.

What a decision rests on is kept with it and looked at each time: the credentials and the rights (their leases), the
workspace and its parent (the same objects in the index), and what the workspace serves (the same view). So it ends
with any event that could have changed it, and in no case lasts longer than `AT_MOST`.

Only a plain GET of one object or of one namespace's list stands: its headers and its target, which together are the
key, are all that decided it. Where it was decided for an object of a namespace by rights to all of the kind there, it
stands for them all: but for the gate, which looks at each, no step asks for a name that is a plain one.
"""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, replace

from proxy.auth.authenticator import Authenticator
from proxy.auth.authorizer import Authorizer
from proxy.auth.identity import User
from proxy.auth.leases import Lease, both
from proxy.discovery import Discovery, Scopes
from proxy.discovery.view import View
from proxy.mapping.gate import gate
from proxy.mapping.paths import RequestInfo
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.request import attributes_of
from proxy.server.address import CLUSTERS
from proxy.server.messages import SHARD, Forward, Request
from proxy.tenancy.index import Workspace, WorkspaceIndex

MOST = 4096
"""Decisions that a worker keeps for whole targets, and for places: about 1 KiB each. The oldest goes first."""
AT_MOST = 10.0
"""Seconds."""
_NAME = re.compile(rb"[a-z0-9][a-z0-9.-]{0,252}")
"""A name that is written in a path as it is, and means nothing else there."""


@dataclass(frozen=True, slots=True)
class _Standing:
    forward: Forward
    info: RequestInfo
    user: User
    workspace: Workspace
    parent: Workspace | None
    view: View
    lease: Lease


@dataclass(frozen=True, slots=True)
class _Place:
    """What stands for all objects of a kind in a namespace: that of one of them, but for its name."""

    one: _Standing
    path: str
    """As the client writes it, up to the name."""
    before: bytes
    after: bytes
    """What is around the name in the shard's target."""

    def of(self, name: bytes) -> tuple[Forward, RequestInfo]:
        """Raises StatusError where the gate does."""
        one, target = self.one.forward, b"%b%b%b" % (self.before, name, self.after)
        gate(one.method, target, b"", self.one.workspace.token)
        forward = Forward(
            one.shard, one.method, target, one.headers, b"", one.body_filter, one.head_filter,
            idempotent=one.idempotent, way=one.way,
        )  # fmt: skip
        of, plain = self.one.info, name.decode()
        info = RequestInfo(
            of.verb, of.group, of.version, of.resource, "", of.namespace, plain, [], True, self.path + plain
        )
        return forward, info


Key = tuple[bytes, bytes]


class Standing:
    """Those of one worker."""

    def __init__(
        self, index: WorkspaceIndex, authenticator: Authenticator, authorizer: Authorizer, discovery: Discovery
    ) -> None:
        self._index = index
        self._authenticator = authenticator
        self._authorizer = authorizer
        self._discovery = discovery
        self._kept: dict[Key, _Standing | None] = {}
        """None for what was asked once: most requests come once, and are not worth it."""
        self._places: dict[Key, _Place | None] = {}

    def find(self, request: Request) -> Forward | None:
        """What was decided for such a request, if it still stands; the record is then as it would have become.

        Raises StatusError where the gate does.
        """
        kept = self._kept.get((request.key, request.target))
        if kept is not None and self._stands(kept):
            forward, info = kept.forward, kept.info
        else:
            directory, _, name = request.target.rpartition(b"/")
            place = self._places.get((request.key, directory))
            if place is None or _NAME.fullmatch(name) is None or not self._stands(place.one):
                return None
            kept = place.one
            forward, info = place.of(name)
        record = request.record
        record.workspace, record.shard = kept.workspace.path, kept.workspace.shard
        record.info, record.user = info, kept.user
        record.allowed = True
        record.step = SHARD
        return forward

    def _stands(self, kept: _Standing) -> bool:
        workspace, parent = kept.workspace, kept.parent
        index = self._index
        return (
            kept.lease.good(time.monotonic())
            and index.get(workspace.path) is workspace
            and index.trusted(workspace.shard)
            and (parent is None or index.get(parent.path) is parent)
            and self._discovery.view(workspace) is kept.view
        )

    def keep(self, request: Request, forward: Forward) -> None:
        """``forward`` was decided just now, without waiting for anything."""
        record = request.record
        info, user, workspace = record.info, record.user, self._index.get(record.workspace)
        if info is None or user is None or workspace is None or forward.streaming or forward.body:
            return
        # Default roles, which RBAC's objects wait for, pods that are reached where they run, and impersonation have
        # reasons of their own; so has root where it is meant by a path that names no workspace.
        named = request.target.startswith(CLUSTERS) or user.workspace_token is not None
        if info.group == RBAC or info.subresource or record.acting_as is not None or not named:
            return
        whole = (request.key, request.target)
        asked = _noticed(self._kept, whole)
        around = _around(info, forward.target, request.target)
        place = (request.key, request.target.rpartition(b"/")[0])
        asked_there = around is not None and _noticed(self._places, place)
        if not asked and not asked_there:
            return
        attributes = attributes_of(info, workspace.prefix, Scopes(self._discovery, workspace))
        credentials = self._authenticator.lease(request, workspace)
        rights = self._authorizer.lease(user, workspace, attributes)
        if credentials is None or rights is None:
            return
        until = Lease(time.monotonic() + AT_MOST, ())
        parent = self._index.get(workspace.parent) if workspace.parent else None
        view = self._discovery.view(workspace)
        one = _Standing(forward, info, user, workspace, parent, view, both((credentials, rights, until)))
        if asked:
            self._kept[whole] = one
        of_all = self._authorizer.lease(user, workspace, attributes, any_name=True) if asked_there else None
        if around is not None and of_all is not None:
            one = replace(one, lease=both((credentials, of_all, until)))
            self._places[place] = _Place(one, info.path.removesuffix(info.name), *around)


def _noticed(kept: dict[Key, _Standing | None] | dict[Key, _Place | None], key: Key) -> bool:
    """Whether it was asked before; from now on it was."""
    if key in kept:
        return True
    if len(kept) >= MOST:
        del kept[next(iter(kept))]
    kept[key] = None
    return False


def _around(info: RequestInfo, sent: bytes, target: bytes) -> tuple[bytes, bytes] | None:
    """What is around the name in ``sent``, the shard's target; None where it is no object of a namespace, or its name
    no plain one."""
    name = target.rpartition(b"/")[2]
    path, mark, query = sent.partition(b"?")
    of_namespace = info.verb == "get" and info.namespace and info.resource != "namespaces" and not info.query
    if not of_namespace or _NAME.fullmatch(name) is None or not path.endswith(b"/" + name):
        return None
    return path.removesuffix(name), mark + query
