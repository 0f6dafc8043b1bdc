"""The tenancy controllers: run in one process of an installation."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Mapping
from contextlib import suppress

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.tally import Tallies
from proxy.tenancy import api, content
from proxy.tenancy.account_tokens import AccountTokens
from proxy.tenancy.aggregation import Aggregation
from proxy.tenancy.endpoint import KubernetesServices
from proxy.tenancy.index import LOGICAL_CLUSTERS, READY, Workspace, WorkspaceIndex
from proxy.tenancy.kinds import NativeKinds
from proxy.tenancy.lifecycle import Lifecycle, create_logical_cluster
from proxy.tenancy.moving import Moving
from proxy.tenancy.namespaces import Namespaces
from proxy.tenancy.quotas import Quotas
from proxy.tenancy.shards import Shards

log = logging.getLogger(__name__)

DEFAULT = f"{api.ROOT}:{api.DEFAULT}"
FIRST = 30.0
"""Seconds, at most, for which everybody waits until root can be entered: where there are thousands of workspaces, what
controllers begin with would keep their shard from saying that, to workers too."""
POLL = 0.02


async def run(
    shards: Mapping[str, Client],
    *,
    external_url: str,
    root_shard: str,
    alone: Collection[str] = (),
    index: WorkspaceIndex | None = None,
    ready: asyncio.Event | None = None,
    tallies: Tallies | None = None,
) -> None:
    """Run until cancelled. ``alone``: shards that are one API server each; ``ready`` is set once root and root:default
    can be entered; ``tallies`` gets what is done."""
    own_index = index or WorkspaceIndex(shards)
    directory = Shards(shards, own_index, shards[root_shard], external_url)
    native = NativeKinds.on_all(shards)
    lifecycle = Lifecycle(shards, own_index, directory, external_url, native, tallies)
    async with asyncio.TaskGroup() as group:
        if index is None:
            group.create_task(own_index.run())
        there = asyncio.Event()
        group.create_task(_root(shards, own_index, root_shard, there, ready))
        with suppress(TimeoutError):
            async with asyncio.timeout(FIRST):
                await there.wait()
        group.create_task(directory.run())
        group.create_task(lifecycle.run())
        group.create_task(Moving(shards, own_index, directory, root_shard, native).run())
        group.create_task(Aggregation(shards).run())
        group.create_task(AccountTokens(shards).run())
        group.create_task(Namespaces(shards, alone, native).run())
        group.create_task(Quotas(shards).run())
        group.create_task(KubernetesServices(shards, own_index, external_url).run())


async def _root(
    shards: Mapping[str, Client],
    index: WorkspaceIndex,
    root_shard: str,
    there: asyncio.Event,
    ready: asyncio.Event | None,
) -> None:
    """Make sure that root is there, with its default workspace. Where they are, and cannot be brought up to date now
    (a shard that is full), they can be entered all the same. ``there`` is set when nothing is left to do but to wait
    for the default workspace, which other controllers may have to make."""
    delay = 0.1
    while True:
        try:
            await _found(index, root_shard)
            await ensure_root(Identity.TENANCY.on(shards[root_shard]), index, root_shard)
            break
        except StatusError as error:
            log.warning("workspace root: %s", error)
            if ready is not None and _is_ready(index, api.ROOT) and _is_ready(index, DEFAULT):
                ready.set()
            await asyncio.sleep(delay)
            delay = min(delay * 2, 10.0)
    there.set()
    while not _is_ready(index, DEFAULT):
        await index.wait_for(DEFAULT, 5.0)
        await asyncio.sleep(POLL)
    if ready is not None:
        ready.set()


async def _found(index: WorkspaceIndex, root_shard: str) -> None:
    """Until both are known, which may be long before all are, or known not to be there."""
    while not (_is_ready(index, api.ROOT) and _is_ready(index, DEFAULT)):
        if index.synced_with(root_shard):
            break
        await asyncio.sleep(POLL)


def _is_ready(index: WorkspaceIndex, path: str) -> bool:
    found = index.get(path)
    return found is not None and found.phase == READY


async def ensure_root(client: Client, index: WorkspaceIndex, shard: str) -> Workspace:
    """The workspace root, made where it is missing, with ``root:default`` in it; both on ``shard``, which is that of
    ``client``: what everybody begins with should not depend on two shards."""
    root = index.get(api.ROOT)
    if root is None:
        token = await create_logical_cluster(client, {"path": api.ROOT, "type": api.ROOT_TYPE})
        root = await index.wait_for(api.ROOT, 10.0)
        if root is None or root.token != token:
            raise StatusError(503, "workspace root does not appear")
    await content.initialize(client, root.prefix, api.ROOT_TYPE)
    if root.phase != READY:
        await client.patch(LOGICAL_CLUSTERS, root.token, {"status": {"phase": READY}}, subresource="status")
    if index.get(DEFAULT) is not None:
        return root
    default: Object = {
        "apiVersion": api.WORKSPACES.api_version,
        "kind": "Workspace",
        "metadata": {"name": root.prefix + api.DEFAULT},
        "spec": {"type": "Organization", "shard": {"name": shard}},
    }
    await content.apply_if_free(client, api.WORKSPACES, default)
    return root
