"""The gate and bodies: a new object is named inside, and whom a binding, a review or a token is about is there too."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.mapping.protobuf import MAGIC
from proxy.mapping.wire import field
from tests.unit.mapping.support import P
from tests.unit.mapping.test_gate import CRDS, OTHER, RBAC, passes

AUTHENTICATION, AUTHORIZATION = "/apis/authentication.k8s.io/v1", "/apis/authorization.k8s.io/v1"
BINDING, BINDINGS = f"{RBAC}/clusterrolebindings/{P}b", f"{RBAC}/namespaces/{P}a/rolebindings"
ACCESS, TOKENS = f"{AUTHORIZATION}/subjectaccessreviews", f"/api/v1/namespaces/{P}a/serviceaccounts/s/token"
LOCAL_ACCESS = f"{AUTHORIZATION}/namespaces/{P}a/localsubjectaccessreviews"
ACCOUNT = f"system:serviceaccount:{P}n:s"


def message(*parts: bytes) -> bytes:
    """A protobuf body."""
    return MAGIC + field(1, b"") + field(2, b"".join(parts))


def subject(kind: str, name: str, namespace: str = "") -> bytes:
    return field(2, field(1, kind.encode()) + field(3, name.encode()) + field(4, namespace.encode()))


def audiences(number: int, *names: str) -> bytes:
    return message(field(2, b"".join(field(number, name.encode()) for name in names)))


def bound(*subjects: Any) -> dict[str, Any]:
    return {"subjects": list(subjects)}


def patch(op: str, path: str, *value: Any) -> list[dict[str, Any]]:
    return [
        {"op": "test", "path": "/x", "value": 1},
        {"op": op, "path": path, **({"value": value[0]} if value else {})},
    ]


INSIDE: list[tuple[str, str, Any]] = [
    *[("POST", f"{AUTHENTICATION}/{kind}", {"metadata": {"name": "x"}, "spec": {"audiences": [P]}})
      for kind in ("tokenreviews", "selfsubjectreviews")],
    *[("POST", f"{AUTHORIZATION}/{kind}", {"metadata": {"name": "x"}})
      for kind in ("subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")],
    ("POST", f"{AUTHENTICATION}/selfsubjectreviews", message(field(1, field(1, b"x")))),
    ("POST", "/api/v1/namespaces", message(field(1, field(1, f"{P}a".encode())))),
    ("POST", "/api/v1/namespaces", message(field(1, field(2, f"{P}a".encode())))),
    ("POST", ACCESS, {"spec": {"user": f"{P}a", "groups": [f"{P}g", f"{P}h"]}}),
    ("POST", ACCESS, {"spec": {"user": ACCOUNT, "groups": []}}),
    ("POST", ACCESS, {"spec": {"user": "", "groups": None}}),
    ("POST", ACCESS, {"spec": {"user": 1, "groups": [f"x-{P}", 1]}}),
    ("POST", ACCESS, {"spec": {"user": {}, "groups": "x"}}),
    ("POST", ACCESS, {"metadata": {"annotations": {"user": "system:admin"}}, "spec": {}}),
    ("POST", ACCESS, {"spec": {"resourceAttributes": {"name": "x", "namespace": "y"}}}),
    ("POST", LOCAL_ACCESS, {"spec": {"user": f"{P}a"}}),
    ("POST", TOKENS, {"spec": {"audiences": [f"{P}x", f"{P}y"]}}),
    ("POST", TOKENS, {"spec": {"audiences": [1]}}),
    ("POST", TOKENS, {"spec": {"audiences": "x"}}),
    ("POST", TOKENS, audiences(1, f"{P}x")),
    ("POST", f"{AUTHENTICATION}/tokenreviews", audiences(2, f"{P}x")),
    ("PUT", BINDING, bound({"kind": "User", "name": f"{P}a"}, {"kind": "Group", "name": f"{P}a"})),
    ("PUT", BINDING, bound({"kind": "User", "name": ACCOUNT}, {"kind": "Group", "name": ""})),
    ("PUT", BINDING, bound({"kind": "User", "name": 1}, 1, None)),
    ("PUT", BINDING, bound({"kind": "ServiceAccount", "name": "x", "namespace": f"{P}x"})),
    ("PUT", BINDING, bound({"kind": "ServiceAccount", "name": "x"}, {"kind": "x", "name": "x", "namespace": "x"})),
    ("PUT", BINDING, message(subject("ServiceAccount", "x", f"{P}x"), subject("User", f"{P}x"))),
    ("PUT", BINDING, {"roleRef": {"kind": "ClusterRole", "name": f"{P}x"}}),
    ("DELETE", BINDING, {"user": "system:admin"}),
    ("DELETE", TOKENS, {}),
    ("POST", TOKENS, b""),
    ("PUT", f"/api/v1/namespaces/{P}a/configmaps/c", {"user": "system:admin"}),
    ("PUT", f"/api/v1/namespaces/{P}a/pods/c/token-x", {}),
    *[("PATCH", BINDING, body) for body in (
        patch("add", "/subjects/-", {"kind": "User", "name": f"{P}a"}),
        patch("replace", "/subjects", [{"kind": "User", "name": f"{P}a"}]),
        patch("replace", "/subjects/0/namespace", f"{P}x"),
        patch("replace", "/subjects/0/apiGroup", "x"),
        patch("test", "/subjects/0/kind", "User"),
        patch("remove", "/subjects/0"),
        patch("replace", "/roleRef/name", f"{P}x"),
        patch("add", "/metadata/subjects/x", "x"),
        patch("add", "subjects/x", "x"),
        patch("add", "/x", {"kind": "Group", "name": f"{P}x"}),
        [None],
    )],
    ("PATCH", f"{RBAC}/clusterroles/{P}x", patch("add", "/subjects/0/name", "x")),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body"), INSIDE)
def test_inside(method: str, target: str, body: Any) -> None:
    assert passes(method, target, body)


@pytest.mark.parametrize(
    ("body", "content_type", "inside"),
    [
        (b"{", b"application/json", True),
        (b"{", b"application/merge-patch+json", True),
        (b"{", b"application/json-patch+json", True),
        (b"{", b"application/strategic-merge-patch+json", True),
        (b"{\xff", b"application/json", True),
        (b'{"metadata":{"name":NaN}}', b"application/json", True),
        (message(field(1, field(1, b"x"))), b"application/json", True),
        (message(subject("User", "x")), b"application/json-patch+json", True),
        (message(field(1, field(1, b"x")), subject("User", "x")), b"application/vnd.kubernetes.protobuf", False),
        (message(field(1, field(1, b"x")), subject("User", "x")), None, False),
        (MAGIC, b"application/vnd.kubernetes.protobuf", False),
        (b"[1]", b"application/json", True),
        (b"", b"application/json", True),
        *[
            (b'{"metadata":{"name":"x"},"user":"x"}', b"application/" + kind, True)
            for kind in (b"x-unknown", b"vnd.kubernetes.protobuf")
        ],
        (b'{"metadata":{"name":1}}', b"application/json", True),
        (b"{", b"application/apply-patch+yaml", False),
        (b"{", b"application/yaml", False),
        (b"{", b"", False),
        (b"{", None, False),
        (b'{"a":"\xff","metadata":{"name":"x"}}', b"application/json", False),
        (b'{"a":"\\ud800","metadata":{"name":"x"}}', b"application/json", False),
        (b'{"a":' * 3000, b"application/json", False),
    ],
)
def test_bodies_that_the_shard_cannot_read(body: bytes, content_type: bytes | None, inside: bool) -> None:
    for target in ("/api/v1/namespaces", f"{RBAC}/clusterrolebindings", BINDINGS):
        assert passes("POST", target, body, content_type) is inside


OUTSIDE: list[tuple[str, str, Any]] = [
    ("POST", f"{RBAC}/clusterrolebindings",
     {"metadata": {"name": f"{P}b"}, "subjects": [{"kind": "Group", "name": "system:authenticated"}]}),
    ("PUT", f"{RBAC}/clusterrolebindings/{P}b", {"subjects": [{"kind": "User", "name": f"{OTHER}alice"}]}),
    ("PUT", f"{RBAC}/namespaces/{P}a/rolebindings/b",
     {"subjects": [{"kind": "ServiceAccount", "name": "x", "namespace": f"{OTHER}x"}]}),
    ("PATCH", f"{RBAC}/clusterrolebindings/{P}b",
     [{"op": "add", "path": "/subjects/-1", "value": {"kind": "User", "name": f"{OTHER}alice"}}]),
    ("PUT", f"{RBAC}/clusterrolebindings/{P}b",
     MAGIC + field(1, b"") + field(2, field(2, field(1, b"User") + field(3, b"kotherot2-alice")))),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": "system:admin"}}),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": P, "groups": ["system:masters"]}}),
    ("POST", f"/api/v1/namespaces/{P}a/serviceaccounts/s/token", {"spec": {}}),
    ("POST", f"/api/v1/namespaces/{P}a/serviceaccounts/s/token", {"spec": None}),
    ("POST", f"/api/v1/namespaces/{P}a/serviceaccounts/s/token", {"spec": {"audiences": [f"{P}a", "b"]}}),
    ("POST", f"/api/v1/namespaces/{P}a/serviceaccounts/s/token",
     MAGIC + field(1, b"") + field(2, field(2, field(1, b"https://kubernetes.default.svc")))),
    ("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": {"token": "t"}}),
    ("POST", "/api/v1/namespaces", message(field(1, field(1, b"x")))),
    ("POST", "/api/v1/namespaces", message(field(1, field(2, b"x")))),
    ("POST", CRDS, message(field(1, field(1, b"widgets.example.com")))),
    ("POST", ACCESS, {"spec": {"user": f"{P}a", "groups": [f"{P}g", "x"]}}),
    ("POST", ACCESS, {"spec": {"groups": [f"{P}g", None]}}),
    ("POST", ACCESS, {"spec": {"groups": [ACCOUNT]}}),
    ("POST", ACCESS, {"spec": {"user": f"system:serviceaccount:{OTHER}n:s"}}),
    ("POST", ACCESS, message(field(2, field(3, b"system:admin")))),
    ("POST", ACCESS, message(field(2, field(4, b"system:masters")))),
    ("POST", LOCAL_ACCESS, message(field(2, field(3, b"system:admin")))),
    *[("POST", TOKENS, body) for body in list[Any]((
        {}, [], 1, b"null", {"spec": {"audiences": []}}, {"spec": {"audiences": [f"{P}a", None]}},
        {"spec": {"audiences": [ACCOUNT]}}, {"spec": ["audiences"]},
        {"spec": {"audiences": [f"{P}a"], "boundObjectRef": {"user": "x"}}}, audiences(1), audiences(1, f"{P}x", "x"),
        message(),
    ))],
    *[("POST", f"{AUTHENTICATION}/tokenreviews", body) for body in (
        {"spec": {"audiences": ["x"]}}, audiences(2, "x"), audiences(1, f"{P}x"),
    )],
    ("PUT", f"/api/v1/namespaces/{P}a/pods/c/token", {}),
    ("PUT", BINDING, bound({"kind": "User", "name": f"{P}a"}, {"kind": "User", "name": "x"})),
    ("PUT", BINDING, bound({"kind": "Group", "name": f"system:serviceaccounts:{P}a"})),
    ("PUT", BINDING, bound([{"kind": "User", "name": "x"}])),
    ("PUT", BINDING, message(subject("ServiceAccount", "x", f"{OTHER}x"))),
    ("PUT", BINDING, message(subject("User", f"{P}x"), subject("Group", "x"))),
    ("PUT", f"{BINDINGS}/b", message(subject("Group", "x"))),
    *[("PATCH", BINDING, body) for body in (
        patch("replace", "/subjects/0/name", f"{P}x"),
        patch("replace", "/subjects/0/kind", "Group"),
        patch("replace", "/subjects/0/namespace", "x"),
        patch("replace", "/subjects/0", None),
        patch("copy", "/subjects/0/name"),
        patch("move", "/subjects"),
        patch("add", "/x", [{"kind": "Group", "name": "x"}]),
        patch("test", "/subjects", [{"kind": "Group", "name": "x"}]),
        patch("replace", "/subjects", [{"kind": "Group", "name": "x"}]),
        patch("replace", "", bound({"kind": "Group", "name": "x"})),
    )],
    ("PATCH", f"{BINDINGS}/b", patch("replace", "/subjects/0/kind", "Group")),
    ("PATCH", f"{RBAC}/clusterroles/{P}x", patch("add", "/x", {"user": "x"})),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body"), OUTSIDE)
def test_outside(method: str, target: str, body: Any) -> None:
    assert not passes(method, target, body)
