"""Answers: ETag, compression, forms for people, negotiation."""

from __future__ import annotations

import gzip

import orjson
import pytest

from proxy.discovery.documents import Document, document, takes_gzip
from proxy.discovery.negotiate import JSON, OPENAPI_V2_PROTOBUF, discovery_form, openapi_form
from proxy.discovery.view import AGGREGATED, AGGREGATED_BETA
from proxy.kube.errors import StatusError
from proxy.server.messages import Reply, Request

LARGE = document({"a": "x" * 10000})
SMALL = document({"a": 1})


def ask(found: Document, *headers: tuple[bytes, bytes], target: bytes = b"/apis") -> tuple[Reply, dict[bytes, bytes]]:
    reply = found.reply(Request(b"GET", target, list(headers)))
    return reply, dict(reply.headers)


def test_etag() -> None:
    reply, headers = ask(SMALL)
    assert (reply.status, reply.body) == (200, b'{"a":1}\n')
    again, _ = ask(SMALL, (b"if-none-match", headers[b"etag"]))
    assert (again.status, again.body) == (304, b"")
    weak, _ = ask(SMALL, (b"if-none-match", b'"x", W/' + headers[b"etag"]))
    assert weak.status == 304
    other, _ = ask(LARGE, (b"if-none-match", headers[b"etag"]))
    assert other.status == 200


def test_never_for_shared_caches() -> None:
    assert ask(SMALL)[1][b"cache-control"] == b"no-cache, private"
    headers = dict(SMALL.reply(Request(b"GET", b"/", []), immutable=True).headers)
    assert headers[b"cache-control"].startswith(b"private, immutable")


def test_compression() -> None:
    reply, headers = ask(LARGE, (b"accept-encoding", b"deflate, gzip;q=0.5"))
    assert headers[b"content-encoding"] == b"gzip"
    assert gzip.decompress(reply.body) == LARGE.body
    assert ask(LARGE)[0].body == LARGE.body
    assert ask(SMALL, (b"accept-encoding", b"gzip"))[0].body == SMALL.body


def test_varies_with_what_was_negotiated() -> None:
    varies = [value for name, value in ask(SMALL)[0].headers if name == b"vary"]
    assert varies == [b"Accept", b"Accept-Encoding"]


@pytest.mark.parametrize(
    ("header", "taken"),
    [
        (b"", False), (b"gzip", True), (b"br, GZIP", True), (b"gzip;q=0", False), (b"gzip; q=0.0", False),
        (b"gzip;q=0.1", True), (b"gzipped", False), (b"identity", False),
    ],
)  # fmt: skip
def test_takes_gzip(header: bytes, taken: bool) -> None:
    assert takes_gzip(header) is taken


def test_people_get_it_indented() -> None:
    assert ask(SMALL, (b"user-agent", b"curl/8"))[0].body == b'{\n  "a": 1\n}'
    assert ask(SMALL, target=b"/apis?pretty=true")[0].body == b'{\n  "a": 1\n}'
    assert ask(SMALL, (b"user-agent", b"curl/8"), target=b"/apis?pretty=false")[0].body == SMALL.body


def test_binary_bodies_are_left_alone_for_people_too() -> None:
    binary = Document(b"\n\x032.0", OPENAPI_V2_PROTOBUF)
    assert ask(binary, (b"user-agent", b"curl/8"))[0].body == binary.body


KUBECTL = f"{AGGREGATED},{AGGREGATED_BETA},application/json".encode()


@pytest.mark.parametrize(
    ("accept", "aggregated", "form"),
    [
        (KUBECTL, True, AGGREGATED),
        (KUBECTL, False, JSON),
        (f"{AGGREGATED_BETA},application/json".encode(), True, AGGREGATED_BETA),
        (AGGREGATED_BETA.encode(), True, AGGREGATED_BETA),
        (b"application/json;as=APIGroupDiscoveryList;v=v2;g=apidiscovery.k8s.io", True, AGGREGATED),
        (b"application/json; g=apidiscovery.k8s.io; v=v3; as=APIGroupDiscoveryList, application/json", True, JSON),
        (f"{AGGREGATED};profile=nopeer".encode(), True, AGGREGATED),
        (b"", True, JSON),
        (b"*/*", True, JSON),
        (b"application/json, */*", True, JSON),
        (b"application/vnd.kubernetes.protobuf,application/json", True, JSON),
        (b"text/html,*/*;q=0.8", True, JSON),
    ],
)
def test_discovery_forms(accept: bytes, aggregated: bool, form: str) -> None:
    assert discovery_form(accept, aggregated) == form


@pytest.mark.parametrize(
    ("accept", "aggregated"),
    [(b"text/plain", True), (AGGREGATED.encode(), False), (b"application/vnd.kubernetes.protobuf", True)],
)
def test_discovery_form_that_there_is_not(accept: bytes, aggregated: bool) -> None:
    with pytest.raises(StatusError) as caught:
        discovery_form(accept, aggregated)
    assert (caught.value.code, caught.value.reason) == (406, "NotAcceptable")


def test_openapi_forms() -> None:
    client_go = b"application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    assert openapi_form(client_go, True) == OPENAPI_V2_PROTOBUF
    assert openapi_form(b"application/json, */*", True) == JSON
    assert openapi_form(b"", False) == JSON
    assert openapi_form(client_go, False) is None


def test_same_content_same_etag() -> None:
    assert document({"a": 1}).etag == SMALL.etag != LARGE.etag
    assert orjson.loads(SMALL.body) == {"a": 1}
