"""What a workspace starts with, made when it is first used.

A namespace costs a shard much more than the rest of a workspace that nobody has used yet: what the shard's controllers
put into it, and half a hundred requests of theirs when it goes. So a new workspace is *unopened*: Ready, and a
LogicalCluster says that nothing of it is on the shard. Who first asks for something in it waits some milliseconds until
it is there. The LogicalCluster says Opening before, and Open after: whoever dies between leaves the work to the next
one, and what is deleted later stays away.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.flights import Once
from proxy.tenancy.api import DEFAULT
from proxy.tenancy.content import initialize
from proxy.tenancy.index import DELETING, LOGICAL_CLUSTERS, OPEN, OPENING, Workspace, phase_of
from proxy.tenancy.record import write

ACCOUNTS = Resource("", "v1", "serviceaccounts")
CONFIGMAPS = Resource("", "v1", "configmaps")
ROOT_CA = "kube-root-ca.crt"
SETTLES_WITHIN = 1.0
"""Seconds; mostly it takes some hundredths."""
WORKSPACES = 65536
"""Workspaces that are remembered to be open, until the index knows."""


class Opener:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.OPENING.on_all(shards)
        self._opened: Once[str] = Once(WORKSPACES)
        """By token: a workspace that moves stays open."""

    def needed(self, workspace: Workspace) -> Awaitable[None] | None:
        """None where ``workspace`` is open as far as is known; else what opens it. Raises StatusError."""
        if not workspace.unopened:
            return None
        client = self._shards[workspace.shard]
        return self._opened.needed(workspace.token, lambda: open_workspace(client, workspace))


async def open_workspace(client: Client, workspace: Workspace) -> None:
    """Make what ``workspace`` starts with, if that is still to be done. ``client``: with full rights on its shard.

    Raises StatusError.
    """
    while True:
        found = await client.find(LOGICAL_CLUSTERS, workspace.token)
        # Where it is being deleted nothing is made any more, and there is nothing to be seen.
        if found is None or phase_of(found) == DELETING or found["spec"].get("content", OPEN) == OPEN:
            return
        version = found["metadata"]["resourceVersion"]
        if found["spec"]["content"] == OPENING or await write(client, workspace.token, {"content": OPENING}, version):
            break
    await initialize(client, workspace.prefix, workspace.type)
    await _settled(client, workspace.prefix + DEFAULT)
    await write(client, workspace.token, {"content": OPEN})


async def _settled(client: Client, namespace: str) -> None:
    """Until the shard's controllers have put into a new namespace what nobody waits for in a cluster that has run for a
    while, or until that takes too long."""
    account: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
    try:
        await client.create(ACCOUNTS, account, namespace)  # which a controller would do as soon as it hears of it
    except StatusError as error:
        if error.code not in (403, 404, 409):
            raise
    until, pause = time.monotonic() + SETTLES_WITHIN, 0.01
    while await client.find(CONFIGMAPS, ROOT_CA, namespace) is None and time.monotonic() < until:
        await asyncio.sleep(pause)
        pause *= 1.5
