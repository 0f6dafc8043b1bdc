"""Selectors and other parameters."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.errors import StatusError
from proxy.mapping.paths import parse
from proxy.mapping.query import ALLOWED, map_field_selector, map_label_selector, map_query, name_in_field_selector
from tests.unit.mapping.support import P, Scopes

PODS = parse(b"GET", b"/api/v1/pods")
NAMESPACES = parse(b"GET", b"/api/v1/namespaces")
ROLES = parse(b"GET", b"/apis/rbac.authorization.k8s.io/v1/clusterroles")


@pytest.mark.parametrize(
    ("selector", "mapped"),
    [
        ("a=b", "a=b"), ("a==b", "a==b"), ("a!=b", "a!=b"), ("a", "a"), ("!a", "!a"), ("! a", "!a"), (" a = b ", "a=b"),
        ("a=", "a="), ("a>1", "a>1"), ("a<1", "a<1"), ("a in (b, c)", "a in (b,c)"), ("a notin (b)", "a notin (b)"),
        ("a in ()", "a in ()"), ("a in (,b)", "a in (,b)"), ("in in (in)", "in in (in)"), ("notin", "notin"),
        ("x.io/a=b,!c,d in (e),f!=g", "x.io/a=b,!c,d in (e),f!=g"), ("kubernetes.io/metadata.name=a", None),
    ],
)  # fmt: skip
def test_label_selectors(selector: str, mapped: str | None) -> None:
    assert map_label_selector(selector, PODS, P) == (mapped or selector)


def test_labels_that_hold_names() -> None:
    name = "kubernetes.io/metadata.name"
    assert map_label_selector(f"{name}=a,{name}!=b", NAMESPACES, P) == f"{name}={P}a,{name}!={P}b"
    assert map_label_selector(f"{name} in (a,b),!{name}", NAMESPACES, P) == f"{name} in ({P}a,{P}b),!{name}"
    aggregate = "rbac.authorization.k8s.io/aggregate-to-admin"
    assert map_label_selector(f"{aggregate}=true", ROLES, P) == f"{P}{aggregate}=true"
    assert map_label_selector(f"{aggregate}=true", PODS, P) == f"{aggregate}=true"


@pytest.mark.parametrize(
    "selector",
    ["0.kcp.dev/w=kotheroth", "0.kcp.dev/w", "!0.kcp.dev/w", "a=b,0.kcp.dev/w!=x", "0.kcp.dev/w in (a)",
     "a=b=c,0.kcp.dev/w"],
)  # fmt: skip
def test_label_selectors_that_are_refused(selector: str) -> None:
    with pytest.raises(StatusError) as caught:
        map_label_selector(selector, PODS, P)
    assert caught.value.code == 400


@pytest.mark.parametrize(
    "selector",
    ["a=b,", ",a", "a in (b", "a in b)", "a in (b),c)", "=b", "a=b c", "a b", "a in (b c)", "a=b=c", "a,,b", "a=ä",
     "-a", "a in ((b))", "x" * 3000 + "!", "a(" * 2000],
)  # fmt: skip
def test_what_is_no_label_selector_goes_on_for_the_shard_to_say_so(selector: str) -> None:
    assert map_label_selector(selector, PODS, P) == selector


@given(st.text("ab=!,() in0.kcpdev/w<>", max_size=30))
def test_no_label_selector_escapes_its_place(selector: str) -> None:
    """Whatever a client writes, behind the internal requirement it can only narrow; what is understood has no internal
    label in it, and nothing else has its name."""
    try:
        mapped = map_label_selector(selector, PODS, P)
    except StatusError:
        return
    if mapped == selector and "0.kcp.dev/w" not in selector:
        return
    assert "0.kcp.dev/w" not in mapped.replace("(", ",").replace(")", ",").replace("=", ",").replace("!", "").split(",")
    assert mapped.count("(") == mapped.count(")")
    assert map_label_selector(mapped, PODS, P) == mapped if mapped else True


@pytest.mark.parametrize(
    ("selector", "cluster_scoped", "mapped"),
    [
        ("metadata.name=a", False, "metadata.name=a"),
        ("metadata.name=a", True, f"metadata.name={P}a"),
        ("metadata.namespace=a", False, f"metadata.namespace={P}a"),
        ("metadata.namespace!=a,metadata.name==b", False, f"metadata.namespace!={P}a,metadata.name==b"),
        ("involvedObject.namespace=a,type=Warning", False, f"involvedObject.namespace={P}a,type=Warning"),
        ("regarding.namespace=a", False, f"regarding.namespace={P}a"),
        ("status.phase=Running", False, "status.phase=Running"),
        (r"spec.x=a\,metadata.namespace\=b", False, r"spec.x=a\,metadata.namespace\=b"),
        ("metadata.name=", True, "metadata.name="),
        ("", False, ""),
        ("a=b,", False, "a=b"),
    ],
)
def test_field_selectors(selector: str, cluster_scoped: bool, mapped: str) -> None:
    assert map_field_selector(selector, P, cluster_scoped=cluster_scoped) == mapped


def test_field_selectors_of_crds() -> None:
    assert map_field_selector("metadata.name=w.a.b", P, cluster_scoped=True, crds=True) == f"metadata.name=w.{P}a.b"


@pytest.mark.parametrize("selector", ["a", "=b", "a~b", "a=b,c", "a=b\\"])
def test_what_is_no_field_selector_goes_on_for_the_shard_to_say_so(selector: str) -> None:
    assert map_field_selector(selector, P, cluster_scoped=False) == selector


@pytest.mark.parametrize(
    ("selector", "name"),
    [("metadata.name=a", "a"), ("metadata.name==a", "a"), ("metadata.name!=a", ""),
     ("metadata.namespace=b,metadata.name=a", "a"),
     ("metadata.name=..", ""), ("metadata.name=a%25b", ""), ("x=metadata.name", "")],
)  # fmt: skip
def test_the_name_that_authorization_looks_at(selector: str, name: str) -> None:
    assert name_in_field_selector(parse(b"GET", f"/api/v1/pods?fieldSelector={selector}".encode())) == name


def test_only_parameters_that_the_verb_knows_go_on() -> None:
    query = "&".join(
        f"{key}=1" for key in ("dryRun", "watch", "limit", "pretty", "force", "fieldManager", "container", "x")
    )
    for method, path, keys in (
        ("GET", "/api/v1/namespaces/a/pods/b", set()),
        ("GET", "/api/v1/namespaces/a/pods", {"watch", "limit"}),
        ("POST", "/api/v1/namespaces/a/pods", {"dryRun", "fieldManager"}),
        ("PATCH", "/api/v1/namespaces/a/pods/b", {"dryRun", "fieldManager", "force"}),
        ("DELETE", "/api/v1/namespaces/a/pods/b", {"dryRun"}),
        ("DELETE", "/api/v1/namespaces/a/pods", {"dryRun", "limit", "watch"}),  # refused by the server
    ):
        info = parse(method.encode(), f"{path}?{query}".encode())
        assert {key for key, _ in map_query(info, P, Scopes())} == keys
    assert all("pretty" not in keys for keys in ALLOWED.values())


def test_the_first_of_several_values_counts_as_it_does_in_go() -> None:
    info = parse(b"GET", b"/api/v1/pods?labelSelector=a&labelSelector=b&limit=1&limit=2")
    assert map_query(info, P, Scopes()) == [("labelSelector", "a"), ("limit", "1")]


def test_what_would_change_the_answer_is_not_dropped_silently() -> None:
    with pytest.raises(StatusError) as caught:
        map_query(parse(b"GET", b"/api/v1/pods?shardSelector=x"), P, Scopes())
    assert caught.value.code == 400


def test_tables_without_objects_cannot_be_told_apart() -> None:
    info = parse(b"GET", b"/api/v1/pods?includeObject=None")
    assert map_query(info, P, Scopes()) == [("includeObject", "Metadata")]
