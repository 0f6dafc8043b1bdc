"""Look-ups and discovery documents."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from proxy.discovery.catalog import groups_of, resources_of, select, without_writes
from proxy.discovery.crds import Shapes, groups_of_crds
from proxy.discovery.view import AGGREGATED, AGGREGATED_BETA, View
from tests.unit.discovery.shard_documents import CORE, OTHERS, crd

JSON = "application/json"


@pytest.fixture
def view() -> View:
    shapes = Shapes()
    own = [
        shapes.of(crd(versions=("v1", "v1alpha1"), subresources={"status": {}, "scale": {}}))[1],
        shapes.of(crd(name="gadgets", kind="Gadget", scope="Cluster", established=False))[1],
    ]
    imports = {("", "v1", "pods"), ("autoscaling", "v2", "horizontalpodautoscalers")}
    native = select(groups_of((CORE, OTHERS)), resources_of("Universal"), imports)
    return View([*native, *groups_of_crds(own)], own)


def get(view: View, path: str, form: str = JSON) -> Any:
    found = view.get(path, form)
    assert found is not None
    return orjson.loads(found.body)


def test_serves_crds_before_they_are_shown(view: View) -> None:
    assert ("example.com", "v1", "gadgets") in view.served
    assert ("example.com", "v1", "gadgets") not in view.shown
    assert b"gadgets" not in view.get("/apis/example.com/v1", JSON).body  # type: ignore[union-attr]
    assert ("example.com", "v2", "widgets") not in view.served


def test_scopes(view: View) -> None:
    assert view.cluster_scoped_resources == {("example.com", "gadgets")}
    assert view.cluster_scoped_kinds == {("example.com", "Gadget")}


def test_what_no_cluster_imports_any_more_is_read_and_deleted(view: View) -> None:
    left = {("example.com", "v1", "widgets"), ("", "v1", "pods")}
    now = View(without_writes(view.groups, left), view.shapes, left)
    kept = ["delete", "deletecollection", "get", "list", "watch"]
    resources = {item["name"]: sorted(item["verbs"]) for item in get(now, "/apis/example.com/v1")["resources"]}
    assert resources == {"widgets": kept, "widgets/scale": ["get"], "widgets/status": ["get"]}
    assert get(now, "/apis/example.com/v1alpha1") == get(view, "/apis/example.com/v1alpha1"), "another version"
    core = {item["name"]: sorted(item["verbs"]) for item in get(now, "/api/v1")["resources"]}
    assert "create" not in core["pods"]
    assert "create" in core["configmaps"]
    assert now.served == view.served


def test_aggregated(view: View) -> None:
    core = get(view, "/api", AGGREGATED)
    assert core["apiVersion"] == "apidiscovery.k8s.io/v2"
    assert [item["metadata"] for item in core["items"]] == [{}]
    others = get(view, "/apis", AGGREGATED)
    assert [(i["metadata"]["name"], [v["version"] for v in i["versions"]]) for i in others["items"]] == [
        ("autoscaling", ["v2"]),
        ("workload.kcp.dev", ["v1alpha1"]),
        ("example.com", ["v1", "v1alpha1"]),
    ]
    assert all(version["freshness"] == "Current" for item in others["items"] for version in item["versions"])


def test_beta_form_differs_in_its_name_alone(view: View) -> None:
    stable, beta = get(view, "/apis", AGGREGATED), get(view, "/apis", AGGREGATED_BETA)
    assert beta.pop("apiVersion") == "apidiscovery.k8s.io/v2beta1"
    del stable["apiVersion"]
    assert beta == stable


def test_older_form(view: View) -> None:
    assert get(view, "/api")["versions"] == ["v1"]
    groups = get(view, "/apis")["groups"]
    assert [group["name"] for group in groups] == ["autoscaling", "workload.kcp.dev", "example.com"]
    group = get(view, "/apis/example.com")
    assert group["preferredVersion"] == {"groupVersion": "example.com/v1", "version": "v1"}
    assert [version["version"] for version in group["versions"]] == ["v1", "v1alpha1"]
    widgets = get(view, "/apis/example.com/v1")
    assert widgets["groupVersion"] == "example.com/v1"
    assert [resource["name"] for resource in widgets["resources"]] == ["widgets", "widgets/status", "widgets/scale"]
    assert widgets["resources"][2] == {
        "name": "widgets/scale", "singularName": "", "namespaced": True, "group": "autoscaling", "version": "v1",
        "kind": "Scale", "verbs": ["get", "patch", "update"],
    }  # fmt: skip


def test_core_group_as_the_shard_writes_it(view: View) -> None:
    core = get(view, "/api/v1")
    assert "apiVersion" not in core
    by_name = {resource["name"]: resource for resource in core["resources"]}
    assert set(by_name) == {
        "configmaps", "namespaces", "namespaces/finalize", "pods", "pods/eviction", "pods/status",
    }  # fmt: skip
    assert by_name["namespaces/finalize"]["namespaced"] is False
    assert by_name["pods/eviction"]["group"] == "policy"
    assert "group" not in by_name["pods/status"]


@pytest.mark.parametrize(
    "path",
    [
        "/api/v2", "/api/v1/x", "/apis/apps", "/apis/apps/v1", "/apis/example.com/v2", "/apis/example.com/v1/x",
        "/apis//v1", "/apis/k2222aaaa-example.com", "/apis/k2222aaaa-example.com/v1",
    ],
)  # fmt: skip
def test_nothing_there(view: View, path: str) -> None:
    assert view.get(path, JSON) is None
    assert not view._documents, "what anybody may ask for must not be kept"


def test_aggregated_form_is_for_the_roots_alone(view: View) -> None:
    assert view.get("/apis/example.com", AGGREGATED) is None


def test_paths(view: View) -> None:
    assert {"/api/v1", "/apis/example.com", "/apis/example.com/v1alpha1"} <= set(view.paths())
    assert all(view.get(path, JSON) is not None for path in view.paths())


def test_documents_are_rendered_once(view: View) -> None:
    assert view.get("/apis", AGGREGATED) is view.get("/apis", AGGREGATED)
