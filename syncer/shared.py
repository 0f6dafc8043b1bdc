"""One syncer on a cluster for many workspaces: each is a Secret beside it, with a token of that workspace alone.

``kubectl kcp workload sync NAME --syncer-image IMAGE --shared`` prints such a Secret; what comes, changes or goes is
followed without a restart, and what fails in one of them is its own.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import logging
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import orjson

from proxy.kube.client import Client, Resource
from proxy.kube.config import ConfigError, Connection, load_kubeconfig
from proxy.kube.informer import Informer
from proxy.kube.running import keep_running
from proxy.kube.turns import Turns
from proxy.kube.workqueue import WorkQueue
from syncer.metrics import Registry
from syncer.names import SHARED, SHARED_KUBECONFIG, SHARED_SETTINGS
from syncer.runner import Settings, Syncer

log = logging.getLogger(__name__)

SECRETS = Resource("", "v1", "secrets")
REQUESTS = 32
"""To the cluster at a time, in turns for all workspaces."""


class Running(NamedTuple):
    digest: str
    syncer: Syncer
    task: asyncio.Task[None]


class Shared:
    """``changed(settings)`` makes those of one syncer what all of this process are told to be."""

    def __init__(
        self,
        below: Connection,
        *,
        namespace: str,
        registry: Registry,
        changed: Callable[[Settings], Settings] = lambda settings: settings,
    ) -> None:
        self._below = below
        self._namespace = namespace
        self._registry = registry
        self._changed = changed
        self._turns = Turns(REQUESTS)
        self._running: dict[str, Running] = {}
        self._informer: Informer | None = None
        self._queue: WorkQueue[str] = WorkQueue(self._reconcile, name="workspaces", workers=4, max_delay=30.0)

    def checks(self) -> dict[str, bool]:
        """For ``/readyz``: not of each workspace, as none is to keep the others from being served."""
        return {"workspaces-known": self._informer is not None and self._informer.synced}

    async def run(self) -> None:
        """Until cancelled."""
        async with Client(self._below, user_agent="kcp-syncer") as client:
            self._informer = Informer(client, SECRETS, namespace=self._namespace, label_selector=SHARED)
            self._informer.add_handler(lambda kind, old, new: self._queue.add(new["metadata"]["name"]))
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._informer.run())
                    group.create_task(self._queue.run())
            finally:
                await asyncio.gather(*(self._stop(name) for name in list(self._running)))

    async def _reconcile(self, name: str) -> None:
        assert self._informer is not None
        secret = self._informer.store.get((self._namespace, name))
        if secret is None or secret["metadata"].get("deletionTimestamp"):
            await self._stop(name)
            return
        digest = hashlib.sha256(orjson.dumps(secret.get("data") or {}, option=orjson.OPT_SORT_KEYS)).hexdigest()
        running = self._running.get(name)
        if running is not None and running.digest == digest:
            return
        await self._stop(name)
        try:
            settings = self._changed(self._settings(name, secret.get("data") or {}))
        except ConfigError as error:
            log.error("Secret %s/%s: %s", self._namespace, name, error)
            return
        syncer = Syncer(settings, self._registry)
        self._running[name] = Running(digest, syncer, asyncio.create_task(_keep(syncer, settings), name=name))

    async def _stop(self, name: str) -> None:
        running = self._running.pop(name, None)
        if running is not None:
            running.task.cancel()
            await asyncio.gather(running.task, return_exceptions=True)

    def _settings(self, name: str, data: Mapping[str, str]) -> Settings:
        """Raises ConfigError."""
        try:
            said: dict[str, Any] = orjson.loads(base64.b64decode(data[SHARED_SETTINGS], validate=True))
            config = orjson.loads(base64.b64decode(data[SHARED_KUBECONFIG], validate=True))
            above = load_kubeconfig(config)
            return Settings(
                workspace=str(said["workspace"]),
                cluster=str(said["cluster"]),
                above=above,
                below=self._below,
                resources=sorted(map(str, said["resources"])),
                sync_up=sorted(map(str, said.get("syncUp") or ())),
                tunnel=bool(said.get("tunnel")),
                account_namespace=str(said.get("namespace") or "default"),
                token_secret=(self._namespace, f"{name}-token"),
                turn_below=self._turns.of(name),
            )
        except KeyError as error:
            raise ConfigError(f"{error} is missing") from error
        except (ValueError, TypeError, AttributeError, binascii.Error) as error:
            raise ConfigError(f"settings and kubeconfig have to be JSON: {type(error).__name__}") from error


async def _keep(syncer: Syncer, settings: Settings) -> None:
    """Until cancelled."""
    what = f"workspace {settings.workspace}, cluster {settings.cluster}"
    log.info("%s: syncing", what)
    try:
        await keep_running(what, syncer.run)
    finally:
        log.info("%s: not synced any more", what)
