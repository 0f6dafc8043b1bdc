"""What is fuzzed: whatever reads bytes that tenants, or shards full of tenants' objects, have made.

Each target is a property: an answer known from elsewhere, or something that may never be. What is tried is made of good
pieces, put together, cut, damaged and filled with what belongs to another workspace.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import orjson
import yaml
from hypothesis import given
from hypothesis import strategies as st

from proxy.discovery.openapi import filtered, plain
from proxy.kube.errors import StatusError
from proxy.mapping.columns import Columns
from proxy.mapping.forms import Form
from proxy.mapping.gate import gate, gate_mapped
from proxy.mapping.paths import parse
from proxy.mapping.protobuf import map_protobuf, open_envelope
from proxy.mapping.request import map_request
from proxy.mapping.stream import ResponseFilter, patterns
from proxy.mapping.stretches import target_of, whole
from proxy.mapping.wire import Field, Schema, WireError, field, fields
from proxy.server.filters import About, filters
from proxy.server.http1 import Parsed, Refused, RequestParser
from proxy.server.settings import Limits
from tests.unit.mapping.support import TOKEN, P, Scopes, context
from tests.unit.mapping.test_protobuf import SAMPLES

OTHER = "kotherot2"
"""Token of another workspace."""
LIMITS = Limits()


TARGETS: dict[str, Callable[[], Callable[[], None]]] = {}
"""Each makes its property anew, as one takes settings but once."""


def _target(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    def keep(check: Callable[..., None]) -> Callable[..., None]:
        TARGETS[check.__name__] = lambda: given(*strategies)(check)
        return check

    return keep


def _refused(error: StatusError) -> None:
    assert 400 <= error.code < 500, "the client's fault"


# requests

LINES = st.sampled_from(
    [
        b"GET / HTTP/1.1", b"GET /api/v1/pods?limit=500 HTTP/1.1", b"POST /apis HTTP/1.1", b"GET /a HTTP/1.0",
        b"HEAD / HTTP/1.1", b"DELETE /x HTTP/1.1", b"GET http://h/api HTTP/1.1", b"get / HTTP/1.1", b"GET  / HTTP/1.1",
        b"GET /\xff HTTP/1.1", b'GET /" HTTP/1.1', b"GET /a#b HTTP/1.1", b"GET /|{}^` HTTP/1.1", b"GET /%00 HTTP/1.1",
        b"GET * HTTP/1.1", b"CONNECT h:1 HTTP/1.1", b"GET / HTTP/2.0", b"PRI * HTTP/2.0",
    ]
)  # fmt: skip
HEADERS = st.sampled_from(
    [
        b"Host: h", b"host:h", b"Host: other", b"Accept: application/json", b"Authorization: Bearer t",
        b"Content-Length: 5", b"Content-Length: 0", b"Content-Length: +5", b"Content-Length: 5, 5",
        b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity", b"Transfer-Encoding : chunked",
        b"Transfer-Encoding: xchunked", b"Connection: close", b"Connection: keep-alive", b"Connection: Upgrade",
        b"Upgrade: websocket", b"Expect: 100-continue", b"Audit-ID: a-1", b"X-Y: a\tb", b"X-Y:", b" folded: x",
        b"X-Remote-User: admin", b"Content-Length\x00: 5", b": nameless", b"X-Y: a\nB: c", b"X-Y: a\rB: c",
    ]
)  # fmt: skip
BODIES = st.sampled_from(
    [b"", b"hello", b"5\r\nhello\r\n0\r\n\r\n", b"0\r\n\r\n", b"GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"]
)


def _request(line: bytes, headers: list[bytes], body: bytes) -> bytes:
    return b"\r\n".join([line, *headers, b"", b""]) + body


REQUESTS = st.one_of(
    st.builds(_request, LINES, st.lists(HEADERS, max_size=4).map(lambda more: [b"Host: h", *more]), BODIES),
    st.builds(_request, LINES, st.lists(HEADERS, max_size=5), st.one_of(BODIES, st.binary(max_size=20))),
)


def _parsed(pieces: list[bytes]) -> tuple[list[tuple[Any, ...]], bool]:
    """What has come of them, and whether it ended with a refusal."""
    parser = RequestParser(LIMITS)
    refused = False
    try:
        for piece in pieces:
            if piece:
                parser.feed(piece)
    except Refused:
        refused = True
    return [_said(parsed) for parsed in parser.requests], refused


def _said(parsed: Parsed) -> tuple[Any, ...]:
    request = parsed.request
    return (
        request.method, request.target, request.headers, request.body, parsed.keep, parsed.http10,
        request.record.audit_id,
    )  # fmt: skip


@_target(st.lists(REQUESTS, min_size=1, max_size=4), st.data())
def requests(sent: list[bytes], data: st.DataObject) -> None:
    """The parser: where reads begin and end changes nothing, and no request comes out of another's body."""
    stream = b"".join(sent)
    whole, refused = _parsed([stream])
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=5)))
    pieces = [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert _parsed(pieces) == (whole, refused)
    for _, target, headers, body, *_ in whole:
        names = [name for name, _ in headers]
        lengths = {value for name, value in headers if name == b"content-length"}
        chunked = b"transfer-encoding" in names
        assert target.startswith(b"/")
        assert names.count(b"host") <= 1
        assert not (lengths and chunked), "two ways to say where a body ends"
        assert chunked or lengths == ({b"%d" % len(body)} if body else lengths & {b"0"}), "a body of another length"
        assert not any(byte in value for _, value in headers for byte in (b"\r", b"\n", b"\0"))


@_target(st.lists(st.tuples(LINES, st.lists(HEADERS, max_size=2)), min_size=2, max_size=6))
def heads(sent: list[tuple[bytes, list[bytes]]]) -> None:
    """The short way for a head that has been here before: what the parser makes of it."""
    parser = RequestParser(LIMITS)
    for line, headers in sent:
        # Whoever sends the same head once more.
        for data in (
            _request(line, [b"Host: h", *headers], b""),
            _request(b"GET /again HTTP/1.1", [b"Host: h", *headers], b""),
        ):
            again = parser.again(data)
            if again is not None:
                assert ([_said(again)], False) == _parsed([data])
                continue
            try:
                parser.feed(data)
            except Refused:
                return
            if not all(parsed.keep for parsed in parser.requests):
                return
            parser.requests.clear()


# paths, queries and bodies

NAMES = st.sampled_from(
    [
        "default",
        "x",
        f"{P}x",
        f"{OTHER}-x",
        OTHER,
        TOKEN,
        f"{P}{OTHER}-x",
        "kube-system",
        "system:masters",
        "a%2Fb",
        "..",
        "%2e%2e",
        "a:b",
        "",
    ]
)
GROUPS = st.sampled_from(
    [
        "apps",
        "example.com",
        f"{OTHER}-example.com",
        f"{P}example.com",
        "rbac.authorization.k8s.io",
        "internal.kcp.dev",
        "tenancy.kcp.dev",
        "batch",
    ]
)
RESOURCES = st.sampled_from(
    ["pods", "configmaps", "secrets", "deployments", "widgets", "planets", "clusterroles", "rolebindings",
     "customresourcedefinitions", "namespaces", "logicalclusters", "serviceaccounts", "persistentvolumes"]
)  # fmt: skip
SUFFIXES = st.sampled_from(["", "", "", "/status", "/scale", "/token", "/finalize", "/log", "/exec", "/x"])
QUERIES = st.lists(
    st.sampled_from(
        ["watch=1", f"labelSelector=0.kcp.dev%2Fw%3D{OTHER}", f"fieldSelector=metadata.name%3D{OTHER}-x", "limit=5",
         f"fieldSelector=metadata.namespace!%3D{P}x", "continue=x", "resourceVersion=0", "labelSelector=a in (b,c)",
         "labelSelector=!0.kcp.dev/w", "fieldManager=x", "dryRun=All", "pretty=true", "labelSelector=a&labelSelector=b",
         "timeoutSeconds=1", "%00", "a", "=b", "watch=true&watch=false", "sendInitialEvents=true"]
    ),
    max_size=3,
).map("&".join)  # fmt: skip
PATHS = st.one_of(
    st.builds("/api/v1/{}/{}{}".format, RESOURCES, NAMES, SUFFIXES),
    st.builds("/api/v1/namespaces/{}/{}/{}{}".format, NAMES, RESOURCES, NAMES, SUFFIXES),
    st.builds("/apis/{}/v1/namespaces/{}/{}/{}{}".format, GROUPS, NAMES, RESOURCES, NAMES, SUFFIXES),
    st.builds("/apis/{}/v1/{}/{}".format, GROUPS, RESOURCES, NAMES),
    st.builds("/apis/{}/v1/namespaces/{}/{}".format, GROUPS, NAMES, RESOURCES),
    st.builds("/apis/{}/v1/{}".format, GROUPS, RESOURCES),
    st.builds("/api/v1/watch/namespaces/{}/{}".format, NAMES, RESOURCES),
    st.text("/.%25aefpi1v-:", max_size=30).map("/api/v1/{}".format),
)
WORDS = st.sampled_from(
    [
        "x",
        f"{P}x",
        f"{OTHER}-x",
        OTHER,
        TOKEN,
        "system:masters",
        f"system:serviceaccount:{OTHER}-n:s",
        "ClusterRole",
        "Group",
        "User",
        "v1",
        "example.com",
    ]
)
KEYS = st.sampled_from(
    ["metadata", "spec", "name", "namespace", "generateName", "ownerReferences", "subjects", "roleRef", "kind",
     "apiVersion", "labels", "annotations", "group", "names", "plural", "0.kcp.dev/w", "user", "groups",
     "audiences", "token", "uid",
     "finalizers", "managedFields", "apiGroup", "preconditions", "template", "involvedObject", "serviceAccountName"]
)  # fmt: skip
VALUES: st.SearchStrategy[Any] = st.recursive(
    st.one_of(WORDS, st.none(), st.booleans(), st.integers(-1, 2)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=4)),
    max_leaves=12,
)
OBJECTS = st.builds(
    lambda meta, rest: {"metadata": meta, **{key: value for key, value in rest.items() if key != "metadata"}},
    st.dictionaries(KEYS, VALUES, max_size=4),
    st.dictionaries(KEYS, VALUES, max_size=5),
)
CONTENT = st.sampled_from(
    ["application/json", "application/yaml", "application/merge-patch+json", "application/json-patch+json",
     "application/strategic-merge-patch+json", "application/apply-patch+yaml", "text/plain", ""]
)  # fmt: skip
METHODS = st.sampled_from(["GET", "POST", "PUT", "PATCH", "DELETE"])


def _body(value: Any, content_type: str) -> bytes:
    return yaml.safe_dump(value).encode() if "yaml" in content_type else orjson.dumps(value)


@_target(METHODS, PATHS, QUERIES, st.one_of(st.none(), OBJECTS, VALUES), CONTENT)
def mapping(method: str, path: str, query: str, value: Any, content_type: str) -> None:
    """Path, query and body: what the mapping makes is confined to the workspace, and to no other."""
    target = f"{path}?{query}".encode() if query else path.encode()
    body = b"" if value is None else _body(value, content_type)
    headers = [(b"content-type", content_type.encode())] if content_type else []
    try:
        info = parse(method.encode(), target)
        if not info.is_resource:
            return  # discovery, or nothing at all: the gateway sends none of it on
        mapped = map_request(info, TOKEN, method=method.encode(), headers=headers, body=body, scopes=Scopes())
    except StatusError as error:
        _refused(error)
        return
    assert b"\r" not in mapped.target
    assert b"\n" not in mapped.target
    try:
        gate_mapped(method.encode(), mapped, TOKEN)
    except StatusError:
        return  # it would not have left
    for namespace in re.findall(rb"/namespaces/([^/?]+)", mapped.target.partition(b"?")[0]):
        assert namespace.startswith(P.encode())
    listing = mapped.listing if method != "DELETE" else None
    leaves = mapped.target if listing is None else target_of(whole(listing), listing.query, 1)
    named_here = P.encode() in mapped.target or TOKEN.encode() in mapped.body
    if named_here or listing is not None:
        sent = dict(mapped.headers).get(b"content-type", b"")
        try:
            gate(method.encode(), leaves, mapped.body, OTHER, sent)
        except StatusError:
            return
        raise AssertionError("it is confined to two workspaces")


META: Schema = {1: Field("metadata", {3: Field("namespace")}, repeated=True)}


@_target(
    st.sampled_from(SAMPLES),
    st.lists(st.tuples(st.integers(1, 6), NAMES), max_size=3),
    st.binary(max_size=8),
    st.data(),
)
def protobuf(sample: dict[str, Any], added: list[tuple[int, str]], noise: bytes, data: st.DataObject) -> None:
    """Messages with fields twice, or damaged: refused, or every namespace in them is the workspace's."""
    body = base64.b64decode(sample["protobuf"])
    if added:
        kind, content = open_envelope(body)
        for number, name in added:
            content += field(1, field(number, name.encode()))
        body = body[:4] + field(1, kind) + field(2, content)
    at = data.draw(st.integers(4, len(body)))
    damaged = body[:at] + noise + body[at + data.draw(st.integers(0, len(noise))) :]
    try:
        mapped = map_protobuf(damaged, context("POST", sample["path"]))
    except StatusError as error:
        _refused(error)
        return
    _, content = open_envelope(mapped)
    for number, _, _, meta in fields(content):
        if number == 1:
            try:
                found = [value for key, _, _, value in fields(meta) if key == 3]
            except WireError:
                continue
            assert all(not value or value.startswith(P.encode()) for value in found)


# answers

TEXTS = st.one_of(
    st.text(max_size=6), WORDS, st.sampled_from(['"', "\\", "},{", '"0.kcp.dev/w"', "é\U0001f600", "- a: b", "# x"])
)
PLAIN: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), TEXTS.filter(lambda text: TOKEN not in text)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(TEXTS.filter(lambda text: TOKEN not in text), inner, max_size=3)
    ),
    max_leaves=10,
)


def _on_shard(name: str, spec: Any, labels: dict[str, str]) -> dict[str, Any]:
    own = dict(sorted({"0.kcp.dev/w": TOKEN, **labels}.items()))
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"{P}{name}", "labels": own}, "spec": spec}


LABELS = st.dictionaries(st.sampled_from(["a", "app", "0", "z/y"]), st.sampled_from(["", "x"]), max_size=2)


def _filtered(data: bytes, cuts: list[int], form: Form) -> bytes:
    _, make = filters(About(TOKEN, form))
    rewrite = make()
    edges = [0, *sorted(cuts), len(data)]
    return b"".join(rewrite.feed(data[a:b]) for a, b in pairwise(edges) if b > a) + rewrite.flush()


@_target(
    st.lists(st.tuples(st.sampled_from(["x", "kube", "k", "a-k3"]), PLAIN, LABELS), max_size=3),
    st.sampled_from(sorted(Form, key=str)),
    st.data(),
)
def stream(items: list[tuple[str, Any, dict[str, str]]], form: Form, data: st.DataObject) -> None:
    """Answers of shards, wherever they are cut and in whichever form: the same objects, and nothing of the prefix."""
    there = {"kind": "List", "apiVersion": "v1", "items": [_on_shard(*item) for item in items]}
    sent = orjson.dumps(there)
    cuts = data.draw(st.lists(st.integers(0, len(sent)), max_size=6))
    got = _filtered(sent, cuts, form)
    assert TOKEN.encode() not in got
    expected = json.loads(sent)
    for item in expected["items"]:
        meta = item["metadata"]
        meta["name"] = meta["name"].removeprefix(P)
        del meta["labels"]["0.kcp.dev/w"]
        if not meta["labels"]:
            del meta["labels"]
    assert (yaml.safe_load(got) if form is Form.YAML else orjson.loads(got)) == expected


CELLS = st.one_of(st.none(), PLAIN.map(lambda value: json.dumps(value, indent=4) + "\n"), TEXTS)


@_target(
    st.sampled_from(["validatingwebhookconfigurations", "mutatingadmissionpolicies"]),
    st.lists(st.tuples(TEXTS, CELLS, CELLS), max_size=4),
    st.data(),
)
def tables(resource: str, rows: list[tuple[str, str | None, str | None]], data: st.DataObject) -> None:
    """Events of a watch as Tables, whatever their cells hold and wherever they are cut: the first cells and the objects
    are what they were, and lines end where they did."""
    events = [
        {"type": "ADDED", "object": {"kind": "Table", "rows": [{"cells": row, "object": {"name": row[0]}}]}}
        for row in rows
    ]
    sent = b"".join(orjson.dumps(event) + b"\n" for event in events)
    columns = Columns(resource)
    edges = [0, *sorted(data.draw(st.lists(st.integers(0, len(sent)), max_size=6))), len(sent)]
    got = b"".join(columns.feed(sent[a:b]) for a, b in pairwise(edges) if b > a) + columns.flush()
    made = [orjson.loads(line)["object"]["rows"][0] for line in got.splitlines()]
    assert [(row["cells"][0], row["object"]["name"], len(row["cells"])) for row in made] == [
        (name, name, 3) for name, *_ in rows
    ]


@_target(st.binary(max_size=60), st.lists(st.integers(0, 80), max_size=5))
def noise(said: bytes, cuts: list[int]) -> None:
    """Bytes that are no JSON at all do not stop the filter, nor does it hold them back."""
    sent = P.encode() + said
    rewrite = ResponseFilter(patterns(TOKEN))
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    got = b"".join(rewrite.feed(sent[a:b]) for a, b in pairwise(edges)) + rewrite.flush()
    assert len(got) <= len(sent)
    assert P.encode() not in got or P.encode() in said


# discovery

SCHEMA_NAMES = st.sampled_from(
    [f"com.{TOKEN}-example.v1.Widget", "io.k8s.Meta", "a~b", "a/b", f"com.{TOKEN}-example.v1.List"]
)


@_target(
    st.dictionaries(SCHEMA_NAMES, st.lists(SCHEMA_NAMES, max_size=3), max_size=5),
    st.dictionaries(
        st.sampled_from([f"/apis/{TOKEN}-example.com/v1/widgets", "/apis/x/v1/y", "/api/"]), SCHEMA_NAMES, max_size=3
    ),
    st.sets(st.sampled_from(["/apis/x/v1/y", f"/apis/{TOKEN}-example.com/v1/widgets"])),
)
def openapi(schemas: dict[str, list[str]], paths: dict[str, str], kept: set[str]) -> None:
    """A document cut down: the wanted paths, all that they refer to, nothing else, and nothing of the prefix."""

    def reference(name: str) -> dict[str, str]:
        return {"$ref": "#/components/schemas/" + name.replace("~", "~0").replace("/", "~1")}

    spec = {
        "paths": {path: {"get": {"schema": reference(name)}} for path, name in paths.items()},
        "components": {
            "schemas": {name: {"allOf": [reference(other) for other in others]} for name, others in schemas.items()}
        },
    }
    cut = filtered(spec, kept.__contains__)
    assert set(cut["paths"]) == kept & set(paths)
    wanted: set[str] = set()
    waiting = [paths[path] for path in cut["paths"]]
    while waiting:
        name = waiting.pop()
        if name in schemas and name not in wanted:
            wanted.add(name)
            waiting += schemas[name]
    assert set(cut["components"]["schemas"]) == wanted
    said = plain(cut, TOKEN, f"{TOKEN}-example.com")
    assert TOKEN.encode() not in said
    orjson.loads(said)
