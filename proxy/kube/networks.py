"""Which addresses a tenant's kubeconfig or webhook may lead to: not this machine's own, nor those that it alone can
reach."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

NEVER = (
    "0.0.0.0/8",           # this host
    "127.0.0.0/8", "::1/128", "::/128",
    "169.254.0.0/16", "fe80::/10", "fec0::/10",  # link-local, metadata of most clouds among it
    "224.0.0.0/4", "ff00::/8", "240.0.0.0/4",    # multicast, reserved, broadcast
    "100.100.100.200/32", "168.63.129.16/32", "192.0.0.0/24",  # metadata of Alibaba, Azure, Oracle
    "fd00:ec2::/32", "fd20:ce::/32",             # metadata of EC2 and Google by IPv6
    "2001::/32",           # Teredo: leads to whatever a stranger's server says
)  # fmt: skip
"""Unless the operator allows them."""
_TRANSLATED = ipaddress.IPv6Network("64:ff9b::/96")
"""NAT64 (RFC 6052)."""


class NotAllowed(OSError):
    """An address that must not be connected to."""


class Networks:
    """The most specific network that an address is in decides; of two equal ones, what the operator denies, then what
    the operator allows, then what is built in. What is in none is allowed."""

    def __init__(self, *, allowed: Iterable[str] = (), denied: Iterable[str] = (), own: Iterable[str] = ()) -> None:
        """``own``: addresses of this machine. Raises ValueError for what is no network in CIDR notation."""
        rules: dict[Network, bool] = {ipaddress.ip_network(network): False for network in NEVER}
        rules |= {ipaddress.ip_network(each): False for each in own if not ipaddress.ip_address(each).is_loopback}
        rules |= {ipaddress.ip_network(network): True for network in allowed}
        rules |= {ipaddress.ip_network(network): False for network in denied}
        self._rules = sorted(rules.items(), key=lambda rule: -rule[0].prefixlen)

    def allows(self, text: str) -> bool:
        address = plain(text)
        return next((allowed for network, allowed in self._rules if address in network), True)


class Guard:
    """For `proxy.kube.config.Connection.guard`: remembers what it has refused, for a message that helps."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self.refused = ""

    def __call__(self, address: str) -> None:
        if not self._networks.allows(address):
            self.refused = address
            raise NotAllowed(f"{address} may not be connected to")


def plain(text: str) -> Address:
    """The address that is meant: IPv4 in IPv6, in any of its forms, is IPv4. Raises ValueError."""
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address in _TRANSLATED:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        return address.ipv4_mapped or address.sixtofour or address
    return address
