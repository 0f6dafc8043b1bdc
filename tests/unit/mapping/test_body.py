"""Bodies as bytes: encodings, malformed ones, and content that could not come back."""

from __future__ import annotations

import orjson
import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.body import UNKNOWN, map_body
from tests.unit.mapping.support import TOKEN, P, context

MAPS = "/api/v1/namespaces/default/configmaps"
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"


def refusal(method: str, path: str, body: bytes, content_type: str) -> StatusError:
    with pytest.raises(StatusError) as caught:
        map_body(body, content_type, context(method, path))
    return caught.value


def test_json_goes_on_as_json() -> None:
    body, media = map_body(
        b'{"metadata":{"namespace":"default"}}', "application/json; charset=utf-8", context("POST", MAPS)
    )
    assert (body, media) == (b'{"metadata":{"namespace":"k3fq7zn2a-default"}}', "application/json")
    assert map_body(b"{}", "", context("POST", MAPS)) == (b"{}", "application/json")


def test_yaml_goes_on_as_json() -> None:
    body, media = map_body(b"metadata: {namespace: default}\ndata: {a: '1'}", "application/yaml", context("POST", MAPS))
    assert orjson.loads(body) == {"metadata": {"namespace": f"{P}default"}, "data": {"a": "1"}}
    assert media == "application/json"


@pytest.mark.parametrize("body", [b'{"metadata":{"namespace":"default"}}', b"metadata:\n  namespace: default"])
def test_apply_configurations(body: bytes) -> None:
    mapped, media = map_body(body, APPLY, context("PATCH", f"{MAPS}/a"))
    assert orjson.loads(mapped) == {"metadata": {"namespace": f"{P}default"}}
    assert media == APPLY


@pytest.mark.parametrize("media", [MERGE, "application/strategic-merge-patch+json"])
def test_merge_patches(media: str) -> None:
    mapped = map_body(b'{"metadata":{"namespace":null,"labels":{"a":null}}}', media, context("PATCH", f"{MAPS}/a"))
    assert mapped == (b'{"metadata":{"namespace":null,"labels":{"a":null}}}', media)


def test_delete_options_of_a_private_group() -> None:
    options = b'{"kind":"DeleteOptions","apiVersion":"example.com/v1","propagationPolicy":"Foreground"}'
    mapped, _ = map_body(options, "application/json", context("DELETE", "/apis/example.com/v1/planets/p"))
    assert orjson.loads(mapped)["apiVersion"] == f"{P}example.com/v1"
    core, _ = map_body(b'{"apiVersion":"meta.k8s.io/v1"}', "application/json", context("DELETE", f"{MAPS}/a"))
    assert core == b'{"apiVersion":"meta.k8s.io/v1"}'


@pytest.mark.parametrize(
    ("method", "media"),
    [
        ("POST", MERGE), ("POST", "application/cbor"), ("POST", "text/plain"), ("PUT", APPLY),
        ("PATCH", "application/json"), ("PATCH", ""), ("PATCH", "application/apply-patch+cbor"),
        ("PATCH", "application/vnd.kubernetes.protobuf"), ("DELETE", "application/cbor"),
    ],
)  # fmt: skip
def test_content_types_that_the_verb_does_not_take(method: str, media: str) -> None:
    where = context(method, MAPS if method == "POST" else f"{MAPS}/a")
    # The shard says 415 in its own words; of the body, which nobody has looked at, it gets nothing.
    assert map_body(b'{"metadata":{"namespace":"other"}}', media, where) == (b"{}", UNKNOWN)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a":}', b"\xff", b"[]", b"1", b'"x"', b"null", b'{"a":NaN}', b"{}{}", b'{"a":01}',
             b'{"a":"\x01"}', b'{"a":"\\x"}', b"\xef\xbb\xbf{}"]
)  # fmt: skip
@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_what_is_no_json_object_to_anybody_is_refused_by_the_shard(method: str, body: bytes) -> None:
    where = context(method, MAPS if method == "POST" else f"{MAPS}/a")
    media = "application/json" if method == "POST" else MERGE
    assert map_body(body, media, where) == (body, media)


@pytest.mark.parametrize("body", [b'{"a":' * depth + b"1" + b"}" * depth for depth in (300, 2000)] + [b'{"a":1e999}'])
def test_json_that_some_would_read_is_refused(body: bytes) -> None:
    assert refusal("POST", MAPS, body, "application/json").code == 400


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b'{"metadata":{"namespace":"x\xff"}}', {"metadata": {"namespace": f"{P}x\ufffd"}}),
        (rb'{"metadata":{"namespace":"x\ud800"}}', {"metadata": {"namespace": f"{P}x\ufffd"}}),
    ],
)
def test_text_is_read_as_go_reads_it(body: bytes, read: object) -> None:
    assert orjson.loads(map_body(body, "application/json", context("POST", MAPS))[0]) == read


def test_nothing_is_a_token_request_for_the_shard_itself() -> None:
    where = context("POST", "/api/v1/namespaces/default/serviceaccounts/x/token")
    assert b'"audiences":["' + P.encode() in map_body(b"null", "application/json", where)[0]


@pytest.mark.parametrize("body", [b"a: [", b"a: 1\na: 2", b"\x00", b"a: \xff"])
def test_malformed_yaml(body: bytes) -> None:
    assert refusal("PATCH", f"{MAPS}/a", body, APPLY).code == 400


@pytest.mark.parametrize(
    ("method", "media", "body"),
    [
        ("POST", "application/json", b'{"data":{"a":"xk3fq7zn2a-b"}}'),
        ("POST", "application/json", b'{"data":{"k3fq7zn2a":"b"}}'),
        ("POST", "application/json", rb'{"data":{"a":"\u006b3fq7zn2a-"}}'),
        ("POST", "application/json", rb'{"data":{"a":"k3fq7zn2\u0061"}}'),
        ("PATCH", MERGE, rb'{"data":{"a":"k3fq7zn2\u0061-"}}'),
        ("PATCH", APPLY, rb'data: {a: "k3fq7zn2\x61-"}'),
        ("PATCH", APPLY, b"data: {a: k3fq7zn2a-x}"),
        ("PATCH", "application/json-patch+json", rb'[{"op":"add","path":"/data/\u006b3fq7zn2a","value":1}]'),
    ],
)
def test_the_token_itself_would_not_come_back(method: str, media: str, body: bytes) -> None:
    error = refusal(method, MAPS if method == "POST" else f"{MAPS}/a", body, media)
    assert (error.code, error.reason) == (422, "Invalid")
    assert TOKEN in error.message


def test_other_tokens_are_just_text() -> None:
    body, _ = map_body(b'{"metadata":{"namespace":"kotheroth-x"}}', "application/json", context("POST", MAPS))
    assert orjson.loads(body) == {"metadata": {"namespace": f"{P}kotheroth-x"}}


def test_fields_that_stand_twice() -> None:
    body = b'{"metadata":{"name":"a","name":"b"}}'
    # The last one counts, for the shard as well, which refuses it or warns.
    assert map_body(body, "application/json", context("POST", MAPS))[0] == b'{"metadata":{"name":null,"name":"b"}}'
    quota = b'{"spec":{"hard":{"count/w.a.b":"1","count/w.a.b":"2"}}}'
    mapped = map_body(quota, "application/json", context("POST", "/api/v1/namespaces/default/resourcequotas"))[0]
    assert mapped == f'{{"spec":{{"hard":{{"count/w.{P}a.b":null,"count/w.{P}a.b":"2"}}}}}}'.encode()
    # Of two objects the later one adds to the earlier one where Go reads a struct, and takes its place elsewhere.
    labels = b'{"metadata":{"labels":{"a":"1","b":"1"},"labels":{"b":"2"}}}'
    both = b'{"metadata":{"labels":null,"labels":{"a":"1","b":"2"}}}'
    assert map_body(labels, "application/json", context("POST", MAPS))[0] == both
    alone = b'{"metadata":{"labels":null,"labels":{"b":"2"}}}'
    assert map_body(labels, "application/merge-patch+json", context("PATCH", f"{MAPS}/a"))[0] == alone
    assert map_body(labels, "application/json", context("POST", "/apis/example.com/v1/widgets"))[0] == alone
    escaped = rb'{"data":{"a":"\u0022\/"}}'
    assert (
        map_body(escaped, "application/json", context("POST", f"{MAPS}?fieldValidation=Strict"))[0]
        == rb'{"data":{"a":"\"/"}}'
    )


def test_too_much_yaml() -> None:
    error = refusal("PATCH", f"{MAPS}/a", b"a: " + b"x" * (1 << 17), APPLY)
    assert (error.code, error.reason) == (413, "RequestEntityTooLarge")
    large = b'{"a":"' + b"x" * (1 << 20) + b'"}'
    assert map_body(large, APPLY, context("PATCH", f"{MAPS}/a"))[0] == large


def test_numbers_stay() -> None:
    body = b'{"a":[9223372036854775807,-9223372036854775808,1.5,0.1,1e100,true,null]}'
    mapped = map_body(body, "application/json", context("POST", MAPS))[0]
    assert mapped == body.replace(b"1e100", b"1e+100")
