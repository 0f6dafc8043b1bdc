"""How far a shard is relied on while its RBAC objects are not watched, and before it has read them itself."""

from __future__ import annotations

import time
from typing import Any, cast

import pytest

from proxy.auth.followed import GOOD_FOR, RBAC, SETTLING, UNWATCHED, FollowedShard
from proxy.kube.errors import StatusError


class Shard:
    """Counts how often it is asked whether it has read everything; ``code``: what it says to that."""

    def __init__(self) -> None:
        self.asked = 0
        self.code = 200

    async def request(self, method: str, path: str) -> Any:
        assert (method, path) == ("GET", "/readyz/informer-sync")
        self.asked += 1
        if self.code != 200:
            raise StatusError(self.code, "no")


def followed(*, up: int = len(RBAC)) -> tuple[Shard, FollowedShard]:
    shard = Shard()
    made = FollowedShard("main", cast(Any, shard))
    for _ in range(up):
        made.connected(True)
    return shard, made


async def test_one_that_is_watched_is_asked_once() -> None:
    shard, made = followed()
    for _ in range(3):
        await made.wait_loaded()
    assert shard.asked == 1


async def test_one_that_may_have_started_anew_is_asked_again() -> None:
    shard, made = followed()
    await made.wait_loaded()
    made.connected(False)
    shard.code = 500
    for _ in range(2):
        with pytest.raises(StatusError) as refused:
            await made.wait_loaded()
        assert (refused.value.code, refused.value.details) == (503, {"retryAfterSeconds": 1})
    made.connected(True)
    with pytest.raises(StatusError):
        await made.wait_loaded()
    shard.code = 200
    await made.wait_loaded()
    before = shard.asked
    await made.wait_loaded()
    assert shard.asked == before


async def test_one_that_is_not_watched_is_asked_each_time() -> None:
    shard, made = followed(up=len(RBAC) - 1)
    for _ in range(3):
        await made.wait_loaded()
    assert shard.asked == 3


async def test_one_that_ended_while_it_was_asked_is_asked_again() -> None:
    shard, made = followed()
    answer = shard.request

    async def ends(method: str, path: str) -> Any:
        made.connected(False)
        made.connected(True)
        return await answer(method, path)

    shard.request = ends  # type: ignore[method-assign]
    await made.wait_loaded()
    shard.request = answer  # type: ignore[method-assign]
    await made.wait_loaded()
    assert shard.asked == 2


async def test_one_that_has_no_such_check() -> None:
    shard, made = followed()
    shard.code = 404
    await made.wait_loaded()
    await made.wait_loaded()
    assert shard.asked == 1


def test_how_long_an_answer_is_good() -> None:
    now = time.monotonic()
    _, made = followed()
    assert made.until(now, now - 2 * GOOD_FOR) == now + GOOD_FOR
    assert made.until(now, now - 5.0) == now + 5.0
    assert made.until(now, now) == now + SETTLING
    made.connected(False)
    assert made.until(now, now - 2 * GOOD_FOR) == now + UNWATCHED
