"""JSON patches: each operation mapped like the part of an object that it is about, in whatever way it is written."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.jsonpatch import map_json_patch
from tests.unit.mapping.support import P, context

RBAC = "/apis/rbac.authorization.k8s.io/v1"
BINDING = f"{RBAC}/clusterrolebindings/b"
ROLE = f"{RBAC}/clusterroles/r"
MAP = "/api/v1/namespaces/default/configmaps/c"
QUOTA = "/api/v1/namespaces/default/resourcequotas/q"


def one(where: str, /, **operation: Any) -> Any:
    if "from_" in operation:
        operation["from"] = operation.pop("from_")
    [mapped] = map_json_patch([copy.deepcopy(operation)], context("PATCH", where))
    return mapped


@pytest.mark.parametrize(
    ("where", "path", "value", "mapped_path", "mapped_value"),
    [
        (MAP, "/data/a", "x", "/data/a", "x"),
        (MAP, "/data/-1", "x", "/data/-1", "x"),
        (MAP, "/metadata/labels/0", "x", "/metadata/labels/0", "x"),
        (MAP, "/metadata/labels/a~1b", "x", "/metadata/labels/a~1b", "x"),
        (MAP, "/metadata/namespace", "default", "/metadata/namespace", f"{P}default"),
        (MAP, "/metadata", {"namespace": "default"}, "/metadata", {"namespace": f"{P}default"}),
        (MAP, "", {"metadata": {"namespace": "default"}}, "", {"metadata": {"namespace": f"{P}default"}}),
        (
            MAP, "/metadata/ownerReferences/-", {"apiVersion": "v1", "kind": "Namespace", "name": "a"},
            "/metadata/ownerReferences/-", {"apiVersion": "v1", "kind": "Namespace", "name": f"{P}a"},
        ),
        (MAP, "/metadata/managedFields", [{}], "/metadata/managedFields", [{}]),
        (MAP, "/metadata/finalizers/0", "a/b", "/metadata/finalizers/0", "a/b"),
        (BINDING, "/subjects/-", {"kind": "User", "name": "a"}, "/subjects/-", {"kind": "User", "name": f"{P}a"}),
        (BINDING, "/subjects/0", {"kind": "User", "name": "a"}, "/subjects/0", {"kind": "User", "name": f"{P}a"}),
        (BINDING, "/subjects/-1", {"kind": "User", "name": "a"}, "/subjects/-1", {"kind": "User", "name": f"{P}a"}),
        (BINDING, "/subjects/+0", {"kind": "User", "name": "a"}, "/subjects/+0", {"kind": "User", "name": f"{P}a"}),
        (BINDING, "/subjects", [{"kind": "Group", "name": "g"}], "/subjects", [{"kind": "Group", "name": f"{P}g"}]),
        (BINDING, "/subjects/0/namespace", "ns", "/subjects/0/namespace", f"{P}ns"),
        (ROLE, "/rules/0/apiGroups/-", "example.com", "/rules/0/apiGroups/-", f"{P}example.com"),
        (ROLE, "/rules/0/verbs/-", "get", "/rules/0/verbs/-", "get"),
        (
            ROLE, "/metadata/labels/rbac.authorization.k8s.io~1aggregate-to-edit", "true",
            f"/metadata/labels/{P}rbac.authorization.k8s.io~1aggregate-to-edit", "true",
        ),
        (QUOTA, "/spec/hard/count~1w.example.com", "1", f"/spec/hard/count~1w.{P}example.com", "1"),
        (QUOTA, "/spec/hard/pods", "1", "/spec/hard/pods", "1"),
        (
            "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/w.a.b", "/spec/group", "a.b",
            "/spec/group", f"{P}a.b",
        ),
        ("/apis/example.com/v1/planets/p", "/apiVersion", "example.com/v1", "/apiVersion", f"{P}example.com/v1"),
        (MAP, "/data/x", None, "/data/x", None),
    ],
)  # fmt: skip
@pytest.mark.parametrize("op", ["add", "replace", "test"])
def test_values(op: str, where: str, path: str, value: Any, mapped_path: str, mapped_value: Any) -> None:
    assert one(where, op=op, path=path, value=value) == {"op": op, "path": mapped_path, "value": mapped_value}


@pytest.mark.parametrize(
    ("where", "path", "mapped"),
    [
        (BINDING, "/subjects/0", "/subjects/0"),
        (BINDING, "/subjects/0/name", "/subjects/0/name"),
        (MAP, "/metadata/ownerReferences", "/metadata/ownerReferences"),
        (MAP, "/data/a~0b", "/data/a~0b"),
        (QUOTA, "/spec/hard/count~1w.example.com", f"/spec/hard/count~1w.{P}example.com"),
    ],
)
def test_removals(where: str, path: str, mapped: str) -> None:
    assert one(where, op="remove", path=path) == {"op": "remove", "path": mapped}


@pytest.mark.parametrize(
    ("where", "operation", "code"),
    [
        # The shard would put text there that nobody has mapped.
        (BINDING, {"op": "copy", "from_": "/metadata/annotations/x", "path": "/subjects/0/name"}, 422),
        (BINDING, {"op": "move", "from_": "/metadata/annotations/x", "path": "/subjects/0/name"}, 422),
        (BINDING, {"op": "copy", "from_": "/metadata/annotations", "path": "/metadata/labels"}, 422),
        (ROLE, {"op": "copy", "from_": "/metadata/annotations/x", "path": "/rules/0/apiGroups/0"}, 422),
        (MAP, {"op": "copy", "from_": "/data/x", "path": "/metadata/ownerReferences/0/name"}, 422),
        (MAP, {"op": "copy", "from_": "/data/x", "path": "/metadata/namespace"}, 422),
        (MAP, {"op": "copy", "from_": "/data", "path": "/metadata"}, 422),
        (MAP, {"op": "copy", "from_": "/data", "path": ""}, 422),
        (MAP, {"op": "copy", "from_": "/metadata/annotations/x", "path": "/metadata/labels/0.kcp.dev~1w"}, 422),
        (QUOTA, {"op": "move", "from_": "/spec/hard/pods", "path": "/spec/hard/count~1w.k"}, 422),
        # One half of a pair of which both decide.
        (BINDING, {"op": "replace", "path": "/subjects/0/name", "value": "a"}, 422),
        (BINDING, {"op": "replace", "path": "/subjects/-1/name", "value": "a"}, 422),
        (BINDING, {"op": "replace", "path": "/roleRef/name", "value": "a"}, 422),
        (ROLE, {"op": "add", "path": "/rules/0/resourceNames/-", "value": "a"}, 422),
        (MAP, {"op": "replace", "path": "/metadata/ownerReferences/0/name", "value": "a"}, 422),
        (MAP, {"op": "add", "path": "/metadata/labels/0.kcp.dev~1w", "value": "kotheroth"}, 422),
        (MAP, {"op": "remove", "path": "/metadata/labels/0.kcp.dev~1w"}, 422),
        (MAP, {"op": "replace", "path": ""}, 400),
        (BINDING, {"op": "replace", "path": "x/subjects/0/name", "value": "a"}, 422),
        (MAP, {"op": "add", "path": "/a" * 200, "value": 1}, 400),
        (BINDING, {"op": "add", "path": "/subjects/x/y/z", "value": 1}, None),
    ],
)
def test_operations_that_cannot_be_mapped(where: str, operation: dict[str, Any], code: int | None) -> None:
    if code is None:
        assert one(where, **operation)["path"] == operation["path"]
        return
    with pytest.raises(StatusError) as caught:
        one(where, **operation)
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("operation", "op", "labels"),
    [
        ({"op": "test", "value": {"a": "b"}}, "test", {"a": "b"}),
        ({"op": "test", "value": None}, "test", {}),
        ({"op": "test"}, "test", {}),
        ({"op": "add", "value": {"a": "b"}}, "add", {"a": "b"}),
        ({"op": "replace", "value": {}}, "replace", {}),
        ({"op": "remove"}, "replace", {}),
    ],
)
def test_all_labels_at_once_hold_the_internal_one(operation: dict[str, Any], op: str, labels: dict[str, str]) -> None:
    mapped = one(MAP, path="/metadata/labels", **operation)
    assert mapped == {"op": op, "path": "/metadata/labels", "value": {**labels, "0.kcp.dev/w": P[:-1]}}


def test_labels_that_are_none_are_left_to_the_shard() -> None:
    assert one(MAP, op="add", path="/metadata/labels", value="x")["value"] == "x"


def test_harmless_moves_pass() -> None:
    assert one(MAP, op="move", from_="/data/a", path="/data/b") == {"op": "move", "path": "/data/b", "from": "/data/a"}
    assert one(BINDING, op="copy", from_="/metadata/labels/a", path="/metadata/annotations/b")["op"] == "copy"


def test_too_many_operations() -> None:
    with pytest.raises(StatusError) as caught:
        map_json_patch([{"op": "remove", "path": "/data/a"}] * 10_001, context("PATCH", MAP))
    assert caught.value.code == 413


@pytest.mark.parametrize(
    "patch",
    [{}, "x", [1], None, [None], [[]], [{}], [{"op": "x", "path": "/data"}], [{"op": ["add"], "path": "/data"}],
     [{"op": "add"}], [{"op": "add", "path": 1, "value": {}}], [{"op": "add", "path": "metadata", "value": 1}],
     [{"op": "add", "path": "", "value": [1]}], [{"op": "copy", "path": "/metadata/namespace"}],
     [{"op": "move", "path": "/metadata/namespace", "from": 1}]],
)  # fmt: skip
def test_what_is_no_patch_is_refused_by_the_shard(patch: Any) -> None:
    assert map_json_patch(copy.deepcopy(patch), context("PATCH", MAP)) == patch


def test_what_stands_before_the_first_slash_is_ignored() -> None:
    mapped = one(MAP, op="add", path="x/metadata/namespace", value="default")
    assert mapped == {"op": "add", "path": "x/metadata/namespace", "value": f"{P}default"}
