"""How often a workspace's roles are read."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from proxy.kube.client import Client
from proxy.tenancy.aggregation import Aggregation

TOOK = 0.02
"""Seconds that a shard needs for a list."""


class Shard:
    """Answers lists with what there is."""

    def __init__(self) -> None:
        self.roles: list[str] = []
        self.reads: list[int] = []
        """How many roles each list had."""

    def acting_as(self, user: str, groups: tuple[str, ...]) -> Shard:
        return self

    async def request(self, method: str, path: str, **_: object) -> dict[str, Any]:
        await asyncio.sleep(TOOK)
        self.reads.append(len(self.roles))
        return {"metadata": {}, "items": [{"metadata": {"name": name}} for name in self.roles]}


async def test_a_workspace_with_many_changes_is_read_now_and_then() -> None:
    shard = Shard()
    aggregation = Aggregation({"main": cast(Client, shard)})
    queue = asyncio.create_task(aggregation._queue.run())
    for number in range(100):
        shard.roles.append(f"kaaaaaaaa-role-{number}")
        aggregation._changed("main", "", shard.roles[-1])
        await asyncio.sleep(0.01)
    await asyncio.sleep(TOOK * 13)
    queue.cancel()
    assert len(shard.reads) < 12, "a look rests ten times as long as it took"
    assert shard.reads[-1] == 100, "the last change is seen"


async def test_others_do_not_wait_for_it() -> None:
    shard = Shard()
    aggregation = Aggregation({"main": cast(Client, shard)})
    queue = asyncio.create_task(aggregation._queue.run())
    for token in ("kaaaaaaaa", "kbbbbbbbb", "kcccccccc"):
        aggregation._changed("main", "", f"{token}-role")
    await asyncio.sleep(TOOK * 4)
    queue.cancel()
    assert len(shard.reads) == 3
