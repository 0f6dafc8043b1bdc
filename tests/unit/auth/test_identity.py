"""Users, and how a shard sees them."""

from __future__ import annotations

import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.identity import (
    ANONYMOUS,
    User,
    authenticated,
    identity_headers,
    mapped_identity,
)
from proxy.auth.whoami import whoami_body

PREFIX = "kabcdefgh-"


def test_everybody_who_is_authenticated_is_in_the_group_of_that_name() -> None:
    assert authenticated("alice", ("dev",)).groups == ("dev", "system:authenticated")
    assert authenticated("alice", ("system:authenticated",)).groups == ("system:authenticated",)
    assert ANONYMOUS.groups == ("system:unauthenticated",)


def test_the_group_of_masters_counts_and_a_user_of_that_name_does_not() -> None:
    assert authenticated("alice", ("system:masters",)).masters
    assert not authenticated("system:masters", ("masters", "xsystem:masters", "system:masters2")).masters
    assert not User("alice", ("system:masters",)).masters


@pytest.mark.parametrize(
    "name", ["alice ", " alice", "al\nice", "alice\r\nX-Remote-Group: system:masters", "a\x00", "\t"]
)
def test_a_name_that_a_header_would_change_is_nobodys(name: str) -> None:
    with pytest.raises(ValueError, match="printable"):
        authenticated(name, ())
    with pytest.raises(ValueError, match="printable"):
        authenticated("alice", (name,))


def test_nobody_is_nameless() -> None:
    with pytest.raises(ValueError, match="empty"):
        authenticated("", ())


def test_a_privileged_request_carries_one_group_and_the_mapped_name() -> None:
    user = authenticated("alice", ("dev",))
    assert identity_headers(user, PREFIX, privileged=True) == [
        (b"impersonate-user", b"kabcdefgh-alice"),
        (b"impersonate-group", b"system:masters"),
    ]
    # Where it asks about itself, its own groups are there as well.
    assert identity_headers(user, PREFIX, privileged=True, own=True)[2:] == [
        (b"impersonate-group", b"kabcdefgh-dev"),
        (b"impersonate-group", b"kabcdefgh-system:authenticated"),
    ]


def test_an_unprivileged_request_carries_mapped_groups_alone() -> None:
    user = authenticated("alice", ("system:masters",))
    assert identity_headers(user, PREFIX, privileged=False) == [
        (b"impersonate-user", b"kabcdefgh-alice"),
        (b"impersonate-group", b"kabcdefgh-system:masters"),
        (b"impersonate-group", b"kabcdefgh-system:authenticated"),
    ]


names = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=30) | st.sampled_from(
    ["system:serviceaccount:ns:x", "system:admin", "system:serviceaccount:", "kzzzzzzzz-alice", "system:masters"]
)


@given(names, names, st.lists(names), st.sampled_from(["kaaaaaaaa-", "kbbbbbbbb-"]))
def test_mapped_users_are_the_workspaces_own_and_distinct(one: str, other: str, groups: list[str], prefix: str) -> None:
    mapped, mapped_groups = mapped_identity(User(one, tuple(groups)), PREFIX)
    assert mapped.removeprefix("system:serviceaccount:").startswith(PREFIX)
    assert all(group.startswith(PREFIX) for group in mapped_groups)
    assert (mapped == mapped_identity(User(other), PREFIX)[0]) == (one == other)
    assert mapped != mapped_identity(User(other), prefix)[0]


def test_whoami() -> None:
    user = User("alice", ("dev",), "7", (("scopes", ("a", "b")),))
    now = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
    assert whoami_body(user, now) == (
        b'{"kind":"SelfSubjectReview","apiVersion":"authentication.k8s.io/v1","metadata":{"creationTimestamp":"2026-01-02T03:04:05Z"},'
        b'"status":{"userInfo":{"username":"alice","uid":"7","groups":["dev"],"extra":{"scopes":["a","b"]}}}}\n'
    )
    assert b"uid" not in whoami_body(ANONYMOUS, now)
