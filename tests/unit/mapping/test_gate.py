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
from proxy.mapping.listing import Listing
from proxy.mapping.protobuf import MAGIC
from proxy.mapping.request import Attributes, MappedRequest
from proxy.mapping.wire import field
from tests.unit.mapping.support import TOKEN, P, send

OTHER = "kotherot2-"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def passes(method: str, target: str, body: Any = None, content_type: bytes | None = None) -> bool:
    """``body``: bytes, or what is sent as JSON."""
    raw = body if isinstance(body, bytes) else orjson.dumps(body) if body is not None else b""
    try:
        gate(method.encode(), target.encode("latin-1"), raw, TOKEN, content_type)
    except StatusError as error:
        assert (error.code, error.message) == (403, "forbidden: the request is not confined to the workspace")  # noqa: PT017
        return False
    return True


def encoded(token: bytes) -> str:
    return base64.urlsafe_b64encode(token).decode().rstrip("=")


def begin(start: str) -> str:
    return encoded(orjson.dumps({"v": "meta.k8s.io/v1", "rv": -1, "start": start}))


SHARED = "0kcpabcdefghij27"


INSIDE: list[tuple[str, str, Any]] = [
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {"metadata": {"name": "x"}}),
    ("GET", f"/api/v1/namespaces/{P}default", None),
    ("GET", f"/api/v1/namespaces/{P}default/pods", None),
    ("GET", f"/api/v1/namespaces/{P}default/pods/p", None),
    ("GET", f"/apis/{P}a-1.b/v1-x/namespaces/{P}n-1/a-1s/x.y_-z/b-1", None),
    ("GET", f"/apis/{P}a/v1/things/{P}x/b-1", None),
    *[("GET", f"/api/v1/namespaces/{P}a/pods/{odd}", None) for odd in ("!$%20", ".-a", "..a", "a.", "a..", "a../b")],
    ("GET", f"/apis/{P}a/v1/things/{P}%20%C3%A9%c3%a9%21!$~", None),
    ("GET", f"/apis/{P}a/v1/namespaces/{P}%C3%A9/things/%C3%A9", None),
    ("GET", f"/apis/{SHARED}.a-1.b/v1/namespaces/{P}x/things", None),
    ("GET", f"/apis/{SHARED}.a-1.b/v1/things/{P}x", None),
    ("GET", f"{CRDS}/{P}x", None),
    ("GET", "/apis/scheduling.k8s.io/v1/priorityclasses/system-node-critical", None),
    ("HEAD", "/apis/scheduling.k8s.io/v1/priorityclasses/system-cluster-critical", None),
    ("GET", f"/api/v1/namespaces/{P}default/pods/p/status", None),
    ("GET", f"/apis/{P}karpenter-x.example.com/v1/planets/{P}p", None),
    ("GET", f"/apis/tenancy.kcp.dev/v1beta1/workspaces/{P}p", None),
    ("GET", f"{RBAC}/clusterroles/{P}a%20b%C3%A4", None),
    ("GET", f"{CRDS}/widgets.{P}example.com", None),
    ("GET", f"/api/v1/pods?watch=1&labelSelector=0.kcp.dev%2Fw%3D{TOKEN}%2Ca", None),
    ("GET", f"/api/v1/pods?limit=5&continue={begin(P)}", None),
    ("GET", f"/api/v1/pods?limit=5&continue={begin('/' + P)}", None),
    *[("GET", f"/api/v1/pods?continue={begin(P + 'a..b' + 'x' * more)}", None) for more in range(3)],
    ("GET", f"/api/v1/pods?labelSelector=0.kcp.dev/w={TOKEN}&continue=x", None),
    ("DELETE", f"{RBAC}/clusterroles?labelSelector=0.kcp.dev/w={TOKEN}", None),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"generateName": f"{P}a-"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "", "generateName": f"{P}a-"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a", "namespace": f"{P}b"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a", "namespace": ""}}),
    ("POST", "/api/v1/namespaces", {"metadata": 1}),
    ("POST", "/api/v1/namespaces", {}),
    ("POST", CRDS, {"metadata": {"name": f"widgets.{P}example.com"}}),
    ("POST", f"{WEBHOOKS}?dryRun=All", {"metadata": {"name": f"{P}a"}}),
    ("POST", f"{WEBHOOKS}?a=&dryRun=All&fieldManager=b", {"metadata": {"name": f"{P}a"}}),
]


@pytest.mark.parametrize(("method", "target", "body"), INSIDE)
def test_inside(method: str, target: str, body: Any) -> None:
    assert passes(method, target, body)


OUTSIDE: list[tuple[str, str, Any]] = [
    ("GET", "/api/v1/namespaces/default", None),
    ("GET", f"/api/v1/namespaces/{OTHER}default", None),
    ("GET", f"/api/v1/namespaces/{TOKEN}", None),
    ("GET", f"/api/v1/namespaces/{TOKEN}default", None),
    ("GET", f"/api/v1/namespaces/{TOKEN}default/pods", None),
    ("GET", f"/api/v1/namespaces/{OTHER}default/pods/{P}p", None),
    ("GET", f"/api/v1/namespaces/{P}a/../{OTHER}default", None),
    ("GET", f"/api/v1/namespaces/{P}a/..", None),
    ("GET", f"/api/v1/namespaces/{P}a%2F..%2F{OTHER}default", None),
    ("GET", f"/api/v1/namespaces/{P}a/%2e%2e/{OTHER}default/pods", None),
    ("GET", f"/api/v1/namespaces/{P}a%00", None),
    ("GET", f"/api/v1/namespaces/{P}a/pods%2Fx", None),
    ("GET", f"/api/v1/namespaces/{P}a%2fpods", None),
    ("GET", f"/api/v1//namespaces/{P}a", None),
    ("GET", f"/api/v1/namespaces/{P}a/pods/b/c/d", None),
    ("GET", f"/api/v1/nodes/{OTHER}x", None),
    ("GET", "/api/v1/nodes/x", None),
    ("GET", "/api/v1", None),
    ("GET", "/apis//v1/pods/x", None),
    ("GET", f"/apis//v1/namespaces/{P}x", None),
    ("GET", f"/api/v1/namespaces/{P}x/pods/.", None),
    ("GET", f"/api/v1/namespaces/{P}x/pods/..", None),
    ("GET", f"/api/v1/namespaces/{P}x/pods/../status", None),
    ("GET", f"/api/v1/namespaces/{P}x/pods/%2e", None),
    *[
        ("GET", f"/api/v1/namespaces/{P}a/pods/{odd}", None) for odd in
        ("%2F", "%5C", "%25", "%00", "%01", "%1f", "%7f", "%ff", "%", "%1", "%zz", "%1/",
         "\\", ";", "#", '"', "\xe9", "%20\xe9", " ", "\n")
    ],
    ("GET", f"/apis/0kcpabcdefghi-27.b/v1/namespaces/{P}x/things", None),
    ("GET", f"/apis/0kcpabcdefghi/27.b/v1/namespaces/{P}x/things", None),
    ("GET", f"/apis/{SHARED}b.c/v1/namespaces/{P}x/things", None),
    ("GET", f"/apis/{SHARED}.a/v1/things/x", None),
    ("GET", f"/apis/{SHARED}.a/v1/namespaces/{OTHER}x", None),
    *[("PUT", f"/apis/scheduling.k8s.io/v1/{path}", {}) for path in
      ("priorityclasses/system-node-critical", "priorityclasses/x")],
    ("GET", "/apis/scheduling.k8s.io/v1/priorityclasses/x", None),
    ("GET", "/apis/scheduling.k8s.io/v1/others/system-node-critical", None),
    ("GET", "/apis/policy/v1/priorityclasses/system-node-critical", None),
    ("GET", f"/apis/storage.k8s.io/v1/storageclasses/x.{P}y", None),
    ("GET", f"/apis/policy/v1/customresourcedefinitions/x.{P}y", None),
    ("GET", f"/apis/apiextensions.k8s.io/v1/others/x.{P}y", None),
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
    *[("GET", f"/api/v1/pods?{query}", None) for query in (
        f"labelSelector=&labelSelector=0.kcp.dev/w={TOKEN}",  # of which Go takes the first
        f"labelSelector=0.kcp.dev/w={TOKEN},%zz",  # which Go leaves out
        f"labelSelector=0.kcp.dev/w={TOKEN},%1",
        f"labelSelector=0.kcp.dev/w={TOKEN},%1/",
        f"labelSelector=0.kcp.dev/w={TOKEN},a;b",
        f"labelSelector=a&continue={begin(P)}",
        f"labelSelector=&continue={begin(P)}",
        f"labelselector=0.kcp.dev/w={TOKEN}",
        f"continue={begin(P)}&continue={begin(P)}",
        "continue=" + encoded(b'{"v":"meta.k8s.io/v1","rv":-1,"start":"%b","START":"/"}' % P.encode()),
        "continue=" + encoded(b'{"v":"meta.k8s.io/v1","rv":-1,"start":1}'),
        "continue=" + encoded(b'{"v":"meta.k8s.io/v1","start":"%b"}' % P.encode()),
        "continue=" + encoded(b'["start"]'),
        "continue=" + encoded(b"3"),
    )],
    ("GET", f"/api/v1/pods?continue={begin('/../' + P)}", None),
    ("GET", f"/api/v1/pods?continue={begin(P + 'a/../../x')}", None),
    ("DELETE", f"{RBAC}/clusterroles", None),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "a"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a", "generateName": OTHER}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"a.{P}b"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"generateName": f"a-{P}"}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"namespace": OTHER}}),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": f"{P}a", "namespace": f"x.{P}b"}}),
    ("POST", "/apis/authentication.k8s.io/v1/others", {"metadata": {"name": "x"}}),
    ("POST", "/apis/policy/v1/tokenreviews", {"metadata": {"name": "x"}}),
    ("POST", "/api/v1/namespaces", b"{"),
    ("POST", CRDS, {"metadata": {"name": "widgets.example.com"}}),
    ("POST", "/api/v1/namespaces", MAGIC + field(2, field(1, field(1, b"kube-system")))),
    ("POST", "/api/v1/namespaces", MAGIC + field(1, b"") + field(2, field(1, field(3, b"kube-system")))),
    ("POST", WEBHOOKS, {"metadata": {"name": f"{P}a"}}),
    ("POST", f"{WEBHOOKS}?dryRun=", {"metadata": {"name": f"{P}a"}}),
    ("POST", f"{WEBHOOKS}?dryRun=All&dryRun=All", {"metadata": {"name": f"{P}a"}}),
    ("POST", f"{WEBHOOKS}?dryRun=All&dryRun=", {"metadata": {"name": f"{P}a"}}),
    ("POST", f"{WEBHOOKS}?dryRun=All", {"metadata": {"name": "a"}}),
    ("PUT", f"{WEBHOOKS}/{P}a?dryRun=All", {"metadata": {"name": f"{P}a"}}),
    ("PATCH", f"{WEBHOOKS}/{P}a?dryRun=All", {"metadata": {"name": f"{P}a"}}),
    ("DELETE", f"{WEBHOOKS}/{P}a?dryRun=All", None),
    ("GET", f"{WEBHOOKS}/{P}a", None),
    ("GET", f"{WEBHOOKS}?labelSelector=0.kcp.dev/w={TOKEN}", None),
    ("GET", "/metrics", None),
    ("GET", "/", None),
    ("GET", "/apis/tenancy.kcp.dev/v1beta1", None),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body"), OUTSIDE)
def test_outside(method: str, target: str, body: Any) -> None:
    assert not passes(method, target, body)


def mapped_request(
    target: str, body: Any = None, listing: Listing | None = None, content_type: str = ""
) -> MappedRequest:
    headers = [(b"content-type", content_type.encode())] if content_type else []
    attributes = Attributes("", "", "", "", "", "", True, "")
    return MappedRequest(target.encode(), headers, orjson.dumps(body) if body else b"", attributes, False, listing)


def page(start: str = "", *, path: str = "/api/v1/pods", selected: bool = False, **query: str) -> Listing:
    return Listing(path, tuple(query.items()), 0, start, TOKEN, selected=selected)


MINE = f"0.kcp.dev/w={TOKEN}"
MAPPED_INSIDE: list[tuple[str, MappedRequest]] = [
    ("GET", mapped_request("/", listing=page(begin(P)))),
    ("GET", mapped_request("/", listing=page(begin(P), labelSelector="a,b"))),
    ("GET", mapped_request("/", listing=page("x", labelSelector=MINE, selected=True))),
    ("DELETE", mapped_request(f"/api/v1/pods?labelSelector={MINE}", listing=page())),
    ("POST", mapped_request("/api/v1/namespaces", {"metadata": {"name": f"{P}x"}})),
    ("POST", mapped_request("/api/v1/namespaces", {"metadata": {"name": "x"}}, content_type="application/x-unknown")),
]
MAPPED_OUTSIDE: list[tuple[str, MappedRequest]] = [
    ("GET", mapped_request(f"/api/v1/pods?labelSelector={MINE}", listing=page())),
    ("GET", mapped_request(f"/api/v1/pods?labelSelector={MINE}", listing=page(begin(OTHER)))),
    (
        "GET",
        mapped_request(f"/api/v1/pods?labelSelector={MINE}", listing=page(begin(P), labelSelector="a", selected=True)),
    ),
    ("GET", mapped_request(f"/api/v1/pods?labelSelector={MINE}", listing=page(begin(P), path="/apis/x/v1/pods"))),
    ("GET", mapped_request("/api/v1/pods")),
    ("DELETE", mapped_request("/api/v1/pods", listing=page(begin(P)))),
    ("POST", mapped_request("/api/v1/namespaces", {"metadata": {"name": "x"}})),
    ("POST", mapped_request("/api/v1/namespaces", {"metadata": {"name": "x"}}, content_type="application/json")),
]


@pytest.mark.parametrize(("method", "mapped"), MAPPED_INSIDE)
def test_a_mapped_request_inside(method: str, mapped: MappedRequest) -> None:
    gate_mapped(method.encode(), mapped, TOKEN)


@pytest.mark.parametrize(("method", "mapped"), MAPPED_OUTSIDE)
def test_a_mapped_request_outside(method: str, mapped: MappedRequest) -> None:
    with pytest.raises(StatusError):
        gate_mapped(method.encode(), mapped, TOKEN)


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
