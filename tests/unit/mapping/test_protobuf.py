"""Protobuf bodies: the same as the JSON of the same object, on bytes written by Kubernetes' own serializer.

`samples.json` comes from ``samples.go``.
"""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.objects import map_object
from proxy.mapping.protobuf import MAGIC, map_protobuf, open_envelope, schema_of
from proxy.mapping.wire import Field, Schema, WireError, decode, encode, encode_varint, field, fields, varint
from tests.unit.mapping.support import TOKEN, P, context

SAMPLES: list[dict[str, Any]] = json.loads((Path(__file__).parent / "samples.json").read_text())
IDS = [sample["json"]["kind"] + " " + sample["path"].split("/")[2] for sample in SAMPLES]
MAPS = "/api/v1/namespaces/default/configmaps"


def projected(obj: Any, schema: Schema) -> dict[str, Any]:
    """The part of a JSON object that a schema names."""
    found: dict[str, Any] = {}
    for spec in schema.values():
        value = obj.get(spec.name) if isinstance(obj, dict) else None
        if value in (None, "", [], {}) or spec.raw:
            continue
        if spec.schema is None:
            found[spec.name] = value
        elif spec.repeated:
            found[spec.name] = [projected(item, spec.schema) for item in value]
        else:
            found[spec.name] = projected(value, spec.schema)
    return found


def pruned(obj: Any) -> Any:
    """Without what is empty, which protobuf and JSON leave out differently."""
    if isinstance(obj, dict):
        return {k: v for k, v in ((k, pruned(v)) for k, v in obj.items()) if v not in (None, "", [], {})}
    if isinstance(obj, list):
        return [pruned(item) for item in obj]
    return obj


def rest(content: bytes, schema: Schema) -> list[Any]:
    """All that a schema does not name, at any depth."""
    kept: list[Any] = []
    for number, _, whole, inner in fields(content):
        spec = schema.get(number)
        if spec is None:
            kept.append(whole)
        elif spec.schema is not None:
            kept.append((number, rest(inner, spec.schema)))
    return sorted(kept, key=repr)


@pytest.mark.parametrize("sample", SAMPLES, ids=IDS)
def test_the_same_as_json(sample: dict[str, Any]) -> None:
    where = context("POST", sample["path"])
    body = base64.b64decode(sample["protobuf"])
    mapped = map_protobuf(body, where)
    schema = schema_of(where.info, sample["json"]["kind"])
    meta, content = open_envelope(mapped)
    original_meta, original = open_envelope(body)
    wanted = map_object(json.loads(json.dumps(sample["json"])), where)
    raw_free = {number: spec for number, spec in schema.items() if spec.name not in ("status",)}
    there = decode(content, raw_free)
    if where.info.resource == "resourcequotas":
        assert list(there["spec"]["hard"]) == ["count/deployments.apps", f"count/widgets.{P}example.com", "pods"]
        del there["spec"]
        wanted.pop("spec")
    assert pruned(there) == pruned(projected(wanted, raw_free))
    assert meta == original_meta
    assert rest(content, schema) == rest(original, schema)
    assert TOKEN.encode() in content or TOKEN.encode() in body


def test_a_token_request_without_audiences_gets_one() -> None:
    sample = next(sample for sample in SAMPLES if sample["json"]["kind"] == "TokenRequest")
    mapped = map_protobuf(base64.b64decode(sample["protobuf"]), context("POST", sample["path"]))
    assert f"{P}https://kubernetes.default.svc".encode() in mapped
    empty = MAGIC + field(1, field(1, b"authentication.k8s.io/v1") + field(2, b"TokenRequest"))
    assert f"{P}https://kubernetes.default.svc".encode() in map_protobuf(empty, context("POST", sample["path"]))


def envelope(kind: str, content: bytes, *, more: bytes = b"") -> bytes:
    return MAGIC + field(1, field(1, b"v1") + field(2, kind.encode())) + field(2, content) + more


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", MAPS, envelope("Binding", b""), 415),
        ("POST", MAPS, envelope("", b""), 415),
        ("POST", MAPS, envelope("Unheard", b""), 415),
        ("POST", MAPS, envelope("ResourceQuota", b""), 415),
        # A kind of which only the metadata is mapped, where more would have to be.
        ("POST", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings", envelope("ConfigMap", b""), 415),
        ("POST", "/api/v1/namespaces/default/serviceaccounts/sa/token", envelope("ConfigMap", b""), 415),
        ("POST", "/apis/example.com/v1/planets", envelope("ConfigMap", b""), 415),
        ("DELETE", f"{MAPS}/a", envelope("ConfigMap", b""), 400),
        ("POST", MAPS, envelope("ConfigMap", b"", more=field(3, b"gzip")), 400),
        ("POST", MAPS, envelope("ConfigMap", b"", more=field(2, b"")), 400),
        ("POST", MAPS, envelope("ConfigMap", b"", more=field(1, b"")), 400),
        ("POST", MAPS, envelope("ConfigMap", b"", more=field(9, b"")), 400),
        ("POST", MAPS, b"k8s\x00", 400),
        ("POST", MAPS, b"k8sX", 400),
        ("POST", MAPS, b"{}", 400),
        ("POST", MAPS, envelope("ConfigMap", b"\x0a\x05ab"), 400),
        ("POST", MAPS, envelope("ConfigMap", b"\x0b"), 400),
        ("POST", MAPS, envelope("ConfigMap", b"\x08\x01"), 400),
        ("POST", MAPS, envelope("ConfigMap", b"\xff" * 11), 400),
        ("POST", MAPS, envelope("ConfigMap", field(1, field(3, b"\xff"))), 400),
        ("POST", MAPS, envelope("ConfigMap", field(1, b"") + field(1, field(3, b"other"))), 400),
    ],
)  # fmt: skip
def test_what_is_refused(method: str, path: str, body: bytes, code: int) -> None:
    with pytest.raises(StatusError) as caught:
        map_protobuf(body, context(method, path))
    assert caught.value.code == code


def test_delete_options_pass() -> None:
    body = envelope("DeleteOptions", b"\x08\x00" + field(4, b"Background"))
    assert map_protobuf(body, context("DELETE", f"{MAPS}/a")) == body


def test_a_scalar_that_comes_twice_is_the_last_one_for_both_sides() -> None:
    body = envelope("ConfigMap", field(1, field(3, b"first") + field(3, b"default")))
    mapped = map_protobuf(body, context("POST", MAPS))
    assert f"{P}default".encode() in mapped
    assert b"first" not in mapped


@given(st.integers(0, 2**64 - 1))
def test_varints(value: int) -> None:
    assert varint(encode_varint(value), 0) == (value, len(encode_varint(value)))


INNER: Schema = {1: Field("a"), 2: Field("b", repeated=True)}
OUTER: Schema = {
    1: Field("text"),
    2: Field("inner", INNER),
    3: Field("many", INNER, repeated=True),
    4: Field("map", map=True),
}
inner = st.fixed_dictionaries({}, optional={"a": st.text(max_size=5), "b": st.lists(st.text(max_size=5), min_size=1)})
outer = st.fixed_dictionaries(
    {},
    optional={
        "text": st.text(max_size=200),
        "inner": inner,
        "many": st.lists(inner, min_size=1, max_size=3),
        "map": st.dictionaries(st.text(max_size=3), st.text(max_size=3), min_size=1, max_size=3),
    },
)


@given(outer, outer)
def test_messages_come_back_with_what_is_not_known(first: dict[str, Any], second: dict[str, Any]) -> None:
    unknown = field(15, b"kept") + b"\x80\x01\x05" + b"\x8d\x01\x00\x00\x00\x00" + b"\x91\x01" + bytes(8)
    data = encode(unknown, OUTER, first)
    assert decode(data, OUTER) == first
    changed = encode(data, OUTER, {**first, **second})
    assert decode(changed, OUTER) == {**first, **second}
    assert unknown in changed


@settings(max_examples=300)
@given(st.binary(max_size=40), st.sampled_from(SAMPLES), st.integers(0, 400))
def test_damage_is_refused_or_harmless(noise: bytes, sample: dict[str, Any], at: int) -> None:
    body = base64.b64decode(sample["protobuf"])
    damaged = body[: at % len(body)] + noise + body[at % len(body) + len(noise) :]
    try:
        mapped = map_protobuf(damaged, context("POST", sample["path"]))
    except StatusError as error:
        code = error.code
        assert code in (400, 403, 415, 422)
    else:
        _, content = open_envelope(mapped)
        meta = decode(content, {1: Field("metadata", {3: Field("namespace")})}).get("metadata", {})
        assert not meta.get("namespace") or meta["namespace"].startswith(P)


def test_fields_have_an_end() -> None:
    with pytest.raises(WireError):
        fields(b"\x10\x01" * 200_001)


def test_nesting_has_an_end() -> None:
    deep: Schema = {}
    deep[1] = Field("again", deep)
    data = b""
    for _ in range(40):
        data = field(1, data)
    with pytest.raises(WireError):
        decode(data, deep)
