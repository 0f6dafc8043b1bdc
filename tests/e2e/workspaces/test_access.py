"""Who may enter a workspace, and what they may do there."""

from __future__ import annotations

import json
from typing import Any

import pytest

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from tests.e2e.workspaces.installation import CONFIGMAPS, SECRETS, USERS, Installation
from tests.integration.eventually import eventually

ROLES = Resource("rbac.authorization.k8s.io", "v1", "roles")
ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "rolebindings")
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
RBAC = "rbac.authorization.k8s.io"


def subject(kind: str, name: str, namespace: str = "default") -> dict[str, str]:
    if kind == "ServiceAccount":
        return {"kind": kind, "name": name, "namespace": namespace}
    return {"kind": kind, "name": name, "apiGroup": RBAC}


async def grant_cluster(kcp: Installation, path: str, name: str, rules: list[Any], who: dict[str, str]) -> None:
    client = kcp.client(path)
    await client.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules})
    binding = {
        "metadata": {"name": name},
        "subjects": [who],
        "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name},
    }
    await client.create(CLUSTER_ROLE_BINDINGS, binding)


def entry(workspace: str, verb: str) -> list[Any]:
    return [
        {
            "apiGroups": ["tenancy.kcp.dev"],
            "resources": ["clusterworkspaces/content"],
            "resourceNames": [workspace],
            "verbs": [verb],
        }
    ]


async def test_anonymous_gets_the_same_words_whether_the_workspace_exists_or_not(kcp: Installation) -> None:
    status, headers, body = await kcp.raw(
        "GET", "/clusters/root:default/", token=None, headers={"User-Agent": "curl/8"}
    )
    assert (status, headers["content-type"]) == (403, "application/json")
    assert body.decode() == json.dumps(
        {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": 'forbidden: User "system:anonymous" cannot get path "/": '
            '"root:default" workspace access not permitted',
            "reason": "Forbidden",
            "details": {},
            "code": 403,
        },
        indent=2,
    )
    _, _, nowhere = await kcp.raw("GET", "/clusters/root:nowhere/", token=None, headers={"User-Agent": "curl/8"})
    assert nowhere == body.replace(b"root:default", b"root:nowhere")


@pytest.mark.parametrize("token", ["wrong", "a.b.c", "eyJhbGciOiJub25lIn0.e30."])
async def test_a_bad_token_is_unauthorized_not_anonymous(kcp: Installation, token: str) -> None:
    status, _, body = await kcp.raw("GET", "/clusters/root:default/api/v1/namespaces", token=token)
    assert (status, json.loads(body)["reason"]) == (401, "Unauthorized")


async def test_the_creator_owns_and_others_stay_outside(kcp: Installation) -> None:
    org = await kcp.fresh("Organization")
    await grant_cluster(
        kcp, "root", org.partition(":")[2], entry(org.partition(":")[2], "access"), subject("Group", "dev")
    )
    makes = [{"apiGroups": ["tenancy.kcp.dev"], "resources": ["workspaces"], "verbs": ["create", "get"]}]
    await grant_cluster(kcp, org, "makers", makes, subject("User", "alice"))
    alice = kcp.client(org, USERS["alice"])

    async def made() -> str:
        return await kcp.create(org, "hers", token=USERS["alice"])

    path = await eventually(made, StatusError)
    hers = kcp.client(path, USERS["alice"])
    await eventually(lambda: hers.create(SECRETS, {"metadata": {"name": "s"}}, "default"), StatusError)
    with pytest.raises(StatusError, match='User "alice" cannot list resource "configmaps"') as inside:
        await alice.list(CONFIGMAPS, "default")
    assert (inside.value.code, inside.value.details["kind"]) == (403, "configmaps")
    with pytest.raises(StatusError, match=f'"{path}" workspace access not permitted'):
        await kcp.client(path, USERS["bob"]).list(CONFIGMAPS, "default")
    workspace = await alice.get(Resource("tenancy.kcp.dev", "v1beta1", "workspaces", False), "hers")
    assert workspace["metadata"]["annotations"]["tenancy.kcp.dev/owner"] == "alice"


async def test_rights_given_and_taken_hold_soon(kcp: Installation) -> None:
    path = await kcp.fresh()
    name = path.rpartition(":")[2]
    await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), subject("User", "bob"))
    bob, admin = kcp.client(path, USERS["bob"]), kcp.client(path)

    async def sees(resource: Resource) -> bool:
        await bob.list(resource, "default")
        return True

    async def refused(resource: Resource) -> bool:
        try:
            await bob.list(resource, "default")
        except StatusError as error:
            return error.code == 403 and "access not permitted" not in error.message
        return False

    await eventually(lambda: refused(CONFIGMAPS), timeout=60)
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    await admin.create(ROLES, {"metadata": {"name": "r"}, "rules": rules}, "default")
    binding = {
        "metadata": {"name": "b"},
        "subjects": [subject("User", "bob")],
        "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": "r"},
    }
    await admin.create(ROLE_BINDINGS, binding, "default")
    await eventually(lambda: sees(CONFIGMAPS), StatusError, timeout=60)
    assert await refused(SECRETS)
    await admin.delete(ROLE_BINDINGS, "b", "default")
    await eventually(lambda: refused(CONFIGMAPS), timeout=60)


async def test_a_binding_to_everybody_is_for_one_workspace_only(kcp: Installation) -> None:
    one, other = await kcp.fresh(), await kcp.fresh()
    for path in (one, other):
        name = path.rpartition(":")[2]
        await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), subject("User", "bob"))
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    await grant_cluster(kcp, one, "all", rules, subject("Group", "system:authenticated"))
    allowed = kcp.client(one, USERS["bob"])
    await eventually(lambda: allowed.list(CONFIGMAPS), StatusError, timeout=60)
    with pytest.raises(StatusError) as refused:
        await kcp.client(other, USERS["bob"]).list(CONFIGMAPS)
    assert refused.value.code == 403


async def test_nobody_gives_rights_that_they_lack(kcp: Installation) -> None:
    path = await kcp.fresh()
    name = path.rpartition(":")[2]
    await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), subject("User", "bob"))
    rules = [{"apiGroups": [RBAC], "resources": ["roles"], "verbs": ["create"]}]
    await grant_cluster(kcp, path, "role-makers", rules, subject("User", "bob"))
    bob = kcp.client(path, USERS["bob"])
    wanted = {"metadata": {"name": "x"}, "rules": [{"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}]}

    async def escalation_refused() -> bool:
        try:
            await bob.create(ROLES, wanted, "default")
        except StatusError as error:
            return "attempting to grant RBAC permissions not currently held" in error.message
        return False

    await eventually(escalation_refused, timeout=60)


async def test_a_service_account_is_somebody_in_its_workspace_and_nobody_elsewhere(kcp: Installation) -> None:
    path, other = await kcp.fresh(), await kcp.fresh()
    admin = kcp.client(path)
    await admin.create(SERVICE_ACCOUNTS, {"metadata": {"name": "robot"}}, "default")
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
    await grant_cluster(kcp, path, "robots", rules, subject("ServiceAccount", "robot"))
    made = await kcp.kubectl(path, "create", "token", "robot")
    token = made.out.strip()
    assert made.code == 0, made.err
    robot = kcp.client(path, token)
    await eventually(lambda: robot.list(CONFIGMAPS, "default"), StatusError, timeout=60)
    whoami = await kcp.kubectl(path, "auth", "whoami", "-o", "jsonpath={.status.userInfo.username}", token=token)
    assert whoami.out == "system:serviceaccount:default:robot"
    # In-cluster configuration knows host and port alone: without a path the account is at home.
    status, _, body = await kcp.raw("GET", "/api/v1/namespaces/default/configmaps", token=token)
    assert status == 200, body
    for elsewhere in (other, "root", "root:tests"):
        with pytest.raises(StatusError) as refused:
            await kcp.client(elsewhere, token).list(CONFIGMAPS, "default")
        assert refused.value.code in (401, 403)
    # Nor does the token open the shard itself.
    from proxy.kube.client import Client
    from proxy.kube.config import Connection

    connection = Connection(kcp.shard.connection.server, ca_data=kcp.shard.connection.ca_data, token=token)
    async with Client(connection) as direct:
        with pytest.raises(StatusError) as unauthorized:
            await direct.list(CONFIGMAPS, f"{await kcp.token_of(path)}-default")
    assert unauthorized.value.code == 401
    await admin.delete(SERVICE_ACCOUNTS, "robot", "default")

    async def over() -> bool:
        try:
            await robot.list(CONFIGMAPS, "default")
        except StatusError as error:
            return error.code == 401
        return False

    await eventually(over, timeout=40)  # the proxy and the shard each keep an answer for 10 s


async def test_impersonation_stays_inside_the_workspace(kcp: Installation) -> None:
    path = await kcp.fresh()
    refused = await kcp.kubectl(path, "--as", "carol", "get", "configmaps")
    assert 'User "carol" cannot list resource "configmaps"' in refused.err
    masters = await kcp.kubectl(path, "--as", "carol", "--as-group", "system:masters", "get", "configmaps")
    assert masters.code == 0, masters.err
    name = path.rpartition(":")[2]
    await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), subject("User", "bob"))

    async def bob_may_not() -> bool:
        tried = await kcp.kubectl(path, "--as", "system:admin", "get", "configmaps", token=USERS["bob"])
        return 'cannot impersonate resource "users"' in tried.err

    await eventually(bob_may_not, timeout=60, interval=0.2)


async def test_headers_of_the_front_proxy_protocol_mean_nothing_from_outside(kcp: Installation) -> None:
    path = await kcp.fresh()
    forged = {"X-Remote-User": "admin", "X-Remote-Group": "system:masters"}
    status, _, _ = await kcp.raw("GET", f"/clusters/{path}/api/v1/namespaces", token=None, headers=forged)
    assert status == 403
    status, _, _ = await kcp.raw("GET", f"/clusters/{path}/api/v1/namespaces", token=USERS["bob"], headers=forged)
    assert status == 403
