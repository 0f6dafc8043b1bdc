"""``--as``: what headers mean, and what they need. The cases are those of Kubernetes' own impersonation filter."""

from __future__ import annotations

import pytest

from proxy.auth.authorizer import Access
from proxy.auth.identity import User
from proxy.auth.impersonation import Impersonation, access_of, impersonation, refused
from proxy.kube.errors import StatusError
from proxy.mapping.request import Attributes
from tests.unit.auth.samples import WORKSPACE

ACCOUNTS = ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated")


def wanted(*headers: tuple[str, str]) -> Impersonation:
    found = impersonation([(key.encode(), value.encode()) for key, value in headers], WORKSPACE)
    assert found is not None
    return found


def needs(*headers: tuple[str, str]) -> list[tuple[str, ...]]:
    """Group, resource, subresource, namespace and name of each."""
    needed = wanted(*headers).needed
    assert all(one.verb == "impersonate" and one.is_resource for one in needed)
    return [one[1:6] for one in needed]


def test_without_headers_nobody_is_impersonated() -> None:
    assert impersonation([(b"authorization", b"x"), (b"x-impersonate-user", b"y")], WORKSPACE) is None
    assert impersonation([(b"impersonate-user", b""), (b"impersonate-uid", b"")], WORKSPACE) is None


@pytest.mark.parametrize(
    ("name", "asked", "groups"),
    [
        ("carol", (), ("system:authenticated",)),
        ("carol", ("dev",), ("dev", "system:authenticated")),
        ("carol", ("system:authenticated",), ("system:authenticated",)),
        ("carol", ("system:unauthenticated",), ("system:unauthenticated",)),
        ("system:anonymous", (), ("system:unauthenticated",)),
        ("system:serviceaccount:ns:robot", (), ACCOUNTS),
        ("system:serviceaccount:ns:robot", ("dev",), ("dev", "system:authenticated")),
    ],
)
def test_groups(name: str, asked: tuple[str, ...], groups: tuple[str, ...]) -> None:
    user = wanted(("impersonate-user", name), *(("impersonate-group", group) for group in asked)).user
    assert (user.name, user.groups) == (name, groups)


def test_each_thing_asked_for_needs_leave_and_nothing_else_does() -> None:
    assert needs(("impersonate-user", "carol")) == [("", "users", "", "", "carol")]
    assert needs(("impersonate-user", "system:serviceaccount:ns:robot")) == [
        ("", "serviceaccounts", "", "kabcdefgh-ns", "robot")
    ]
    assert needs(
        ("impersonate-group", "system:masters"),
        ("impersonate-user", "carol"),
        ("impersonate-group", "system:authenticated"),
        ("impersonate-uid", "7"),
        ("impersonate-extra-scopes", "a"),
        ("impersonate-extra-scopes", "b"),
        ("impersonate-extra-example.com%2fkey", "c"),
    ) == [
        ("", "users", "", "", "carol"),
        ("", "groups", "", "", "system:masters"),
        ("", "groups", "", "", "system:authenticated"),
        ("authentication.k8s.io", "userextras", "scopes", "", "a"),
        ("authentication.k8s.io", "userextras", "scopes", "", "b"),
        ("authentication.k8s.io", "userextras", "example.com/key", "", "c"),
        ("authentication.k8s.io", "uids", "", "", "7"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        "system:serviceaccount:ns",
        "system:serviceaccount:ns:robot:x",
        "system:serviceaccount::robot",
        "system:serviceaccount:NS:robot",
        "system:serviceaccount:n.s:robot",
        "system:serviceaccount:ns:robot_",
    ],
)
def test_what_only_looks_like_a_service_account_is_a_user(name: str) -> None:
    assert needs(("impersonate-user", name)) == [("", "users", "", "", name)]
    assert wanted(("impersonate-user", name)).user.groups == ("system:authenticated",)


def test_the_result_lives_in_the_workspace_and_rules_nothing_beyond() -> None:
    user = wanted(("impersonate-user", "admin"), ("impersonate-group", "system:masters")).user
    assert (user.workspace_token, user.masters) == (WORKSPACE.token, False)
    assert access_of(user, Access.ADMIN) is Access.ADMIN
    assert access_of(user, Access.ACCESS) is Access.ACCESS
    assert access_of(wanted(("impersonate-user", "admin")).user, Access.ADMIN) is Access.ACCESS


@pytest.mark.parametrize(
    "headers",
    [
        [("impersonate-group", "dev")],
        [("impersonate-user", ""), ("impersonate-group", "dev")],
        [("impersonate-uid", "1")],
        [("impersonate-extra-x", "1")],
        [("impersonate-user", "a"), ("impersonate-user", "b")],
        [("impersonate-user", "a"), ("impersonate-whatever", "b")],
        [("impersonate-user", "a"), ("impersonate-extra-", "b")],
        [("impersonate-user", "a\tb")],
        [("impersonate-user", "a"), ("impersonate-group", " b")],
    ],
)
def test_headers_without_sense_are_a_bad_request(headers: list[tuple[str, str]]) -> None:
    with pytest.raises(StatusError) as error:
        wanted(*headers)
    assert error.value.code == 400


def test_names_that_are_no_text_are_a_bad_request() -> None:
    with pytest.raises(StatusError, match="UTF-8"):
        impersonation([(b"impersonate-user", b"\xff")], WORKSPACE)


def test_the_refusal_is_in_plain_names() -> None:
    account = Attributes("impersonate", "", "serviceaccounts", "", "kabcdefgh-ns", "robot", True, "")
    assert refused(User("bob"), account, WORKSPACE).message == (
        'serviceaccounts "robot" is forbidden: User "bob" cannot impersonate resource "serviceaccounts" '
        'in API group "" in the namespace "ns"'
    )
    extra = Attributes("impersonate", "authentication.k8s.io", "userextras", "scopes", "", "a", True, "")
    assert refused(User("bob"), extra, WORKSPACE).message == (
        'userextras.authentication.k8s.io "a" is forbidden: User "bob" cannot impersonate resource '
        '"userextras/scopes" in API group "authentication.k8s.io" at the cluster scope'
    )
