"""This machine's addresses and free ports."""

from __future__ import annotations

import ipaddress
import socket

import pytest

from proxy.shard.addresses import (
    PORTS,
    default_address,
    free_port,
    interface_addresses,
    is_any,
    port_is_free,
    url_host,
)


def test_interfaces_have_loopback_and_no_link_local() -> None:
    found = interface_addresses()
    assert "127.0.0.1" in found
    assert not any(ipaddress.ip_address(address).is_link_local for address in found)


def test_default_address_is_one_of_them() -> None:
    address = default_address()
    assert address is None or address in interface_addresses()


def test_taken_port_is_not_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert not port_is_free("127.0.0.1", port)
    assert port_is_free("127.0.0.1", port)


def test_free_port_is_out_of_the_way_of_outgoing_connections() -> None:
    assert free_port() in PORTS
    assert max(PORTS) < 32768


@pytest.mark.parametrize(("host", "expected"), [("a.b", "a.b"), ("127.0.0.1", "127.0.0.1"), ("::1", "[::1]")])
def test_url_host(host: str, expected: str) -> None:
    assert url_host(host) == expected


@pytest.mark.parametrize(("host", "expected"), [("0.0.0.0", True), ("::", True), ("127.0.0.1", False), ("::1", False)])  # noqa: S104
def test_is_any(host: str, expected: bool) -> None:
    assert is_any(host) is expected
