"""Whole requests: what is sent to the shard for what a client asked."""

from __future__ import annotations

import base64
import json
import urllib.parse

import pytest

from proxy.kube.errors import StatusError
from proxy.mapping.forms import NONE, Form, accepted
from proxy.mapping.gate import gate, gate_mapped
from proxy.mapping.listing import read_token
from proxy.mapping.stretches import target_of, whole
from tests.unit.mapping.support import TOKEN, P, send, sent_body, target

CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MINE = f"labelSelector=0.kcp.dev%2Fw%3D{TOKEN}"


def continue_token(start: str, version: int = 7) -> str:
    raw = json.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start}).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


GOES_ON = continue_token(f"{P}default/a")


@pytest.mark.parametrize(
    ("method", "path", "mapped"),
    [
        ("GET", "/api/v1/namespaces/default", f"/api/v1/namespaces/{P}default"),
        ("GET", "/api/v1/namespaces/default/pods", f"/api/v1/namespaces/{P}default/pods"),
        ("GET", "/api/v1/namespaces/default/pods/p", f"/api/v1/namespaces/{P}default/pods/p"),
        ("GET", "/api/v1/namespaces/default/pods?limit=5", f"/api/v1/namespaces/{P}default/pods?limit=5"),
        ("PUT", "/api/v1/namespaces/default/finalize", f"/api/v1/namespaces/{P}default/finalize"),
        ("GET", "/apis/apps/v1/namespaces/a/deployments/d/scale", f"/apis/apps/v1/namespaces/{P}a/deployments/d/scale"),
        ("GET", "/apis/example.com/v1/namespaces/a/widgets", f"/apis/{P}example.com/v1/namespaces/{P}a/widgets"),
        ("GET", "/apis/example.com/v1/planets/p", f"/apis/{P}example.com/v1/planets/{P}p"),
        ("GET", "/apis/example.com/v1/planets/p/status", f"/apis/{P}example.com/v1/planets/{P}p/status"),
        ("GET", f"{CRDS}/widgets.example.com", f"{CRDS}/widgets.{P}example.com"),
        ("GET", f"{CRDS}/workspaces.tenancy.kcp.dev", f"{CRDS}/workspaces.{P}tenancy.kcp.dev"),
        ("GET", f"{RBAC}/clusterroles/cluster-admin", f"{RBAC}/clusterroles/{P}cluster-admin"),
        ("GET", f"{RBAC}/clusterroles/system:node", f"{RBAC}/clusterroles/{P}system:node"),
        ("GET", f"{RBAC}/clusterroles/a%20b", f"{RBAC}/clusterroles/{P}a%20b"),
        ("GET", f"{RBAC}/clusterrolebindings/admin", f"{RBAC}/clusterrolebindings/{P}admin"),
        ("GET", f"{RBAC}/namespaces/a/roles/admin", f"{RBAC}/namespaces/{P}a/roles/admin"),
        ("GET", f"/api/v1/namespaces/{P}default", f"/api/v1/namespaces/{P}{P}default"),
        ("GET", "/api/v1/namespaces/kotheroth-x", f"/api/v1/namespaces/{P}kotheroth-x"),
        ("GET", "/apis/kotheroth-x.io/v1/planets/p", f"/apis/{P}kotheroth-x.io/v1/planets/{P}p"),
        ("GET", "/api/v1/pods?watch=true", f"/api/v1/pods?watch=true&{MINE}"),
        ("GET", "/api/v1/pods?watch=true&labelSelector=a", f"/api/v1/pods?watch=true&{MINE}%2Ca"),
        ("GET", "/api/v1/pods?labelSelector=a&resourceVersion=7", f"/api/v1/pods?resourceVersion=7&{MINE}%2Ca"),
        ("GET", "/api/v1/pods?fieldSelector=metadata.namespace%3Da&resourceVersion=7",
         f"/api/v1/pods?fieldSelector=metadata.namespace%3D{P}a&resourceVersion=7&{MINE}"),
        ("GET", CRDS, f"{CRDS}?{MINE}"),
        ("GET", f"{CRDS}?limit=500&resourceVersion=0", f"{CRDS}?limit=500&resourceVersion=0&{MINE}"),
        ("DELETE", f"{RBAC}/clusterroles", f"{RBAC}/clusterroles?{MINE}"),
        ("DELETE", "/api/v1/namespaces/a/configmaps", f"/api/v1/namespaces/{P}a/configmaps"),
    ],
)  # fmt: skip
def test_targets(method: str, path: str, mapped: str) -> None:
    request = send(method, path, {} if method == "PUT" else None)
    assert target(request) == mapped
    assert request.target.endswith(b"pretty=false")
    assert request.listing is None
    gate_mapped(method.encode(), request, TOKEN)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/api/v1/pods", ""),
        ("/api/v1/namespaces", ""),
        ("/api/v1/pods?limit=500", ""),
        ("/api/v1/pods?resourceVersion=0", ""),
        ("/apis/example.com/v1/planets?includeObject=Object", ""),
    ],
)
def test_lists_without_selectors_are_put_together_from_pages(path: str, name: str) -> None:
    request = send("GET", path)
    assert request.listing is not None
    token = json.loads(base64.urlsafe_b64decode(request.listing.start + "=="))
    assert token == {"v": "meta.k8s.io/v1", "rv": -1, "start": P}
    assert request.listing.limit == (500 if "limit" in path else 0)
    gate_mapped(b"GET", request, TOKEN)


@pytest.mark.parametrize("start", [f"{P}default/a", f"/{P}default/a", f"{P}default/a\0"])
def test_continue_tokens_go_on_inside_only(start: str) -> None:
    request = send("GET", f"/api/v1/pods?limit=5&continue={continue_token(start)}")
    assert request.listing is not None
    assert json.loads(base64.urlsafe_b64decode(request.listing.start + "==")) == {
        "v": "meta.k8s.io/v1",
        "rv": 7,
        "start": start,
    }
    gate_mapped(b"GET", request, TOKEN)


@pytest.mark.parametrize("selector", ["", "&labelSelector=a"])
@pytest.mark.parametrize(
    "token",
    ["", "e30", continue_token("kotheroth-x/a"), continue_token("default/a"), continue_token("k3fq7zn2/a"),
     continue_token(f"{P}a/../../x"), continue_token(f"{P}a/.."), continue_token(f"//{P}a"), continue_token(""),
     base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":"7","start":"k3fq7zn2a-"}').decode(),
     base64.urlsafe_b64encode(b'{"v":"meta.k8s.io/v1","rv":7,"start":["k3fq7zn2a-"]}').decode(),
     base64.urlsafe_b64encode(b'["k3fq7zn2a-"]').decode()],
)  # fmt: skip
def test_other_continue_tokens_are_refused(token: str, selector: str) -> None:
    if not token:
        return
    with pytest.raises(StatusError) as caught:
        send("GET", f"/api/v1/pods?limit=5&continue={urllib.parse.quote(token)}{selector}")
    assert caught.value.code == 400


@pytest.mark.parametrize("selector", ["", "&labelSelector=a"])
@pytest.mark.parametrize("token", ["x", "abc", "%20", "e3t7"])
def test_what_is_no_continue_token_goes_on_behind_the_selector_for_the_shard_to_say_so(
    token: str, selector: str
) -> None:
    request = send("GET", f"/api/v1/pods?limit=5&continue={token}{selector}")
    assert request.listing is not None
    assert target_of(whole(request.listing), request.listing.query, 6).startswith(f"/api/v1/pods?{MINE}".encode())
    gate_mapped(b"GET", request, TOKEN)


@pytest.mark.parametrize(
    ("method", "path", "page"),
    [
        ("GET", f"{CRDS}?limit=5", f"{CRDS}?{MINE}&limit=6&pretty=false"),
        ("GET", "/api/v1/pods?limit=5&labelSelector=a&resourceVersion=7",
         f"/api/v1/pods?resourceVersion=7&{MINE}%2Ca&limit=6&pretty=false"),
        ("DELETE", f"{RBAC}/clusterroles?limit=5&labelSelector=a&dryRun=All",
         f"{RBAC}/clusterroles?{MINE}%2Ca&limit=6&pretty=false"),
    ],
)  # fmt: skip
def test_the_end_of_what_is_selected_and_limited_is_looked_for(method: str, path: str, page: str) -> None:
    request = send(method, path)
    assert request.listing is not None
    assert request.listing.selected
    assert target_of(whole(request.listing), request.listing.query, 6).decode() == page
    gate_mapped(method.encode(), request, TOKEN)
    gate(b"GET", page.encode(), b"", TOKEN)


@pytest.mark.parametrize(
    "asked",
    ["pods?labelSelector=a&resourceVersion=7",
     "pods?labelSelector=a&resourceVersion=0&resourceVersionMatch=NotOlderThan",
     "pods?labelSelector=a&limit=5&watch=1", "pods?labelSelector=a&continue=x", "nodes?labelSelector=a",
     "nodes?labelSelector=a&limit=5&resourceVersion=0"],
)  # fmt: skip
def test_what_is_selected_goes_on_as_it_is_where_there_is_no_other_way(asked: str) -> None:
    assert send("GET", f"/api/v1/{asked}").listing is None


@pytest.mark.parametrize("more", ["", "&limit=5", "&limit=5&resourceVersion=0", f"&limit=5&continue={GOES_ON}"])
def test_what_is_selected_may_be_read_by_namespace(more: str) -> None:
    request = send("GET", f"/api/v1/pods?labelSelector=a&fieldSelector=metadata.name%3Db{more}")
    listing = request.listing
    assert listing is not None
    assert (listing.in_namespaces, listing.selected) == (True, True)
    assert listing.limit == (5 if "limit" in more and "Version" not in more else 0)
    assert dict(listing.query) == {"labelSelector": f"0.kcp.dev/w={TOKEN},a", "fieldSelector": "metadata.name=b"}
    assert read_token(listing.start) == ((f"{P}default/a", 7) if "continue" in more else (P, -1))
    gate_mapped(b"GET", request, TOKEN)


def test_attributes_are_the_shards() -> None:
    def seen(method: str, path: str, body: object = None) -> tuple[str, ...]:
        found = send(method, path, body).attributes
        return found.verb, found.group, found.resource, found.subresource, found.namespace, found.name

    assert seen("GET", "/api/v1/namespaces/a") == ("get", "", "namespaces", "", f"{P}a", f"{P}a")
    assert seen("GET", "/api/v1/namespaces/a/pods/b/status") == ("get", "", "pods", "status", f"{P}a", "b")
    assert seen("GET", "/apis/example.com/v1/planets/p") == ("get", f"{P}example.com", "planets", "", "", f"{P}p")
    assert seen("GET", f"{CRDS}/w.a.b")[-1] == f"w.{P}a.b"
    assert seen("GET", f"{RBAC}/clusterroles/view")[-1] == f"{P}view"
    assert seen("GET", "/api/v1/namespaces?fieldSelector=metadata.name%3Da") == (
        "list",
        "",
        "namespaces",
        "",
        "",
        f"{P}a",
    )
    assert seen("GET", "/api/v1/pods?fieldSelector=metadata.name%3Da&watch=1") == ("watch", "", "pods", "", "", "a")
    # RequestInfo gives a name to list and watch only.
    assert seen("DELETE", f"{RBAC}/clusterroles?fieldSelector=metadata.name%3Da")[-1] == ""


def test_only_known_headers_go_on() -> None:
    request = send(
        "GET", "/api/v1/namespaces/a/pods/b", accept="application/json", user_agent="x", authorization="Bearer secret",
        x_remote_user="root", x_remote_group="system:masters", impersonate_user="root", accept_encoding="gzip",
        cookie="c", x_forwarded_for="1.2.3.4", content_type="application/json", host="h", traceparent="00-1",
    )  # fmt: skip
    assert sorted(request.headers) == [
        (b"accept", b"application/json"),
        (b"traceparent", b"00-1"),
        (b"user-agent", b"x"),
    ]


TABLE = b"application/json;as=Table;v=v1;g=meta.k8s.io"


@pytest.mark.parametrize(
    ("accept", "mapped"),
    [
        (b"", b"application/json"),
        (b"*/*", b"application/json"),
        (b"application/json, */*", b"application/json"),
        (b"application/vnd.kubernetes.protobuf,application/json", b"application/json"),
        (b"application/cbor;q=1, application/json;q=0.9", b"application/json;q=0.9"),
        (TABLE + b",application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json",
         TABLE + b",application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json"),
        (b"application/vnd.kubernetes.protobuf;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,"
         b"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json",
         b"application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"),
        (b"application/json;pretty=1", b"application/json"),
        (b"Application/JSON ; Pretty=1 ; charset=utf-8", b"application/json;charset=utf-8"),
    ],
)  # fmt: skip
def test_accept(accept: bytes, mapped: bytes) -> None:
    assert accepted(accept).accept == mapped


@pytest.mark.parametrize("accept", [b"application/vnd.kubernetes.protobuf", b"text/html", b"application/cbor"])
def test_the_shard_itself_refuses_what_could_not_be_rewritten(accept: bytes) -> None:
    assert accepted(accept).accept == NONE


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (b"", Form.COMPACT),
        (b"application/json", Form.COMPACT),
        (b"application/json;pretty=1", Form.INDENTED),
        (b"application/yaml", Form.YAML),
        (b"application/yaml, application/json", Form.YAML),
        (b"application/json, application/yaml", Form.COMPACT),
        (b"application/yaml;q=0.5, application/json", Form.COMPACT),
        (b"application/vnd.kubernetes.protobuf, */*", Form.COMPACT),
        (b"application/vnd.kubernetes.protobuf, application/yaml", Form.YAML),
    ],
)
def test_form(accept: bytes, form: Form) -> None:
    assert accepted(accept).form is form


def test_bodies() -> None:
    request = send("POST", "/api/v1/namespaces/a/configmaps", {"metadata": {"name": "c", "namespace": "a"}})
    assert sent_body(request) == {"metadata": {"name": "c", "namespace": f"{P}a"}}
    assert (b"content-type", b"application/json") in request.headers
    assert send("GET", "/api/v1/namespaces/a/configmaps/c", b"junk").body == b""
    assert send("DELETE", "/api/v1/namespaces/a/configmaps/c").body == b""
    assert sent_body(send("DELETE", "/api/v1/namespaces/a/configmaps/c", {"gracePeriodSeconds": 0})) == {
        "gracePeriodSeconds": 0
    }


def test_whose_rights_count() -> None:
    binding = {"metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "x"}}
    assert send("POST", f"{RBAC}/clusterrolebindings", binding).own_identity
    assert send("PATCH", f"{RBAC}/clusterroles/x", {}, "application/merge-patch+json").own_identity
    assert send("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {}).own_identity
    assert not send("GET", f"{RBAC}/clusterroles/x").own_identity
    assert not send("DELETE", f"{RBAC}/clusterroles/x").own_identity
    assert not send("POST", "/api/v1/namespaces/a/configmaps", {}).own_identity


REFUSED = [
    ("POST", "/api/v1/namespaces/a/pods/p/binding", {}, 403),
    ("POST", "/api/v1/namespaces/a/bindings", {}, 403),
    ("GET", "/api/v1/namespaces/a/pods/p/log", None, 400),
    ("GET", "/api/v1/namespaces/a/pods/p/exec", None, 400),
    ("GET", "/api/v1/namespaces/a/services/s/proxy", None, 503),
    ("GET", "/apis/admissionregistration.k8s.io/v1/other", None, 404),
    ("POST", "/apis/apiregistration.k8s.io/v1/apiservices", {}, 404),
    ("PATCH", f"{CRDS}/x.apps", {}, 403),
    ("PATCH", "/api/v1/namespaces/" + "n" * 54, {}, 422),
    ("POST", "/api/v1/namespaces", {"metadata": {"name": "n" * 54}}, 422),
    ("PATCH", f"/api/v1/namespaces/{P}x", {}, 422),
    ("PATCH", f"/api/v1/namespaces/a/configmaps/{TOKEN}", {}, 422),
    ("DELETE", f"/apis/{P}example.com/v1/planets/{P}x", None, 422),
]


@pytest.mark.parametrize(("method", "path", "body", "code"), REFUSED)
def test_what_is_refused(method: str, path: str, body: object, code: int) -> None:
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(StatusError) as caught:
        send(method, path, body, media)
    assert caught.value.code == code


def test_encoded_bodies_are_refused() -> None:
    with pytest.raises(StatusError) as caught:
        send("POST", "/api/v1/namespaces/a/configmaps", {}, content_encoding="gzip")
    assert caught.value.code == 415
