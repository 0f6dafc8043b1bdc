"""The inside of a real node. Steps, each in the place that the one before made, which is the cluster's network
namespace at first:

``start``   go into new namespaces of processes, mounts and more;
``enter``   their first process: goes into the node's control groups, and makes these the top of what it sees;
``init``    still the first process: starts the next and buries orphans, as init does;
``manage``  mounts what a node has of its own, runs containerd, imports images, runs kubelet and kube-proxy.

Whoever waits outside for the first process stays outside of the node's control groups as well: the top one must become
free of processes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

from proxy.binaries import find
from proxy.kube.config import load_kubeconfig
from proxy.shard.supervisor import Process, ProcessError, Program
from tests.clusters import cgroups, spec
from tests.clusters.errors import ClusterError
from tests.clusters.node_files import SOCKET
from tests.clusters.requirements import NAMESPACES
from tests.clusters.spec import Spec
from tests.clusters.system import environment, run

KNOBS = {
    "vm/overcommit_memory": 1,
    "vm/panic_on_oom": 0,
    "kernel/panic": 10,
    "kernel/panic_on_oops": 1,
    "kernel/keys/root_maxkeys": 1000000,
    "kernel/keys/root_maxbytes": 25000000,
}
"""Settings of the whole machine that a kubelet insists on. It is shown files with them; the machine keeps its own."""


def command(step: str, folder: Path) -> list[str]:
    """Runs a step."""
    return [sys.executable, "-m", "tests.clusters.node", step, str(folder)]


def start(cluster: Spec) -> None:
    _become("unshare", *NAMESPACES, *command("enter", cluster.folder))


def enter(cluster: Spec) -> None:
    cgroups.enter(cgroups.read(cluster.groups))
    _become("unshare", "--cgroup", *command("init", cluster.folder))


def init(cluster: Spec) -> int:
    manager = os.fork()
    if manager == 0:
        line = command("manage", cluster.folder)
        os.execve(line[0], line, environment())
    while True:
        pid, status = os.wait()
        if pid == manager:
            return os.waitstatus_to_exitcode(status)


def mount_own(cluster: Spec) -> None:
    """Everything that a node changes lies in the cluster's folder or in memory."""
    run("hostname", cluster.node)
    run("mount", "--make-rshared", "/")
    run("mount", "-t", "sysfs", "sysfs", "/sys")
    cgroups.mount()
    run("mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run")
    for place in ("/var/lib", "/var/log"):
        own = cluster.node_folder / place.replace("/", "_").lstrip("_")
        own.mkdir(exist_ok=True)
        run("mount", "--bind", own, place)
    for folder in (
        "/var/lib/kubelet",
        "/var/lib/containerd",
        "/var/log/pods",
        "/var/log/containers",
        "/run/containerd",
    ):
        Path(folder).mkdir(exist_ok=True)
    for folder in ("/run/netns", "/run/lock"):
        Path(folder).mkdir()
    for name, value in KNOBS.items():
        knob = Path("/proc/sys") / name
        if knob.exists():
            shown = cluster.node_folder / name.replace("/", ".")
            shown.write_text(f"{value}\n")
            run("mount", "--bind", shown, knob)


async def manage(cluster: Spec) -> None:
    mount_own(cluster)
    folder = cluster.node_folder
    programs = {
        "containerd": ["containerd", "--config", str(folder / "containerd.toml")],
        "kubelet": [
            str(find("kubelet")),
            f"--config={folder / 'kubelet.yaml'}",
            f"--kubeconfig={folder / 'kubelet.kubeconfig'}",
            f"--hostname-override={cluster.node}",
            f"--node-ip={cluster.address}",
        ],
        "kube-proxy": [str(find("kube-proxy")), f"--config={folder / 'kube-proxy.yaml'}"],
    }
    path = {"PATH": environment()["PATH"]}
    processes = {
        name: Process(Program(name=name, argv=argv, log=cluster.log / f"{name}.log", env=path))
        for name, argv in programs.items()
    }
    await processes["containerd"].start()
    await processes["containerd"].wait_ready(lambda: _connects(SOCKET), timeout=60)
    for image in cluster.images:
        await asyncio.to_thread(run, "ctr", "--address", SOCKET, "-n", "k8s.io", "images", "import", image, timeout=300)
    server = urlsplit(load_kubeconfig(folder / "kubelet.kubeconfig").server)
    while not _connects((str(server.hostname), server.port or 443)):  # noqa: ASYNC110  (another process)
        await asyncio.sleep(0.1)
    for name in ("kubelet", "kube-proxy"):
        await processes[name].start()
        processes[name].mark_ready()
    await asyncio.Event().wait()  # to the end of the namespace, which ends everything in it


def _become(*line: str) -> NoReturn:
    os.execvpe(line[0], line, environment())


def _connects(address: str | tuple[str, int]) -> bool:
    family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
    with socket.socket(family) as probe:
        probe.settimeout(1)
        return probe.connect_ex(address) == 0


def main() -> int:
    step, folder = sys.argv[1:]
    try:
        cluster = spec.read(Path(folder))
        if step == "start":
            start(cluster)
        if step == "enter":
            enter(cluster)
        if step == "init":
            signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
            return init(cluster)
        asyncio.run(manage(cluster))
    except (ClusterError, ProcessError) as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
