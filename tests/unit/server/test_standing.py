"""Decisions that stand, and everything that ends them. What RBAC's events do to them is tested on a real shard."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from proxy.auth.authenticator import Authenticator
from proxy.auth.authorizer import Authorizer
from proxy.auth.identity import User
from proxy.auth.tokenfile import TokenFiles
from proxy.discovery import Discovery
from proxy.discovery.view import View
from proxy.kube.errors import StatusError
from proxy.mapping.paths import parse
from proxy.server import standing
from proxy.server.messages import SHARD, Forward, Record, Request
from proxy.server.standing import Standing
from proxy.tenancy.index import Workspace, WorkspaceIndex

WORKSPACE = Workspace("root:team", "kabcdefgh", "Universal", "Ready", "alice", "main")
ROOT = Workspace("root", "krrrrrrrr", "Root", "Ready", "", "main")
TARGET = b"/clusters/root:team/api/v1/namespaces/default/configmaps/one"
FORWARD = Forward("main", b"GET", b"/api/v1/namespaces/kabcdefgh-default/configmaps/one", [], idempotent=True)
BOSS = User("boss", ("system:masters",), masters=True)


class Views:
    """What of discovery is asked here."""

    def __init__(self) -> None:
        self.now = View(())

    def view(self, workspace: Workspace) -> View:
        return self.now


class Ground:
    """All that a decision rests on."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "tokens.csv"
        self.file.write_text("secret,boss,1,system:masters\n")
        self.tokens = TokenFiles([self.file])
        self.index = WorkspaceIndex({})
        self.views = Views()
        self.standing = Standing(
            self.index, Authenticator(self.tokens, {}), Authorizer(self.index, {}), cast(Discovery, self.views)
        )
        for workspace in (ROOT, WORKSPACE):
            self.event("ADDED", workspace)

    def event(self, kind: str, workspace: Workspace) -> None:
        self.index._event(kind, None, {"metadata": {"name": workspace.token}, "workspace": workspace})

    def keep(self, request: Request, forward: Forward = FORWARD, **known: Any) -> None:
        path = b"/" + request.target.partition(b"/api")[1].strip(b"/") + request.target.partition(b"/api")[2]
        request.record = Record(
            info=parse(b"GET", path), user=BOSS, workspace=WORKSPACE.path, shard="main", allowed=True, step=SHARD
        )
        for name, value in known.items():
            setattr(request.record, name, value)
        self.standing.keep(request, forward)  # it is noticed
        self.standing.keep(request, forward)

    def stands(self, request: Request | None = None) -> bool:
        return self.standing.find(request or asked()) is not None


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    return Ground(tmp_path)


def asked(target: bytes = TARGET, key: bytes = b"key", token: bytes = b"secret") -> Request:
    return Request(b"GET", target, [(b"authorization", b"Bearer " + token)], key=key)


def test_the_same_again(ground: Ground) -> None:
    assert not ground.stands()
    ground.keep(asked())
    request = asked()
    assert ground.standing.find(request) is FORWARD
    record = request.record
    assert (record.workspace, record.shard, record.user, record.allowed) == ("root:team", "main", BOSS, True)
    assert (record.step, record.asked, record.info and record.info.name) == (SHARD, (), "one")


def test_what_is_asked_once_is_only_noticed(ground: Ground) -> None:
    ground.standing.keep(asked(), FORWARD)
    assert not ground.stands()


def test_another_target_or_another_head_is_another_question(ground: Ground) -> None:
    ground.keep(asked())
    assert not ground.stands(asked(TARGET + b"?resourceVersion=0"))
    assert not ground.stands(asked(key=b"other"))


OTHER = TARGET.replace(b"one", b"an-other.2")


def test_it_stands_for_the_others_of_the_namespace(ground: Ground) -> None:
    forward = Forward(
        "main", b"GET", b"/api/v1/namespaces/kabcdefgh-default/configmaps/one?pretty=false", [(b"accept", b"x")],
        body_filter=cast(Any, print), head_filter=cast(Any, repr), idempotent=True,
    )  # fmt: skip
    ground.keep(asked(), forward)
    request = asked(OTHER)
    found = ground.standing.find(request)
    assert found == replace(forward, target=forward.target.replace(b"one", b"an-other.2"))
    record = request.record
    assert record.info == parse(b"GET", OTHER.removeprefix(b"/clusters/root:team"))
    assert (record.workspace, record.shard, record.user, record.allowed) == ("root:team", "main", BOSS, True)
    assert record.step == SHARD


@pytest.mark.parametrize(
    "end", ["one/status", "one?pretty=true", "%6fne", "..", ".x", "", "One", "a_b", "x" * 254, "x;y"]
)
def test_it_stands_for_plain_names_alone(ground: Ground, end: str) -> None:
    ground.keep(asked())
    assert not ground.stands(asked(TARGET.replace(b"one", end.encode())))


@pytest.mark.parametrize("target", [TARGET.removesuffix(b"/one"), TARGET.replace(b"configmaps", b"secrets")])
def test_it_stands_for_no_list_and_no_other_kind(ground: Ground, target: bytes) -> None:
    ground.keep(asked())
    assert not ground.stands(asked(target))


@pytest.mark.parametrize(
    "target",
    [
        b"/clusters/root:team/api/v1/namespaces/one",
        b"/clusters/root:team/api/v1/namespaces/default/configmaps",
        b"/clusters/root:team/api/v1/watch/namespaces/default/configmaps/one",
        b"/clusters/root:team/api/v1/namespaces/default/configmaps/%6fne",
        b"/clusters/root:team/apis/scheduling.k8s.io/v1/priorityclasses/one",
    ],
)
def test_what_stands_for_itself_alone(ground: Ground, target: bytes) -> None:
    ground.keep(asked(target))
    assert not ground.stands(asked(target.rpartition(b"/")[0] + b"/two"))


def test_rights_to_one_object_are_no_rights_to_the_others(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Authorizer.lease

    def lease(*given: Any, any_name: bool = False) -> Any:
        return None if any_name else whole(*given)

    monkeypatch.setattr(Authorizer, "lease", lease)
    ground.keep(asked())
    assert ground.stands()
    assert not ground.stands(asked(OTHER))


def test_the_gate_looks_at_each(ground: Ground) -> None:
    """Were what stands of another workspace."""
    ground.keep(asked(), replace(FORWARD, target=FORWARD.target.replace(b"kabcdefgh", b"kzzzzzzzz")))
    with pytest.raises(StatusError, match="not confined to the workspace"):
        ground.stands(asked(OTHER))


def test_what_ends_it_ends_it_for_the_others(ground: Ground) -> None:
    ground.keep(asked())
    assert ground.stands(asked(OTHER))
    ground.views.now = View(())
    assert not ground.stands(asked(OTHER))


def test_the_workspace_changes(ground: Ground) -> None:
    ground.keep(asked())
    ground.event("MODIFIED", WORKSPACE)
    assert ground.stands(), "nothing that is kept of it has changed"
    ground.event("MODIFIED", replace(WORKSPACE, phase="Deleting"))
    assert not ground.stands()


def test_the_workspace_goes_and_another_comes_in_its_place(ground: Ground) -> None:
    ground.keep(asked())
    ground.event("DELETED", WORKSPACE)
    assert not ground.stands()
    ground.event("ADDED", replace(WORKSPACE, token="kzzzzzzzz"))
    assert not ground.stands()


def test_the_parent_changes(ground: Ground) -> None:
    ground.keep(asked())
    ground.event("MODIFIED", replace(ROOT, token="kzzzzzzzz"))
    assert not ground.stands()


def test_what_is_served_changes(ground: Ground) -> None:
    ground.keep(asked())
    ground.views.now = View(())
    assert not ground.stands()


def test_the_token_is_withdrawn(ground: Ground) -> None:
    ground.keep(asked())
    ground.file.write_text("other-secret,boss,1,system:masters\n")
    ground.tokens.refresh()
    assert not ground.stands()
    ground.keep(asked())
    assert not ground.stands(), "not even by who had it before"


def test_time_goes_by(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    ground.keep(asked())
    later = time.monotonic() + standing.AT_MOST
    monkeypatch.setattr("proxy.server.standing.time.monotonic", lambda: later)
    assert not ground.stands()


@pytest.mark.parametrize(
    "target",
    [
        b"/api/v1/namespaces/default/configmaps/one",
        b"/clusters/root:team/api/v1/namespaces/default/pods/one/log",
        b"/clusters/root:team/apis/rbac.authorization.k8s.io/v1/clusterroles/one",
    ],
)
def test_what_rests_on_more_than_is_looked_at(ground: Ground, target: bytes) -> None:
    """Which workspace is meant, whether default roles were made."""
    ground.keep(asked(target))
    assert not ground.stands(asked(target))


@pytest.mark.parametrize("known", [{"acting_as": User("bob")}, {"user": None}, {"info": None}, {"workspace": "root:x"}])
def test_what_is_not_kept(ground: Ground, known: dict[str, Any]) -> None:
    ground.keep(asked(), **known)
    assert not ground.stands()


@pytest.mark.parametrize("forward", [replace(FORWARD, streaming=True), replace(FORWARD, body=b"{}")])
def test_watches_and_writes_are_not_kept(ground: Ground, forward: Forward) -> None:
    ground.keep(asked(), forward)
    assert not ground.stands()


def test_the_oldest_goes_first(ground: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(standing, "MOST", 3)
    for number in range(5):
        ground.keep(asked(key=b"%d" % number))
    assert [ground.stands(asked(key=b"%d" % number)) for number in range(5)] == [False, False, True, True, True]
