"""Kubeconfigs of tenants: what is used of them, and what is refused."""

from __future__ import annotations

import base64
import copy
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.push.untrusted import Refused, read
from proxy.shard.pki import Authority

CONFIG: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Config",
    "current-context": "here",
    "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u"}}],
    "clusters": [{"name": "c", "cluster": {"server": "https://east.example.com:6443"}}],
    "users": [{"name": "u", "user": {"token": "sesame"}}],
}


def nothing(address: str) -> None:
    """No guard."""


def changed(cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> bytes:
    config = copy.deepcopy(CONFIG)
    config["clusters"][0]["cluster"] |= cluster or {}
    config["users"][0]["user"] |= user or {}
    return yaml.safe_dump(config).encode()


def refusal(text: bytes, **options: bool) -> str:
    with pytest.raises(Refused) as caught:
        read(text, nothing, **options)
    return str(caught.value)


@pytest.mark.parametrize("text", [yaml.safe_dump(CONFIG).encode(), json.dumps(CONFIG).encode()])
def test_what_is_used(text: bytes) -> None:
    connection = read(text, nothing)
    assert connection.server == "https://east.example.com:6443"
    assert connection.token == "sesame"
    assert connection.guard is nothing
    assert "sesame" not in repr(connection)


def test_empty_fields_are_none() -> None:
    assert read(changed(user={"client-certificate": "", "exec": None}), nothing).token == "sesame"


@pytest.mark.parametrize(
    ("cluster", "user", "words"),
    [
        ({}, {"exec": {"command": "/bin/sh"}}, "'exec', which would run a program"),
        ({}, {"auth-provider": {"name": "gcp", "config": {"cmd-path": "/bin/sh"}}}, "'auth-provider'"),
        ({}, {"tokenFile": "/etc/shadow"}, "'tokenFile', which names a file"),
        ({}, {"client-certificate": "/etc/passwd"}, "'client-certificate', which names a file"),
        ({}, {"client-key": "../id_rsa"}, "'client-key', which names a file"),
        ({"certificate-authority": "/etc/passwd"}, {}, "'certificate-authority', which names a file"),
        ({"proxy-url": "http://127.0.0.1:3128"}, {}, "'proxy-url', which would send kcp elsewhere"),
        ({"insecure-skip-tls-verify": True}, {}, "'insecure-skip-tls-verify'"),
        ({}, {"as": "admin"}, "'as', which is not among"),
        ({}, {"as-groups": ["system:masters"]}, "'as-groups', which is not among"),
        ({}, {"password": "p"}, "'password', which is not among"),
        ({"future-field": "x"}, {}, "'future-field', which is not among"),
    ],
)
def test_what_would_act_here(cluster: dict[str, Any], user: dict[str, Any], words: str) -> None:
    assert words in refusal(changed(cluster, user))


@pytest.mark.parametrize(
    "server",
    [
        "http://east.example.com", "file:///etc/passwd", "ftp://east.example.com", "unix:///run/docker.sock", "", None,
        7, "https://", "https://a b", "https://u:p@east.example.com", "https://u@east.example.com",
        "https://east.example.com?x=1", "https://east.example.com#x", "https://east.example.com:0",
        "https://east.example.com:99999", "https://east.example.com/../x", "https://east.example.com/%2e%2e",
        "https://east.example.com\n.other.example", "https://[::1", "https://east.example.com\\@other.example",
        "https://-x",
        "https://2130706433", "https://0x7f000001", "https://127.1",
        "https://0177.0.0.1", "https://[fe80::1%25eth0]", "east.example.com:6443",
    ],
)  # fmt: skip
def test_servers(server: Any) -> None:
    assert "server" in refusal(changed({"server": server}))


@pytest.mark.parametrize(
    "server", ["https://10.0.0.1:6443", "https://[2001:db8::1]:6443", "https://rancher.example/k8s/clusters/c-1"]
)
def test_good_servers(server: str) -> None:
    assert read(changed({"server": server}), nothing).server == server


def test_what_the_operator_allows() -> None:
    connection = read(
        changed({"server": "http://east", "insecure-skip-tls-verify": True}), nothing, allow_insecure=True
    )
    assert connection.insecure
    assert connection.server == "http://east"


@pytest.mark.parametrize(
    "user",
    [{"token": "a\r\nX-Remote-User: admin"}, {"token": ["a"]}, {"token": "ü"}, {"token": ""}],
)
def test_tokens(user: dict[str, Any]) -> None:
    said = refusal(changed(user=user))
    assert "token" in said
    assert "admin" not in said


@pytest.mark.parametrize(
    "text", [b"", b"[" * 100_000, b"\xff\xfe", b"a: b: c", b"just text", b"[]", b"{}", b"x" * 200_000]
)
def test_what_is_none(text: bytes) -> None:
    assert "kubeconfig" in refusal(text)


def test_names_that_lead_nowhere() -> None:
    for kind in ("contexts", "clusters", "users"):
        assert "has no" in refusal(json.dumps({**CONFIG, kind: []}).encode())
        assert "has no" in refusal(json.dumps({**CONFIG, kind: {"name": "here"}}).encode())


def test_certificates(tmp_path: Path) -> None:
    pair = Authority(tmp_path, "some").client("some", user="alice")
    data = {
        "client-certificate-data": base64.b64encode(pair.cert_file.read_bytes()).decode(),
        "client-key-data": base64.b64encode(pair.key_file.read_bytes()).decode(),
        "token": None,
    }
    assert read(changed(user=data), nothing).client_key_data
    for key, value in (
        ("client-key-data", "bm90IGEga2V5"),
        ("client-key-data", base64.b64encode(_encrypted(pair.key_file.read_bytes())).decode()),
        ("client-certificate-data", "bm90"),
        ("client-key-data", "***"),
    ):
        said = refusal(changed(user={**data, key: value}))
        assert "used" in said or "base64" in said
    assert "used" in refusal(changed({"certificate-authority-data": "bm90"}))


def _encrypted(pem: bytes) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    key = load_pem_private_key(pem, None)
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret"))
