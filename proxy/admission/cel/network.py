"""IP addresses and CIDRs, as Go's ``net/netip`` reads and writes them."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Any, ClassVar

from proxy.admission.cel.goquote import quoted
from proxy.admission.cel.values import CelError, Opaque, Type

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
_BITS = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class IP(Opaque):
    cel_type: ClassVar[Type] = Type("net.IP")
    address: Address

    def size(self) -> int:
        return self.address.max_prefixlen // 8


@dataclass(frozen=True, slots=True)
class CIDR(Opaque):
    cel_type: ClassVar[Type] = Type("net.CIDR")
    address: Address
    """With its host bits."""
    bits: int

    def size(self) -> int:
        return -(-self.bits // 8)

    def network(self) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
        return ipaddress.ip_network((int(self.address).to_bytes(self.address.max_prefixlen // 8), self.bits), False)

    def __str__(self) -> str:
        return f"{self.address}/{self.bits}"


def _address(text: str) -> Address:
    """Raises CelError, in the words of ``netip.ParseAddr``."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        raise CelError(f"ParseAddr({quoted(text)}): {_wrong(text)}") from None


def _wrong(text: str) -> str:
    first = next((mark for mark in text if mark in ".:%"), None)
    if first != ".":
        return "missing IPv6 address" if first == "%" else "unable to parse IP" if first is None else _wrong6(text)
    fields = text.split(".")
    for position, part in enumerate(fields):
        rest = ".".join(fields[position:])
        for at, mark in enumerate(part):
            if not "0" <= mark <= "9":
                return f"unexpected character (at {quoted(rest[at:])})"
        if not part:
            return f"IPv4 field must have at least one digit (at {quoted('.' + rest if position else rest)})"
        if len(part) > 1 and part[0] == "0":
            return "IPv4 field has octet with leading zero"
        if int(part[:9]) > 255:
            return "IPv4 field has value >255"
        if position == 3 and len(fields) > 4:
            return "IPv4 address too long"
    return "IPv4 address too short"


def _wrong6(text: str) -> str:
    for mark in text:
        if mark not in "0123456789abcdefABCDEF:.%":
            return f"unexpected character, want colon (at {quoted(text[text.index(mark) :])})"
    return "address string too short"


def parse(text: str) -> IP:
    """Raises CelError."""
    try:
        address = _address(text)
    except CelError as error:
        raise CelError(f"IP Address {quoted(text)} parse error during conversion from string: {error}") from None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            raise CelError(f"IP address {quoted(text)} with zone value is not allowed")
        if address.ipv4_mapped is not None:
            raise CelError(f"IPv4-mapped IPv6 address {quoted(text)} is not allowed")
    return IP(address)


def parse_cidr(text: str) -> CIDR:
    """Raises CelError."""
    wrong = "network address parse error during conversion from string: "
    address, slash, bits = text.rpartition("/")
    if not slash:
        raise CelError(f"{wrong}{wrong}netip.ParsePrefix({quoted(text)}): no '/'")
    try:
        found = _address(address)
    except CelError as error:
        raise CelError(f"{wrong}{wrong}netip.ParsePrefix({quoted(text)}): {error}") from None
    if isinstance(found, ipaddress.IPv6Address):
        if found.scope_id is not None:
            raise CelError(f"{wrong}{wrong}netip.ParsePrefix({quoted(text)}): IPv6 zones cannot be present in a prefix")
        if found.ipv4_mapped is not None:
            raise CelError(f"{wrong}IPv4-mapped IPv6 address {quoted(text)} is not allowed")
    if not _BITS.fullmatch(bits):
        raise CelError(f"{wrong}{wrong}netip.ParsePrefix({quoted(text)}): bad bits after slash: {quoted(bits)}")
    if int(bits) > found.max_prefixlen:
        raise CelError(f"{wrong}{wrong}netip.ParsePrefix({quoted(text)}): prefix length out of range")
    return CIDR(found, int(bits))


def _is_ip(text: str) -> bool:
    try:
        parse(text)
    except CelError:
        return False
    return True


def _is_cidr(text: str) -> bool:
    try:
        parse_cidr(text)
    except CelError:
        return False
    return True


def _contains_ip(cidr: CIDR, ip: IP) -> bool:
    return ip.address.version == cidr.address.version and ip.address in cidr.network()


def _contains_cidr(cidr: CIDR, other: CIDR) -> bool:
    return other.bits >= cidr.bits and _contains_ip(cidr, IP(other.address))


def _is_global(ip: IP) -> bool:
    address = ip.address
    broadcast = address.version == 4 and int(address) == (1 << 32) - 1
    return not (
        address.is_unspecified or address.is_loopback or address.is_multicast or _is_link_local(ip) or broadcast
    )


def _is_link_local(ip: IP) -> bool:
    return ip.address.is_link_local


def _is_link_local_multicast(ip: IP) -> bool:
    number = int(ip.address)
    return number >> 8 == 0xE00000 if ip.address.version == 4 else number >> 112 & 0xFF0F == 0xFF02


FUNCTIONS: dict[str, Any] = {
    "ip": {(str,): parse, (CIDR,): lambda cidr: IP(cidr.address)},
    "isIP": {(str,): _is_ip},
    "ip.isCanonical": {(str,): lambda text: str(parse(text).address) == text},
    "family": {(IP,): lambda ip: ip.address.version},
    "isUnspecified": {(IP,): lambda ip: ip.address.is_unspecified},
    "isLoopback": {(IP,): lambda ip: ip.address.is_loopback},
    "isLinkLocalMulticast": {(IP,): _is_link_local_multicast},
    "isLinkLocalUnicast": {(IP,): _is_link_local},
    "isGlobalUnicast": {(IP,): _is_global},
    "cidr": {(str,): parse_cidr},
    "isCIDR": {(str,): _is_cidr},
    "containsIP": {(CIDR, IP): _contains_ip, (CIDR, str): lambda cidr, text: _contains_ip(cidr, parse(text))},
    "containsCIDR": {
        (CIDR, CIDR): _contains_cidr,
        (CIDR, str): lambda cidr, text: _contains_cidr(cidr, parse_cidr(text)),
    },
    "prefixLength": {(CIDR,): lambda cidr: cidr.bits},
    "masked": {(CIDR,): lambda cidr: CIDR(cidr.network().network_address, cidr.bits)},
    "string": {(IP,): lambda ip: str(ip.address), (CIDR,): str},
}
