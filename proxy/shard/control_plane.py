"""A whole Kubernetes control plane in one private folder: etcd, kube-apiserver, kube-controller-manager, scheduler.

With the defaults it is a shard: only reachable on loopback, with just the controllers that workspaces need. With other
settings it is a full cluster's control plane (see `full_cluster`).
"""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from proxy.binaries import find
from proxy.kube.client import Client
from proxy.kube.config import Connection, load_kubeconfig, write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard import commands
from proxy.shard.addresses import free_port, is_any, port_is_free, url_host
from proxy.shard.administrator import Administrator
from proxy.shard.encryption import encryption_config
from proxy.shard.pki import Authority, KeyPair, SigningKey, private_folder, signing_key
from proxy.shard.supervisor import Process, ProcessError, Program

log = logging.getLogger(__name__)

READY_TIMEOUT = 90.0
"""Seconds for kube-apiserver to get ready: 3 on an idle machine, many times that on a busy one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlPlaneSettings:
    """What to run, and where."""

    folder: Path
    """Everything is kept here: ``pki``, ``etcd``, ``log``, ``shard`` (kubeconfigs and the port)."""
    name: str = "embedded"
    """Names the cluster in kubeconfigs."""
    bind_address: str = "127.0.0.1"
    port: int | None = None
    """TCP port; None takes a free one and keeps it across starts."""
    server_host: str | None = None
    """Host in the kubeconfigs' URL; None: the bind address, or loopback if that means all addresses."""
    serving_hosts: tuple[str, ...] = ()
    """Further names and addresses for the serving certificate."""
    durable: bool = True
    """Whether etcd waits for the disk. False is for tests alone: a power cut loses data."""
    etcd_quota: int = commands.ETCD_QUOTA
    """Bytes that our own etcd may take."""
    etcd: commands.EtcdAccess | None = None
    """An etcd that runs elsewhere, instead of our own."""
    controllers: tuple[str, ...] = commands.SHARD_CONTROLLERS
    """Names for kube-controller-manager; empty runs none."""
    scheduler: bool = False
    root_ca: Path | None = None
    """CA that pods and workspaces find in ConfigMap kube-root-ca.crt; None: the one of this server."""
    service_range: str = "10.0.0.0/8"
    """All workspaces of a shard take their cluster IPs from it, so it is wide; nothing is ever sent to them."""
    node_ports: str = "1024-65535"
    admission_off: tuple[str, ...] = commands.SHARD_ADMISSION_OFF
    etcd_args: tuple[str, ...] = ()
    apiserver_args: tuple[str, ...] = ()
    """Appended: of a flag given twice the last counts."""
    controller_manager_args: tuple[str, ...] = ()
    scheduler_args: tuple[str, ...] = ()
    find_program: Callable[[str], Path] = field(default=find, repr=False)


def full_cluster(folder: Path, **changes: Any) -> ControlPlaneSettings:
    """Settings of an ordinary cluster's control plane: all controllers, scheduler, what kubelets and pods need."""
    pki = Pki(folder)
    defaults: dict[str, Any] = {
        "folder": folder,
        "controllers": ("*",),
        "scheduler": True,
        "service_range": "10.96.0.0/16",
        "node_ports": "30000-32767",
        "admission_off": (),
        "apiserver_args": (
            "--allow-privileged=true",
            "--enable-bootstrap-token-auth=true",
            f"--kubelet-client-certificate={pki.kubelet_client.cert_file}",
            f"--kubelet-client-key={pki.kubelet_client.key_file}",
        ),
        "controller_manager_args": (
            f"--service-account-private-key-file={pki.service_account.private_file}",
            f"--cluster-signing-cert-file={pki.client_ca.files.cert_file}",
            f"--cluster-signing-key-file={pki.client_ca.files.key_file}",
        ),
    }
    return ControlPlaneSettings(**(defaults | changes))


class Pki:
    """The authorities and keys of one control plane, in ``<folder>/pki``."""

    def __init__(self, folder: Path) -> None:
        self.folder = private_folder(folder / "pki")
        self.apiserver_ca = Authority(self.folder, "apiserver")
        """Signs what the kube-apiserver shows to its clients."""
        self.client_ca = Authority(self.folder, "client")
        """Signs clients: the certificate's names are believed."""
        self.administrator = Administrator(self.folder)
        self.service_account: SigningKey = signing_key(self.folder)

    @property
    def kubelet_client(self) -> KeyPair:
        """Whom kubelets see in the kube-apiserver."""
        return self.client_ca.client("kubelet-client", user="kube-apiserver-kubelet-client", groups=["system:masters"])


class ControlPlane:
    """Runs the programs of `ControlPlaneSettings`; ``async with`` starts and stops them.

    Started means that the kube-apiserver serves and is ready; controllers may need a second more.
    """

    def __init__(self, settings: ControlPlaneSettings, *, on_restart: Callable[[str], None] | None = None) -> None:
        self.settings = settings
        self.pki = Pki(settings.folder)
        self._run = private_folder(settings.folder / "shard")
        self._on_restart = on_restart
        self.kubeconfig = self._run / "admin.kubeconfig"
        """Of group system:masters, which may impersonate anybody; mode 0600."""
        self.port = 0
        self.processes: dict[str, Process] = {}
        """By program name, in the order of their start."""

    @property
    def server(self) -> str:
        """URL of the kube-apiserver."""
        settings = self.settings
        host = settings.server_host or ("127.0.0.1" if is_any(settings.bind_address) else settings.bind_address)
        return f"https://{url_host(host)}:{self.port}"

    @property
    def connection(self) -> Connection:
        """As an administrator."""
        return load_kubeconfig(self.kubeconfig)

    def client(self, **options: Any) -> Client:
        """A new administrator's client."""
        return Client(self.connection, **options)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Start everything and wait until the kube-apiserver is ready. Raises ProcessError, BinaryError, PkiError."""
        try:
            await self.launch()
            await self.wait_ready()
            await self.start_controllers()
        except BaseException:
            await self.stop()
            raise

    async def launch(self) -> None:
        """Start etcd and kube-apiserver, wait for nothing."""
        settings = self.settings
        self.port = self._choose_port()
        self._write_kubeconfig(self.kubeconfig, {"token": self.pki.administrator.token})
        etcd_access = settings.etcd
        if etcd_access is None:
            etcd_folder = private_folder(settings.folder / "etcd")
            argv = commands.etcd(
                settings.find_program("etcd"),
                folder=etcd_folder,
                durable=settings.durable,
                quota=settings.etcd_quota,
                args=settings.etcd_args,
            )
            await self._launch("etcd", argv, cwd=etcd_folder)
            etcd_access = commands.EtcdAccess(servers=f"unix://{commands.ETCD_SOCKET}")
        await self._launch("kube-apiserver", self._apiserver_command(etcd_access), cwd=self._apiserver_folder)

    async def wait_serving(self, timeout: float = READY_TIMEOUT) -> None:
        """Until requests of an administrator are answered; roles and priorities may still be on their way."""
        await self._wait("/version", timeout)

    async def wait_ready(self, timeout: float = READY_TIMEOUT) -> None:
        """Until the kube-apiserver calls itself ready."""
        await self._wait("/readyz", timeout)
        if "etcd" in self.processes:
            self.processes["etcd"].mark_ready()

    async def start_controllers(self) -> None:
        """Once it is ready, and wait for nothing."""
        settings = self.settings
        if settings.controllers and "kube-controller-manager" not in self.processes:
            argv = commands.kube_controller_manager(
                settings.find_program("kube-controller-manager"),
                kubeconfig=self._kubeconfig_of("kube-controller-manager"),
                controllers=settings.controllers,
                root_ca=settings.root_ca or self.pki.apiserver_ca.cert_file,
                args=settings.controller_manager_args,
            )
            (await self._launch("kube-controller-manager", argv)).mark_ready()
        if settings.scheduler and "kube-scheduler" not in self.processes:
            argv = commands.kube_scheduler(
                settings.find_program("kube-scheduler"),
                kubeconfig=self._kubeconfig_of("kube-scheduler"),
                args=settings.scheduler_args,
            )
            (await self._launch("kube-scheduler", argv)).mark_ready()

    async def stop(self) -> None:
        """End everything, what depends on others first. Takes less than 4 s, mostly 1."""
        processes, self.processes = self.processes, {}
        etcd = processes.pop("etcd", None)
        await asyncio.gather(*(process.stop() for process in processes.values()))
        if etcd is not None:
            await etcd.stop()

    async def _wait(self, path: str, timeout: float) -> None:
        async with self.client() as client:

            async def answers() -> bool:
                self._raise_if_failed("etcd")
                try:
                    await client.request("GET", path, timeout=5)
                except StatusError:
                    return False
                return True

            await self.processes["kube-apiserver"].wait_ready(answers, timeout=timeout)

    def _raise_if_failed(self, name: str) -> None:
        process = self.processes.get(name)
        if process is not None:
            process.raise_if_failed()

    async def _launch(self, name: str, argv: list[str], *, cwd: Path | None = None) -> Process:
        log_folder = private_folder(self.settings.folder / "log")
        program = Program(name=name, argv=argv, cwd=cwd, log=log_folder / f"{name}.log")
        process = Process(program, on_restart=self._on_restart)
        self.processes[name] = process
        await process.start()
        return process

    @property
    def _apiserver_folder(self) -> Path:
        # kube-apiserver runs where etcd's socket lies: its path is relative.
        return private_folder(self.settings.folder / "etcd")

    def _apiserver_command(self, etcd: commands.EtcdAccess) -> list[str]:
        settings, pki = self.settings, self.pki
        hosts = {"localhost", "127.0.0.1", "::1", "kubernetes", "kubernetes.default.svc", *settings.serving_hosts}
        if not is_any(settings.bind_address):
            hosts.add(settings.bind_address)
        if settings.server_host:
            hosts.add(settings.server_host)
        return commands.kube_apiserver(
            settings.find_program("kube-apiserver"),
            etcd=etcd,
            files=commands.ApiServerFiles(
                serving=pki.apiserver_ca.server("apiserver", hosts),
                client_ca=pki.client_ca.cert_file,
                tokens=pki.administrator.file,
                service_account=pki.service_account,
                # An etcd that runs elsewhere outlives this folder, and a key in it.
                encryption=encryption_config(pki.folder) if settings.etcd is None else None,
            ),
            bind_address=settings.bind_address,
            port=self.port,
            service_range=settings.service_range,
            node_ports=settings.node_ports,
            admission_off=settings.admission_off,
            args=settings.apiserver_args,
        )

    def _choose_port(self) -> int:
        settings = self.settings
        if settings.port is not None:
            if not port_is_free(settings.bind_address, settings.port):
                raise ProcessError(f"port {settings.port} of {settings.bind_address} is in use")
            return settings.port
        memory = self._run / "port"
        try:
            remembered = int(memory.read_text())
        except (OSError, ValueError):
            remembered = 0
        if remembered and port_is_free(settings.bind_address, remembered):
            return remembered
        port = free_port(settings.bind_address)
        memory.write_text(f"{port}\n")
        return port

    def _kubeconfig_of(self, component: str) -> Path:
        """Kubeconfig of a component, whose user name carries the rights that RBAC gives to it from the start."""
        path = self._run / f"{component}.kubeconfig"
        pair = self.pki.client_ca.client(component, user=f"system:{component}")
        user = {"client-certificate-data": _base64(pair.cert), "client-key-data": _base64(pair.key)}
        self._write_kubeconfig(path, user)
        return path

    def _write_kubeconfig(self, path: Path, user: dict[str, str]) -> None:
        name = self.settings.name
        write_kubeconfig(
            path,
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [
                    {
                        "name": name,
                        "cluster": {
                            "server": self.server,
                            "certificate-authority-data": _base64(self.pki.apiserver_ca.cert),
                        },
                    }
                ],
                "users": [{"name": name, "user": user}],
                "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
                "current-context": name,
            },
        )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
