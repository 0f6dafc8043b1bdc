"""Who makes one object more than there may be is refused, after a look at what there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, cast

import pytest

from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.limits.values import LimitSettings, WorkspaceLimits
from proxy.mapping.paths import parse
from proxy.server.admission import OBJECTS, Admission
from proxy.server.creations import Creations
from proxy.server.messages import Record, Request
from proxy.server.objects import AGAIN, ObjectLimit, may_make
from proxy.tenancy.index import DEPARTED, Workspace
from tests.unit.server.conversation import settle

ALICE = User("alice")
BOSS = User("boss", ("system:masters",), masters=True)
WORKSPACE = Workspace("root:a", "k2345abcd", "Universal", "Ready", "alice", "main")
MAPS = b"/api/v1/namespaces/default/configmaps"
APPLY = "application/apply-patch+yaml"


class Counted:
    """What the shard has, and how often it was asked. A count takes its time: until ``done`` is set."""

    def __init__(self, objects: int = 0) -> None:
        self.there = objects
        self.asked = 0
        self.names: set[bytes] = set()
        self.failure: StatusError | None = None
        self.done = asyncio.Event()
        self.done.set()

    @asynccontextmanager
    async def turn(self, shard: str) -> AsyncIterator[None]:
        yield

    async def objects(self, workspace: Workspace) -> int:
        self.asked += 1
        found = self.there
        await self.done.wait()
        if self.failure is not None:
            raise self.failure
        return found

    async def workers(self, shard: str) -> int:
        return 1

    async def holds(self, shard: str, target: bytes) -> bool:
        return target in self.names


class Index:
    def __init__(self) -> None:
        self.workspace = WORKSPACE

    def by_token(self, token: str) -> Workspace:
        return self.workspace

    def add_listener(self, listener: Callable[[Workspace, bool], None]) -> None:
        self.tell = listener


class Rig:
    def __init__(self, limit: int = 10, objects: int = 0) -> None:
        self.counted = Counted(objects)
        self.index = Index()
        self.now = 1000.0
        self.admission = Admission(["main"], LimitSettings(1, 4, WorkspaceLimits(objects=limit)))
        self.limit = ObjectLimit(
            cast(Any, self.index), self.admission, Creations(None, "worker"), cast(Any, self.counted), 1,
            lambda: self.now,
        )  # fmt: skip

    async def ask(self, request: Request, status: int = 201) -> None:
        """The way of a request through gateway and shard. Raises StatusError where it is refused."""
        info = request.record.info
        assert info is not None
        if may_make(request, info):
            user = request.record.user or ALICE
            wait = self.limit.enter(request, info, WORKSPACE, user, request.target, waited=0)
            if wait is not None:
                await wait
                assert self.limit.enter(request, info, WORKSPACE, user, request.target, waited=1) is None
        if status == 201:
            self.counted.there += 1
        request.record.status = status
        self.limit.finished(request)

    async def refused(self, request: Request) -> StatusError:
        with pytest.raises(StatusError) as error:
            await self.ask(request)
        request.record.status = error.value.code
        self.limit.finished(request)
        return error.value


def asked(
    method: str = "POST", target: bytes = MAPS, body: bytes = b"", kind: str = "application/json", user: User = ALICE
) -> Request:
    record = Record(workspace="root:a", shard="main", info=parse(method.encode(), target), user=user)
    return Request(method.encode(), target, [(b"content-type", kind.encode())], body, record=record)


async def test_one_count_and_then_as_many_as_there_may_be() -> None:
    rig = Rig(objects=4)
    for _ in range(6):
        await rig.ask(asked())
    error = await rig.refused(asked(body=b'{"metadata":{"name":"further"}}'))
    assert (error.code, error.reason, error.details) == (403, "Forbidden", {"name": "further", "kind": "configmaps"})
    assert error.message == (
        'configmaps "further" is forbidden: exceeded quota of workspace root:a, used: objects=10, limited: objects=10'
    )
    assert rig.admission.rejected[OBJECTS] == 1
    asked_before = rig.counted.asked
    for _ in range(50):
        await rig.refused(asked())
    assert rig.counted.asked == asked_before, "what it said stands for a while"
    assert list(rig.limit.known()) == [("root:a", 10, 10)]


async def test_a_workspace_far_from_its_limit_is_not_counted() -> None:
    rig = Rig(limit=50_000)
    for _ in range(100):
        await rig.ask(asked())
    assert rig.counted.asked == 0


async def test_it_is_counted_behind_requests_before_nothing_is_left() -> None:
    rig = Rig(limit=1000)
    rig.counted.done.clear()
    for _ in range(9):
        await rig.ask(asked())
    await settle()
    assert rig.counted.asked == 1
    rig.counted.done.set()
    await settle()
    await rig.ask(asked())
    assert list(rig.limit.known()) == [("root:a", 10, 1000)]


async def test_what_was_deleted_may_be_made_again() -> None:
    rig = Rig(objects=10)
    await rig.refused(asked())
    rig.counted.there -= 3
    await rig.refused(asked())
    rig.now += AGAIN
    for _ in range(3):
        await rig.ask(asked())
    await rig.refused(asked())


async def test_requests_that_wait_share_one_count() -> None:
    rig = Rig(objects=3)
    rig.counted.done.clear()
    waiting = [asyncio.create_task(rig.ask(asked())) for _ in range(5)]
    await settle()
    rig.counted.done.set()
    await asyncio.gather(*waiting)
    assert rig.counted.asked == 1


async def test_what_a_count_under_way_finds_may_be_used_up_when_it_is_done() -> None:
    """It began behind others, and the room that it found is theirs: it is counted once more."""
    rig = Rig(limit=1000)
    rig.counted.done.clear()
    for _ in range(10):
        await rig.ask(asked())
    waiting = asyncio.create_task(rig.ask(asked()))
    await settle()
    rig.limit._creations.add(rig.limit._creations.slot(WORKSPACE.token), 1000)
    rig.counted.done.set()
    await waiting
    assert rig.counted.asked == 2


async def test_what_is_counted_where_it_is_removed_is_not_believed() -> None:
    """The workspace moves to another shard while it is counted on the first."""
    rig = Rig(limit=1000, objects=900)
    rig.counted.done.clear()
    for _ in range(9):
        await rig.ask(asked())
    await settle()
    assert rig.counted.asked == 1
    rig.counted.there = 909
    rig.index.workspace = replace(WORKSPACE, shard="other")
    rig.counted.done.set()
    await settle()
    assert list(rig.limit.known()) == []


@pytest.mark.parametrize("change", [{"shard": "other"}, {"stage": DEPARTED}])
async def test_nobody_is_refused_for_what_is_not_there_any_more(change: dict[str, str]) -> None:
    """What a request would change has moved while it was looked up; the client asks again."""
    rig = Rig(objects=10)
    await rig.refused(asked())
    rig.index.workspace = replace(WORKSPACE, **change)  # type: ignore[arg-type]
    error = await rig.refused(asked("PUT", MAPS + b"/old"))
    assert (error.code, error.details) == (429, {"retryAfterSeconds": 1})


async def test_what_is_there_may_be_changed() -> None:
    rig = Rig(objects=10)
    rig.counted.names.add(MAPS + b"/old")
    await rig.ask(asked("PUT", MAPS + b"/old"), 200)
    await rig.ask(asked("PATCH", MAPS + b"/old", kind=APPLY), 200)
    await rig.ask(asked("PATCH", MAPS + b"/new", kind="application/merge-patch+json"), 200)
    await rig.ask(asked("DELETE", MAPS + b"/old"), 200)
    for error in (
        await rig.refused(asked("PUT", MAPS + b"/new")), await rig.refused(asked("PATCH", MAPS + b"/new", kind=APPLY))
    ):  # fmt: skip
        assert (error.code, error.details["name"]) == (403, "new")


@pytest.mark.parametrize(
    "target",
    [
        b"/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        b"/api/v1/namespaces/default/serviceaccounts/default/token",
        b"/api/v1/namespaces/default/pods/a/eviction",
    ],
)
async def test_what_makes_no_object_is_not_looked_at(target: bytes) -> None:
    assert not may_make(asked(target=target), parse(b"POST", target))


async def test_the_administrator_is_let_in_and_counted() -> None:
    rig = Rig(objects=9)
    await rig.ask(asked())
    for _ in range(3):
        await rig.ask(asked(user=BOSS))
    rig.now += AGAIN
    error = await rig.refused(asked())
    assert "used: objects=13, limited: objects=10" in error.message


async def test_dry_runs_are_judged_and_not_counted() -> None:
    rig = Rig(objects=9)
    for _ in range(3):
        await rig.ask(asked(target=MAPS + b"?dryRun=All"), 201)
        rig.counted.there -= 1
    await rig.ask(asked())
    await rig.refused(asked(target=MAPS + b"?dryRun=All"))


@pytest.mark.parametrize(("status", "count"), [(201, 1), (200, 0), (409, 0), (422, 0), (504, 1), (0, 1)])
async def test_what_may_have_been_made_is_counted(status: int, count: int) -> None:
    """A client that does not wait for answers makes objects all the same."""
    rig = Rig(objects=5)
    await rig.ask(asked())
    await rig.ask(asked(), status)
    assert list(rig.limit.known()) == [("root:a", 6 + count, 10)]


async def test_a_namespace_brings_others_with_it() -> None:
    rig = Rig(objects=5)
    await rig.ask(asked(target=b"/api/v1/namespaces"))
    assert list(rig.limit.known()) == [("root:a", 8, 10)]


async def test_what_cannot_be_counted_is_said() -> None:
    rig = Rig()
    rig.counted.failure = StatusError(503, "widgets.example.com cannot be counted")
    error = await rig.refused(asked())
    assert (error.code, error.details) == (503, {"retryAfterSeconds": 1})
    assert "widgets.example.com cannot be counted" in error.message
    await rig.refused(asked())
    assert rig.counted.asked == 1
    rig.counted.failure = None
    rig.now += AGAIN
    await rig.ask(asked())


async def test_no_limit() -> None:
    rig = Rig(limit=0, objects=100)
    await rig.ask(asked())
    assert rig.counted.asked == 0


async def test_a_workspace_that_is_gone_is_forgotten() -> None:
    rig = Rig(objects=10)
    await rig.refused(asked())
    rig.index.tell(WORKSPACE, False)
    assert list(rig.limit.known()) == []
