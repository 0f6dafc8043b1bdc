"""The bridge between this machine and the clusters of one root folder.

It carries nothing but: this machine to a cluster's node, and a node or its pods to the ports of the bridge's own
address that were allowed to them. Nodes do not see each other (isolated bridge ports) and have no other route.
The kernel itself keeps to whom a bridge belongs (its alias), so that none is left when files are.
"""

from __future__ import annotations

import contextlib
import fcntl
import ipaddress
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.clusters.errors import ClusterError
from tests.clusters.system import ip, run

PREFIX_LENGTH = 24
_OWNER = "physical clusters in "
_LOCK = Path("/run/lock/kcp-clusters")


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge that is up."""

    link: str
    address: str
    """Of this machine on it, e.g. ``10.231.0.1``: where pods find servers of this machine."""

    def node_address(self, number: int) -> str:
        """Of the cluster with this number (0 and up)."""
        return str(ipaddress.ip_address(self.address) + 10 + number)


def find(root: Path) -> Bridge | None:
    """The bridge of ``root``, if there is one."""
    for link, owner in _bridges():
        if owner == root:
            for entry in ip("-4", "addr", "show", "dev", link):
                for address in entry.get("addr_info", ()):
                    return Bridge(link, address["local"])
            _delete(link)  # whoever made it was killed before it had its address
    return None


def ensure(root: Path) -> Bridge:
    """The bridge of ``root``, made if need be, in a range that this machine does not use: mostly 10.231.0.0/24."""
    with _locked():
        remove_abandoned()
        bridge = find(root)
        if bridge is None:
            number, network = _free_range()
            bridge = Bridge(f"kcp{number}", str(network[1]))
            run("ip", "link", "add", bridge.link, "type", "bridge")
            run("ip", "link", "set", bridge.link, "alias", f"{_OWNER}{root}")
            without_ipv6(bridge.link)
            run("ip", "addr", "add", f"{bridge.address}/{PREFIX_LENGTH}", "dev", bridge.link)
            run("ip", "link", "set", bridge.link, "up")
        return bridge


def remove(root: Path) -> None:
    """Delete the bridge of ``root`` if there is one; its users' links stay behind unconnected."""
    with _locked():
        for link, owner in _bridges():
            if owner == root:
                _delete(link)


def remove_abandoned() -> None:
    """Delete bridges whose root folder is gone."""
    for link, owner in _bridges():
        if not owner.exists():
            _delete(link)


def connect(bridge: Bridge, address: str, pid: int) -> str:
    """Put one end of a new cable into the network namespace of ``pid`` as ``eth0``, the other into the bridge.

    Returns the name of the latter. It vanishes with the namespace.
    """
    link = cable(bridge, address)
    disconnect(link)
    run("ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", str(pid))
    without_ipv6(link)
    run("ip", "link", "set", link, "master", bridge.link, "up")
    run("ip", "link", "set", "dev", link, "type", "bridge_slave", "isolated", "on")
    return link


def cable(bridge: Bridge, address: str) -> str:
    """Name of this machine's end of the cable to the node with ``address``."""
    return f"{bridge.link}-{address.rpartition('.')[2]}"


def disconnect(link: str) -> None:
    """Delete a cable, if it is there."""
    if any(entry["ifname"] == link for entry in ip("link", "show", "type", "veth")):
        # It may be on its way already: the kernel takes namespaces down in the background.
        with contextlib.suppress(ClusterError):
            run("ip", "link", "del", link)


def configure_node(*, address: str, gateway: str, ports: tuple[int, ...]) -> None:
    """Inside a cluster's network namespace: addresses, and a filter for what leaves it.

    New connections go to ``ports`` (TCP) of ``gateway`` and nowhere else. Waits for the cable for 20 s.
    """
    deadline = time.monotonic() + 20
    while not any(entry["ifname"] == "eth0" for entry in ip("link", "show")):
        if time.monotonic() > deadline:
            raise ClusterError("nobody connected the cluster's network")
        time.sleep(0.02)
    without_ipv6("eth0")
    run("ip", "link", "set", "lo", "up")
    run("ip", "addr", "add", f"{address}/{PREFIX_LENGTH}", "dev", "eth0")
    run("ip", "link", "set", "eth0", "up")
    Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
    run("iptables", "-N", "LEAVING")
    for port in ports:
        run("iptables", "-A", "LEAVING", "-d", gateway, "-p", "tcp", "--dport", str(port), "-j", "RETURN")
    run("iptables", "-A", "LEAVING", "-j", "REJECT")
    for chain in ("OUTPUT", "FORWARD"):
        run("iptables", "-A", chain, "-o", "eth0", "-m", "conntrack", "--ctstate", "NEW", "-j", "LEAVING")


def without_ipv6(link: str) -> None:
    """No link-local addresses: they would be a way to this machine that no filter looks at."""
    switch = Path("/proc/sys/net/ipv6/conf") / link / "disable_ipv6"
    if switch.exists():
        switch.write_text("1")


def _bridges() -> list[tuple[str, Path]]:
    return [
        (entry["ifname"], Path(entry["ifalias"].removeprefix(_OWNER)))
        for entry in ip("link", "show", "type", "bridge")
        if entry.get("ifalias", "").startswith(_OWNER)
    ]


def _free_range() -> tuple[int, ipaddress.IPv4Network]:
    taken = []
    for route in ip("-4", "route", "show", "table", "all"):
        if route["dst"] != "default":
            taken.append(ipaddress.ip_network(route["dst"], strict=False))
    links = {entry["ifname"] for entry in ip("link", "show")}
    for number in range(256):
        network = ipaddress.IPv4Network(f"10.231.{number}.0/{PREFIX_LENGTH}")
        if f"kcp{number}" not in links and not any(network.overlaps(other) for other in taken):
            return number, network
    raise ClusterError("every range in 10.231.0.0/16 is in use on this machine")


def _delete(link: str) -> None:
    for entry in ip("link", "show", "master", link):
        with contextlib.suppress(ClusterError):
            run("ip", "link", "del", entry["ifname"])
    with contextlib.suppress(ClusterError):
        run("ip", "link", "del", link)


@contextlib.contextmanager
def _locked() -> Iterator[None]:
    """Held while ranges are chosen: several roots may be at it at once."""
    _LOCK.parent.mkdir(parents=True, exist_ok=True)
    with _LOCK.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
