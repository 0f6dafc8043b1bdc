"""What real nodes need of the machine, and whether they can be had here."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from proxy.binaries import BinaryError, find
from tests.clusters import cgroups
from tests.clusters.errors import ClusterError
from tests.clusters.system import REPOSITORY, environment, run

PROGRAMS = {
    "containerd": "containerd",
    "ctr": "containerd",
    "runc": "runc",
    "iptables": "iptables",
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "mount",
}
"""Program → the package of Debian and Ubuntu that has it."""
PLUGINS = ("bridge", "host-local", "loopback", "portmap")
PLUGINS_PACKAGE = "containernetworking-plugins"
PLUGIN_FOLDERS = (Path("/usr/lib/cni"), Path("/opt/cni/bin"), Path("/usr/libexec/cni"))
NODE_PROGRAMS = ("kubelet", "kube-proxy")
NAMESPACES = ("--fork", "--kill-child", "--pid", "--mount-proc", "--mount", "--uts", "--ipc")
"""As options of unshare: those of a node, beside the cluster's network and control groups."""
HIDDEN = ("/var/lib", "/var/log", "/run", "/sys", "/proc")
"""What a node sees its own of: nothing that it needs of this machine may lie below."""

_TRIAL = """
mount --make-rprivate / && mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run &&
ip link add left type veth peer name right && ip link add trial type bridge &&
iptables -t nat -A OUTPUT -p tcp -m comment --comment trial -j RETURN &&
iptables -A OUTPUT -m conntrack --ctstate NEW -j REJECT
"""


def plugin_folder() -> Path | None:
    """Where the CNI plugins are, if all are there."""
    for folder in PLUGIN_FOLDERS:
        if all((folder / name).exists() for name in PLUGINS):
            return folder
    return None


def missing_packages() -> list[str]:
    """Debian packages of all that is missing, sorted."""
    path = environment()["PATH"]
    packages = {package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)}
    if plugin_folder() is None:
        packages.add(PLUGINS_PACKAGE)
    return sorted(packages)


def install(say: Callable[[str], None]) -> None:
    """Install what is missing, where that can be done; it is no error where it cannot: KWOK plays the nodes there."""
    packages = missing_packages()
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        say(f"installing {' '.join(packages)}")
        os.environ["DEBIAN_FRONTEND"] = "noninteractive"
        try:
            run("apt-get", "update", "-qq", timeout=300)
            run("apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages, timeout=900)
        except ClusterError as error:
            say(str(error))
    reason = obstacle(REPOSITORY)
    say(f"physical clusters will have KWOK nodes: {reason}" if reason else "physical clusters will have real nodes")


def obstacle(root: Path) -> str | None:
    """Why clusters in ``root`` cannot have real nodes, in a few words; None if they can."""
    if not sys.platform.startswith("linux"):
        return "they need Linux"
    if os.geteuid() != 0:
        return "they need root"
    packages = missing_packages()
    if packages:
        return f"not installed: {', '.join(packages)}"
    for path in {root, REPOSITORY, Path(sys.prefix), Path(sys.base_prefix)}:
        for hidden in HIDDEN:
            if path.resolve().is_relative_to(hidden):
                return f"{path} is below {hidden}, of which nodes have their own"
    try:
        for name in NODE_PROGRAMS:
            find(name)
        cgroups.remove(cgroups.create(f"kcp-trial-{os.getpid()}-{secrets.token_hex(4)}"))
        run("unshare", "--net", "--cgroup", *NAMESPACES, "sh", "-ec", _TRIAL)
    except (ClusterError, BinaryError) as error:
        return str(error)
    return None


def snapshotter(folder: Path) -> str:
    """``overlayfs`` where the file system of ``folder`` can carry it, else ``native`` (which copies every layer)."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".overlay-", dir=folder) as trial:
        places = {name: Path(trial, name) for name in ("lower", "upper", "work", "merged")}
        for place in places.values():
            place.mkdir()
        options = "lowerdir={lower},upperdir={upper},workdir={work}".format(**places)
        try:
            run("mount", "-t", "overlay", "-o", options, "overlay", places["merged"])
        except ClusterError:
            return "native"
        run("umount", places["merged"])
    return "overlayfs"
