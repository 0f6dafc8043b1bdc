"""Conversion webhooks on their detour by the proxy: there, and back again however an answer is cut."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.detours import Converter, Detour, Undetoured, asked_at, asked_of, without_detours
from proxy.mapping.gate import gate
from proxy.mapping.paths import parse
from proxy.mapping.protobuf import MAGIC, open_envelope
from proxy.mapping.request import map_request
from proxy.mapping.stream import strip_bytes
from proxy.mapping.wire import field
from tests.unit.mapping.support import TOKEN, P, Scopes

DETOUR = Detour("https://proxy:6443", b"-----BEGIN CERTIFICATE-----\n", b"key")
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
NAME, ON_SHARD = "widgets.example.com", f"widgets.{P}example.com"
URL, BUNDLE = "https://hooks.example.com/a%20b", base64.b64encode(b"authorities").decode()
FRONT = DETOUR.url(TOKEN, NAME, "")
WHERE = "/spec/conversion/webhook/clientConfig"


def crd(config: Any, name: str = NAME) -> dict[str, Any]:
    webhook = {"clientConfig": config, "conversionReviewVersions": ["v1"]}
    conversion = {"strategy": "Webhook", "webhook": webhook}
    return {"metadata": {"name": name}, "spec": {"group": "example.com", "conversion": conversion}}


def mapped(body: Any, method: str = "POST", kind: str = "application/json", detour: Detour | None = DETOUR) -> Any:
    target = CRDS if method == "POST" else f"{CRDS}/{NAME}"
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    headers = [(b"content-type", kind.encode())]
    info = parse(method.encode(), target.encode())
    made = map_request(info, TOKEN, method=method.encode(), headers=headers, body=raw, scopes=Scopes(), detour=detour)
    gate(method.encode(), made.target, made.body, TOKEN, kind.encode())
    return made.body if kind.endswith("protobuf") else orjson.loads(made.body)


def config_of(obj: Any) -> Any:
    return obj["spec"]["conversion"]["webhook"]["clientConfig"]


@pytest.mark.parametrize("kind", ["application/json", "application/yaml"])
def test_what_a_workspace_writes(kind: str) -> None:
    config = config_of(mapped(crd({"url": URL, "caBundle": BUNDLE}), kind=kind))
    assert config["url"] == FRONT + URL
    read = base64.b64decode(config["caBundle"])
    assert DETOUR.authorities in read
    assert read.endswith(b"\nauthorities")
    assert "caBundle" not in config_of(mapped(crd({"url": URL}), kind=kind))
    assert config_of(mapped(crd({"url": URL, "caBundle": ""})))["caBundle"] is None
    assert config_of(mapped(crd({"url": URL, "caBundle": "%"})))["caBundle"] == "%"


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        (f"{WHERE}/url", URL, FRONT + URL),
        (f"{WHERE}/caBundle", BUNDLE, DETOUR.bundle + BUNDLE),
        (WHERE, {"url": URL}, {"url": FRONT + URL}),
        ("/spec/conversion/webhook", {"clientConfig": {"url": URL}}, {"clientConfig": {"url": FRONT + URL}}),
    ],
)
def test_json_patches(path: str, value: Any, expected: Any) -> None:
    patch = [{"op": "replace", "path": path, "value": value}]
    (operation,) = mapped(patch, "PATCH", "application/json-patch+json")
    assert operation == {"op": "replace", "path": path, "value": expected}


def test_a_protobuf_body() -> None:
    def body(url: bytes, bundle: bytes, name: bytes, group: bytes) -> bytes:
        webhook = field(3, b"v1") + field(2, field(2, bundle) + field(3, url))
        spec = field(1, group) + field(9, field(1, b"Webhook") + field(2, webhook))
        return field(1, field(1, name)) + field(2, spec)

    type_meta = field(1, b"apiextensions.k8s.io/v1") + field(2, b"CustomResourceDefinition")
    plain = body(URL.encode(), b"authorities", NAME.encode(), b"example.com")
    sent = MAGIC + field(1, type_meta) + field(2, plain)
    made = open_envelope(mapped(sent, kind="application/vnd.kubernetes.protobuf"))[1]
    bundle = base64.b64decode(DETOUR.bundle + BUNDLE)
    for part in ((FRONT + URL).encode(), bundle, ON_SHARD.encode(), f"{P}example.com".encode()):
        assert part in made
    service = field(2, field(1, b""))
    spec = field(9, field(1, b"Webhook") + field(2, service))
    sent = MAGIC + field(1, type_meta) + field(2, field(1, field(1, NAME.encode())) + field(2, spec))
    with pytest.raises(StatusError, match="have no endpoints"):
        mapped(sent, kind="application/vnd.kubernetes.protobuf")


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"url": ""}, "'https' is the only allowed URL scheme"),
        ({"url": "http://x/"}, "\"http\": 'https' is the only allowed URL scheme"),
        ({"url": "https:///x"}, '"": host must be specified'),
        ({"url": "https://u:p@x/"}, '"u:p": user information is not permitted'),
        ({"url": "https://x/?a=b#c"}, '"a=b": query parameters are not permitted'),
        ({"url": "https://x/%zz"}, "url must be a valid URL"),
        ({"url": "https://x y/"}, "url must be a valid URL"),
        ({"url": "https://x/\n"}, "url must be a valid URL"),
        ({"service": {"name": "x"}}, "services of a workspace have no endpoints"),
        ({"service": {}}, "services of a workspace have no endpoints"),
        ({"url": FRONT + URL}, "reserved in this workspace"),
    ],
)
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_refused(method: str, config: Any, said: str) -> None:
    kind = "application/json" if method == "POST" else "application/merge-patch+json"
    with pytest.raises(StatusError) as caught:
        mapped(crd(config), method, kind)
    assert caught.value.code == 422
    assert said in caught.value.message


@pytest.mark.parametrize(
    "body",
    [
        crd({"url": URL}),
        {"spec": {"conversion": {"strategy": "Webhook"}}},
        {"spec": {"conversion": {"webhook": {"clientConfig": {}}}}},
    ],
)
def test_a_shard_that_cannot_ask(body: Any) -> None:
    with pytest.raises(StatusError, match="conversion webhooks are switched off") as caught:
        mapped(body, "PATCH", "application/merge-patch+json", None)
    assert caught.value.code == 422
    none = {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
    assert mapped(none, "PATCH", "application/merge-patch+json", None) == none


texts = st.one_of(st.just(""), st.just(BUNDLE), st.just(DETOUR.bundle), st.just(DETOUR.bundle + BUNDLE))


@given(bundle=st.none() | texts, last=st.booleans(), first=st.booleans(), cut=st.integers(1, 300))
def test_back_again(bundle: str | None, last: bool, first: bool, cut: int) -> None:
    """Also where the workspace has written what looks like ours, and inside of kubectl's annotation."""
    config = {"url": URL, **({"caBundle": bundle} if bundle is not None else {})}
    written = crd(config)
    if last:
        inner = json.dumps(crd(config), sort_keys=True, separators=(",", ":")) + "\n"
        written["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": inner}
    there = mapped(written)
    on_shard = config_of(there)
    on_shard["caBundle"] = on_shard.get("caBundle") or DETOUR.bundle  # as the shard's policy does
    if first:
        there["spec"]["conversion"]["webhook"]["clientConfig"] = dict(sorted(on_shard.items()))
    data = orjson.dumps(there)
    filtered = Undetoured(TOKEN)
    pieces = [filtered.feed(data[at : at + cut]) for at in range(0, len(data), cut)]
    seen = orjson.loads(strip_bytes(b"".join(pieces) + filtered.flush(), TOKEN))
    if not bundle:
        config.pop("caBundle", None)
    assert config_of(seen) == config
    assert strip_bytes(without_detours(data, TOKEN), TOKEN) == orjson.dumps(seen)
    if last and bundle != "":
        assert seen["metadata"]["annotations"] == written["metadata"]["annotations"]


def test_others_of_the_same_look_stay() -> None:
    other = json.dumps({"url": FRONT.replace(TOKEN, "kotheroth") + URL, "caBundle": BUNDLE}).encode()
    assert without_detours(other, TOKEN) == other


def test_a_status_loses_what_the_shard_has_called() -> None:
    message = f'conversion webhook failed: Post \\"{FRONT}{URL}?timeout=30s\\": refused'
    for before in ('{"kind":"Status",', '{"type":"ERROR","object":{"kind":"Status",'):
        data = f'{before}"message":"{message}"'.encode()
        assert strip_bytes(data, TOKEN) == f'{before}"message":"{message}"'.replace(FRONT, "").encode()


def test_what_a_shard_asks_with() -> None:
    asked = asked_at(FRONT + URL)
    assert asked is not None
    assert (asked.token, asked.crd) == (TOKEN, NAME)
    assert asked == asked_of(FRONT.removeprefix("https://proxy:6443").encode() + b"https://x/?timeout=30s")
    converter = Converter.of({"spec": crd({"url": FRONT + URL, "caBundle": DETOUR.bundle + BUNDLE})["spec"]})
    assert converter is not None
    assert converter.answers(asked)
    assert converter.config() == {"url": URL, "caBundle": BUNDLE}
    assert converter.on(DETOUR) == converter
    moved = converter.on(Detour("https://other", b"other", b"new"))
    assert moved.config() == converter.config()
    assert not moved.answers(asked)
    for url in (URL, "", FRONT[:-2], FRONT.replace("/convert/", "/mutate/")):
        assert asked_at(url) is None
        assert Converter.of(crd({"url": url})) is None
    assert Converter.of({"spec": {"conversion": {"strategy": "None"}}}) is None
    assert len({DETOUR.secret(TOKEN, NAME), DETOUR.secret("kotheroth", NAME), DETOUR.secret(TOKEN, "x.y")}) == 3
