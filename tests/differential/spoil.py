"""Bad input: a right request, spoilt in one way."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from random import Random
from typing import Any

from tests.differential.step import WORLD

Object = dict[str, Any]

VALUES: tuple[Any, ...] = (
    None,
    0,
    1.5,
    -1,
    True,
    "",
    "x",
    "1",
    [],
    {},
    ["x"],
    [None],
    [{}],
    {"a": "b"},
    {"a": 1},
    2**70,
)
NAMES = (
    "", "X", "UPPER", "a_b", "-a", "a-", "a.", ".a", "a..b", "a b", "ä", "a/b", "a%b", "..", ".", "x" * 64, "x" * 253,
    "x" * 254, "x" * 1000, "a:b", "a\nb", "<b>", "0", "-", "a.b", "A.b",
)  # fmt: skip
LABELS: tuple[Any, ...] = (
    {"": "x"}, {"a b": "x"}, {"a": "b c"}, {"a": "x" * 64}, {"x" * 64: "y"}, {"a/b/c": "x"}, {"A.b/c": "x"},
    {"/a": "x"},
    {"a/": "x"}, {"a": 1}, {"a": None}, {"a": ["b"]}, ["a"], "a", {"-a": "x"}, {"a": "-x"},
    {"ex.com/" + "y" * 63: "ok"},
    {"kubernetes.io/metadata.name": "other"}, {"a": ""},
)  # fmt: skip
OWNERS: tuple[Any, ...] = (
    [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "u"}],
    [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x"}],
    [{"kind": "ConfigMap", "name": "x", "uid": "u"}],
    [{"apiVersion": "v1", "name": "x", "uid": "u"}],
    [{"apiVersion": "v1", "kind": "ConfigMap", "uid": "u"}],
    [{"apiVersion": "example.com/v1", "kind": "Gadget", "name": f"{WORLD}-x", "uid": "u", "controller": True}],
    [{"apiVersion": "a/b/c", "kind": "K", "name": "x", "uid": "u"}],
    [{"apiVersion": "v1", "kind": "Event", "name": "x", "uid": "u"}],
    [{"apiVersion": "v1", "kind": "A", "name": "x", "uid": "u", "controller": True},
     {"apiVersion": "v1", "kind": "B", "name": "y", "uid": "v", "controller": True}],
    [{}], "x", [None],
)  # fmt: skip


def object_(body: Object, rng: Random) -> Object:
    """A copy in which something is wrong, or at least unusual."""
    body = copy.deepcopy(body)
    meta = body.setdefault("metadata", {})
    spoil: Callable[[], Any] = rng.choice(
        (
            lambda: body.pop("apiVersion", None),
            lambda: body.pop("kind", None),
            lambda: body.update(apiVersion=rng.choice(("v1", "v2", "apps/v1", "example.com/v1", "a/b/c", "", 1, None))),
            lambda: body.update(kind=rng.choice(("ConfigMap", "Secret", "Nothing", "List", "Status", "", 1, None))),
            lambda: body.update(metadata=rng.choice(VALUES)),
            lambda: meta.update(name=rng.choice(NAMES)),
            lambda: meta.update(name=rng.choice(NAMES)),
            lambda: meta.update(name=rng.choice(VALUES)),
            lambda: meta.pop("name", None),
            lambda: meta.update(namespace=rng.choice((*NAMES, "default", f"{WORLD}b", f"{WORLD}none"))),
            lambda: meta.update(namespace=rng.choice(VALUES)),
            lambda: meta.update(labels=rng.choice(LABELS)),
            lambda: meta.update(labels=rng.choice(LABELS)),
            lambda: meta.update(annotations=rng.choice(LABELS)),
            lambda: meta.update(ownerReferences=rng.choice(OWNERS)),
            lambda: meta.update(
                finalizers=rng.choice((["x"], ["a/b"], ["a b"], [""], "x", [1], ["ex.com/" + "f" * 64]))
            ),
            lambda: meta.update(generateName=rng.choice(("gen-", "Gen_", "x" * 300, "", 1))),
            lambda: meta.update(resourceVersion=rng.choice(("1", "0", "abc", "", 1, "99999999999999999999"))),
            lambda: meta.update(uid=rng.choice(("u", "", 1, None))),
            lambda: meta.update(creationTimestamp=rng.choice((None, "yesterday", "2020-01-01T00:00:00Z", 1))),
            lambda: meta.update(deletionTimestamp="2020-01-01T00:00:00Z", deletionGracePeriodSeconds=3),
            lambda: meta.update(
                managedFields=rng.choice(([], [{}], [{"manager": "m", "operation": "Foo"}], None, "x"))
            ),
            lambda: meta.update(unknown=1),
            lambda: body.update(unknown={"a": 1}),
            lambda: body.update(Metadata={"name": "x"}, Kind="x"),
            lambda: _somewhere(body, rng),
            lambda: _somewhere(body, rng),
            lambda: _somewhere(body, rng),
            lambda: _somewhere(body, rng),
        )
    )
    spoil()
    return body


def _somewhere(body: Object, rng: Random) -> None:
    """Change a value at a random place: another type, gone, renamed, or with company."""
    places: list[tuple[Any, Any]] = []

    def walk(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            walk(value[key])

    walk({key: part for key, part in body.items() if key not in ("apiVersion", "kind", "metadata")})
    places = [place for place in places if place[0] is not body]
    tops = [(body, key) for key in body if key not in ("apiVersion", "kind", "metadata")]
    if not places:
        body["unknown"] = rng.choice(VALUES)
        return
    holder, key = rng.choice([*tops, *places[len(tops) :]] or places)
    way = rng.random()
    if way < 0.6:
        holder[key] = rng.choice(VALUES)
    elif way < 0.75:
        del holder[key]
    elif isinstance(holder, dict):
        if way < 0.9:
            holder[str(key).upper()] = holder.pop(key)
        else:
            holder["unknown"] = 1
    else:
        holder.append(rng.choice(VALUES))


def text(body: bytes, rng: Random) -> bytes:
    """Bytes that are no JSON object, or not as they should be."""
    return rng.choice(
        (
            lambda: b"",
            lambda: b" ",
            lambda: b"null",
            lambda: b"[]",
            lambda: b"[" + body + b"]",
            lambda: b'"text"',
            lambda: b"5",
            lambda: b"true",
            lambda: b"{}",
            lambda: b"{",
            lambda: b"}",
            lambda: b"not json",
            lambda: body[: len(body) // 2],
            lambda: body[:-1],
            lambda: body + b"}",
            lambda: body + b" trailing",
            lambda: body + body,
            lambda: b"\xef\xbb\xbf" + body,
            lambda: body.replace(b"{", b"{,", 1),
            lambda: body.replace(b":", b"", 1),
            lambda: body.replace(b'"', b"'"),
            lambda: body.replace(b"{", b'{"a":\xff,', 1),
            lambda: body.replace(b"{", b'{"a":"\xff\xfe",', 1),
            lambda: body.replace(b"{", b'{"a":"\\ud800",', 1),
            lambda: body.replace(b"{", b'{"a":"\\x",', 1),
            lambda: body.replace(b"{", b'{"a":"\x01",', 1),
            lambda: body.replace(b"{", b'{"a":NaN,', 1),
            lambda: body.replace(b"{", b'{"a":01,', 1),
            lambda: body.replace(b"{", b'{"a":1e999,', 1),
            lambda: body.replace(b"{", b'{"kind":"Secret",', 1),
            lambda: body.replace(b'"metadata":{', b'"metadata":{"name":"first",', 1),
            lambda: body.replace(b'"metadata":{', b'"metadata":{"labels":{"a":"1","a":"2"},', 1),
            lambda: body.replace(b"{", b'{"a":' + b"[" * 200 + b"]" * 200 + b",", 1),
            lambda: body.replace(b"{", b'{"a":' + b"[" * 20000 + b"]" * 20000 + b",", 1),
            lambda: body.replace(b"{", b"{ // comment\n", 1),
            lambda: body.replace(b"}", b",}", 1),
            lambda: b"\x00",
            lambda: b"k8s\x00garbage",
            lambda: b"\x1f\x8b\x08",
            lambda: b"a: [b\n",
            lambda: b"---\n" + body,
        )
    )()


def dump(body: Any) -> bytes:
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


QUERIES = (
    "dryRun=", "dryRun=All", "dryRun=all", "dryRun=None", "dryRun=All&dryRun=All", "dryRun=true",
    "fieldValidation=Strict", "fieldValidation=Warn", "fieldValidation=Ignore", "fieldValidation=strict",
    "fieldManager=m", "fieldManager=" + "m" * 129, "fieldManager=%07", "force=true", "force=maybe", "force=",
    "limit=-1", "limit=abc", "limit=0", "limit=99999999999999999999", "continue=abc", "continue=%20",
    "resourceVersion=abc", "resourceVersion=-1", "resourceVersion=0", "resourceVersion=1",
    "resourceVersion=99999999999", "resourceVersion=1&resourceVersionMatch=Foo", "resourceVersionMatch=Exact",
    "resourceVersionMatch=NotOlderThan", "resourceVersion=0&resourceVersionMatch=Exact",
    "resourceVersion=0&resourceVersionMatch=NotOlderThan", "timeoutSeconds=abc", "timeout=1s",
    "timeout=abc", "timeout=-1s", "timeout=99h", "unknown=1", "watch=foo", "watch=0", "watch=false", "watch=",
    "propagationPolicy=Foo", "propagationPolicy=Orphan", "propagationPolicy=Background",
    "gracePeriodSeconds=abc", "gracePeriodSeconds=-1", "gracePeriodSeconds=0", "orphanDependents=true",
    "orphanDependents=maybe", "allowWatchBookmarks=maybe", "sendInitialEvents=true", "sendInitialEvents=maybe",
    "includeObject=None", "includeObject=Foo", "pretty=true", "pretty=foo", "pretty", "%zz=1", "a;b=1", "=1", "&&",
    "labelSelector=%2C", "labelSelector=a+b", "labelSelector=a%3Db%3Dc", "labelSelector=a+in+(b%2Cc)",
    "labelSelector=a+in+b", "labelSelector=a+in+()", "labelSelector=!a", "labelSelector=!", "labelSelector=a%3D",
    "labelSelector=a%21%3Db", "labelSelector=a%3Eb", "labelSelector=a%3E1", "labelSelector=a+notin+(b)",
    "labelSelector=%C3%A4", "labelSelector=a%2Fb%2Fc", "labelSelector=a%3D%3Db%2Cc", "labelSelector=a+exists",
    "labelSelector=" + "x" * 64, "labelSelector=a%3D" + "x" * 64, "labelSelector=a%2C", "labelSelector=%2Ca",
    "fieldSelector=metadata.name%3Dx", "fieldSelector=metadata.name%21%3Dx", "fieldSelector=metadata.name",
    "fieldSelector=foo%3Dx", "fieldSelector=%3Dx", "fieldSelector=metadata.name%3D%3Dx", "fieldSelector=%2C",
    "fieldSelector=metadata.name%3Dx%5C", "fieldSelector=metadata.name%3Dx%5Cq", "fieldSelector=metadata.name%3D",
    "fieldSelector=metadata.name%3Dx%2Cmetadata.name%3Dy", f"fieldSelector=metadata.namespace%3D{WORLD}a",
    "fieldSelector=metadata.namespace%3D", "fieldSelector=metadata.name%3D%25", "fieldSelector=spec.colour%3Dred",
)  # fmt: skip
CONTENT_TYPES = (
    "", "text/plain", "application/json; charset=utf-8", "APPLICATION/JSON", "application/cbor", "application/yaml",
    "application/vnd.kubernetes.protobuf", "application/json-patch+json", "application/merge-patch+json",
    "application/strategic-merge-patch+json", "application/apply-patch+yaml", "application/apply-patch+cbor", "json",
    "application/xml", "multipart/form-data; boundary=x", "application/json;", "a/b/c", ";",
)  # fmt: skip
ACCEPTS = (
    "*/*", "application/*", "text/html", "application/xml", "application/json;q=0.1", "text/html, application/json",
    "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json;pretty=1", "json", "a/b/c",
    "application/json;as=Table;v=v1;g=meta.k8s.io", "application/json;as=Table;v=v1beta1;g=meta.k8s.io",
    "application/json;as=Table;v=v9;g=meta.k8s.io", "application/json;as=Table;v=v1;g=other",
    "application/json;as=Table;g=meta.k8s.io;v=v1,application/json",
    "application/json;as=Foo;v=v1;g=meta.k8s.io", "application/json;as=Foo;v=v1;g=meta.k8s.io,application/json",
    "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io", "application/json;stream=watch",
    "application/json;charset=utf-8", "application/json;unknown=1", "application/json; as = Table",
)  # fmt: skip
PATHS = (
    "/apis/example.com", "/apis/example.com/v1", "/apis/example.com/v1alpha1",
    "/apis/example.com/v9/widgets", "/apis/example.com/v1alpha1/namespaces/@ns@/widgets",
    "/apis/example.com/v1/nothings", "/apis/nothing.example.com/v1/widgets", "/apis/nothing/v1", "/apis/nothing",
    "/api/v1/nothings", "/api/v1/namespaces/@ns@/nothings", "/api/v1/namespaces/@ns@/nothings/x", "/api/v2",
    "/api/v2/configmaps", "/api/v1/namespaces/@ns@/configmaps/x/nothing", "/api/v1/namespaces/@ns@/configmaps/x/status",
    "/api/v1/namespaces/@ns@/configmaps/x/y/z", "/api/v1/namespaces/@ns@/configmaps/", "/api/v1/configmaps/x",
    "/api/v1/namespaces/@ns@/namespaces", "/api/v1/namespaces/@ns@/configmaps/x%2Fy", "/api/v1/namespaces/@ns@/",
    "/api/v1/namespaces/@ns@/configmaps/x%20y", "/api/v1/namespaces/@ns@/configmaps/%C3%A4",
    "/api/v1/namespaces/@ns@/CONFIGMAPS", "/API/v1/configmaps", "/apis/rbac.authorization.k8s.io/v1/roles/x",
    "/apis/example.com/v1/widgets/x", "/apis/example.com/v1/namespaces/@ns@/gadgets", "/apis/example.com/v1/namespaces",
    "/apis/example.com/v1/namespaces/@ns@", "/apis/example.com/v1/namespaces/@ns@/widgets/x/nothing",
    "/apis/example.com/v1/gadgets/x/scale", "/apis/example.com/v1beta1/namespaces/@ns@/widgets/x/scale", "/nothing",
    "/nothing/", "/metrics/x", "/version", "/healthz/nothing", "/livez", "/healthz", "/readyz",
    "/api/v1/namespaces/@ns@/configmaps/" + "x" * 300, "/apis/coordination.k8s.io",
    "/apis/coordination.k8s.io/v1", "/apis/coordination.k8s.io/v1beta9",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
    "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews/x", "/api/v1/namespaces/@ns@/serviceaccounts/x/token",
    "/api/v1/namespaces/@ns@/finalize", "/api/v1/namespaces/@ns@/status/x", "/api/v1/watch/namespaces/@ns@/nothings",
    "/api/v1/namespaces/none/configmaps", "/api/v1/namespaces/none/configmaps/x", "/api/v1/namespaces/A_B/configmaps",
)  # fmt: skip
METHODS = ("HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "GET")
"""Also on paths where there are no such; only tried on resources."""
