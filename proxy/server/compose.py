"""Puts a worker together: one place where the parts of the data plane meet."""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import logging
import secrets
import socket
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from proxy.admission.asking import Tickets
from proxy.admission.callback import Callback, Webhooks
from proxy.admission.calls import Caller
from proxy.admission.configurations import Configurations
from proxy.admission.conversions import Conversions
from proxy.admission.converting import Detours
from proxy.admission.evaluator import Evaluator
from proxy.admission.kinds import Kinds
from proxy.admission.lifetime import Lifetime
from proxy.admission.mutating import MutatingPolicies
from proxy.admission.params import Params
from proxy.admission.policies import Policies
from proxy.admission.rights import Rights
from proxy.admission.tickets import Keys
from proxy.audit.auditor import make_auditor
from proxy.auth.authenticator import Authenticator
from proxy.auth.authorizer import Authorizer
from proxy.auth.default_roles import DefaultRoles
from proxy.auth.tokenfile import TokenFiles
from proxy.auth.trusted import Trusted
from proxy.auth.webhook import TokenWebhook
from proxy.discovery import Classes, Discovery
from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.kube.networks import Networks
from proxy.metrics.requests import RequestMetrics
from proxy.metrics.worker import WorkerMetrics
from proxy.server.admission import Admission
from proxy.server.counting import Counter
from proxy.server.creations import Creations
from proxy.server.gateway import WorkspaceGateway
from proxy.server.handover import Handover, instance_of
from proxy.server.messages import Observer
from proxy.server.objects import ObjectLimit
from proxy.server.pool import ShardEndpoint
from proxy.server.reach import Reach
from proxy.server.requestlog import RequestLog
from proxy.server.serve import Server
from proxy.server.settings import ServerSettings, ShardSettings
from proxy.server.tracing import Tracer
from proxy.server.tunnels import Tunnels
from proxy.server.underway import UnderWay
from proxy.tenancy.index import WorkspaceIndex
from proxy.tenancy.opening import Opener
from proxy.tenancy.owner_roles import OwnerRoles
from proxy.tenancy.presence import Presence

log = logging.getLogger(__name__)

BOOT = Path("/proc/sys/kernel/random/boot_id")
SETTLES_WITHIN = 5.0
"""Seconds until a worker listens although it is not ready."""


def endpoint_of(shard: ShardSettings) -> ShardEndpoint:
    """Where requests of clients go, and how the shard knows the proxy. Raises ConfigError."""
    connection = load_kubeconfig(shard.kubeconfig)
    url = urlsplit(connection.server)
    token = connection.bearer()
    return ShardEndpoint(
        name=shard.name,
        host=url.hostname or "",
        port=url.port or (443 if url.scheme == "https" else 80),
        tls=connection.ssl_context(),
        server_hostname=connection.tls_server_name,
        authorization=f"Bearer {token}".encode() if token else None,
    )


def is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def lease_name(run_folder: str | None, worker: str) -> str:
    """By which shards know a worker, the same for the process that takes its place. Two hosts have no name in common,
    whatever they are called, and neither has one host before and after it was started."""
    boot = BOOT.read_text() if BOOT.exists() else ""
    known = f"{socket.gethostname()}:{boot}:{run_folder}:{worker}" if run_folder and boot else secrets.token_hex(16)
    return f"kcp-worker-{hashlib.sha256(known.encode()).hexdigest()[:16]}"


class Worker:
    """One worker process: index, authentication, authorization and discovery follow the shards while it serves."""

    def __init__(self, settings: ServerSettings, name: str = "worker") -> None:
        """``name``: under which its metrics are read."""
        clients: Mapping[str, Client] = {
            shard.name: Client(load_kubeconfig(shard.kubeconfig), user_agent="kcp-proxy") for shard in settings.shards
        }
        endpoints = {shard.name: endpoint_of(shard) for shard in settings.shards}
        self._clients = clients
        self.index = WorkspaceIndex(clients)
        trusted = Trusted(
            (settings.oidc.issuer(),) if settings.oidc else (),
            Path(settings.authentication_file) if settings.authentication_file else None,
        )
        self._webhook = (
            Client(load_kubeconfig(settings.token_webhook), user_agent="kcp-proxy") if settings.token_webhook else None
        )
        self._authenticator = Authenticator(
            TokenFiles(settings.token_files), clients, trusted, TokenWebhook(self._webhook) if self._webhook else None
        )
        self._authorizer = Authorizer(self.index, clients)
        asking = {shard.name: clients[shard.name] for shard in settings.shards if shard.asks}
        self._discovery = Discovery(clients, asking.keys())
        self._classes = Classes(clients)
        self._tunnels = Tunnels(instance_of(settings.run_folder))
        self._handover = Handover(self._tunnels, Path(settings.run_folder), name) if settings.run_folder else None
        self._admission = Admission(endpoints, settings.shares)
        self._creations = Creations(Path(settings.run_folder) if settings.run_folder else None, name)
        objects = ObjectLimit(
            self.index, self._admission, self._creations, Counter(clients, self._discovery), settings.shares.workers
        )
        keys = Keys(asking)
        self._configurations = Configurations(asking)
        self._caller = Caller(
            Networks(
                allowed=settings.webhook_networks,
                own=(*settings.own_addresses, *(item.host for item in endpoints.values() if is_address(item.host))),
            )
        )
        webhooks = Webhooks(self._caller)
        params = Params(self._discovery, asking)
        evaluator = Evaluator(Rights(self._authorizer, self._discovery))
        policies = Policies(params)
        mutating = MutatingPolicies(params, Kinds(self._discovery))
        lifetime = Lifetime(asking)
        self._detours = Detours(asking, new=settings.conversion_webhooks)
        callback = Callback(
            index=self.index,
            discovery=self._discovery,
            configurations=self._configurations,
            keys=keys,
            detours=self._detours,
            shards=asking,
            evaluator=evaluator,
            mutating=(mutating.mutate, webhooks.mutate, lifetime.look),
            validating=(policies.validate, webhooks.validate, lifetime.look),
        )
        gateway = WorkspaceGateway(
            index=self.index,
            authenticator=self._authenticator,
            authorizer=self._authorizer,
            discovery=self._discovery,
            roles=DefaultRoles(clients),
            opener=Opener(clients),
            owner_roles=OwnerRoles(self.index, clients),
            classes=self._classes,
            endpoints=endpoints,
            reach=Reach(clients, self._tunnels),
            admission=self._admission,
            objects=objects,
            tickets=Tickets(self._configurations, keys),
            callback=callback,
            detours=self._detours,
            conversions=Conversions(
                index=self.index, discovery=self._discovery, detours=self._detours, shards=asking, caller=self._caller
            ),
            unready=self.unready,
        )
        self._auditor = make_auditor(settings.audit) if settings.audit else None
        counts = RequestMetrics(list(endpoints), busiest=settings.busiest_workspaces)
        observers: list[Observer] = [counts, self._admission, objects]
        if self._auditor:
            observers.append(self._auditor)
        under_way = UnderWay(lambda: self._server.fronts())
        observers.append(under_way)
        self._presence = Presence(clients, self.index, under_way, lease_name(settings.run_folder, name))
        self._tracer = Tracer(settings.tracing) if settings.tracing else None
        if self._tracer is not None:
            observers.append(self._tracer)
        if settings.log_requests:
            observers.append(RequestLog())
        self._server = Server(gateway, settings, endpoints.values(), observers, self._tunnels)
        self._metrics = (
            WorkerMetrics(
                Path(settings.metrics_folder) / f"{name}.sock",
                requests=counts,
                admission=self._admission,
                objects=objects,
                index=self.index,
                pools=self._server.pools,
                connections=self._server.connections,
                handshakes=self._server.handshakes,
                tunnels=self._tunnels,
                watches=self._server.watches,
                documents=self._discovery.kept_bytes,
                unready=self.unready,
                webhooks=self._caller.counts,
                auditor=self._auditor,
            )
            if settings.metrics_folder
            else None
        )

    def unready(self) -> str | None:
        """What keeps this worker from serving, in a line."""
        root = self.index.get("root")
        if root is None:
            return "workspace root is not known yet"
        # Of other shards' absence only their own workspaces take notice.
        if not self.index.synced_with(root.shard):
            return f"not all workspaces of shard {root.shard} are known yet"
        if root.shard in self._discovery.unsynced():
            return f"discovery of shard {root.shard} is not read yet"
        return None

    async def _settle(self) -> None:
        """A new worker takes no connections from its siblings before it knows what they know. If that takes long, a
        shard is away, and saying so is better than not being there."""
        deadline = time.monotonic() + SETTLES_WITHIN
        while self.unready() and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.01)

    async def run(self, stop: asyncio.Event, listening: Callable[[], object] = lambda: None) -> None:
        """Serve until ``stop``; ``listening`` is called when connections are taken.

        Raises OSError where the address cannot be listened at.
        """
        tasks = [
            asyncio.create_task(part.run())
            for part in (self._presence, self._authenticator, self._authorizer, self._discovery, self._classes)
        ]
        tasks.append(asyncio.create_task(self._configurations.run()))
        tasks.append(asyncio.create_task(self._detours.keep(self._discovery)))
        for part in (self._metrics, self._handover, self._admission, self._creations):
            if part is not None:
                tasks.append(asyncio.create_task(part.run()))
        await self._settle()
        await self._server.start()
        listening()
        stopping = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()  # none of them ends but by an error; a new process begins afresh
        finally:
            await self._server.stop()
            for task in [*tasks, stopping]:
                task.cancel()
            await asyncio.gather(*tasks, stopping, return_exceptions=True)
            if self._auditor is not None:
                self._auditor.close()
            await self._caller.close()
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.close)
            for client in (*self._clients.values(), *([self._webhook] if self._webhook else [])):
                await client.close()
