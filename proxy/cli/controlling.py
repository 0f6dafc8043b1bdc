"""The controllers of a kcp: all of them, kept running, in one kcp of those that share shards."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Collection, Mapping, MutableMapping
from contextlib import suppress

from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.leadership import Leadership, process_identity
from proxy.kube.running import keep_running
from proxy.kube.tally import Tallies
from proxy.tenancy import controllers as tenancy
from proxy.tenancy.api import DEFAULT, ROOT
from proxy.tenancy.index import LOGICAL_CLUSTERS, READY, phase_of
from proxy.tenancy.root import root_shard
from proxy.workload import controllers as workload

log = logging.getLogger(__name__)

NAMESPACE, LEASE = "kube-system", "kcp-controllers"
"""On the first shard."""
LEASE_SECONDS = 9.0
"""How long the controllers of a kcp that is not heard of any more are waited for."""
ROOT_POLL = 0.2


class Controllers:
    """``shards``: all of them; the workspace root, where there is none, is made on ``first``."""

    def __init__(
        self,
        shards: Mapping[str, Client],
        first: str,
        *,
        external_url: str,
        auto_publish: bool,
        alone: Collection[str],
        tallies: Tallies,
        ready: asyncio.Event,
        following: MutableMapping[str, workload.Followed],
    ) -> None:
        """``alone``: shards that are one API server each; ``ready`` is set when root and root:default can be entered,
        ``following`` gets what is known of each shard's physical clusters."""
        self._shards = shards
        self._first = first
        self._url = external_url
        self._auto_publish = auto_publish
        self._alone = alone
        self._tallies = tallies
        self._ready = ready
        self._following = following

    async def run(self) -> None:
        """Until cancelled, with the root on the first shard."""
        await self._run(self._first)

    async def _run(self, root: str) -> None:
        def workspaces() -> Awaitable[None]:
            return tenancy.run(
                self._shards,
                external_url=self._url,
                root_shard=root,
                alone=self._alone,
                ready=self._ready,
                tallies=self._tallies,
            )

        def workloads() -> Awaitable[None]:
            return workload.run(self._shards, auto_publish=self._auto_publish, following=self._following)

        with self._tallies.counting():
            async with asyncio.TaskGroup() as group:
                group.create_task(keep_running("workspace controllers", workspaces))
                group.create_task(keep_running("workload controllers", workloads))

    async def run_if_leading(self) -> None:
        """The same, but only while no other kcp with these shards does it, and with the root where it is."""
        root = await root_shard(self._shards, self._first)
        leadership = Leadership(
            Identity.TENANCY.on(self._shards[root]),
            namespace=NAMESPACE,
            name=LEASE,
            identity=process_identity(),
            work="controllers",
            steps_down=True,
            duration=LEASE_SECONDS,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(self._await_root(root))
            group.create_task(leadership.run(lambda: self._run(root)))

    async def _await_root(self, shard: str) -> None:
        """Set ``ready``, whoever makes it so."""
        client = Identity.TENANCY.on(self._shards[shard])
        while not self._ready.is_set():
            with suppress(StatusError):
                selector = f"spec.path={ROOT}:{DEFAULT}"
                found = (await client.list(LOGICAL_CLUSTERS, field_selector=selector))["items"]
                if any(phase_of(item) == READY for item in found):
                    self._ready.set()
            await asyncio.sleep(ROOT_POLL)
