"""Which of two copies of a workspace that moves is the one that is served; who waits for one that is not known yet."""

from __future__ import annotations

import asyncio
import time
from itertools import permutations

import pytest

from proxy.kube.client import Client, Object
from proxy.kube.config import Connection
from proxy.tenancy.index import ARRIVED, ARRIVING, COPYING, DEPARTED, FROZEN, WorkspaceIndex, _slim

TOKEN = "kaaaaaaaa"


def copy(shard: str, stage: str, moves: int, other: str) -> Object:
    spec = {"path": "root:a", "type": "Universal", "moves": moves}
    if stage:
        spec["move"] = {"shard": other, "stage": stage}
    return _slim(shard, {"metadata": {"name": TOKEN, "generation": 1}, "spec": spec, "status": {"phase": "Ready"}})


def index() -> WorkspaceIndex:
    return WorkspaceIndex({name: Client(Connection("https://unused")) for name in ("us", "eu")})


@pytest.mark.parametrize(
    ("source", "target", "served"),
    [
        (COPYING, ARRIVING, "us"), (FROZEN, ARRIVING, "us"), (DEPARTED, ARRIVING, "us"),
        (DEPARTED, ARRIVED, "eu"), (FROZEN, ARRIVED, "eu"),
    ],
)  # fmt: skip
def test_whatever_is_heard_first(source: str, target: str, served: str) -> None:
    for heard in permutations([copy("us", source, 0, "eu"), copy("eu", target, 1, "us")]):
        known = index()
        for obj in heard:
            known._event("ADDED", None, obj)
        found = known.by_token(TOKEN)
        assert found is not None
        assert found.shard == served
        assert known.get("root:a") is found
        assert (known.count("us"), known.count("eu")) == (1, 1), "something of it is on both"
        assert [each.shard for each in known.arriving()] == (["eu"] if target == ARRIVING else [])
        assert found.takes_writes is (found.stage in (COPYING, ARRIVED))


def test_a_whole_move() -> None:
    known = index()
    told: list[tuple[str, str, bool]] = []
    known.add_listener(lambda workspace, exists: told.append((workspace.shard, workspace.stage, exists)))
    known._event("ADDED", None, copy("us", "", 0, ""))
    known._event("MODIFIED", None, copy("us", COPYING, 0, "eu"))
    known._event("ADDED", None, copy("eu", ARRIVING, 1, "us"))
    known._event("MODIFIED", None, copy("us", FROZEN, 0, "eu"))
    known._event("MODIFIED", None, copy("us", DEPARTED, 0, "eu"))
    known._event("MODIFIED", None, copy("eu", ARRIVED, 1, "us"))
    known._event("DELETED", None, copy("us", DEPARTED, 0, "eu"))
    known._event("MODIFIED", None, copy("eu", "", 1, ""))
    assert told == [
        ("us", "", True), ("us", COPYING, True), ("us", FROZEN, True), ("us", DEPARTED, True),
        ("eu", ARRIVED, True), ("eu", "", True),
    ]  # fmt: skip
    known._event("DELETED", None, copy("eu", "", 1, ""))
    assert known.get("root:a") is None
    assert len(known) == known.count("us") == known.count("eu") == 0


def test_a_copy_that_arrives_alone_is_not_served() -> None:
    known = index()
    known._event("ADDED", None, copy("eu", ARRIVING, 1, "us"))
    assert known.get("root:a") is None
    assert len(known.arriving()) == 1
    known._event("DELETED", None, copy("eu", ARRIVING, 1, "us"))
    assert known.arriving() == []


async def test_one_that_becomes_known_in_the_moment_when_waiting_ends() -> None:
    """Then all of its shard is known, and it would be taken for one that does not exist."""
    known = index()
    waiting = asyncio.create_task(known.wait_for("root:a", 0.01))
    await asyncio.sleep(0)
    asyncio.get_running_loop().call_later(0.02, known._event, "ADDED", None, copy("us", "", 0, ""))
    time.sleep(0.05)  # noqa: ASYNC251 - both are due at once, the end of waiting first
    assert await waiting is known.get("root:a") is not None


async def test_one_that_does_not_become_known() -> None:
    assert await index().wait_for("root:a", 0.01) is None
