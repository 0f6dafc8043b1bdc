"""The pure parts of `kubectl kcp workload drain` and `status`."""

from __future__ import annotations

import datetime
from typing import Any

import pytest

from proxy.cli.clusters import LABEL, OPT_OUT, STATE, duration, places
from proxy.cli.flags import Plain
from proxy.cli.workload_status import age, report

MOVE = "workloads.kcp.dev/move"
NOON = datetime.datetime(2026, 1, 1, 12, tzinfo=datetime.UTC)


@pytest.mark.parametrize(("text", "seconds"), [("0s", 0), ("0", 0), ("90s", 90), ("5m", 300), ("1h30m", 5400)])
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "5 m", "-5m", "5d", "1.5h"])
def test_no_durations(text: str) -> None:
    with pytest.raises(Plain):
        duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "<none>"), (0, "0s"), (119, "119s"), (120, "2m"), (7199, "119m"), (7200, "2h"), (172800, "2d")],
)
def test_ages(seconds: int | None, text: str) -> None:
    assert age(seconds) == text


def on(cluster: str, **states: str) -> dict[str, Any]:
    return {LABEL: cluster} | {STATE + name: state for name, state in states.items()}


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({}, {}),
        (on("east"), {"east": "Sync"}),
        (on("east", west="Sync"), {"east": "Sync"}),
        (on("Several", west="Sync", east="Leave"), {"east": "Leave", "west": "Sync"}),
        (on("Several"), {}),
        ({OPT_OUT: ""}, {}),
    ],
)
def test_places(labels: dict[str, str], expected: dict[str, str]) -> None:
    assert places({"metadata": {"labels": labels}}) == expected


def test_report() -> None:
    cluster = {
        "metadata": {"name": "east"},
        "spec": {"unschedulable": True, "evictAfter": "2026-01-01T11:00:00Z"},
        "status": {
            "lastSyncerHeartbeatTime": "2026-01-01T11:59:48Z",
            "syncedResources": ["configmaps"],
            "objects": {"synced": 4, "failed": 1},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }
    namespaces = [
        {"metadata": {"name": "a", "labels": on("east")}},
        {"metadata": {"name": "b", "labels": on("west")}},
        {"metadata": {"name": "c", "labels": on("Several", east="Leave", west="Sync")}},
        {"metadata": {"name": "d", "labels": on("Several", east="Sync"), "annotations": {MOVE: "x"}}},
    ]
    found = report(cluster, namespaces, NOON)
    assert found["heartbeatSeconds"] == 12
    assert found["objects"] == {"synced": 4, "failed": 1}
    assert (found["schedulable"], found["draining"], found["ready"]) == (False, True, "True")
    assert [(each["name"], each["state"]) for each in found["namespaces"]] == [
        ("a", "Running"), ("c", "Leaving"), ("d", "Coming"),
    ]  # fmt: skip


def test_report_of_a_cluster_that_never_was() -> None:
    found = report({"metadata": {"name": "east"}}, [], NOON)
    assert (found["ready"], found["lastHeartbeat"], found["heartbeatSeconds"]) == ("Unknown", None, None)
    assert found["namespaces"] == found["resources"] == []
