"""Which of a shard's resources a workspace has."""

from __future__ import annotations

import pytest

from proxy.discovery.catalog import EVERYWHERE, Group, groups_of, resources_of, select
from proxy.mapping.natives import importable
from proxy.mapping.registrations import is_registration
from tests.unit.discovery.shard_documents import CORE, OTHERS

GROUPS = groups_of((CORE, OTHERS))


def names(groups: list[Group]) -> set[tuple[str, str, str]]:
    return {(g.name, v.name, e["resource"]) for g in groups for v in g.versions for e in v.resources}


def test_types() -> None:
    def had(workspace_type: str) -> set[str]:
        return {resource for _, _, resource in names(select(GROUPS, resources_of(workspace_type), ()))}

    assert had("Universal") == {"configmaps", "namespaces", "workloadclusters"}
    assert had("Organization") == had("Team") == {"configmaps", "namespaces", "clusterworkspaces"}
    assert had("Root") == {"configmaps", "namespaces", "clusterworkspaces", "clusterworkspaceshards"}
    assert had("SomebodysOwnType") == had("Universal")


def test_what_acts_on_the_whole_shard_is_nowhere() -> None:
    groups = {group for group, _ in EVERYWHERE}
    assert not groups & {"flowcontrol.apiserver.k8s.io", "apiregistration.k8s.io"}
    assert all(is_registration(group, name) for group, name in EVERYWHERE if group == "admissionregistration.k8s.io")


def test_import_shows_that_version_alone() -> None:
    wanted = ("autoscaling", "v2", "horizontalpodautoscalers")
    shown = names(select(GROUPS, resources_of("Universal"), {wanted}))
    assert wanted in shown
    assert ("autoscaling", "v1", "horizontalpodautoscalers") not in shown


@pytest.mark.parametrize(
    "forged",
    [
        ("admissionregistration.k8s.io", "v1beta1", "mutatingadmissionpolicies"),
        ("", "v1", "nodes"),
        ("", "v1", "bindings"),
        ("certificates.k8s.io", "v1", "podcertificaterequests"),
        ("tenancy.kcp.dev", "v1alpha1", "clusterworkspaceshards"),
    ],
)
def test_forged_import_shows_nothing(forged: tuple[str, str, str]) -> None:
    """A workspace writes its imports itself: none may open what all workspaces of a shard share."""
    assert forged in names(list(GROUPS))
    assert forged not in names(select(GROUPS, resources_of("Universal"), {forged}))


def test_unknown_import_shows_nothing() -> None:
    universal = select(GROUPS, resources_of("Universal"), ())
    assert select(GROUPS, resources_of("Universal"), {("apps", "v9", "deployments")}) == universal


def test_subresources_that_act_on_nodes_are_not_shown() -> None:
    pods = next(e for e in GROUPS[0].versions[0].resources if e["resource"] == "pods")
    assert [sub["subresource"] for sub in pods["subresources"]] == ["eviction", "status"]
    assert importable("", pods["resource"])


def test_order_is_the_shards() -> None:
    shown = select(GROUPS, resources_of("Universal"), {("apps", "v1", "deployments")})
    assert [group.name for group in shown] == ["", "apps", "workload.kcp.dev"]
