"""This machine's own addresses, and free ports."""

from __future__ import annotations

import fcntl
import ipaddress
import random
import socket
import struct
from pathlib import Path

_SIOCGIFADDR = 0x8915
PORTS = range(16400, 32700)
"""Below the range from which outgoing connections take theirs (Linux: 32768 and up): a port that is remembered here
stays free while its program restarts."""


def interface_addresses() -> list[str]:
    """All addresses of this machine's interfaces but link-local ones, sorted."""
    found = set()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        for _, name in socket.if_nameindex():
            try:
                answer = fcntl.ioctl(probe, _SIOCGIFADDR, struct.pack("256s", name.encode()[:15]))
            except OSError:
                continue  # an interface without an IPv4 address
            found.add(socket.inet_ntoa(answer[20:24]))
    try:
        for line in Path("/proc/net/if_inet6").read_text().splitlines():
            found.add(str(ipaddress.IPv6Address(int(line.split()[0], 16))))
    except OSError:
        pass  # no IPv6
    return sorted(address for address in found if not ipaddress.ip_address(address).is_link_local)


def default_address() -> str | None:
    """The address from which this machine reaches others, or None without a default route."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # TEST-NET-1; nothing is sent: connecting UDP only chooses the route
        except OSError:
            return None
        address: str = probe.getsockname()[0]
        return address


def is_any(address: str) -> bool:
    """Whether ``address`` means all interfaces."""
    return address in ("", "0.0.0.0", "::")  # noqa: S104


def url_host(host: str) -> str:
    """``host`` as it stands in a URL: IPv6 in brackets."""
    return f"[{host}]" if ":" in host else host


def port_is_free(address: str, port: int) -> bool:
    """Whether a server could listen there now."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((address, port))
        except OSError:
            return False
        return True


def free_port(address: str = "127.0.0.1") -> int:
    """A port that nobody listens on now. Raises OSError if there is none."""
    for port in random.sample(PORTS, 200):
        if port_is_free(address, port):
            return port
    raise OSError(f"no free port on {address}")
