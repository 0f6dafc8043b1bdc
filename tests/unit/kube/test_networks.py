"""Where a tenant's kubeconfig may lead."""

from __future__ import annotations

import pytest

from proxy.kube.networks import Guard, Networks, NotAllowed, plain

OWN = ("10.0.0.5", "127.0.0.1", "2001:db8::5")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.1", "::1", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "224.0.0.1",
        "255.255.255.255", "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
        # The same in other clothes.
        "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1",
        "2001:0:1234::1",
        *OWN,
    ],
)  # fmt: skip
def test_never(address: str) -> None:
    guard = Guard(Networks(own=OWN))
    with pytest.raises(NotAllowed):
        guard(address)
    assert guard.refused == address


@pytest.mark.parametrize("address", ["8.8.8.8", "10.0.0.6", "192.168.1.1", "2001:db8::6", "fd12::1", "2002:808:808::1"])
def test_otherwise(address: str) -> None:
    guard = Guard(Networks(own=OWN))
    guard(address)
    assert not guard.refused


def test_the_smallest_network_decides() -> None:
    networks = Networks(
        allowed=["127.0.0.0/8", "10.1.2.0/24", "169.254.0.0/17"],
        denied=["10.1.0.0/16", "127.0.0.0/9"],
        own=["10.1.2.3"],
    )
    allowed = {
        "127.0.0.1": False, "127.200.0.1": True, "10.1.2.9": True, "10.1.3.9": False, "10.1.2.3": False,
        "169.254.1.1": True, "169.254.169.254": False,
    }  # fmt: skip
    assert {address: networks.allows(address) for address in allowed} == allowed


def test_what_the_operator_denies_goes_before_what_the_operator_allows() -> None:
    assert not Networks(allowed=["10.0.0.0/8"], denied=["10.0.0.0/8"]).allows("10.1.1.1")
    assert Networks(allowed=["127.0.0.1/32"], own=["127.0.0.1"]).allows("127.0.0.1")


def test_no_network() -> None:
    with pytest.raises(ValueError, match="host bits"):
        Networks(allowed=["127.0.0.1/8"])


def test_plain() -> None:
    assert str(plain("::ffff:10.0.0.1")) == "10.0.0.1"
    assert str(plain("2001:db8::1")) == "2001:db8::1"
