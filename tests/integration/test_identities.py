"""Each part of kcp is somebody of its own on a shard, and may do what it needs there, and nothing else."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from proxy.cli.doctor import _missing_rights
from proxy.identities import GROUP, Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.reviews import ACCESS_REVIEWS, status_of
from proxy.mapping.token import new_token
from proxy.shard.bootstrap import apply_manifests
from proxy.shard.control_plane import ControlPlane
from proxy.shard.manifests import load_manifests
from proxy.shard.rights import PREFIX, ROLES
from tests.integration.eventually import eventually

RBAC = "rbac.authorization.k8s.io"
BINDINGS = Resource(RBAC, "v1", "clusterrolebindings", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CONFIG_MAPS, SECRETS, EVENTS = (Resource("", "v1", plural) for plural in ("configmaps", "secrets", "events"))
ACCOUNTS = Resource("", "v1", "serviceaccounts")
LEASES = Resource("coordination.k8s.io", "v1", "leases")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
POLICIES = Resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", namespaced=False)
ME = Identity

WHO_MAY: dict[tuple[str, str, str, str], set[Identity]] = {
    ("impersonate", "", "users", ""): set(),
    ("impersonate", "", "groups", ""): set(),
    ("impersonate", "", "serviceaccounts", ""): set(),
    ("*", "*", "*", ""): set(),
    ("deletecollection", "", "secrets", ""): {ME.NAMESPACES},
    ("get", "", "secrets", "kube-system"): {ME.PARAMETERS, ME.ACCOUNT_TOKENS, ME.OBJECTS, ME.MOVING},
    ("list", "", "secrets", ""): {
        ME.PARAMETERS, ME.ACCOUNT_TOKENS, ME.OBJECTS, ME.MOVING, ME.REMOVAL, ME.NAMESPACES, ME.PUSHING, ME.COUNTING,
        ME.QUOTAS,
    },
    ("patch", "", "resourcequotas/status", ""): {ME.QUOTAS, ME.OBJECTS, ME.MOVING},
    ("patch", "", "resourcequotas", ""): {ME.WORKLOAD, ME.OBJECTS, ME.MOVING},
    ("create", "", "secrets", "kube-system"): {ME.ADMISSION, ME.MOVING},
    ("update", "", "secrets", ""): {ME.MOVING},
    ("patch", "", "secrets", ""): {ME.ACCOUNT_TOKENS, ME.OBJECTS, ME.MOVING},
    ("get", "", "configmaps", ""): {ME.OPENING, ME.PARAMETERS, ME.ACCOUNT_TOKENS, ME.OBJECTS, ME.MOVING},
    ("create", "", "serviceaccounts/token", ""): {ME.ACCOUNT_TOKENS, ME.MOVING},
    ("create", "", "pods", ""): {ME.MOVING},
    ("create", "", "namespaces", ""): {ME.OPENING, ME.TENANCY, ME.MOVING},
    ("delete", "", "namespaces", ""): {ME.REMOVAL, ME.NAMESPACES, ME.MOVING},
    ("update", "", "namespaces/finalize", ""): {ME.NAMESPACES, ME.MOVING},
    ("create", "authentication.k8s.io", "tokenreviews", ""): {ME.ACCESS, ME.MOVING},
    ("create", RBAC, "clusterroles", ""): {ME.OPENING, ME.TENANCY, ME.MOVING},
    ("escalate", RBAC, "clusterroles", ""): {ME.OPENING, ME.TENANCY, ME.ROLES, ME.MOVING},
    ("escalate", RBAC, "roles", ""): {ME.MOVING},
    ("bind", RBAC, "clusterroles", ""): {ME.TENANCY, ME.MOVING},
    ("create", RBAC, "clusterrolebindings", ""): {ME.TENANCY, ME.MOVING},
    ("create", "apiextensions.k8s.io", "customresourcedefinitions", ""): {ME.WORKLOAD, ME.MOVING},
    # Of these no policy can be: https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/
    ("create", POLICIES.group, POLICIES.plural, ""): {ME.MOVING},
    ("patch", POLICIES.group, POLICIES.plural, ""): {ME.OBJECTS, ME.MOVING},
    ("delete", POLICIES.group, POLICIES.plural, ""): {ME.REMOVAL, ME.NAMESPACES, ME.MOVING},
    ("create", "internal.kcp.dev", "logicalclusters", ""): {ME.TENANCY, ME.MOVING},
    ("delete", "internal.kcp.dev", "logicalclusters", ""): {ME.TENANCY, ME.REMOVAL, ME.NAMESPACES, ME.MOVING},
    ("create", "internal.kcp.dev", "typebindings", ""): {ME.WORKLOAD, ME.MOVING},
    ("get", "", "/metrics", ""): {ME.MONITORING},
    ("get", "", "/debug/pprof", ""): set(),
    ("get", "", "/openid/v1/jwks", ""): {ME.ACCESS},
}  # fmt: skip
"""Verb, group, resource or path, namespace (``""``: all)."""


async def allowed(client: Client, identity: Identity, verb: str, group: str, resource: str, namespace: str) -> bool:
    plural, _, subresource = resource.partition("/")
    attributes: Object = {"resourceAttributes": {
        "verb": verb, "group": group, "resource": plural, "subresource": subresource, "namespace": namespace,
    }}  # fmt: skip
    if resource.startswith("/"):
        attributes = {"nonResourceAttributes": {"path": resource, "verb": verb}}
    spec = {"user": identity.user, "groups": [GROUP, "system:authenticated"], **attributes}
    return bool((await status_of(client, ACCESS_REVIEWS, spec)).get("allowed"))


@pytest.mark.parametrize("asked", WHO_MAY, ids=" ".join)
async def test_nobody_else_may(admin: Client, asked: tuple[str, str, str, str]) -> None:
    assert {identity for identity in Identity if await allowed(admin, identity, *asked)} == WHO_MAY[asked]


@pytest.fixture
async def place(admin: Client) -> AsyncIterator[str]:
    """A namespace of a workspace."""
    name = f"{new_token()}-place"
    await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    yield name
    await admin.delete(NAMESPACES, name)


def named(resource: Resource, kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, **rest}


def bound(name: str, role: str) -> Object:
    subject = {"apiGroup": RBAC, "kind": "User", "name": "k2345abcd-alice"}
    reference = {"apiGroup": RBAC, "kind": "ClusterRole", "name": role}
    return named(BINDINGS, "ClusterRoleBinding", name, subjects=[subject], roleRef=reference)


LABELLED = {"metadata": {"labels": {"led": "astray"}}}
OUTSIDE: dict[str, tuple[Identity, str, str, Object | None]] = {
    "a token of the shard's own account": (
        ME.ACCOUNT_TOKENS, "POST", ACCOUNTS.path("kube-system", "default", "token"),
        {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}},
    ),
    "a Secret of the shard": (
        ME.ADMISSION, "POST", SECRETS.path("kube-system"), named(SECRETS, "Secret", "another"),
    ),
    "a ConfigMap of the shard": (
        ME.OBJECTS, "PATCH", CONFIG_MAPS.path("kube-system", "extension-apiserver-authentication"), LABELLED,
    ),
    "a type of kcp": (ME.OBJECTS, "PATCH", CRDS.path(name="workspaces.tenancy.kcp.dev"), LABELLED),
    "a role of the shard": (ME.ROLES, "PATCH", ROLES.path(name="view"), LABELLED),
    "a new role of the shard": (ME.OPENING, "POST", ROLES.path(), named(ROLES, "ClusterRole", "mine", rules=[])),
    "a binding of the shard": (ME.TENANCY, "POST", BINDINGS.path(), bound("mine", "k2345abcd-admin")),
    "a binding in a workspace to a role of the shard": (
        ME.TENANCY, "POST", BINDINGS.path(), bound("k2345abcd-mine", "cluster-admin"),
    ),
    "the same by who may do most": (
        ME.MOVING, "POST", BINDINGS.path(), bound("k2345abcd-mine", "cluster-admin"),
    ),
    "a role with other rights": (
        ME.TENANCY, "POST", ROLES.path(), named(ROLES, "ClusterRole", "k2345abcd-mine", rules=[
            {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"], "resourceNames": ["k2345abcd-x"]},
        ]),
    ),
    "a role with rights to all workspaces": (
        ME.TENANCY, "POST", ROLES.path(), named(ROLES, "ClusterRole", "k2345abcd-mine", rules=[
            {"apiGroups": ["tenancy.kcp.dev"], "resources": ["workspaces/content"], "verbs": ["access"]},
        ]),
    ),
    "a role with rights to another's workspaces": (
        ME.TENANCY, "POST", ROLES.path(), named(ROLES, "ClusterRole", "k2345abcd-mine", rules=[
            {"apiGroups": ["tenancy.kcp.dev"], "resources": ["workspaces/content"], "verbs": ["access"],
             "resourceNames": ["k2345abce-x"]},
        ]),
    ),
    "the end of a type of kcp": (ME.REMOVAL, "DELETE", CRDS.path(name="workspaces.tenancy.kcp.dev"), None),
    "all ConfigMaps in a namespace of the shard": (
        ME.NAMESPACES, "DELETE", CONFIG_MAPS.path("kube-system"), None,
    ),
    "another Lease": (ME.PRESENCE, "POST", LEASES.path("kube-system"), named(LEASES, "Lease", "another", spec={})),
    "an event of the shard": (
        ME.WORKLOAD, "POST", EVENTS.path("default"),
        named(EVENTS, "Event", "told", involvedObject={"namespace": "default"}, reason="x", message="x"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", OUTSIDE)
async def test_what_is_written_is_in_workspaces(admin: Client, what: str) -> None:
    """RBAC lets them, as it knows no prefixes; a policy of the shard does not."""
    identity, method, path, body = OUTSIDE[what]
    kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
    with pytest.raises(StatusError) as caught:
        await identity.on(admin).request(method, path, body=body, params={"dryRun": "All"}, content_type=kind)
    assert caught.value.code == 403
    does = "(binds roles of|writes in|gives rights to single)"
    assert re.search(f"{identity.user} {does} workspaces alone", caught.value.message)


async def test_in_workspaces_they_write(admin: Client, place: str) -> None:
    """The other side of the same policy."""
    token = place.partition("-")[0]
    made = named(CONFIG_MAPS, "ConfigMap", "settings")
    await ME.MOVING.on(admin).create(CONFIG_MAPS, made, place)
    await ME.OBJECTS.on(admin).patch(CONFIG_MAPS, "settings", LABELLED, place)
    await ME.TENANCY.on(admin).create(BINDINGS, bound(f"{token}-mine", f"{token}-admin"))
    await ME.REMOVAL.on(admin).delete(BINDINGS, f"{token}-mine")
    await ME.MOVING.on(admin).delete(CONFIG_MAPS, "settings", place)


async def test_none_waits_in_the_queue_of_users(shard: ControlPlane) -> None:
    schemas = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", namespaced=False)
    async with shard.client() as client:
        schema = await client.get(schemas, "kcp-identities")
        monitoring = Identity.MONITORING.on(client)
        headers = monitoring._request_headers(None)
        async with monitoring._open().get(f"{client.connection.server}/version", headers=headers) as response:
            assert response.status == 200
            assert response.headers["X-Kubernetes-PF-FlowSchema-UID"] == schema["metadata"]["uid"]


async def test_rights_that_are_gone_count_again_when_the_shard_is_prepared(admin: Client) -> None:
    name = next(manifest.name for manifest in load_manifests() if manifest.name.startswith(f"{PREFIX}reaching:"))
    asked = ("get", "", "pods", "")
    await admin.delete(BINDINGS, name)

    async def lost() -> bool:
        return not await allowed(admin, Identity.REACHING, *asked)

    await eventually(lost)
    assert await _missing_rights(admin) == ["reaching"], "kcp doctor tells"
    with pytest.raises(StatusError) as caught:
        await Identity.REACHING.on(admin).get(Resource("", "v1", "pods"), "none", "default")
    assert caught.value.code == 503, "as from a server that has only just started"
    assert await apply_manifests(admin) == [f"ClusterRoleBinding {name}"]
    assert await allowed(admin, Identity.REACHING, *asked), "not some time later"


async def test_another_release_takes_no_rights_away(admin: Client) -> None:
    """Roles of another content have other names, and count beside these."""
    before = {item["metadata"]["name"] for item in (await admin.list(ROLES))["items"]}
    mine = {manifest.name for manifest in load_manifests() if manifest.name.startswith(PREFIX)}
    assert mine <= before
    assert {name.split(":")[1] for name in mine} == set(Identity)
    other = named(ROLES, "ClusterRole", f"{PREFIX}reaching:00000000", rules=[])
    await admin.create(ROLES, other)
    assert await apply_manifests(admin) == []
    assert await admin.get(ROLES, other["metadata"]["name"])
    await admin.delete(ROLES, other["metadata"]["name"])
