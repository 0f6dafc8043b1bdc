"""What a WorkloadCluster, its Secret and its workspace say together; what is said of a cluster that does not work."""

from __future__ import annotations

import base64
import errno
from typing import Any

import pytest

from proxy.kube.errors import StatusError
from proxy.kube.networks import Guard, Networks
from proxy.push.probe import explained
from proxy.push.wanted import Object, is_push, wanted

SECRET = {"metadata": {"resourceVersion": "7"}, "data": {"kubeconfig": base64.b64encode(b"secret text").decode()}}
SERVER = "https://east:6443"


def cluster(**push: Any) -> Object:
    spec = {"push": {"secretRef": {"name": "east-kubeconfig"}, "resources": ["b", "a", "b"], **push}}
    return {"metadata": {"name": "k2345672a-east", "uid": "u"}, "spec": spec}


def asked(secret: Object | None = SECRET, **push: Any) -> Any:
    return wanted(cluster(**push), secret, shard="s", workspace="root:a", name="east")


def test_what_is_wanted() -> None:
    it = asked(onRemoval="delete", tunnel=True, syncUp=["pods"])
    assert (it.account, it.namespace, it.secret) == ("syncer-east", "default", "east-kubeconfig")
    assert it.resources == ("a", "b")
    assert (it.delete, it.tunnel, it.sync_up, it.version) == (True, True, ("pods",), "7")
    assert it.kubeconfig == b"secret text"
    assert "secret text" not in repr(it)


def test_only_what_matters_makes_a_difference() -> None:
    other = {**SECRET, "metadata": {"resourceVersion": "8"}}
    assert asked() == asked(other)
    assert asked() != asked({**SECRET, "data": {"kubeconfig": "YQ=="}})
    assert asked() != asked(tunnel=True)


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        (None, "SecretNotFound"),
        ({"metadata": {"resourceVersion": "1"}}, "SecretInvalid"),
        ({"metadata": {"resourceVersion": "1"}, "data": {"value": "YQ=="}}, "SecretInvalid"),
        ({"metadata": {"resourceVersion": "1"}, "data": {"kubeconfig": "*"}}, "SecretInvalid"),
    ],
)
def test_no_kubeconfig(secret: Object | None, reason: str) -> None:
    assert asked(secret).problem.reason == reason


def test_push_or_not() -> None:
    assert is_push(cluster())
    assert not is_push({"metadata": {}, "spec": {}})
    assert not is_push({"metadata": {}})


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, "Unauthorized"),
        (403, "Forbidden"),
        (404, "NotAnAPIServer"),
        (302, "NotAnAPIServer"),
        (503, "NotReachable"),
    ],
)  # fmt: skip
def test_what_is_said_of_an_answer(code: int, reason: str) -> None:
    said = explained(StatusError(code, "<html>what else is in your network"), SERVER, Guard(Networks()))
    assert said.reason == reason
    assert "html" not in said.message
    assert SERVER in said.message


def test_what_is_said_of_an_address() -> None:
    guard = Guard(Networks())
    with pytest.raises(OSError, match="127"):
        guard("127.0.0.1")
    said = explained(StatusError(503, "x"), SERVER, guard)
    assert said.reason == "AddressNotAllowed"
    assert "--allow-network" in said.message


def test_what_is_said_of_none() -> None:
    error = StatusError(503, "x")
    error.__cause__ = OSError(errno.EHOSTUNREACH, "no way")
    assert explained(error, SERVER, Guard(Networks())).reason == "NotReachable"
