"""The gate and CRDs: a shard sends objects of a workspace to the proxy alone, in the name of that workspace."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.mapping.wire import field
from tests.unit.mapping.support import TOKEN, P
from tests.unit.mapping.test_gate import CRDS, passes
from tests.unit.mapping.test_gate_bodies import message

CRD = f"{CRDS}/widgets.{P}example.com"
SECRET = "a-" + "a" * 41
GOOD = f"https://the-proxy/admission/convert/{TOKEN}/widgets2.the-example.com/{SECRET}/https://x/y"
WHERE = "/spec/conversion/webhook/clientConfig"


def crd(config: Any) -> dict[str, Any]:
    return {
        "metadata": {"name": f"widgets.{P}example.com"}, "spec": {"conversion": {"webhook": {"clientConfig": config}}},
    }  # fmt: skip


def binary(config: bytes) -> bytes:
    name = field(1, field(1, f"widgets.{P}example.com".encode()))
    return message(name, field(2, field(9, field(2, field(2, config)))))


def patch(path: str, value: Any) -> list[Any]:
    return [None, {"op": "add", "path": "/x", "value": 1}, {"op": "add", "path": path, "value": value}]


INSIDE = [
    ("POST", crd({"url": GOOD})), ("PUT", crd({"url": GOOD, "service": None})), ("PUT", crd({})), ("PUT", crd(None)),
    ("PUT", crd(["url"])), ("PUT", crd({"url": None})), ("PUT", {"spec": {"conversion": {"webhook": 1}}}),
    ("PUT", {"spec": {"url": "https://x"}}), ("PUT", {"spec": [1]}), ("PUT", b"{"), ("GET", b""),
    ("POST", binary(field(3, GOOD.encode()))), ("PATCH", patch(WHERE, {"url": GOOD})),
    ("PATCH", patch(f"{WHERE}/url", GOOD)), ("PATCH", patch("/spec/x/webhook/clientConfig/url", "https://x")),
    ("DELETE", crd({"url": "https://x"})),
]  # fmt: skip


@pytest.mark.parametrize(("method", "body"), INSIDE)
def test_inside(method: str, body: Any) -> None:
    assert passes(method, CRDS if method == "POST" else CRD, body, b"application/json" if body == b"{" else None)


URLS = [
    "https://x/", "", GOOD.replace(TOKEN, "kotheroth"), GOOD.replace(SECRET, "a" * 42),
    GOOD.replace("https://x", "http://x"),
    GOOD.replace("https://the", "http://the"), f"https://evil/{GOOD}", GOOD.replace("/admission", "/x/admission"),
    GOOD.replace("widgets2", "w/x"), GOOD.replace(SECRET, "a/" + "a" * 41), GOOD.replace("https://x", "https:/x"),
]  # fmt: skip
OUTSIDE = [
    *[(method, crd({"url": url})) for url in URLS for method in ("POST", "PUT", "PATCH")],
    *[("PATCH", patch(f"{WHERE}/url", url)) for url in URLS],
    ("PUT", crd({"url": GOOD, "service": {}})), ("POST", crd({"service": {"name": "x"}})),
    ("POST", binary(field(3, b"https://x"))), ("POST", binary(field(1, b""))),
    ("PUT", binary(field(3, GOOD.encode()) + field(1, b""))), ("PUT", b"\xff"),
    ("PATCH", patch("", crd({"url": "https://x/"}))),
    ("PATCH", patch("/spec/conversion", {"webhook": {"clientConfig": {"service": {}}}})),
]  # fmt: skip


@pytest.mark.parametrize(("method", "body"), OUTSIDE)
def test_outside(method: str, body: Any) -> None:
    assert not passes(method, CRDS if method == "POST" else CRD, body)


def test_only_crds() -> None:
    assert passes("PUT", f"/api/v1/namespaces/{P}a/configmaps/c", crd({"url": "https://x"}))
