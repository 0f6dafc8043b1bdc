"""Paths: read in one way only, as a kube-apiserver reads them, or refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.paths import parse, quote, split_path

# verb, group, version, namespace, resource, subresource, name: the table of k8s.io/apiserver's requestinfo_test.go,
# less what is refused here.
READ = [
    ("GET", "/api/v1/namespaces", "list", "", "v1", "", "namespaces", "", ""),
    ("GET", "/api/v1/namespaces/other", "get", "", "v1", "other", "namespaces", "", "other"),
    ("PUT", "/api/v1/namespaces/other/finalize", "update", "", "v1", "other", "namespaces", "finalize", "other"),
    ("PUT", "/api/v1/namespaces/other/status", "update", "", "v1", "other", "namespaces", "status", "other"),
    ("GET", "/api/v1/namespaces/other/pods", "list", "", "v1", "other", "pods", "", ""),
    ("GET", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
    ("HEAD", "/api/v1/namespaces/other/pods/foo", "get", "", "v1", "other", "pods", "", "foo"),
    ("GET", "/api/v1/pods", "list", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch=true", "watch", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch=1", "watch", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch", "watch", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch=False", "list", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/pods?watch=0&watch=1", "list", "", "v1", "", "pods", "", ""),
    ("GET", "/api/v1/namespaces/other/pods?watch=true", "watch", "", "v1", "other", "pods", "", ""),
    ("GET", "/api/v1/nodes/foo?watch=true", "get", "", "v1", "", "nodes", "", "foo"),
    ("POST", "/api/v1/namespaces/other/pods", "create", "", "v1", "other", "pods", "", ""),
    ("POST", "/api/v1/namespaces/o/serviceaccounts/s/token", "create", "", "v1", "o", "serviceaccounts", "token", "s"),
    ("PATCH", "/api/v1/namespaces/other/pods/foo", "patch", "", "v1", "other", "pods", "", "foo"),
    ("DELETE", "/api/v1/namespaces/other/pods/foo", "delete", "", "v1", "other", "pods", "", "foo"),
    ("DELETE", "/api/v1/namespaces/other/pods", "deletecollection", "", "v1", "other", "pods", "", ""),
    ("DELETE", "/api/v1/nodes", "deletecollection", "", "v1", "", "nodes", "", ""),
    ("PUT", "/apis/apps/v1/namespaces/o/deployments/d/scale", "update", "apps", "v1", "o", "deployments", "scale", "d"),
    ("GET", "/apis/example.com/v1beta1/widgets/w", "get", "example.com", "v1beta1", "", "widgets", "", "w"),
    (
        "GET", "/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode", "get",
        "rbac.authorization.k8s.io", "v1", "", "clusterroles", "", "system:node",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("method", "path", "verb", "group", "version", "namespace", "resource", "sub", "name"), READ)
def test_resources(
    method: str, path: str, verb: str, group: str, version: str, namespace: str, resource: str, sub: str, name: str
) -> None:
    info = parse(method.encode(), path.encode())
    assert info.is_resource
    assert (info.verb, info.group, info.version) == (verb, group, version)
    assert (info.namespace, info.resource, info.subresource, info.name) == (namespace, resource, sub, name)


@pytest.mark.parametrize(
    ("path", "resource", "subresource", "name"),
    [
        ("/api/v1/namespaces/o/pods/foo/log/x", "pods", "log", "foo"),
        ("/api/v1/namespaces/o/status/x", "namespaces", "status", "o"),
        ("/apis/example.com/v1/widgets/w/a/b/c", "widgets", "a", "w"),
        ("/api/v1/namespaces/a/Pods", "Pods", "", ""),
        ("/api/v1/n%6Fdes%20", "nodes ", "", ""),
        ("/api/v1/namespaces/a/namespaces", "namespaces", "", ""),
        ("/api/v1/nodes/a/B", "nodes", "B", "a"),
    ],
)
def test_paths_that_no_resource_has(path: str, resource: str, subresource: str, name: str) -> None:
    info = parse(b"GET", path.encode())
    assert (info.resource, info.subresource, info.name, info.beyond) == (resource, subresource, name, True)


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/", "/api/v1", "/apis", "/apis/apps/v1", "/openapi/v3/apis/apps/v1", "/version", "/metrics"],
)
def test_everything_else_is_no_resource(path: str) -> None:
    info = parse(b"GET", path.encode())
    assert not info.is_resource
    assert (info.verb, info.path) == ("get", path)


REFUSED = [
    "/api/v1/namespaces/../nodes", "/api/v1/namespaces/a/../b", "/api/v1/namespaces/%2e%2e/nodes",
    "/api/v1/namespaces/.%2E/nodes", "/api/v1/namespaces/./a", "/api/v1/namespaces/..", "/../api/v1/nodes",
    "/api/v1//nodes", "//api/v1/nodes", "/api/v1/nodes//", "/api/v1/nodes/a%2fb", "/api/v1/nodes/a%2Fb",
    "/api/v1/nodes/a%5Cb", "/api/v1/nodes/a\\b", "/api/v1/nodes/a;b", "/api/v1/nodes/a%3b%00", "/api/v1/nodes/%00",
    "/api/v1/nodes/a%0Ab", "/api/v1/nodes/%ff", "/api/v1/nodes/%", "/api/v1/nodes/%2", "/api/v1/nodes/%zz",
    "/api/v1/nodes/a%25b", "/api/v1/nodes/%252e%252e", "/api/v1/nodes/" + "x" * 600, "http://h/api/v1/nodes", "api/v1",
    "*", "", "/api/v1/nodes/ä", "/api/v1/proxy/nodes/x", "/api/v1/pods/a/../../nodes",
]  # fmt: skip


@pytest.mark.parametrize("path", REFUSED)
def test_what_can_be_read_in_two_ways_is_refused(path: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(b"GET", path.encode())
    assert caught.value.code == 400
    assert caught.value.reason == "BadRequest"


@pytest.mark.parametrize(("query", "kept"), [("a=1;b=2&c=3", ["c"]), ("%zz=1&c=%", []), ("a=%41&b", ["a", "b"])])
def test_pairs_that_go_drops_are_dropped(query: str, kept: list[str]) -> None:
    assert [key for key, _ in parse(b"GET", f"/api/v1/pods?{query}".encode()).query] == kept


@pytest.mark.parametrize("query", ["a=%ff", "&".join(f"a{i}=1" for i in range(100))])
def test_queries_that_servers_read_differently_are_refused(query: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(b"GET", f"/api/v1/pods?{query}".encode())
    assert caught.value.code == 400


@pytest.mark.parametrize(
    ("path", "resource", "namespace", "name"),
    [("pods", "pods", "", ""), ("namespaces/a/pods", "pods", "a", ""), ("namespaces/a/pods/b", "pods", "a", "b"),
     ("namespaces/a", "namespaces", "", "a"), ("nodes/n", "nodes", "", "n")],
)  # fmt: skip
def test_watches_of_old(path: str, resource: str, namespace: str, name: str) -> None:
    info = parse(b"GET", f"/api/v1/watch/{path}?resourceVersion=1&watch=0".encode())
    assert (info.verb, info.resource, info.namespace, info.name) == ("watch", resource, namespace, "")
    selected = [("fieldSelector", f"metadata.name={name}")] if name else []
    assert info.query == [("resourceVersion", "1"), *selected, ("watch", "true")]


@pytest.mark.parametrize(
    "path", ["watch/" * 5000 + "pods", "watch/namespaces/a/pods/b/c", "watch/namespaces/a/b/c/d/e"]
)
def test_nothing_to_watch(path: str) -> None:
    with pytest.raises(StatusError) as caught:
        parse(b"GET", f"/api/v1/{path}".encode())
    assert caught.value.code in (400, 404)


def test_unknown_methods() -> None:
    assert (parse(b"TRACE", b"/api/v1/pods").verb, parse(b"TRACE", b"/version").verb) == ("", "trace")


@given(st.text(st.characters(codec="utf-8", exclude_characters="/\\%"), min_size=1, max_size=20))
def test_names_survive_quoting(name: str) -> None:
    if name in (".", "..") or not name.isprintable():
        with pytest.raises(StatusError):
            split_path("/" + quote(name))
    elif ";" in quote(name):
        raise AssertionError("a semicolon was left as it is")
    else:
        assert split_path("/" + quote(name)) == [name]


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail_in_another_way(path: bytes) -> None:
    try:
        info = parse(b"GET", b"/api/v1/" + path)
    except StatusError as error:
        code = error.code
        assert code in (400, 404)
    else:
        assert all(part not in ("", ".", "..") for part in info.path.strip("/").split("/"))
