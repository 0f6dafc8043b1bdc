"""Where ``default/kubernetes`` leads."""

from __future__ import annotations

import pytest

from proxy.tenancy.endpoint import ENDPOINTS, SERVICES, SLICES, addresses_of, objects


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("192.0.2.7", ("IPv4", ["192.0.2.7"])),
        ("2001:db8::1", ("IPv6", ["2001:db8::1"])),
        ("kcp.example.com", ("FQDN", ["kcp.example.com"])),
        ("localhost", ("IPv4", [])),
        ("127.0.0.1", ("IPv4", [])),
        ("::1", ("IPv6", [])),
        ("169.254.1.1", ("IPv4", [])),
    ],
)
def test_only_what_an_apiserver_takes_stands_in_a_slice(host: str, expected: tuple[str, list[str]]) -> None:
    assert addresses_of(host) == expected


def test_objects_of_an_address() -> None:
    found = dict(objects("https://192.0.2.7:7443"))
    assert found[SERVICES]["spec"]["ports"][0]["targetPort"] == 7443
    assert found[SLICES]["endpoints"][0]["addresses"] == ["192.0.2.7"]
    assert found[ENDPOINTS]["subsets"][0]["ports"][0]["port"] == 7443


def test_a_name_has_no_endpoints() -> None:
    assert ENDPOINTS not in dict(objects("https://kcp.example.com"))
