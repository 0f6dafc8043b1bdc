"""The gate: it passes what the mapping makes, and nothing that reaches outside, however it came about."""

from __future__ import annotations

import base64
import urllib.parse
from typing import Any

import orjson
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.gate import gate, gate_mapped
from proxy.mapping.protobuf import MAGIC
from proxy.mapping.wire import field
from tests.unit.mapping.support import TOKEN, P, send

OTHER = "kotherot2-"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def passes(method: str, target: str, body: Any = None) -> bool:
    raw = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else b""
    try:
        gate(method.encode(), target.encode(), raw, TOKEN)
    except StatusError as error:
        assert error.code == 403  # noqa: PT017
        return False
    return True


def begin(start: str) -> str:
    return (
        base64.urlsafe_b64encode(orjson.dumps({"v": "meta.k8s.io/v1", "rv": -1, "start": start})).decode().rstrip("=")
    )


INSIDE: list[tuple[str, str, Any]] = [
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"metadata": {"name": "x"}}),
    ("GET", f"/api/v1/namespaces/{P}default", None),
    ("GET", f"/api/v1/namespaces/{P}default/pods/p/status", None),
    ("GET", f"/apis/{P}karpenter-x.example.com/v1/planets/{P}p", None),
    ("GET", f"/apis/tenancy.kcp.dev/v1beta1/workspaces/{P}p", None),
    ("GET", f"{RBAC}/clusterroles/{P}a%20b%C3%A4", None),
    ("GET", f"{CRDS}/widgets.{P}example.com", None),
    ("GET", f"/api/v1/pods?watch=1&labelSelector=0.kcp.dev%2Fw%3D{TOKEN}%2Ca", None),
    ("GET", f"/api/v1/pods?limit=5&continue={begin(P)}", None),
    ("GET", f"/api/v1/pods?limit=5&continue={begin('/' + P)}", None),
    ("DELETE", f"{RBAC}/clusterroles?labelSelector=0.kcp.dev/w={TOKEN}", None),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"generateName": f"{P}a-"}}),
    ("POST", CRDS, {"metadata": {"name": f"widgets.{P}example.com"}}),
    ("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", {"spec": {"user": f"{P}a", "groups": [f"{P}g"]}}),
    ("POST", f"/api/v1/namespaces/{P}a/serviceaccounts/s/token", {"spec": {"audiences": [f"{P}x"]}}),
]


@pytest.mark.parametrize(("method", "target", "body"), INSIDE)
def test_inside(method: str, target: str, body: Any) -> None:
    assert passes(method, target, body)


@pytest.mark.parametrize(
    ("body", "content_type", "inside"),
    [
        (b"{", b"application/json", True),
        (b"{", b"application/merge-patch+json", True),
        (b"[1]", b"application/json", True),
        (b"", b"application/json", True),
        (b'{"metadata":{"name":"x"}}', b"application/x-unknown", True),
        (b'{"metadata":{"name":"x"}}', b"application/vnd.kubernetes.protobuf", True),
        (b'{"metadata":{"name":1}}', b"application/json", True),
        (b"{", b"application/apply-patch+yaml", False),
        (b"{", b"application/yaml", False),
        (b"{", b"", False),
        (b'{"a":"\xff","metadata":{"name":"x"}}', b"application/json", False),
        (b'{"a":"\\ud800","metadata":{"name":"x"}}', b"application/json", False),
        (b'{"a":' * 3000, b"application/json", False),
    ],
)
def test_bodies_that_the_shard_cannot_read(body: bytes, content_type: bytes, inside: bool) -> None:
    for target in ("/api/v1/namespaces", f"{RBAC}/clusterrolebindings"):
        try:
            gate(b"POST", target.encode(), body, TOKEN, content_type)
        except StatusError as error:
            assert (error.code, inside) == (403, False)  # noqa: PT017
        else:
            assert inside


OUTSIDE: list[tuple[str, str, Any]] = [
    ("GET", "/api/v1/namespaces/default", None),
    ("GET", f"/api/v1/namespaces/{OTHER}default", None),
    ("GET", f"/api/v1/namespaces/{TOKEN}", None),
    ("GET", f"/api/v1/namespaces/{TOKEN}default", None),
    ("GET", f"/api/v1/namespaces/{OTHER}default/pods/{P}p", None),
    ("GET", f"/api/v1/namespaces/{P}a/../{OTHER}default", None),
    ("GET", f"/api/v1/namespaces/{P}a/..", None),
    ("GET", f"/api/v1/namespaces/{P}a%2F..%2F{OTHER}default", None),
    ("GET", f"/api/v1/namespaces/{P}a/%2e%2e/{OTHER}default/pods", None),
    ("GET", f"/api/v1/namespaces/{P}a%00", None),
    ("GET", f"/api/v1//namespaces/{P}a", None),
    ("GET", f"/api/v1/namespaces/{P}a/pods/b/c/d", None),
    ("GET", f"/api/v1/nodes/{OTHER}x", None),
    ("GET", "/api/v1/nodes/x", None),
    ("GET", f"/apis/{OTHER}example.com/v1/planets/{P}p", None),
    ("GET", f"/apis/example.com/v1/planets/{P}p", None),
    ("GET", f"/apis/internal.kcp.dev/v1alpha1/logicalclusters/{TOKEN}", None),
    ("GET", f"/apis/internal.kcp.dev/v1alpha1/logicalclusters/{P}x", None),
    ("GET", f"{RBAC}/clusterroles/system:node", None),
    ("PUT", f"{RBAC}/clusterroles/admin", {}),
    ("DELETE", f"{RBAC}/clusterroles/admin", None),
    ("GET", f"{RBAC}/clusterroles/cluster-admin", None),
    ("GET", f"{RBAC}/clusterrolebindings/cluster-admin", None),
    ("GET", f"{CRDS}/widgets.{OTHER}example.com", None),
    ("GET", f"{CRDS}/{OTHER}x.{P}example.com"[: len(CRDS) + 1 + len(OTHER) + 1], None),
    ("GET", f"{CRDS}/widgets.example.com.{P}x", None),
    ("GET", "/api/v1/pods", None),
    ("GET", "/api/v1/pods?labelSelector=a", None),
    ("GET", f"/api/v1/pods?labelSelector=a,0.kcp.dev/w={TOKEN}", None),
    ("GET", f"/api/v1/pods?labelSelector=0.kcp.dev/w={TOKEN}x", None),
    ("GET", f"/api/v1/pods?labelSelector=0.kcp.dev/w={TOKEN}&labelSelector=a", None),
    ("GET", "/api/v1/pods?labelSelector=0.kcp.dev/w=kotherot2", None),
    ("GET", f"/api/v1/pods?continue={begin(OTHER)}", None),
    ("GET", f"/api/v1/pods?continue={begin('')}", None),
    ("GET", f"/api/v1/pods?continue={begin(P)}&continue={begin(OTHER)}", None),
    ("GET", "/api/v1/pods?continue=x", None),
    ("GET", f"/api/v1/pods?continue={begin('/../' + P)}", None),
    ("GET", f"/api/v1/pods?continue={begin(P + 'a/../../x')}", None),
    ("DELETE", f"{RBAC}/clusterroles", None),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "a"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a", "generateName": OTHER}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"a.{P}b"}}),
    ("POST", "/api/v1/namespaces", b"{"),
    ("POST", CRDS, {"metadata": {"name": "widgets.example.com"}}),
    ("POST", "/api/v1/namespaces", MAGIC + field(2, field(1, field(1, b"kube-system")))),
    ("GET", "/metrics", None),
    ("GET", "/", None),
    ("GET", "/apis/tenancy.kcp.dev/v1beta1", None),
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
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body"), OUTSIDE)
def test_outside(method: str, target: str, body: Any) -> None:
    assert not passes(method, target, body)


names = st.from_regex(r"[a-z0-9][a-z0-9:.-]{0,12}", fullmatch=True)
paths = st.one_of(
    st.builds("/api/v1/namespaces/{}".format, names),
    st.builds("/api/v1/namespaces/{}/configmaps/{}".format, names, names),
    st.builds(
        "/apis/{}/v1/namespaces/{}/widgets".format, st.sampled_from(["example.com", "apps", "karpenter-x.io"]), names
    ),
    st.builds("/apis/example.com/v1/planets/{}".format, names),
    st.builds(lambda name: f"{RBAC}/clusterroles/{urllib.parse.quote(name)}", st.text(min_size=1, max_size=5)),
    st.sampled_from(["/api/v1/pods", "/api/v1/pods?watch=1", "/api/v1/namespaces?labelSelector=a", CRDS]),
)


@given(paths, st.sampled_from(["GET", "DELETE"]))
def test_all_that_the_mapping_makes_passes(path: str, method: str) -> None:
    try:
        mapped = send(method, path)
    except StatusError:
        assume(False)
        raise
    assume(mapped.attributes.verb != "deletecollection" or "namespaces/" in path or "?" not in path)
    gate_mapped(method.encode(), mapped, TOKEN)


@given(paths)
def test_no_request_mapped_to_another_workspace_passes(path: str) -> None:
    try:
        mapped = send("GET", path)
    except StatusError:
        assume(False)
        raise
    if b"/clusterroles/" in mapped.target and P.encode() not in mapped.target:
        return
    with pytest.raises(StatusError):
        gate_mapped(b"GET", mapped, "kotherot2")
