"""Which shard a workspace goes to."""

from __future__ import annotations

from typing import Any

import pytest

from proxy.tenancy.scheduling import USUAL_CAPACITY, Shard, Unschedulable, choose


def shard(name: str, workspaces: int = 0, **more: Any) -> Shard:
    return Shard(name=name, labels=more.pop("labels", {}), workspaces=workspaces, **more)


EU, US = shard("eu", labels={"region": "eu"}), shard("us", labels={"region": "us"})
NOT_EU = {"key": "region", "operator": "NotIn", "values": ["eu"]}


@pytest.mark.parametrize(
    ("shards", "wanted", "chosen"),
    [
        ([shard("b", 1), shard("a", 2)], None, "b"),
        ([shard("b"), shard("a")], {}, "a"),
        ([shard("small", 10, maximum=20), shard("large", 100, maximum=1000)], None, "large"),
        ([shard("small", 10, maximum=20), shard("usual", USUAL_CAPACITY // 3)], None, "usual"),
        ([shard("full", 5, maximum=5), shard("b", USUAL_CAPACITY * 2)], None, "b"),
        ([shard("a", cordoned=True), shard("b", 9)], None, "b"),
        ([shard("a", away=True), shard("b", 9)], None, "b"),
        ([EU, US], {"name": "us"}, "us"),
        ([EU, US], {"selector": {"matchLabels": {"region": "us"}}}, "us"),
        (
            [EU, US],
            {"selector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["eu"]}]}},
            "us",
        ),
        ([EU, US], {"selector": {}}, "eu"),
    ],
)
def test_choice(shards: list[Shard], wanted: Any, chosen: str) -> None:
    assert choose(shards, wanted) == chosen


@pytest.mark.parametrize(
    ("shards", "wanted", "message"),
    [
        ([EU], {"name": "asia"}, 'shard "asia" not found'),
        ([], None, "0/0 shards are available: there are none"),
        ([EU, US], {"selector": {"matchLabels": {"region": "asia"}}}, "0/2 shards are available: 2 not selected"),
        ([EU, US], {"name": "eu", "selector": {"matchLabels": {"region": "us"}}},
         "0/2 shards are available: 1 not asked for, 1 not selected"),
        ([shard("a", away=True), shard("b", 3, maximum=3), shard("c", cordoned=True)], None,
         "0/3 shards are available: 1 away, 1 cordoned, 1 full"),
        ([shard("a", maximum=0)], None, "0/1 shards are available: 1 full"),
    ],
)  # fmt: skip
def test_reasons_against_all_of_them(shards: list[Shard], wanted: Any, message: str) -> None:
    assert choose(shards, wanted) == Unschedulable(message)
