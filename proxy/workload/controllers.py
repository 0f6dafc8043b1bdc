"""The workload controllers: run in one process of an installation, for all shards."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, MutableMapping
from dataclasses import dataclass

from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.informer import Informer, without_managed_fields
from proxy.tenancy.kinds import NativeKinds
from proxy.workload.api import CLUSTERS
from proxy.workload.clusters import Heartbeats
from proxy.workload.imports import Negotiation
from proxy.workload.placement import Placement
from proxy.workload.pods import EndedPods
from proxy.workload.release import Release


@dataclass(frozen=True, slots=True)
class Followed:
    """What the controllers know of one shard, for those who watch them."""

    clusters: Informer
    """WorkloadClusters."""
    imports: Informer
    """APIResourceImports, without their schemas."""


async def run(
    shards: Mapping[str, Client], *, auto_publish: bool, following: MutableMapping[str, Followed] | None = None
) -> None:
    """Run until cancelled. ``auto_publish``: imported types are served without further ado. ``following`` gets what is
    known of each shard, as long as it is followed."""
    try:
        await _run(shards, auto_publish, {} if following is None else following)
    finally:
        if following is not None:
            following.clear()


async def _run(shards: Mapping[str, Client], auto_publish: bool, following: MutableMapping[str, Followed]) -> None:
    async with asyncio.TaskGroup() as group:
        native = NativeKinds.on_all(shards)
        for shard, client in Identity.WORKLOAD.on_all(shards).items():
            clusters = Informer(client, CLUSTERS, transform=without_managed_fields)
            heartbeats = Heartbeats(client, clusters)
            placement = Placement(client, clusters)
            release = Release(client, clusters, native[shard])
            negotiation = Negotiation(client, auto_publish=auto_publish)
            following[shard] = Followed(clusters, negotiation.imports)
            for part in (clusters, heartbeats, placement, release, negotiation, EndedPods(client)):
                group.create_task(part.run())
