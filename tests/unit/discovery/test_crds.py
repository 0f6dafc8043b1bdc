"""CRDs of workspaces as discovery shows them."""

from __future__ import annotations

import gc

import pytest

from proxy.discovery.crds import Shapes, groups_of_crds, priority
from tests.unit.discovery.shard_documents import crd


def test_token_and_plain_group() -> None:
    token, shape = Shapes().of(crd())
    assert (token, shape.group, shape.plural, shape.kind) == ("k2222aaaa", "example.com", "widgets", "Widget")
    assert shape.established
    assert not shape.cluster_scoped


@pytest.mark.parametrize("group", ["example.com", "tenancy.kcp.dev", "k2222aaa-example.com", "k2222aaa1-example.com"])
def test_group_of_no_workspace(group: str) -> None:
    token, shape = Shapes().of(crd(group=group))
    assert token is None
    assert shape.group == group


def test_workspaces_alike_share_a_shape() -> None:
    shapes = Shapes()
    first = shapes.of(crd())[1]
    assert shapes.of(crd(group="k2222bbbb-example.com")) == ("k2222bbbb", first)
    assert shapes.of(crd(group="k2222bbbb-example.com"))[1] is first


@pytest.mark.parametrize(
    "other",
    [
        crd(schema={"type": "object", "description": "changed"}),
        crd(established=False),
        crd(scope="Cluster"),
        crd(versions=("v1", "v2")),
        crd(group="k2222aaaa-example.org"),
        crd(subresources={"status": {}}),
    ],
)
def test_any_difference_makes_another_shape(other: dict[str, object]) -> None:
    shapes = Shapes()
    assert shapes.of(crd())[1] != shapes.of(other)[1]


def test_shapes_are_not_kept_for_ever() -> None:
    shapes = Shapes()
    kept = shapes.of(crd())
    shapes.of(crd(name="gadgets"))
    gc.collect()
    assert [*shapes._known] == [kept[1].digest]


def test_only_established_ones_are_shown() -> None:
    shapes = Shapes()
    groups = groups_of_crds([shapes.of(crd())[1], shapes.of(crd(name="gadgets", established=False))[1]])
    assert [e["resource"] for e in groups[0].versions[0].resources] == ["widgets"]


def test_entry() -> None:
    made = crd(subresources={"status": {}, "scale": {}}, scope="Cluster")
    made["status"]["acceptedNames"]["categories"] = ["all"]
    entry = groups_of_crds([Shapes().of(made)[1]])[0].versions[0].resources[0]
    kind = {"group": "example.com", "version": "v1", "kind": "Widget"}
    assert entry["scope"] == "Cluster"
    assert entry["responseKind"] == kind
    assert (entry["shortNames"], entry["categories"]) == (["wd"], ["all"])
    assert [(sub["subresource"], sub["responseKind"]["kind"]) for sub in entry["subresources"]] == [
        ("status", "Widget"),
        ("scale", "Scale"),
    ]


def test_version_not_served_is_not_shown() -> None:
    made = crd(versions=("v1", "v2"))
    made["spec"]["versions"][0]["served"] = False
    shown = groups_of_crds([Shapes().of(made)[1]])
    assert [version.name for version in shown[0].versions] == ["v2"]


def test_versions_most_stable_first() -> None:
    names = [
        "foo10",
        "v1alpha1",
        "v11alpha2",
        "v1",
        "v12alpha1",
        "v3beta1",
        "foo1",
        "v2",
        "v10",
        "v10beta3",
        "v11beta2",
    ]
    best_first = "v10 v2 v1 v11beta2 v10beta3 v3beta1 v12alpha1 v11alpha2 v1alpha1 foo1 foo10"
    assert sorted(names, key=priority) == best_first.split()


def test_crd_without_status_yet() -> None:
    made = crd(established=False)
    made["status"] = {"acceptedNames": {"plural": "", "kind": ""}, "conditions": None}
    shape = Shapes().of(made)[1]
    assert (shape.kind, shape.established) == ("Widget", False)
