"""Whose rights to which workspaces are implied, and of which workspace a role would be."""

from __future__ import annotations

from typing import Any

from proxy.kube.client import Client, Object
from proxy.kube.config import Connection
from proxy.tenancy.api import owner_role_name
from proxy.tenancy.implied import Implied
from proxy.tenancy.index import ARRIVING, DELETING, DEPARTED, IMPLIED, MADE, READY, WANTED, WorkspaceIndex, _slim
from proxy.tenancy.owner_roles import OwnerRoles


def record(
    token: str, path: str, owner: str, role: str = IMPLIED, *, shard: str = "us", phase: str = READY, **spec: Any
) -> Object:
    whole = {"path": path, "type": "Universal", "owner": owner, "ownerRole": role, **spec}
    meta = {"name": token, "resourceVersion": "1"}
    return _slim(shard, {"metadata": meta, "spec": whole, "status": {"phase": phase}})


def known(*records: Object) -> WorkspaceIndex:
    index = WorkspaceIndex({name: Client(Connection("https://unused")) for name in ("us", "eu")})
    for each in records:
        index._event("ADDED", None, each)
    return index


def test_by_parent_and_owner() -> None:
    implied = Implied()
    for parent, owner, path in (("a", "x", "a:1"), ("a", "x", "a:2"), ("a", "y", "a:3"), ("b", "x", "b:1")):
        implied.add(parent, owner, path)
    assert sorted(implied.of("a", "x")) == ["a:1", "a:2"]
    assert sorted(implied.all_in("a")) == ["a:1", "a:2", "a:3"]
    assert list(implied.of("b", "y")) == []
    implied.remove("b", "x", "b:1")
    implied.remove("b", "x", "b:1")
    assert not implied.any_in("b")
    assert implied.any_in("a")


def test_what_becomes_of_it() -> None:
    index = known(record("kaaaaaaaa", "root:a", "x"))
    index._event("MODIFIED", None, record("kaaaaaaaa", "root:a", "x", WANTED))
    assert list(index.implied.of("root", "x")) == ["root:a"], "until it is made"
    index._event("MODIFIED", None, record("kaaaaaaaa", "root:a", "x", MADE))
    assert not index.implied.any_in("root")


def test_what_was_before_there_were_such() -> None:
    old = _slim(
        "us", {"metadata": {"name": "kaaaaaaaa"}, "spec": {"path": "root:a", "type": "Universal", "owner": "x"}}
    )
    index = known(old)
    assert not index.implied.any_in("root")
    found = index.get("root:a")
    assert found is not None
    assert not found.implied


def test_one_that_is_being_deleted() -> None:
    """Its owner may see it go; no role is made any more."""
    index = known(record("kaaaaaaaa", "root:a", "x"))
    index._event("MODIFIED", None, record("kaaaaaaaa", "root:a", "x", phase=DELETING))
    assert not index.implied.any_in("root")
    found = index.get("root:a")
    assert found is not None
    assert found.implied


def test_nobody_owns_what_has_no_owner() -> None:
    found = known(record("kaaaaaaaa", "root:a", "")).get("root:a")
    assert found is not None
    assert not found.implied


def test_another_one_of_that_name() -> None:
    """It is there before the first one is gone."""
    index = known(record("kaaaaaaaa", "root:a", "x"), record("kbbbbbbbb", "root:a", "y"))
    assert index.implied.all_in("root") == ["root:a"]
    assert list(index.implied.of("root", "x")) == []
    index._event("DELETED", None, record("kaaaaaaaa", "root:a", "x"))
    assert list(index.implied.of("root", "y")) == ["root:a"]
    index._event("DELETED", None, record("kbbbbbbbb", "root:a", "y"))
    assert not index.implied.any_in("root")


def test_one_that_moves() -> None:
    there = record("kaaaaaaaa", "root:a", "x", shard="eu", moves=1, move={"shard": "us", "stage": ARRIVING})
    gone = record("kaaaaaaaa", "root:a", "x", move={"shard": "eu", "stage": DEPARTED})
    index = known(gone, there)
    arrived = record("kaaaaaaaa", "root:a", "x", MADE, shard="eu", moves=1)
    index._event("MODIFIED", None, arrived)
    assert not index.implied.any_in("root")
    index._event("DELETED", None, gone)
    assert not index.implied.any_in("root")


def test_which_workspace_a_role_names() -> None:
    records = [("kaaaaaaaa", "root:a", "b-c"), ("kbbbbbbbb", "root:a-b", "c"), ("kcccccccc", "root:made", "x"),
               ("kdddddddd", "root:o", "somebody@example.com with odd/letters"), ("keeeeeeee", "root:a-b:c", "d"),
               ("kffffffff", "root:x", "x" * 130)]  # fmt: skip
    index = known(*(record(*each) for each in records), record("kcccccccc", "root:made", "x", MADE))
    roles = OwnerRoles(index, {})
    index._event("ADDED", None, _slim("us", {"metadata": {"name": "kzzzzzzzz"}, "spec": {"path": "root", "type": "R"}}))
    root = index.get("root")
    assert root is not None
    odd = owner_role_name("", "o", "somebody@example.com with odd/letters")
    named = {
        "owner-workspace-a-b-c": ["root:a-b"], owner_role_name("", "a", "b-c"): ["root:a"],
        "owner-workspace-made-x": [], "owner-workspace-a-x": [],
        odd: ["root:o"], owner_role_name("", "x", "x" * 130): ["root:x"], "owner-workspace-": [], "owner-workspace": [],
        "view": [], "owner-workspace-a-b:c-d": [], "owner-workspace--x": [],
    }  # fmt: skip
    assert {role: roles.named(root, role) for role in named} == named


def test_no_two_roles_have_one_name() -> None:
    """Names of workspaces and of users may both have dashes in them."""
    pairs = [
        ("a", "b-c"),
        ("a-b", "c"),
        ("a", "b/c"),
        ("a-b", "c-"),
        ("a", "x" * 130),
        ("a", "x" * 131),
        ("a", "x" * 100),
    ]
    assert len({owner_role_name("k-", *pair) for pair in pairs}) == len(pairs)
    assert owner_role_name("k-", "team-a", "alice@example.com") == "k-owner-workspace-team-a-alice@example.com"
