"""Puts a syncer together: reports, namespaces, and one sync for each API resource that both sides have."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.kube.client import Client, Object
from proxy.kube.config import SERVICE_ACCOUNT, Connection
from proxy.kube.errors import StatusError
from proxy.kube.leadership import DURATION, Leadership
from proxy.kube.turns import Turn
from syncer.apis import Api, served
from syncer.arrivals import Arrivals
from syncer.credentials import LIFETIME, Credentials
from syncer.events import Events
from syncer.finalizers import Finalizers
from syncer.followed import Sides
from syncer.metrics import Metrics, Registry
from syncer.namespaces import EMPTY_FOR, NAMESPACES, Namespaces
from syncer.report import ABOVE, Report, explain
from syncer.sync import KindSync
from syncer.tokens import Tokens
from syncer.tunnel import Tunnel
from syncer.upward import UpSync

log = logging.getLogger(__name__)
_NUMBERS = itertools.count(1)
"""Of syncers in one process."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One workspace, one cluster."""

    workspace: str
    """Path, e.g. ``root:telcops:team-a``."""
    cluster: str
    """Name of the WorkloadCluster."""
    above: Connection
    """The workspace."""
    below: Connection
    """The physical cluster."""
    resources: Sequence[str]
    """``plural[.group]`` each."""
    sync_up: Sequence[str] = ()
    """Those of which the workspace is shown what the cluster's own controllers make; the same form."""
    tunnel: bool = False
    """Whether the workspace's users reach into pods."""
    poll: float = 60.0
    """Seconds between looks at the cluster's API resources."""
    delete_on_removal: bool = False
    """Whether what was synced goes with the syncer's own namespace on the cluster."""
    empty_namespace_delay: float = EMPTY_FOR
    """Seconds after which a namespace below goes that nothing stands in any more."""
    account_namespace: str = "default"
    """Namespace of the syncer's own service account in the workspace; its Lease is there, too."""
    account_name: str = ""
    """Name of both; without it ``syncer-<cluster>``."""
    token_secret: tuple[str, str] | None = None
    """Namespace and name of the Secret below in which renewed tokens are kept; None: the token is not renewed."""
    token_lifetime: float = LIFETIME
    """Seconds that a renewed token is good for."""
    lease_duration: float = DURATION
    """Seconds after which another syncer takes over from one that is not heard of."""
    reload: Callable[[], Connection] | None = None
    """Reads the connection to the workspace again: its token may have been replaced."""
    issue: Callable[[], Awaitable[str]] | None = None
    """Gives a new token of the workspace, good for ``token_lifetime``, where somebody does; none is kept below then."""
    identity: str | None = None
    """Who this syncer is, for its Lease; None: the process or pod that it runs in."""
    stays: bool = False
    """Whether what was synced is left alone once the WorkloadCluster is deleted; else it goes while the syncer runs."""
    turn_above: Turn = contextlib.nullcontext
    turn_below: Turn = contextlib.nullcontext
    """Taken by each request to either side, where that is shared with others."""
    largest: int | None = None
    """Bytes of an answer of the cluster, where it is not to be trusted with our memory."""

    @property
    def account(self) -> str:
        return self.account_name or f"syncer-{self.cluster}"


class Syncer:
    """Syncs one workspace with one cluster: a process has one of them, or many."""

    def __init__(self, settings: Settings, process: Registry | None = None) -> None:
        """``process``: where it counts, with others."""
        self._settings = settings
        self.metrics = Metrics(process)

    async def run(self) -> None:
        """Sync until cancelled."""
        settings, metrics = self._settings, self.metrics
        agent = "kcp-syncer"
        count = self._count("above")

        def answered(method: str, code: int, seconds: float) -> None:
            count(method, code, seconds)
            credentials.answered(code)

        async with (
            Client(settings.above, user_agent=agent, observe=answered, turn=settings.turn_above) as above,
            Client(
                settings.below,
                user_agent=agent,
                observe=self._count("below"),
                turn=settings.turn_below,
                largest=settings.largest,
            ) as below,
        ):
            credentials = Credentials(
                above,
                below,
                namespace=settings.account_namespace,
                account=settings.account,
                secret=settings.token_secret,
                lifetime=settings.token_lifetime,
                reload=settings.reload,
                expires=metrics.token_expiry.set,
                issue=settings.issue,
            )
            leadership = Leadership(
                above,
                namespace=settings.account_namespace,
                name=settings.account,
                identity=settings.identity or await identity(below),
                work="syncing this cluster",
                # In the workspace, because two syncers for one cluster by mistake may well run on two clusters. Without
                # it nothing can be done that would be wrong later, and to start anew is to read everything again.
                steps_down=False,
                duration=settings.lease_duration,
                leads=metrics.leading.set,
                knows=metrics.knows_leader.set,
                explain=lambda error: explain(error, ABOVE, f"Lease {settings.account_namespace}/{settings.account}"),
            )
            await credentials.choose()
            with metrics.read():
                async with asyncio.TaskGroup() as group:
                    group.create_task(credentials.run())
                    group.create_task(leadership.run(lambda: self._work(above, below, credentials)))

    def _count(self, side: str) -> Callable[[str, int, float], None]:
        counter = self.metrics.requests

        def count(method: str, code: int, seconds: float) -> None:
            counter.labels(side, method, str(code)).inc()

        return count

    async def _work(self, above: Client, below: Client, credentials: Credentials) -> None:
        """Sync until cancelled, being the one to do it."""
        settings, metrics = self._settings, self.metrics
        found: asyncio.Queue[list[Api]] = asyncio.Queue()
        metrics.kinds.clear()
        namespaces = Namespaces(
            above,
            below,
            workspace=settings.workspace,
            cluster=settings.cluster,
            owner=await own_namespace(below) if settings.delete_on_removal else None,
            empty_for=settings.empty_namespace_delay,
            counted=lambda: bool(metrics.kinds) and all(kind.synced for kind in metrics.kinds),
            stays=settings.stays,
        )
        sides = Sides(
            above=above,
            below=below,
            cluster=settings.cluster,
            namespaces=namespaces,
            tokens=Tokens(above, below, namespaces, cluster=settings.cluster),
            finalizers=Finalizers(above, settings.cluster),
            events=Events(above, source=f"kcp-syncer/{settings.cluster}", dropped=metrics.dropped.inc),
            metrics=metrics,
        )
        report = Report(
            above,
            below,
            cluster=settings.cluster,
            wanted=[*settings.resources, *settings.sync_up],
            held=settings.resources,
            poll=settings.poll,
            apis_found=found.put_nowait,
            counted=lambda: (sum(kind.objects for kind in kinds), sum(kind.failed for kind in kinds)),
            lag=metrics.slowest,
            answered=credentials.saw,
        )
        known: set[str] = set()
        kinds: list[KindSync] = []
        arrivals = Arrivals(above, cluster=settings.cluster, namespaces=namespaces, kinds=kinds)
        async with asyncio.TaskGroup() as group:
            for part in (report, namespaces, sides.tokens, sides.events):
                group.create_task(part.run())
            if settings.tunnel:
                tunnel = Tunnel(
                    above,
                    below,
                    cluster=settings.cluster,
                    namespaces=namespaces,
                    seen=lambda what, code: metrics.tunnel_requests.labels(what, str(code)).inc(),
                    waits=metrics.tunnels.set,
                )
                group.create_task(tunnel.run())
            while True:
                for api in await found.get():
                    if api.name in known:
                        continue
                    known.add(api.name)
                    if not api.resource.namespaced:
                        log.warning("%s are not in namespaces: the workspace knows them, none is synced", api.name)
                        continue
                    if api.name in settings.resources:
                        kinds.append(KindSync(api, sides))
                        group.create_task(_sync(kinds[-1], above))
                    if api.name in settings.sync_up:
                        group.create_task(_sync(UpSync(api, sides), above))
                if not arrivals.started:
                    arrivals.started = True
                    group.create_task(arrivals.run())


async def _sync(kind: KindSync | UpSync, above: Client) -> None:
    await served(above, kind.api)
    log.info("syncing %s", kind.name)
    await kind.run()


async def identity(below: Client) -> str:
    """Who this syncer is, for its Lease: the cluster, and the pod or else the process on it.

    A container that is started again in its pod is the same one, and goes on at once.
    """
    try:
        found = await below.get(NAMESPACES, "kube-system")
        cluster = str(found["metadata"]["uid"])
    except StatusError as error:
        log.warning("namespace kube-system of the cluster: %s", error)
        cluster = "unknown"
    pod = (SERVICE_ACCOUNT / "namespace").exists()
    return f"{cluster}/{socket.gethostname()}" + ("" if pod else f"/{os.getpid()}-{next(_NUMBERS)}")


async def own_namespace(below: Client) -> Object | None:
    """Owner reference to the namespace that this syncer runs in: what it owns goes when it goes."""
    file = Path(SERVICE_ACCOUNT / "namespace")
    if not file.exists():
        log.warning("--on-removal=delete works only where the syncer runs as a pod")
        return None
    name = file.read_text().strip()
    while True:
        try:
            found = await below.get(NAMESPACES, name)
            return {"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": found["metadata"]["uid"]}
        except StatusError as error:
            log.warning("namespace %s: %s", name, error)
            await asyncio.sleep(2)
