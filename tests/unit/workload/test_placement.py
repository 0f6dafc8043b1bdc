"""Which clusters a namespace is to run on, and how it gets there, without a server."""

from __future__ import annotations

import datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.kube.client import Object
from proxy.kube.selectors import selects
from proxy.workload.api import CLUSTER_LABEL
from proxy.workload.decision import Rule, decide, next_eviction, rule_of
from proxy.workload.moves import MOVE, REPLICAS, STATE, Where, describe, step, where, written
from proxy.workload.placement import condition

NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


def after(seconds: float) -> datetime.datetime:
    return NOON + datetime.timedelta(seconds=seconds)


def cluster(
    created: str = "2026-01-01T00:00:00Z",
    *,
    ready: bool | None = True,
    since: str = "2026-01-01T00:00:00Z",
    labels: dict[str, str] | None = None,
    **spec: Any,
) -> Object:
    conditions = [] if ready is None else [{"type": "Ready", "status": str(ready), "lastTransitionTime": since}]
    meta = {"creationTimestamp": created, "labels": labels or {}}
    return {"metadata": meta, "spec": spec, "status": {"conditions": conditions}}


def choose(clusters: dict[str, Object], *current: str, rule: Rule | None = None, at: float = 0) -> tuple[str, ...]:
    return decide(rule or Rule(), clusters, current, after(at)).clusters


def test_the_first_that_is_ready_and_schedulable() -> None:
    clusters = {
        "a": cluster("2026-01-01T00:00:03Z"),
        "b": cluster("2026-01-01T00:00:02Z"),
        "c": cluster("2026-01-01T00:00:01Z", ready=False, since="2026-01-01T12:00:00Z"),
        "d": cluster("2026-01-01T00:00:00Z", unschedulable=True),
        "e": cluster("2026-01-01T00:00:00Z", ready=None),
    }
    assert choose(clusters) == ("b",)
    del clusters["a"], clusters["b"]
    decision = decide(Rule(), clusters, (), NOON)
    assert decision.clusters == ()
    assert decision.reasons() == "c is not Ready, d is cordoned, e is not Ready."


def test_of_the_same_age_by_name() -> None:
    assert choose({"b": cluster(), "a": cluster()}) == ("a",)


def test_what_runs_somewhere_stays_there() -> None:
    clusters = {"a": cluster(), "b": cluster(ready=False, since="2026-01-01T12:00:00Z", unschedulable=True)}
    assert choose(clusters, "b") == ("b",)


def test_until_the_cluster_is_gone() -> None:
    going = cluster()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    assert choose({"a": going}, "a") == ()
    assert choose({"a": going, "b": cluster()}, "a") == ("b",)
    assert choose({}, "a") == ()


def test_or_is_emptied() -> None:
    clusters = {"a": cluster(evictAfter="2026-01-01T12:00:00Z"), "b": cluster()}
    early = decide(Rule(), clusters, ("a",), after(-1))
    assert early.clusters == ("a",)
    assert early.again == pytest.approx(1.1)
    assert choose(clusters, "a") == ("b",)
    assert next_eviction(clusters["b"], NOON) is None
    assert next_eviction(None, NOON) is None


def test_or_is_silent_for_too_long() -> None:
    clusters = {"a": cluster(ready=False, since="2026-01-01T12:00:00Z"), "b": cluster()}
    early = decide(Rule(), clusters, ("a",), after(290))
    assert early.clusters == ("a",)
    assert early.again == pytest.approx(10.1)
    assert choose(clusters, "a", at=300) == ("b",)
    assert choose(clusters, "a", at=20, rule=Rule(not_ready=datetime.timedelta(seconds=20))) == ("b",)


def test_better_somewhere_than_nowhere() -> None:
    clusters = {"a": cluster(ready=False), "b": cluster(unschedulable=True)}
    decision = decide(Rule(), clusters, ("a",), NOON)
    assert decision.clusters == ("a",)
    assert decision.short
    assert "a is not Ready for 43200 seconds" in condition(Where(("a",)), decision, Rule())[1]


def test_cluster_selector() -> None:
    clusters = {"a": cluster(), "b": cluster(labels={"zone": "x"})}
    rule = Rule("p", {"matchLabels": {"zone": "x"}})
    assert choose(clusters, rule=rule) == ("b",)
    assert choose(clusters, "a", rule=rule) == ("b",)


def test_several_and_their_topology() -> None:
    clusters = {
        "a": cluster(labels={"zone": "x"}),
        "b": cluster(labels={"zone": "x"}),
        "c": cluster(labels={"zone": "y"}),
    }
    assert choose(clusters, rule=Rule(number=2)) == ("a", "b")
    assert choose(clusters, rule=Rule(number=2, topology_key="zone")) == ("a", "c")
    assert choose(clusters, "b", rule=Rule(number=2, topology_key="zone")) == ("b", "c")
    assert choose(clusters, "a", "b", "c", rule=Rule(number=2)) == ("a", "b")
    too_few = decide(Rule(number=4), clusters, (), NOON)
    assert too_few.clusters == ("a", "b", "c")
    assert too_few.short


def test_the_emptiest_first() -> None:
    clusters = {"a": cluster(), "b": cluster()}
    decision = decide(Rule(even=True), clusters, (), NOON, {"a": 3, "b": 2}.__getitem__)
    assert decision.clusters == ("b",)


def test_rules_of_placements() -> None:
    assert rule_of({"spec": {}}, "p") == Rule("p")
    spec = {
        "clusterSelector": {"matchLabels": {"a": "b"}},
        "numberOfClusters": 2,
        "replicas": "Repeat",
        "spread": {"topologyKey": "zone", "namespaces": True},
        "notReadySeconds": 0,
    }
    rule = rule_of({"spec": spec}, "p")
    assert rule == Rule("p", {"matchLabels": {"a": "b"}}, 2, "Repeat", "zone", True, datetime.timedelta(0))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        (None, True),
        ({}, True),
        ({"matchLabels": {"a": "1"}}, True),
        ({"matchLabels": {"a": "2"}}, False),
        ({"matchExpressions": [{"key": "a", "operator": "In", "values": ["1", "2"]}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "z", "operator": "NotIn", "values": ["1"]}]}, True),
        ({"matchExpressions": [{"key": "z", "operator": "In", "values": ["1"]}]}, False),
        ({"matchExpressions": [{"key": "a", "operator": "Exists"}]}, True),
        ({"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}, False),
        ({"matchLabels": {"a": "1"}, "matchExpressions": [{"key": "z", "operator": "Exists"}]}, False),
    ],
)
def test_selectors(selector: Any, expected: bool) -> None:
    assert selects(selector, {"a": "1"}) is expected


# moves


def go(
    now: Where, *goal: str, existing: str = "abc", arrived: str = "", ready: str = "abc", at: float = 0
) -> tuple[Where, float | None]:
    return step(now, goal, existing, after(at), arrived=lambda name, move: name in arrived, ready=ready.__contains__)


def test_the_first_place_needs_no_move() -> None:
    assert go(Where(), "a") == (Where(("a",)), None)
    assert go(Where(), "a", "b") == (Where(("a", "b")), None)


def test_what_is_where_it_is_to_be_rests() -> None:
    assert go(Where(("a",)), "a") == (Where(("a",)), None)


def test_the_old_copy_waits_for_the_new_one() -> None:
    moving, again = go(Where(("a",)), "b")
    assert (moving.sync, moving.leave, moving.label) == (("b",), ("a",), "Several")
    assert again == pytest.approx(600.1)
    still, again = go(moving, "b", at=60)
    assert still == moving
    assert again == pytest.approx(540.1)
    assert go(moving, "b", at=60, arrived="b") == (Where(("b",)), None)


def test_not_for_ever() -> None:
    moving, _ = go(Where(("a",)), "b")
    assert go(moving, "b", at=601) == (Where(("b",)), None)
    still, again = go(moving, "b", at=601, ready="a")
    assert (still, again) == (moving, None)


def test_a_move_that_a_wrong_clock_has_dated_begins_anew() -> None:
    moving, _ = go(Where(("a",)), "b", at=86400)
    anew, again = go(moving, "b")
    assert (anew.sync, anew.leave) == (("b",), ("a",))
    assert again == pytest.approx(600.1)
    assert go(anew, "b", at=601) == (Where(("b",)), None)


def test_another_goal_on_the_way() -> None:
    moving, _ = go(Where(("a",)), "b")
    other, _ = go(moving, "c")
    assert (other.sync, other.leave) == (("c",), ("a", "b"))
    assert other.move != moving.move
    back, _ = go(other, "a")
    assert (back.sync, back.leave) == (("a",), ("b", "c"))


def test_what_is_gone_is_not_waited_for() -> None:
    assert go(Where(("a",)), "b", existing="bc") == (Where(("b",)), None)
    assert go(Where(("a",)), existing="") == (Where(), None)
    moving, _ = go(Where(("a",)), "b")
    assert go(moving, "b", existing="b")[0].leave == ()


def test_one_more_and_one_less_are_moves() -> None:
    more, _ = go(Where(("a",)), "a", "b")
    assert (more.sync, more.leave, more.label) == (("a", "b"), (), "Several")
    assert more.move
    settled, _ = go(more, "a", "b", arrived="ab")
    assert settled == Where(("a", "b"))
    less, _ = go(settled, "b")
    assert (less.sync, less.leave) == (("b",), ("a",))


NAMES = st.sampled_from("abcde")


@given(st.sets(NAMES), st.sets(NAMES), st.booleans(), st.sets(NAMES))
def test_what_is_written_is_what_is_read(sync: set[str], leave: set[str], moving: bool, before: set[str]) -> None:
    to = Where(tuple(sorted(sync)), tuple(sorted(leave - sync)) if sync else (), "id" if moving and sync else "")
    labels = {STATE + name: "Sync" for name in before} | ({CLUSTER_LABEL: "Several"} if before else {})
    annotations = {MOVE: "old", REPLICAS: "Repeat"} if before else {}
    patch = written(to, labels, annotations, "Split")

    def patched(old: dict[str, str], changes: dict[str, str | None]) -> dict[str, str]:
        return {key: value for key, value in {**old, **changes}.items() if value is not None}

    labels = patched(labels, patch.get("labels", {}))
    annotations = patched(annotations, patch.get("annotations", {}))
    assert where(labels, annotations) == to
    assert written(to, labels, annotations, "Split") == {}
    assert (REPLICAS in annotations) == (to.label == "Several")


def test_the_one_cluster_case_is_the_label_and_nothing_else() -> None:
    assert written(Where(("a",)), {}, {}, "Split") == {"labels": {CLUSTER_LABEL: "a"}}


def test_what_events_say() -> None:
    moving, _ = go(Where(("a",)), "b")
    assert describe(Where(), Where(("a",))) == ("Scheduled", "Runs on a.")
    assert describe(Where(("a",)), moving) == ("Moving", "Comes to b; stays on a until it runs there.")
    assert describe(moving, Where(("b",))) == ("Moved", "Runs on b; is removed from a.")
    assert describe(Where(("a",)), Where()) == ("Unscheduled", "Does not run on a any more.")
    assert describe(Where(("a",)), Where(("a",))) is None
    more, _ = go(Where(("a",)), "a", "b")
    assert describe(Where(("a",)), more) == ("Moving", "Comes to b.")
