"""Whom a worker keeps out that has not heard from all shards yet: nobody who may enter."""

from __future__ import annotations

import inspect
import ssl
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.admission.converting import Detours
from proxy.auth.authorizer import Access
from proxy.auth.identity import ANONYMOUS, User
from proxy.server import gateway
from proxy.server.messages import Reply, Request
from proxy.server.pool import ShardEndpoint
from proxy.tenancy.index import Workspace

TEAM = Workspace("root:org:team", "kaaaaaaaa", "Universal", "Ready", "", "main")


class Index:
    """Of a worker; what it knows says what the test gives it."""

    def __init__(self, *known: Workspace, synced: bool) -> None:
        self._known = {workspace.path: workspace for workspace in known}
        self.synced = synced

    def get(self, path: str) -> Workspace | None:
        return self._known.get(path)

    async def wait_for(self, path: str, timeout: float) -> Workspace | None:
        return self.get(path)

    def missing_shards(self) -> list[str]:
        return [] if self.synced else ["far"]


async def answer(index: Index, user: User) -> Reply:
    """To whom may not enter, as far as is known."""
    unused = cast(Any, SimpleNamespace())
    authenticator = SimpleNamespace(authenticate=lambda *_: user, admits_anonymous=lambda target: True)
    made = gateway.WorkspaceGateway(
        index=cast(Any, index), authenticator=cast(Any, authenticator),
        authorizer=cast(Any, SimpleNamespace(enter=lambda *_: Access.NONE)),
        discovery=unused, roles=unused, opener=unused, owner_roles=unused, classes=unused, admission=unused,
        objects=unused, tickets=unused, callback=unused, detours=Detours({}), conversions=unused,
        endpoints={"main": ShardEndpoint("main", "h", 1, cast(ssl.SSLContext, None))}, reach=unused,
        unready=lambda: None,
    )  # fmt: skip
    decision = made.decide(Request(b"GET", b"/clusters/root:org:team/api/v1/namespaces/default/configmaps", []))
    return cast(Reply, await decision if inspect.isawaitable(decision) else decision)


@pytest.mark.parametrize("known", [(), (TEAM,)], ids=["nothing", "not its parent"])
async def test_where_not_all_is_known(known: tuple[Workspace, ...]) -> None:
    reply = await answer(Index(*known, synced=False), User("alice"))
    assert reply.status == 503
    assert b"shard far is not available: its workspaces are not known yet" in reply.body


@pytest.mark.parametrize("known", [(), (TEAM,)], ids=["nothing", "not its parent"])
async def test_whom_nobody_knows_is_told_the_same_of_every_workspace(known: tuple[Workspace, ...]) -> None:
    reply = await answer(Index(*known, synced=False), ANONYMOUS)
    assert reply.status == 403
    assert b'\\"root:org:team\\" workspace access not permitted' in reply.body


@pytest.mark.parametrize("known", [(), (TEAM,)], ids=["nothing", "not its parent"])
async def test_where_all_is_known(known: tuple[Workspace, ...]) -> None:
    assert (await answer(Index(*known, synced=True), User("alice"))).status == 403
