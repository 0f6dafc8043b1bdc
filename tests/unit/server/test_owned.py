"""Which requests in a parent have the roles of its workspaces' owners made, and whose."""

from __future__ import annotations

from typing import Any, cast

import pytest

from proxy.auth.authorizer import Access
from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.mapping.paths import parse
from proxy.server.owned import make_owner_roles
from proxy.tenancy.index import Workspace
from proxy.tenancy.owner_roles import OwnerRoles

PARENT = Workspace("root:org", "kaaaaaaaa", "Organization", "Ready", "", "main")
ALL, ALICES, BOBS, NAMED = "all", "alice's", "bob's", "the named one"
RBAC, REVIEWS = "/apis/rbac.authorization.k8s.io/v1", "/apis/authorization.k8s.io/v1"
ABOUT_BOB = b'{"spec": {"user": "bob"}}'


class Roles:
    """Says what it would make."""

    def __init__(self, *, missing: bool = True) -> None:
        self._missing = missing
        self.made: list[str] = []

    def missing(self, parent: Workspace) -> bool:
        return self._missing

    def all_in(self, parent: Workspace) -> list[str]:
        return [ALL]

    def of(self, parent: Workspace, owner: str) -> list[str]:
        return [f"{owner}'s"] if owner in ("alice", "bob") else []

    def named(self, parent: Workspace, role: str) -> list[str]:
        return [NAMED] if role.startswith("owner-") else []

    def make(self, paths: list[str]) -> str:
        self.made += paths
        return "waiting"


def asked(method: str, target: str, body: bytes, access: Access, roles: Roles, *, in_time: bool = True) -> list[str]:
    info = parse(method.encode(), target.encode())
    flow = make_owner_roles(cast(OwnerRoles, roles), info, body, User("alice"), access, PARENT)
    try:
        assert next(flow) == "waiting"
        flow.send(in_time)
    except StopIteration:
        pass
    return roles.made


CASES: list[tuple[str, str, bytes, list[str], list[str]]] = [
    # method, target, body, made for who has access, made for an admin
    ("GET", f"{RBAC}/clusterrolebindings", b"", [ALL], [ALL]),
    ("GET", f"{RBAC}/clusterroles?watch=true", b"", [ALL], [ALL]),
    ("DELETE", f"{RBAC}/clusterroles", b"", [ALL], [ALL]),
    ("GET", f"{RBAC}/clusterroles/view", b"", [], []),
    ("GET", f"{RBAC}/clusterroles/owner-workspace-a-b", b"", [NAMED], [NAMED]),
    ("DELETE", f"{RBAC}/clusterrolebindings/owner-workspace-a-b", b"", [NAMED], [NAMED]),
    ("PUT", f"{RBAC}/clusterroles/owner-workspace-a-b", b"{}", [NAMED, ALICES], [NAMED]),
    ("POST", f"{RBAC}/clusterroles", b"{}", [ALICES], []),
    ("POST", f"{RBAC}/clusterrolebindings", b"{}", [ALICES], []),
    ("PATCH", f"{RBAC}/namespaces/n/rolebindings/r", b"{}", [ALICES], []),
    ("GET", f"{RBAC}/namespaces/n/roles", b"", [], []),
    ("GET", f"{RBAC}/namespaces/n/roles/owner-workspace-a-b", b"", [], []),
    ("POST", f"{REVIEWS}/selfsubjectaccessreviews", b"{}", [ALICES], []),
    ("POST", f"{REVIEWS}/selfsubjectrulesreviews", b"{}", [ALICES], []),
    ("POST", f"{REVIEWS}/subjectaccessreviews", ABOUT_BOB, [BOBS], [BOBS]),
    ("POST", f"{REVIEWS}/namespaces/n/localsubjectaccessreviews", ABOUT_BOB, [BOBS], [BOBS]),
    ("POST", f"{REVIEWS}/subjectaccessreviews", b'{"spec": {"groups": ["x"]}}', [], []),
    ("POST", f"{REVIEWS}/subjectaccessreviews", b"k8s\0protobuf", [ALL], [ALL]),
    ("POST", f"{REVIEWS}/subjectaccessreviews", b"[]", [ALL], [ALL]),
    ("GET", "/api/v1/secrets", b"", [], []),
    ("GET", "/apis/tenancy.kcp.dev/v1beta1/workspaces", b"", [], []),
]


@pytest.mark.parametrize(("method", "target", "body", "access", "admin"), CASES)
def test_whose(method: str, target: str, body: bytes, access: list[str], admin: list[str]) -> None:
    assert asked(method, target, body, Access.ACCESS, Roles()) == access
    assert asked(method, target, body, Access.ADMIN, Roles()) == admin
    assert asked(method, target, body, Access.ACCESS, Roles(missing=False)) == []


@pytest.mark.parametrize(("method", "target", "body", "access", "admin"), CASES)
def test_what_is_not_made_in_time(method: str, target: str, body: bytes, access: Any, admin: Any) -> None:
    """A list shows what there is; nothing is said about a role that is not there yet."""
    if not access:
        return
    lists = method == "GET" and "owner-" not in target
    if lists:
        asked(method, target, body, Access.ACCESS, Roles(), in_time=False)
        return
    with pytest.raises(StatusError) as caught:
        asked(method, target, body, Access.ACCESS, Roles(), in_time=False)
    assert caught.value.code == 503
