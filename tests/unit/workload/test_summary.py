"""One status made of several."""

from __future__ import annotations

from typing import Any

from proxy.workload.summary import summary


def condition(kind: str, status: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": status} | ({"message": message} if message else {})


def test_numbers_are_added_and_the_oldest_observation_counts() -> None:
    east = {"replicas": 2, "availableReplicas": 2, "observedGeneration": 4}
    west = {"replicas": 1, "observedGeneration": 3}
    assert summary({"east": east, "west": west}, 4) == {"replicas": 3, "availableReplicas": 2, "observedGeneration": 3}


def test_a_condition_is_as_bad_as_the_worst() -> None:
    east = {"conditions": [condition("Available", "True", "fine"), condition("ReplicaFailure", "False")]}
    west = {"conditions": [condition("Available", "False", "no room"), condition("ReplicaFailure", "True", "quota")]}
    assert summary({"east": east, "west": west}, 1)["conditions"] == [
        condition("Available", "False", "west: no room"),
        condition("ReplicaFailure", "True", "west: quota"),
    ]


def test_good_news_is_nobodys() -> None:
    one = {"conditions": [condition("Available", "True", "fine")]}
    assert summary({"east": one, "west": one}, 1) == one


def test_lists_are_joined_and_other_things_are_the_firsts() -> None:
    east = {"loadBalancer": {"ingress": [{"ip": "1"}]}, "phase": "Bound", "ready": True, "labelSelector": "a=b"}
    west = {"loadBalancer": {"ingress": [{"ip": "2"}, {"ip": "1"}]}, "phase": "Pending", "ready": False}
    assert summary({"west": west, "east": east}, 1) == {
        "loadBalancer": {"ingress": [{"ip": "1"}, {"ip": "2"}]},
        "phase": "Bound",
        "ready": False,
        "labelSelector": "a=b",
    }


def test_what_does_not_fit_together_does_no_harm() -> None:
    odd = {"replicas": "two", "conditions": "none", "list": 1, "map": []}
    even = {"replicas": 2, "conditions": [condition("A", "True")], "list": [1], "map": {"a": 1}}
    for pair in ({"a": odd, "b": even}, {"a": even, "b": odd}):
        assert set(summary(pair, 1)) == {"replicas", "conditions", "list", "map"}


def test_one_alone_is_itself() -> None:
    status = {"replicas": 1, "conditions": [condition("Available", "False", "why")], "observedGeneration": 1}
    assert summary({"east": status}, 2) == status
