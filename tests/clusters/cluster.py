"""Starting and ending clusters: the part that stays outside of them."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from proxy.binaries import BinaryError, ensure
from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from syncer.image.errors import ImageError
from tests import images
from tests.clusters import cgroups, network, requirements, spec
from tests.clusters.errors import ClusterError
from tests.clusters.spec import ProcessId, Runtime, Spec
from tests.clusters.system import REPOSITORY, end_with_parent, environment, tail

DEFAULT_ROOT = REPOSITORY / "build" / "clusters"
PROXY_PORT = 6443
CONTROL_PLANE = ("etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler")
START_TIMEOUT = 180.0
"""Seconds until a cluster is up: 12 on an idle machine."""
END_TIMEOUT = 30.0
"""Seconds for a keeper to end everything: 3 on an idle machine."""
LOOPBACK = "127.0.0.1"


def choose(root: Path, wanted: Runtime | None = None) -> tuple[Runtime, str]:
    """What plays the nodes of clusters in ``root``, and what to say about it.

    Raises ClusterError if real nodes are ``wanted`` and cannot be had.
    """
    if wanted == "kwok":
        return "kwok", "KWOK nodes, as asked for"
    reason = requirements.obstacle(root)
    if reason is None:
        return "nodes", "real nodes"
    if wanted == "nodes":
        raise ClusterError(f"real nodes cannot be had: {reason}")
    return "kwok", f"KWOK nodes, as real ones cannot be had: {reason}"


def host_address(root: Path, runtime: Runtime) -> str:
    """This machine's address for servers that pods of clusters in ``root`` use; made if need be."""
    if runtime == "kwok":
        return LOOPBACK
    root.mkdir(parents=True, exist_ok=True)
    return network.ensure(root.resolve()).address


class PhysicalCluster:
    """One cluster. ``async with`` starts it and leaves nothing behind; ``start()`` and ``stop()`` keep its data.

    With ``detached`` it outlives this process, else it ends when this process does, whatever the way.
    """

    def __init__(
        self,
        name: str,
        *,
        root: Path = DEFAULT_ROOT,
        runtime: Runtime | None = None,
        ports: tuple[int, ...] = (PROXY_PORT,),
        detached: bool = False,
    ) -> None:
        """``ports``: where pods may reach this machine, at its address on the bridge (`host_address`)."""
        self.name = name
        self.root = root.resolve()
        self.folder = self.root / name
        self._wanted = runtime
        self._ports = ports
        self._detached = detached
        self._keeper: subprocess.Popen[bytes] | None = None

    @property
    def spec(self) -> Spec:
        """Raises ClusterError if there is no such cluster."""
        return spec.read(self.folder)

    @property
    def kubeconfig(self) -> Path:
        """Of an administrator; there while the cluster is up."""
        return self.spec.kubeconfig

    @property
    def runtime(self) -> Runtime:
        return self.spec.runtime

    @property
    def address(self) -> str:
        """Where the kube-apiserver listens; of the node, where that is a real one."""
        return self.spec.address

    @property
    def process(self) -> int | None:
        """The keeper, from which all processes of the cluster come; None: it is not running."""
        keeper = ProcessId.read(self.folder / "keeper")
        return None if keeper is None else keeper.pid

    @property
    def running(self) -> bool:
        return self.process is not None

    @property
    def up(self) -> bool:
        """Whether it is running and has been ready."""
        return self.running and self.spec.ready.exists()

    def client(self) -> Client:
        """A new administrator's client."""
        return Client(load_kubeconfig(self.kubeconfig))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.destroy()

    async def start(self, say: Callable[[str], None] = lambda _: None) -> None:
        """Start it, with the data that it had if it was stopped; returns when it is ready. Raises ClusterError."""
        if self.running:
            raise ClusterError(f"cluster {self.name} is running already")
        runtime, remark = await asyncio.to_thread(choose, self.root, self._wanted)
        if self._wanted is None:
            say(f"{self.name}: {remark}")
        archives = await asyncio.to_thread(_prepare, runtime, say)
        try:
            cluster = self._write_spec(runtime, archives)
            await self._spawn(cluster)
            await self._until_ready(cluster)
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """End it and keep its data."""
        keeper = ProcessId.read(self.folder / "keeper")
        if keeper is not None:
            keeper.signal(signal.SIGTERM)
            await self._until_gone(keeper, END_TIMEOUT)
            keeper.signal(signal.SIGKILL)
            await self._until_gone(keeper, END_TIMEOUT)
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.wait)
            self._keeper = None
        await asyncio.to_thread(_clean, self.folder)

    async def destroy(self) -> None:
        """End it and delete all of it; with the last cluster of a root folder goes the bridge."""
        await self.stop()
        await asyncio.to_thread(_delete, self.folder)
        await asyncio.to_thread(remove_root, self.root)

    def _write_spec(self, runtime: Runtime, archives: tuple[Path, ...]) -> Spec:
        with _locked(self.root):
            bridge = network.ensure(self.root) if runtime == "nodes" else None
            number = self._number()
            cluster = Spec(
                name=self.name,
                folder=self.folder,
                runtime=runtime,
                number=number,
                address=bridge.node_address(number) if bridge else LOOPBACK,
                gateway=bridge.address if bridge else LOOPBACK,
                ports=self._ports,
                images=archives,
            )
            cluster.write()
        cluster.log.mkdir(exist_ok=True)
        cluster.node_folder.mkdir(exist_ok=True)
        for file in (cluster.ready, cluster.failure):
            file.unlink(missing_ok=True)
        return cluster

    def _number(self) -> int:
        taken = {each.name: each.number for each in spec.read_all(self.root)}
        if self.name in taken:
            return taken[self.name]
        return next(number for number in range(200) if number not in taken.values())

    async def _spawn(self, cluster: Spec) -> None:
        command = [sys.executable, "-m", "tests.clusters.keeper", str(self.folder)]
        if cluster.runtime == "nodes":
            command = ["unshare", "--net", *command]
        with (cluster.log / "keeper.log").open("ab") as log:
            self._keeper = subprocess.Popen(  # noqa: ASYNC220  (asyncio would end it with the event loop)
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                cwd=self.root,
                start_new_session=True,
                preexec_fn=None if self._detached else end_with_parent(),
            )
        process = ProcessId.of(self._keeper.pid)
        if process is None:
            raise ClusterError(f"cluster {self.name} did not start: {tail(cluster.log / 'keeper.log')}")
        process.write(cluster.keeper)
        if cluster.runtime == "nodes":
            await self._until(lambda: _network_of(process.pid) != _network_of(os.getpid()), 20)
            bridge = network.find(self.root)
            if bridge is None:
                raise ClusterError(f"the bridge of {self.root} was deleted")
            network.connect(bridge, cluster.address, process.pid)

    async def _until_ready(self, cluster: Spec) -> None:
        await self._until(cluster.ready.exists, START_TIMEOUT)

    async def _until(self, condition: Callable[[], bool], timeout: float) -> None:
        assert self._keeper is not None
        deadline = time.monotonic() + timeout
        while not condition():
            if self._keeper.poll() is not None:
                reason = tail(self.folder / "failure") or tail(self.folder / "log" / "keeper.log")
                raise ClusterError(f"cluster {self.name} did not start: {reason}")
            if time.monotonic() > deadline:
                raise ClusterError(f"cluster {self.name} was not up within {timeout:g} s; see {self.folder / 'log'}")
            await asyncio.sleep(0.05)

    async def _until_gone(self, process: ProcessId, timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while process.alive() and time.monotonic() < deadline:  # noqa: ASYNC110  (it is not our child)
            await asyncio.sleep(0.05)


def remove_root(root: Path) -> None:
    """Remove the bridge and the folder of clusters if no cluster is left."""
    if any(root.glob("*/spec.json")):
        return
    if shutil.which("ip", path=environment()["PATH"]) and os.geteuid() == 0:
        network.remove(root.resolve())
    with contextlib.suppress(OSError):
        (root / ".lock").unlink(missing_ok=True)
        root.rmdir()


def _prepare(runtime: Runtime, say: Callable[[str], None]) -> tuple[Path, ...]:
    """Programs and images; the archives of the latter."""
    try:
        ensure((*CONTROL_PLANE, *(requirements.NODE_PROGRAMS if runtime == "nodes" else ("kwok",))), say)
        return tuple(images.ensure()) if runtime == "nodes" else ()
    except (BinaryError, ImageError) as error:
        raise ClusterError(str(error)) from error


def _clean(folder: Path) -> None:
    """Remove what outlives processes: control groups and the cable."""
    left = cgroups.remove(cgroups.read(folder / "groups"))
    (folder / "groups").unlink(missing_ok=True)
    (folder / "ready").unlink(missing_ok=True)
    (folder / "keeper").unlink(missing_ok=True)
    try:
        cluster = spec.read(folder)
    except ClusterError:
        return
    bridge = network.find(folder.parent) if cluster.runtime == "nodes" else None
    if bridge is not None:
        network.disconnect(network.cable(bridge, cluster.address))
    if left:
        raise ClusterError(f"processes are left in {', '.join(map(str, left))}")


def _delete(folder: Path) -> None:
    for attempt in range(50):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            if not folder.exists():
                return
        except OSError as error:
            if attempt == 49:
                raise ClusterError(f"{error.filename}: {error.strerror}") from error
        else:
            return
        time.sleep(0.1)  # a program that was killed a moment ago may still be writing


def _network_of(pid: int) -> str:
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return ""


@contextlib.contextmanager
def _locked(root: Path) -> Iterator[None]:
    """Held while a cluster gets its number."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
