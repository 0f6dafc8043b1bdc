"""All of `kcp start` but its command line: shards, controllers and proxy workers in one supervised whole."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp

from proxy.audit.settings import AuditSettings
from proxy.auth.oidc import OidcSettings
from proxy.binaries import ensure
from proxy.cli.controlling import Controllers
from proxy.cli.external import ExternalShard, KnownShards
from proxy.cli.following import Following
from proxy.cli.home import Home, base_url, external_host, serving_hosts, write_admin_kubeconfig
from proxy.cli.monitoring import Monitoring
from proxy.cli.workers import ProxyWorkers
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.limits.values import LimitSettings
from proxy.metrics.server import MetricsError, MetricsServer
from proxy.server.settings import ServerSettings, ShardSettings
from proxy.server.tracing import read_settings
from proxy.shard.addresses import interface_addresses, is_any, url_host
from proxy.shard.asking import Asking
from proxy.shard.bootstrap import BootstrapError, apply_manifests, await_effects, await_policies
from proxy.shard.commands import EtcdAccess
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.shard.pki import write_private
from proxy.shard.store import Store
from proxy.shard.supervisor import Process, ProcessError
from proxy.workload.controllers import Followed

log = logging.getLogger(__name__)

EMBEDDED = "root"
"""Name of the embedded shard."""
PROGRAMS = ("etcd", "kube-apiserver", "kube-controller-manager")
READY_POLL = 0.03
FILES_EVERY = 2.0
"""Seconds between looks at files that may change."""
IMPATIENCE = 30.0
"""Seconds between lines that say what is still missing."""


class StartError(Exception):
    """kcp cannot start; one line."""


@dataclass(frozen=True, slots=True)
class MetricsAddress:
    """Where kcp is scraped."""

    host: str
    port: int
    """0: a free one."""
    wanted: bool
    """Whether somebody asked for this address: then kcp does not start without it."""
    busiest_workspaces: int = 0
    """How many workspaces metrics may name."""
    token_file: Path | None = None
    """Holds the bearer token that may scrape; None: everybody may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StartSettings:
    """What `kcp start` was told."""

    root_directory: Path
    kubeconfig_path: Path
    bind_address: str
    port: int
    external_hostname: str | None
    external_port: int
    """Port in URLs that clients get."""
    workers: int
    embedded: bool
    etcd: EtcdAccess | None
    etcd_quota: int
    """Bytes that our own etcd may take."""
    shards: tuple[ExternalShard, ...]
    shards_folder: Path | None
    """Whose files are further ones."""
    token_auth_file: Path | None
    client_ca_file: Path | None
    oidc: OidcSettings | None
    authentication_file: Path | None
    """AuthenticationConfiguration, instead."""
    token_webhook: Path | None
    """Kubeconfig of a server that is asked about other tokens."""
    audit: AuditSettings | None
    shares: LimitSettings
    """What workspaces may have of what all share."""
    admission_url: str | None
    """Where shards reach this proxy, or all proxies; None: only the embedded one does, by loopback."""
    admission_ca_file: Path | None
    webhook_networks: tuple[str, ...]
    """Where webhooks of workspaces may be beside everywhere else."""
    conversion_webhooks: bool
    tls_cert_file: Path | None
    tls_key_file: Path | None
    auto_publish_apis: bool
    metrics: MetricsAddress | None
    verbosity: int
    log_format: str
    log_to_stderr: bool
    """Logs of the proxy, instead of to files."""
    log_requests: bool
    tracing_file: Path | None
    """Kubernetes' TracingConfiguration."""


Progress = Callable[[str], None]


class Standalone:
    """One running kcp: ``start()``, then ``stop()`` in any case."""

    def __init__(self, settings: StartSettings, *, progress: Progress, notice: Progress) -> None:
        """``progress`` gets what is being done now, ``notice`` what people should see while kcp runs."""
        self.settings = settings
        self.url = base_url(external_host(settings.bind_address, settings.external_hostname), settings.external_port)
        self._progress = progress
        self._notice = notice
        self._stack = AsyncExitStack()
        self._plane: ControlPlane | None = None
        self._workers: ProxyWorkers | None = None
        self._following: Following | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._followed: dict[str, Followed] = {}
        self._monitoring = Monitoring(self._followed, self._all_processes)

    async def start(self) -> None:
        """Until /readyz of the proxy says yes and the kubeconfig is written.

        Raises StartError, HomeError, ProcessError, BinaryError, PkiError, BootstrapError, ConfigError, StatusError.
        """
        settings = self.settings
        home = Home(settings.root_directory)
        self._stack.callback(home.close)
        self._stack.callback(reserve(settings.bind_address, settings.port).close)
        await self._serve_metrics(home.run_folder / "metrics")
        hosts = serving_hosts(settings.bind_address, settings.external_hostname)
        serving = home.serving_certificate(hosts)
        cert_file, key_file = settings.tls_cert_file or serving.cert_file, settings.tls_key_file or serving.key_file
        ca_file = settings.tls_cert_file or home.serving_authority().cert_file
        token = home.admin_token()

        embedded = await self._embed(home, ca_file) if settings.embedded else None
        folders = [home.shards_folder, *([settings.shards_folder] if settings.shards_folder else [])]
        given_tokens = [str(settings.token_auth_file)] if settings.token_auth_file else []
        server_file = home.folder / "server.json"
        workers = self._workers = ProxyWorkers(
            settings.workers,
            server_file,
            home.run_folder,
            None if settings.log_to_stderr else home.log_folder,
            busiest=settings.metrics.busiest_workspaces if settings.metrics else 0,
            on_restart=self._restarted,
        )
        # They load what they are made of while the shard starts, and wait for their settings.
        server_file.unlink(missing_ok=True)
        await workers.start()
        self._monitoring.workers = workers.metrics
        server = ServerSettings(
            bind_address=settings.bind_address,
            port=settings.port,
            cert_file=str(cert_file),
            key_file=str(key_file),
            external_url=self.url,
            shards=(),
            client_ca_file=str(settings.client_ca_file) if settings.client_ca_file else None,
            oidc=settings.oidc,
            authentication_file=str(settings.authentication_file) if settings.authentication_file else None,
            token_webhook=str(settings.token_webhook) if settings.token_webhook else None,
            audit=settings.audit,
            shares=replace(settings.shares, workers=settings.workers),
            token_files=(str(home.tokens_file), *given_tokens),
            verbosity=settings.verbosity,
            tracing=read_settings(settings.tracing_file) if settings.tracing_file else None,
            log_format=settings.log_format,
            log_requests=settings.log_requests,
            webhook_networks=settings.webhook_networks,
            conversion_webhooks=settings.conversion_webhooks,
            own_addresses=tuple(interface_addresses()),
            run_folder=str(home.run_folder),
            metrics_folder=str(home.run_folder) if settings.metrics else None,
            busiest_workspaces=settings.metrics.busiest_workspaces if settings.metrics else 0,
        )

        async def tell(shards: Sequence[ShardSettings]) -> None:
            before = server_file.read_bytes()
            replace(server, shards=tuple(shards)).write(server_file)
            try:
                await workers.replace()
            except ProcessError:
                write_private(server_file, before)  # a worker that is started again is to be like the others
                raise

        following = self._following = Following(
            KnownShards(settings.shards, folders, [EMBEDDED] if embedded else []),
            embedded,
            controllers=self._control,
            tell=tell,
            asking=partial(self._asking, ca_file),
            monitoring=self._monitoring,
            followed=self._followed,
            notice=self._notice,
        )
        shards, clients = following.shards, following.clients
        if not shards:
            raise StartError("--no-embedded needs a --shard")
        self._watch_certificates(home, cert_file)
        first = next(iter(shards))
        if self._plane is not None:
            await self._plane.wait_serving()
        self._progress(f"preparing shard {first}")
        try:
            await apply_manifests(clients[first], self._asking(ca_file, first))
        except StatusError as error:
            raise StartError(f"shard {first}: {error.message}") from error
        # What the workers watch is served from here on; for controllers to write anything, policies must act first.
        replace(server, shards=tuple(shards.values())).write(server_file)
        if settings.metrics is not None:
            self._run("metrics of shards", self._monitoring.shards.run())
        await await_policies(clients[first])
        for name in [name for name in shards if name != first]:
            self._run(f"shard {name}", self._prepare_later(name, clients, self._asking(ca_file, name)))
        following.start_controllers()
        write_admin_kubeconfig(settings.kubeconfig_path, url=self.url, ca=ca_file.read_bytes(), token=token)
        self._progress("waiting for the proxy")
        await self._await_ready(workers, self._monitoring.root_ready)
        if self._plane is not None:
            self._run("controllers of the shard", self._finish(self._plane))
        if full := await self._monitoring.space():
            self._notice(f"etcd: {full}")
        self._run("shards", following.run())
        self._run("serving certificate", home.keep_serving_certificate(hosts))
        self._run("admission", self._follow_admission(ca_file, clients))
        if settings.client_ca_file is not None:
            self._run("client CAs", self._follow_authorities(settings.client_ca_file, workers))

    async def _finish(self, plane: ControlPlane) -> None:
        """Nobody has to wait for it: until Kubernetes' own roles are there, who asks for one is told to come again."""
        try:
            await plane.wait_ready()
            await plane.start_controllers()
        except ProcessError as error:
            self._notice(str(error))

    async def _control(self, clients: Mapping[str, Client]) -> None:
        """All controllers, until cancelled."""
        controllers = Controllers(
            clients,
            next(iter(clients)),
            external_url=self.url,
            auto_publish=self.settings.auto_publish_apis,
            alone=[EMBEDDED] if self.settings.embedded else [],
            tallies=self._monitoring.tallies,
            ready=self._monitoring.root_ready,
            following=self._followed,
        )
        # A shard of our own has no other kcp.
        await (controllers.run() if self.settings.embedded else controllers.run_if_leading())

    async def stop(self) -> None:
        """End everything, what depends on others first; under 5 s."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(part() for part in self._ends()), return_exceptions=True)
        if self._plane is not None:
            await self._plane.stop()
        await self._stack.aclose()

    def _ends(self) -> list[Callable[[], Awaitable[None]]]:
        """What ends side by side."""
        ends: list[Callable[[], Awaitable[None]]] = []
        if self._following is not None:
            ends.append(self._following.close)
        if self._workers is not None:
            ends.append(self._workers.stop)
        return ends

    async def _embed(self, home: Home, ca_file: Path) -> ShardSettings:
        """Start the embedded shard's etcd and kube-apiserver; nothing is waited for."""
        self._progress("looking for programs")
        found = await asyncio.to_thread(ensure, PROGRAMS, self._progress)
        tracing = self.settings.tracing_file
        self._plane = ControlPlane(
            ControlPlaneSettings(
                folder=home.folder,
                name=EMBEDDED,
                etcd=self.settings.etcd,
                etcd_quota=self.settings.etcd_quota,
                root_ca=ca_file,
                find_program=found.__getitem__,
                apiserver_args=(f"--tracing-config-file={tracing}",) if tracing else (),
            ),
            on_restart=self._restarted,
        )
        self._progress("starting etcd and kube-apiserver")
        await self._plane.launch()
        if self.settings.etcd is None:
            self._monitoring.shards.quotas[EMBEDDED] = self.settings.etcd_quota
            self._monitoring.store = EMBEDDED, Store(home.folder / "etcd", timeout=2.0)
        return ShardSettings(name=EMBEDDED, kubeconfig=str(self._plane.kubeconfig))

    def _asking(self, ca_file: Path, shard: str) -> Asking | None:
        """How a shard reaches the proxy, whose certificate ``ca_file`` vouches for; None where nobody has said so."""
        settings = self.settings
        if settings.admission_url is not None:
            ca = settings.admission_ca_file or ca_file
            return Asking(settings.admission_url.rstrip("/"), ca.read_bytes())
        if shard != EMBEDDED or not settings.embedded:
            return None
        if settings.tls_cert_file is not None:
            return Asking(self.url, ca_file.read_bytes())
        host = "127.0.0.1" if is_any(settings.bind_address) else settings.bind_address
        return Asking(base_url(host, settings.port), ca_file.read_bytes())

    async def _prepare_later(self, name: str, clients: Mapping[str, Client], asking: Asking | None) -> None:
        """Make a further shard one; its absence keeps none of the others from working."""
        said = ""
        while name in clients:  # it may be left meanwhile, or have another address
            try:
                await apply_manifests(clients[name], asking)
                await await_effects(clients[name])
                return
            except (StatusError, BootstrapError) as error:
                if str(error) != said:
                    said = str(error)
                    self._notice(f"shard {name}: {said}; trying again")
            await asyncio.sleep(5)

    async def _follow_authorities(self, file: Path, workers: ProxyWorkers) -> None:
        """Whoever trusts other CAs than before is another process: TLS sessions that the old one has vouched for could
        be taken up again, and OpenSSL forgets no CA."""

        async def told(now: bytes) -> None:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(cadata=now.decode())
            await workers.replace()
            self._notice(f"client certificates are checked with what {file} holds now")

        await _follow(file, told, "what --client-ca-file held before is still trusted")

    async def _follow_admission(self, ca_file: Path, clients: Mapping[str, Client]) -> None:
        """Shards that ask the proxy know its certificate by the file that vouches for it: they are told when that
        changes."""

        async def told(_: bytes) -> None:
            for name, client in list(clients.items()):
                asking = self._asking(ca_file, name)
                if asking is not None:
                    await apply_manifests(client, asking)

        await _follow(self.settings.admission_ca_file or ca_file, told, "not all shards know what it holds now")

    async def _serve_metrics(self, told: Path) -> None:
        """The URL goes into the file ``told``. Raises StartError where the address that was asked for cannot be had."""
        address = self.settings.metrics
        told.unlink(missing_ok=True)
        if address is None:
            return
        server = MetricsServer(self._monitoring.families, self._monitoring.checks, address.token_file)
        try:
            port = await server.start(address.host, address.port)
        except MetricsError as error:
            if address.wanted:
                raise StartError(f"--metrics-bind-address: {error}") from error
            self._notice(f"no metrics: {error}; --metrics-bind-address chooses another one")
            return
        self._stack.push_async_callback(server.stop)
        host = "127.0.0.1" if is_any(address.host) else address.host
        url = f"http://{url_host(host)}:{port}"
        told.write_text(f"{url}\n")
        if not address.port:
            self._notice(f"metrics are at {url}/metrics")

    def _watch_certificates(self, home: Home, serving: Path) -> None:
        certificates = self._monitoring.certificates
        certificates.watch("serving", serving)
        if self.settings.client_ca_file is not None:
            certificates.watch("users-ca", self.settings.client_ca_file)
        certificates.watch_folder(home.folder / "pki")

    async def _await_ready(self, workers: ProxyWorkers, root_ready: asyncio.Event) -> None:
        """Until /readyz is 200 over the real socket, often enough in a row that every worker was asked."""
        settings = self.settings
        host = "127.0.0.1" if is_any(settings.bind_address) else settings.bind_address
        url = f"https://{url_host(host)}:{settings.port}/readyz"
        impatient = time.monotonic() + IMPATIENCE
        in_a_row = 0
        # No check of the certificate, which may be a person's own: the question is only whether this answers.
        connector = aiohttp.TCPConnector(ssl=False, force_close=True)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=5)) as session:
            while in_a_row < 2 * settings.workers:
                for worker in workers.processes:
                    worker.raise_if_failed()
                if not root_ready.is_set():
                    answer: str | None = "workspace root is not ready yet"
                elif not workers.listen():
                    answer = "not all workers take connections yet"
                else:
                    answer = await _ask(session, url)
                in_a_row = 0 if answer else in_a_row + 1
                if answer:
                    if time.monotonic() > impatient:
                        impatient = time.monotonic() + IMPATIENCE
                        self._notice(f"still waiting: {answer} (more in {self.settings.root_directory / 'log'})")
                    await asyncio.sleep(READY_POLL)
        for worker in workers.processes:
            worker.mark_ready()

    def _all_processes(self) -> list[Process]:
        """The controller-manager comes last: it needs a ready apiserver."""
        planes = list(self._plane.processes.values()) if self._plane is not None else []
        return [*planes, *(self._workers.processes if self._workers is not None else [])]

    def _restarted(self, message: str) -> None:
        self._notice(f"{message}; starting it again")

    def _run(self, name: str, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.append(asyncio.create_task(work, name=name))


async def _ask(session: aiohttp.ClientSession, url: str) -> str | None:
    """None if ``url`` answers 200, else what it says instead."""
    try:
        async with session.get(url) as response:
            return None if response.status == 200 else (await response.text()).strip()
    except (aiohttp.ClientError, OSError, TimeoutError):
        return "the proxy does not answer yet"


def reserve(address: str, port: int) -> socket.socket:
    """Hold the listening address for the workers, who share it; others get it neither now nor while a worker restarts.

    Raises StartError where somebody has it.
    """
    _bind(address, port, share=False).close()  # with SO_REUSEPORT even another kcp's address could be taken
    return _bind(address, port, share=True)


def _bind(address: str, port: int, *, share: bool) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    holder = socket.socket(family, socket.SOCK_STREAM)
    try:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            holder.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        holder.bind((address, port))
    except OSError as error:
        holder.close()
        reason = "is in use" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror or error}"
        raise StartError(f"port {port} of {address} {reason}") from error
    return holder


async def _follow(file: Path, told: Callable[[bytes], Awaitable[None]], otherwise: str) -> None:
    """Tell what ``file`` holds whenever it is something else, again until that goes well. ``otherwise``: what is the
    case until then."""
    known = file.read_bytes()
    while True:
        await asyncio.sleep(FILES_EVERY)
        try:
            now = file.read_bytes()
            if now == known:
                continue
            await told(now)
        except (OSError, ValueError, ProcessError, StatusError, BootstrapError) as error:
            log.warning("%s: %s; %s", file, error, otherwise)
            await asyncio.sleep(IMPATIENCE)
        else:
            known = now
