"""One workspace and one physical cluster, synced from here for as long as both let us."""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from proxy.kube.client import Client, Object
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.kube.networks import Guard, Networks
from proxy.kube.turns import Turns
from proxy.push.probe import probe
from proxy.push.untrusted import Refused, read
from proxy.push.wanted import Problem, Wanted
from syncer.credentials import ACCOUNTS
from syncer.metrics import Registry
from syncer.runner import Settings, Syncer

log = logging.getLogger(__name__)

TOKEN_SECONDS = 3600
"""How long a token for a workspace is good: it is never written anywhere, and a new one is asked for in time."""
LEASE_SECONDS = 30.0
"""When a syncer that runs on the cluster by mistake, too, would take over."""
IDENTITY = "kcp-syncer"
"""Of all that push, of which one works at a time: whoever takes over need not wait for the Lease of each cluster."""
LOOK = 30.0
"""Seconds between looks whether the cluster still lets us in."""
SOONEST, LATEST = 2.0, 60.0
"""Seconds between attempts with a cluster that cannot be synced."""
LARGEST = 128 * 2**20
"""Bytes of an answer of a cluster, which may be anybody's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Surroundings:
    """What all have in common."""

    proxy: Client
    """The administrator's; paths begin at the server's root. Used for tokens alone."""
    networks: Networks
    allow_insecure: bool = False
    requests: int = 16
    """To one server at a time, of all workspaces together."""
    clusters: int = 20
    """Of one workspace."""
    registry: Registry = field(default_factory=Registry)
    turns: WeakValueDictionary[str, Turns] = field(default_factory=WeakValueDictionary)
    """By shard or address of a cluster's API server, while somebody has to do with it."""

    def turns_of(self, server: str) -> Turns:
        return self.turns.setdefault(server, Turns(self.requests))


class Pushed:
    """``say`` is told what keeps the cluster from being synced, or None when it is."""

    def __init__(self, wanted: Wanted, surroundings: Surroundings, say: Callable[[Problem | None], object]) -> None:
        self.wanted = wanted
        self.working = False
        self._around = surroundings
        self._say = say
        self._guard = Guard(surroundings.networks)

    async def run(self) -> None:
        """Until cancelled."""
        delay = SOONEST
        while True:
            began = time.monotonic()
            try:
                await self._sync(await self.connection())
            except Problem as problem:
                self._say(problem)
            except StatusError as error:
                log.warning("%s: %s", self, error)
            except Exception:
                # A bug, or an answer that nobody has thought of: the others go on.
                log.exception("%s: syncing has failed; starting it again", self)
            finally:
                self.working = False
            if time.monotonic() - began > LATEST:
                delay = SOONEST
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))
            delay = min(delay * 2, LATEST)

    def __str__(self) -> str:
        return f"cluster {self.wanted.cluster} of {self.wanted.workspace}"

    async def connection(self) -> Connection:
        """To the cluster. Raises Problem."""
        if self.wanted.problem is not None:
            raise self.wanted.problem
        try:
            return await asyncio.to_thread(
                read, self.wanted.kubeconfig, self._guard, allow_insecure=self._around.allow_insecure
            )
        except Refused as error:
            raise Problem("KubeconfigRefused", str(error)) from error

    def client(self, connection: Connection) -> Client:
        """Of the cluster."""
        url = urlsplit(connection.server)
        turns = self._around.turns_of(f"{url.hostname}:{url.port or 443}")
        return Client(connection, user_agent="kcp-syncer", turn=turns.of(self._who), largest=LARGEST)

    @property
    def _who(self) -> tuple[str, str]:
        return self.wanted.workspace, self.wanted.cluster

    async def _sync(self, below: Connection) -> None:
        wanted, around = self.wanted, self._around
        async with self.client(below) as client:
            await probe(client, self._guard)
            above = dataclasses.replace(
                around.proxy.connection,
                server=f"{around.proxy.connection.server}/clusters/{wanted.workspace}",
                client_cert_data=None,
                client_key_data=None,
                token_file=None,
                token=await self._first(),
            )
            settings = Settings(
                workspace=wanted.workspace,
                cluster=wanted.cluster,
                above=above,
                below=below,
                resources=wanted.resources,
                sync_up=wanted.sync_up,
                tunnel=wanted.tunnel,
                account_namespace=wanted.namespace,
                token_lifetime=TOKEN_SECONDS,
                issue=self._issue,
                lease_duration=LEASE_SECONDS,
                identity=IDENTITY,
                stays=not wanted.delete,
                turn_above=around.turns_of(f"shard {wanted.shard}").of(self._who),
                turn_below=client.turn,
                largest=LARGEST,
            )
            self._say(None)
            self.working = True
            log.info("%s: syncing", self)
            async with asyncio.TaskGroup() as group:
                group.create_task(Syncer(settings, around.registry).run())
                group.create_task(self._look_after(client))

    async def _look_after(self, client: Client) -> None:
        """Say when the cluster does not let us in any more; the syncer itself goes on trying."""
        while True:
            await asyncio.sleep(LOOK * random.uniform(0.75, 1.25))
            try:
                await probe(client, self._guard)
                self._say(None)
                self.working = True
            except Problem as problem:
                self._say(problem)
                self.working = False

    async def _issue(self) -> str:
        """A token of the workspace, of the service account that may do what syncing needs and no more. Raises
        StatusError."""
        wanted = self.wanted
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": TOKEN_SECONDS},
        }
        path = f"/clusters/{wanted.workspace}{ACCOUNTS.path(wanted.namespace, wanted.account, 'token')}"
        return str((await self._around.proxy.request("POST", path, body=request))["status"]["token"])

    async def _first(self) -> str:
        """The same, for a start. Raises Problem where there is no such account."""
        wanted = self.wanted
        try:
            return await self._issue()
        except StatusError as error:
            if error.code != 404:
                raise
            raise Problem(
                "AccountNotFound",
                f"service account {wanted.namespace}/{wanted.account} is missing in the workspace; "
                f"kubectl kcp workload sync {wanted.cluster} --push FILE makes it",
            ) from error
