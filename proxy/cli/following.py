"""The shards of a kcp that runs: taken up when their files come, left when their files go."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from dataclasses import replace
from typing import Any

from proxy.cli.external import KnownShards, ShardError, Version
from proxy.cli.monitoring import Monitoring
from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.config import ConfigError, load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.server.settings import ShardSettings
from proxy.shard.asking import Asking
from proxy.shard.bootstrap import BootstrapError, apply_manifests, await_effects
from proxy.shard.supervisor import ProcessError
from proxy.tenancy.index import LOGICAL_CLUSTERS
from proxy.workload.controllers import Followed

log = logging.getLogger(__name__)

EVERY = 1.0
"""Seconds between looks at the files."""
AGAIN = 5.0
"""Seconds until what has failed is tried again."""


class Following:
    """``run()`` keeps controllers and workers with the shards that are known now."""

    def __init__(
        self,
        known: KnownShards,
        embedded: ShardSettings | None,
        *,
        controllers: Callable[[Mapping[str, Client]], Coroutine[Any, Any, None]],
        tell: Callable[[Sequence[ShardSettings]], Awaitable[None]],
        asking: Callable[[str], Asking | None],
        monitoring: Monitoring,
        followed: MutableMapping[str, Followed],
        notice: Callable[[str], None],
    ) -> None:
        """``controllers``: all of them, with these shards, until cancelled; ``tell`` makes workers serve these shards;
        ``asking``: where a shard reaches proxies, if that is known.

        Raises ShardError, ConfigError.
        """
        self._known = known
        self._embedded = embedded
        self._run_controllers = controllers
        self._tell = tell
        self._asking = asking
        self._monitoring = monitoring
        self._followed = followed
        self._notice = notice
        self._controlling: asyncio.Task[None] | None = None
        self._version = known.version()
        self.shards = self._wanted()
        """By name; the embedded one first."""
        self.clients: dict[str, Client] = {}
        """With full rights."""
        for shard in self.shards.values():
            self._connect(shard)

    def start_controllers(self) -> None:
        self._controlling = asyncio.create_task(self._run_controllers(dict(self.clients)), name="controllers")

    async def run(self) -> None:
        """Until cancelled."""
        said = ""
        while True:
            await asyncio.sleep(EVERY)
            version = self._known.version()
            if version == self._version:
                continue
            try:
                await self._change(version)
            except (ShardError, ConfigError, StatusError, BootstrapError, ProcessError) as error:
                if str(error) != said:
                    said = str(error)
                    self._notice(f"shards stay as they are: {said}")
                await asyncio.sleep(AGAIN)
            else:
                said = ""

    async def close(self) -> None:
        await self._stop_controllers()
        for client in self.clients.values():
            await client.close()

    async def _change(self, version: frozenset[Version]) -> None:
        """Raises ShardError, ConfigError, StatusError, BootstrapError, ProcessError: then all is as it was."""
        wanted = self._wanted()
        changed = {file for file, *_ in version ^ self._version}
        others = {name: shard for name, shard in wanted.items() if shard.kubeconfig in changed}
        leaving = [name for name in self.shards if name not in wanted]
        for name, shard in others.items():
            async with Client(load_kubeconfig(shard.kubeconfig), user_agent="kcp-controller") as client:
                try:
                    await apply_manifests(client, self._asking(name))
                    await await_effects(client)
                except StatusError as error:
                    raise ShardError(f"shard {name}: {error.message}") from error
        await self._stop_controllers()  # they place workspaces, on those that leave as well
        try:
            for name in leaving:
                await self._check_empty(name)
            await self._tell(list(wanted.values()))
            for name in (*leaving, *(name for name in others if name in self.clients)):
                await self._disconnect(name)
            self.shards, self._version = wanted, version
            for shard in others.values():
                self._connect(shard)
        finally:
            self.start_controllers()
        self._notice(f"shards are now: {', '.join(self.shards)}")

    async def _check_empty(self, name: str) -> None:
        """Raises ShardError."""
        try:
            found = await Identity.TENANCY.on(self.clients[name]).list(LOGICAL_CLUSTERS)
        except StatusError as error:
            raise ShardError(f"shard {name} cannot be asked what it holds: {error.message}") from error
        if found["items"]:
            raise ShardError(f"shard {name} holds {len(found['items'])} workspaces: kcp shard drain {name} moves them")

    def _wanted(self) -> dict[str, ShardSettings]:
        embedded = [self._embedded] if self._embedded is not None else []
        known = (*embedded, *(found.settings() for found in self._known.read()))
        return {shard.name: replace(shard, asks=self._asking(shard.name) is not None) for shard in known}

    def _connect(self, shard: ShardSettings) -> None:
        client = Client(load_kubeconfig(shard.kubeconfig), user_agent="kcp-controller")
        self.clients[shard.name] = client
        watching = Identity.MONITORING.on(client)
        self._monitoring.clients[shard.name] = self._monitoring.shards.clients[shard.name] = watching

    async def _disconnect(self, name: str) -> None:
        self._followed.pop(name, None)
        self._monitoring.forget(name)
        await self.clients.pop(name).close()

    async def _stop_controllers(self) -> None:
        if self._controlling is not None:
            self._controlling.cancel()
            await asyncio.gather(self._controlling, return_exceptions=True)
            self._controlling = None
