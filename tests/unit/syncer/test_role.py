"""What labels say about one cluster, and what becomes of an object that goes to several."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.digest import digest
from syncer.jsonpatch import PatchError
from syncer.names import CLUSTER_LABEL
from syncer.role import MOVE, REPLICAS, SPEC_DIFF, STATE, Mode, Role, adapt, role_of, runs, share, status_here

SHARED = Role(Mode.SHARED, ("east", "west"))


def labelled(cluster: str | None, annotations: dict[str, str] | None = None, **states: str) -> dict[str, Any]:
    labels = {STATE + name: state for name, state in states.items()} | ({CLUSTER_LABEL: cluster} if cluster else {})
    return {"metadata": {"labels": labels, "annotations": annotations}}


def test_alone() -> None:
    assert role_of(labelled("east"), "east") == Role(Mode.ALONE)


def test_one_of_several() -> None:
    namespace = labelled("Several", {MOVE: "x", REPLICAS: "Repeat"}, west="Sync", east="Sync", north="Leave")
    assert role_of(namespace, "east") == Role(Mode.SHARED, ("east", "west"), "Repeat", "x")
    assert role_of(namespace, "north").mode is Mode.LEAVING


@pytest.mark.parametrize(
    "namespace",
    [
        None,
        {"metadata": {}},
        labelled(None),
        labelled("west"),
        labelled("Several"),
        labelled("Several", west="Sync"),
        labelled("Several", east="Whatever"),
        labelled("west", east="Sync"),
        labelled(None, east="Sync"),
    ],
)
def test_away(namespace: Any) -> None:
    assert role_of(namespace, "east").mode is Mode.AWAY


@given(st.integers(0, 1000), st.lists(st.text(min_size=1), min_size=1, max_size=9, unique=True))
def test_shares_add_up_and_are_even(replicas: int, names: list[str]) -> None:
    shares = [share(replicas, tuple(sorted(names)), name) for name in names]
    assert sum(shares) == replicas
    assert max(shares) - min(shares) <= 1


def test_replicas_by_policy() -> None:
    def asked(policy: str, obj: dict[str, Any]) -> int:
        wanted: dict[str, Any] = {"spec": {"replicas": 3}}
        adapt(wanted, obj, Role(Mode.SHARED, ("east", "west"), policy), "east")
        return int(wanted["spec"]["replicas"])

    own = {"metadata": {"annotations": {REPLICAS: "Repeat"}}}
    assert asked("Split", {"metadata": {}}) == 2
    assert asked("Repeat", {"metadata": {}}) == 3
    assert asked("Split", own) == 3


def test_what_has_no_spec_is_left_alone() -> None:
    wanted = {"data": {"replicas": 3}}
    adapt(wanted, {"metadata": {"annotations": {SPEC_DIFF + "east": "[]"}}}, SHARED, "east")
    assert wanted == {"data": {"replicas": 3}}


@pytest.mark.parametrize(
    "patch",
    ["", "{", "{}", "3", '[{"op":"fly","path":"/a"}]', '[{"op":"replace","path":"","value":1}]', '[{"path":"/a"}]'],
)
def test_patches_that_are_none(patch: str) -> None:
    obj = {"metadata": {"annotations": {SPEC_DIFF + "east": patch}}}
    with pytest.raises(PatchError, match=SPEC_DIFF + "east"):
        adapt({"spec": {"a": 1}}, obj, SHARED, "east")


def test_a_patch_sees_the_share() -> None:
    patch = json.dumps([{"op": "test", "path": "/replicas", "value": 2}, {"op": "remove", "path": "/replicas"}])
    wanted: dict[str, Any] = {"spec": {"replicas": 3}}
    adapt(wanted, {"metadata": {"annotations": {SPEC_DIFF + "east": patch}}}, SHARED, "east")
    assert wanted == {"spec": {}}


@pytest.mark.parametrize(
    ("plural", "spec", "status", "expected"),
    [
        ("deployments", {"replicas": 2}, {"observedGeneration": 3, "availableReplicas": 2}, True),
        ("deployments", {"replicas": 2}, {"observedGeneration": 2, "availableReplicas": 2}, False),
        ("deployments", {"replicas": 2}, {"observedGeneration": 3, "availableReplicas": 1}, False),
        ("deployments", {"replicas": 0}, {"observedGeneration": 3}, True),
        ("deployments", {}, {}, False),
        ("daemonsets", {}, {"observedGeneration": 3, "numberAvailable": 1, "desiredNumberScheduled": 2}, False),
        ("daemonsets", {}, {"observedGeneration": 3}, True),
        ("controllerrevisions", {}, {}, True),
    ],
)
def test_runs(plural: str, spec: dict[str, Any], status: dict[str, Any], expected: bool) -> None:
    assert runs("apps", plural, 3, spec.get("replicas", 1), status) is expected


def test_status_here_does_not_depend_on_generations_above() -> None:
    told = json.loads(status_here({"replicas": 1, "observedGeneration": 3}, 3, {"a": 1, "b": 2}))
    assert told == {"current": True, "spec": digest({"b": 2, "a": 1}), "status": {"replicas": 1}}
    assert json.loads(status_here({"observedGeneration": 2}, 3, {}))["current"] is False
    assert "current" not in json.loads(status_here({"phase": "Bound"}, 3, {}))
