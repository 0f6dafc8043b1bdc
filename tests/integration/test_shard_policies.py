"""The shard's own policies on a real kube-apiserver: every object of a workspace carries its label, and its owner."""

from __future__ import annotations

import functools
from typing import Any

import pytest

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy.lean import LEAN, apply_lean
from tests.integration.eventually import eventually
from tests.integration.privileged import privileged_as

LABEL = "0.kcp.dev/w"
TOKEN = "kabc234xy"
OTHER = "kzzz765ab"
NAMESPACES = Resource("", "v1", "namespaces", False)
CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
PODS = Resource("", "v1", "pods")
BINDINGS = Resource("", "v1", "bindings")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
NODES = Resource("", "v1", "nodes", False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", False)
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", False)
WORKSPACES = Resource("tenancy.kcp.dev", "v1beta1", "workspaces", False)
CLUSTER_WORKSPACES = Resource("tenancy.kcp.dev", "v1alpha1", "clusterworkspaces", False)


def labels(obj: Object) -> dict[str, str]:
    return obj["metadata"].get("labels") or {}


def role(name: str, **meta: Any) -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": name, **meta},
        "rules": [],
    }


def config_map(**meta: Any) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


async def ensure_namespace(client: Client, name: str) -> Object:
    try:
        return await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    except StatusError as error:
        if error.code != 409:
            raise
        return await client.get(NAMESPACES, name)


async def dry_run(client: Client, resource: Resource, obj: Object, namespace: str | None = None) -> Object:
    answer: Object = await client.request("POST", resource.path(namespace), body=obj, params={"dryRun": "All"})
    return answer


@pytest.mark.parametrize(
    ("name", "token"),
    [
        (f"{TOKEN}-default", TOKEN),
        (f"{TOKEN}-a.b", TOKEN),
        ("plain", None),
        (TOKEN, None),  # a token without its dash is nobody's
        (f"x{TOKEN}-default", None),
        (f"a.{TOKEN}-default", None),
        (f"system:{TOKEN}-x", None),
        ("kABC234xy-x", None),
        ("kabc0189x-x", None),  # 0, 1, 8 and 9 are in no token
        (f"{TOKEN}x-default", None),
    ],
)
async def test_name_of_a_cluster_scoped_object_tells(shard: ControlPlane, name: str, token: str | None) -> None:
    async with shard.client() as client:
        assert labels(await dry_run(client, ROLES, role(name))).get(LABEL) == token


async def test_namespace_tells_and_not_the_name(shard: ControlPlane) -> None:
    async with shard.client() as client:
        await ensure_namespace(client, f"{TOKEN}-policies")
        inside = await dry_run(client, CONFIGMAPS, config_map(name=f"{OTHER}-x"), f"{TOKEN}-policies")
        outside = await dry_run(client, CONFIGMAPS, config_map(name=f"{OTHER}-x"), "default")
    assert labels(inside) == {LABEL: TOKEN}
    assert labels(outside) == {}


async def test_generate_name_tells_where_there_is_no_name_yet(shard: ControlPlane) -> None:
    async with shard.client() as client:
        obj = role("unused")
        obj["metadata"] = {"generateName": f"{TOKEN}-x-"}
        assert labels(await dry_run(client, ROLES, obj)) == {LABEL: TOKEN}


@pytest.mark.parametrize("claim", [OTHER, "", "x"])
async def test_a_client_cannot_choose_its_label(shard: ControlPlane, claim: str) -> None:
    async with shard.client() as client:
        mine = await dry_run(client, ROLES, role(f"{TOKEN}-x", labels={LABEL: claim, "a": "b"}))
        nobodys = await dry_run(client, ROLES, role("x", labels={LABEL: claim, "a": "b"}))
    assert labels(mine) == {LABEL: TOKEN, "a": "b"}
    assert labels(nobodys).get(LABEL, "") == ""
    assert labels(nobodys)["a"] == "b"


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"labels": {LABEL: None}}},
        {"metadata": {"labels": {LABEL: OTHER}}},
        {"metadata": {"labels": None}},
    ],
    ids=["removed", "changed", "all removed"],
)
@pytest.mark.parametrize("subresource", [None, "status"])
async def test_a_client_cannot_take_its_label_off(shard: ControlPlane, patch: Object, subresource: str | None) -> None:
    async with shard.client() as client:
        name = f"{TOKEN}-policies"
        await ensure_namespace(client, name)
        await client.patch(NAMESPACES, name, patch, subresource=subresource)
        assert labels(await client.get(NAMESPACES, name))[LABEL] == TOKEN
        assert [item["metadata"]["name"] for item in (await _mine(client))["items"]] == [name]


async def _mine(client: Client) -> Object:
    return await client.list(NAMESPACES, label_selector=f"{LABEL}={TOKEN}")


async def test_status_update_without_labels_keeps_the_label(shard: ControlPlane) -> None:
    """What a client sends back has no label: it was hidden from him."""
    async with shard.client() as client:
        namespace = await ensure_namespace(client, f"{TOKEN}-policies")
        del namespace["metadata"]["labels"], namespace["metadata"]["resourceVersion"]
        await client.replace(NAMESPACES, namespace, "status")
        assert labels(await client.get(NAMESPACES, f"{TOKEN}-policies"))[LABEL] == TOKEN


async def test_what_shard_controllers_make_is_labelled(shard: ControlPlane) -> None:
    async with shard.client() as client:
        name = f"{TOKEN}-policies"
        await ensure_namespace(client, name)
        account = await default_account(client, name)
        root_ca = await eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", name), StatusError)
    assert labels(account)[LABEL] == labels(root_ca)[LABEL] == TOKEN


async def default_account(client: Client, namespace: str) -> Object:
    accounts = Resource("", "v1", "serviceaccounts")
    return await eventually(lambda: client.get(accounts, "default", namespace), StatusError)


async def test_label_leaves_no_trace_in_managed_fields(shard: ControlPlane) -> None:
    async with shard.client() as client:
        answer = await dry_run(client, ROLES, role(f"{TOKEN}-x"))
    assert LABEL not in str(answer["metadata"]["managedFields"])


def crd(token: str, plural: str) -> Object:
    group = f"{token}-example.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": plural, "kind": plural.capitalize()},
            "versions": [{"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


async def test_crds_are_known_by_their_group(shard: ControlPlane) -> None:
    async with shard.client() as client:
        answer = await dry_run(client, CRDS, crd(TOKEN, "widgets"))
        foreign = crd(TOKEN, "widgets")
        foreign["spec"]["group"] = "example.com"
        foreign["metadata"]["name"] = "widgets.example.com"
        assert labels(answer) == {LABEL: TOKEN}
        assert labels(await dry_run(client, CRDS, foreign)) == {}


async def test_objects_of_a_crd_are_labelled(shard: ControlPlane) -> None:
    async with shard.client() as client:
        await ensure_namespace(client, f"{TOKEN}-policies")
        definition = crd(TOKEN, "gadgets")
        await client.create(CRDS, definition)
        gadgets = Resource(definition["spec"]["group"], "v1", "gadgets")
        obj = {"apiVersion": gadgets.api_version, "kind": "Gadgets", "metadata": {"name": "x", "labels": {"a": "b"}}}
        try:
            # An API server knows a new CRD's schema for mutations after 5 s, and refuses until then.
            made = await eventually(lambda: client.create(gadgets, obj, f"{TOKEN}-policies"), StatusError, timeout=60)
            assert labels(made) == {LABEL: TOKEN, "a": "b"}
        finally:
            await client.delete(CRDS, definition["metadata"]["name"])


async def test_object_of_a_new_crd_that_has_its_label_need_not_wait(shard: ControlPlane) -> None:
    async with shard.client() as client:
        await ensure_namespace(client, f"{TOKEN}-policies")
        definition = crd(TOKEN, "gizmos")
        await client.create(CRDS, definition)
        gizmos = Resource(definition["spec"]["group"], "v1", "gizmos")
        meta = {"name": "x", "namespace": f"{TOKEN}-policies", "labels": {LABEL: TOKEN}}
        obj = {"apiVersion": gizmos.api_version, "kind": "Gizmos", "metadata": meta}
        try:
            made = await eventually(lambda: client.apply(gizmos, obj, manager="test"), StatusError, timeout=1.5)
            assert labels(made) == {LABEL: TOKEN}
        finally:
            await client.delete(CRDS, definition["metadata"]["name"])


async def test_objects_without_metadata_pass(shard: ControlPlane) -> None:
    async with shard.client() as client:
        review = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": "none", "audiences": ["x"]},
        }
        answer = await client.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", body=review)
        assert answer["status"].get("authenticated", False) is False
        await ensure_namespace(client, f"{TOKEN}-policies")
        await default_account(client, f"{TOKEN}-policies")
        token = await client.request(
            "POST",
            f"/api/v1/namespaces/{TOKEN}-policies/serviceaccounts/default/token",
            body={"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": ["x"]}},
        )
        assert token["status"]["token"]


async def test_tokens_of_accounts_are_not_a_controllers_to_make(shard: ControlPlane) -> None:
    """One of Kubernetes' own controllers would write tokens that open the shard itself."""
    async with shard.client() as client:
        await ensure_namespace(client, f"{TOKEN}-policies")
        await default_account(client, f"{TOKEN}-policies")
        secret = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "kubernetes.io/service-account-token",
            "metadata": {"name": "held", "annotations": {"kubernetes.io/service-account.name": "default"}},
        }
        await client.create(SECRETS, secret, f"{TOKEN}-policies")
        written = {"data": {"token": "eA=="}}
        path = SECRETS.path(f"{TOKEN}-policies", "held")
        for user in ("system:kube-controller-manager", "system:serviceaccount:kube-system:tokens-controller"):
            options: dict[str, Any] = {"headers": privileged_as(user), "content_type": "application/merge-patch+json"}
            await client.request("PATCH", path, body={"data": {"ca.crt": "eA=="}}, **options)
            with pytest.raises(StatusError, match="are made by kcp"):
                await client.request("PATCH", path, body=written, **options)
        await client.patch(SECRETS, "held", written, f"{TOKEN}-policies")
        await client.delete(SECRETS, "held", f"{TOKEN}-policies")


@pytest.mark.parametrize("method", ["PATCH", "PUT"])
async def test_scale_passes_and_the_label_stays(shard: ControlPlane, method: str) -> None:
    """A Scale is of another group than the object that it stands for."""
    deployments = Resource("apps", "v1", "deployments")
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    name, namespace = f"scaled-{method.lower()}", f"{TOKEN}-policies"
    obj: Object = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"replicas": 1, "selector": {"matchLabels": {"a": "b"}}, "template": template},
    }
    async with shard.client() as client:
        await ensure_namespace(client, namespace)
        await client.create(deployments, obj)
        if method == "PATCH":
            await client.patch(deployments, name, {"spec": {"replicas": 3}}, namespace, subresource="scale")
        else:
            path = deployments.path(namespace, name, "scale")
            scale = await client.request("GET", path)
            scale["spec"]["replicas"] = 3
            await client.request("PUT", path, body=scale)
        scaled = await client.get(deployments, name, namespace)
    assert (scaled["spec"]["replicas"], labels(scaled)) == (3, {LABEL: TOKEN})


# Owners


def workspace(name: str, **annotations: str) -> Object:
    return {
        "apiVersion": WORKSPACES.api_version,
        "kind": "Workspace",
        "metadata": {"name": name, "annotations": annotations},
        "spec": {"type": "Universal"},
    }


def owner(obj: Object) -> str | None:
    value: str | None = (obj["metadata"].get("annotations") or {}).get("tenancy.kcp.dev/owner")
    return value


class As(Client):
    """A client that speaks for a user of a workspace, privileged as the proxy's requests are."""

    def __init__(self, shard: ControlPlane, user: str) -> None:
        super().__init__(shard.connection, headers=privileged_as(user))


@pytest.fixture
async def alice(shard: ControlPlane) -> Any:
    async with As(shard, f"{TOKEN}-alice") as client:
        yield client


async def create_workspace(client: Client, obj: Object) -> Object:
    return await eventually(lambda: client.create(WORKSPACES, obj), StatusError, timeout=60)


async def remove_workspace(client: Client, name: str) -> None:
    await client.patch(WORKSPACES, name, {"metadata": {"finalizers": None}})
    await client.delete(WORKSPACES, name)


async def test_creator_owns_whatever_is_sent(shard: ControlPlane, alice: Client) -> None:
    name = f"{TOKEN}-team-a"
    made = await create_workspace(alice, workspace(name, **{"tenancy.kcp.dev/owner": f"{TOKEN}-bob", "x": "y"}))
    try:
        assert owner(made) == f"{TOKEN}-alice"
        assert made["metadata"]["annotations"]["x"] == "y"
    finally:
        await remove_workspace(alice, name)


@pytest.mark.parametrize("annotations", [None, {}], ids=["absent", "empty"])
async def test_creator_owns_without_annotations(
    shard: ControlPlane, alice: Client, annotations: dict[str, str] | None
) -> None:
    name = f"{TOKEN}-team-b"
    obj = workspace(name)
    obj["metadata"]["annotations"] = annotations
    made = await create_workspace(alice, obj)
    try:
        assert owner(made) == f"{TOKEN}-alice"
    finally:
        await remove_workspace(alice, name)


@pytest.mark.parametrize("value", [f"{TOKEN}-bob", None], ids=["changed", "removed"])
@pytest.mark.parametrize("user", ["alice", "bob"])
async def test_owner_stays(shard: ControlPlane, alice: Client, value: str | None, user: str) -> None:
    name = f"{TOKEN}-team-c"
    await create_workspace(alice, workspace(name))
    patch = {"metadata": {"annotations": {"tenancy.kcp.dev/owner": value}}}
    try:
        async with As(shard, f"{TOKEN}-{user}") as client:
            assert owner(await client.patch(WORKSPACES, name, patch)) == f"{TOKEN}-alice"
    finally:
        await remove_workspace(alice, name)


async def test_service_account_owns_what_it_makes(shard: ControlPlane) -> None:
    user = f"system:serviceaccount:{TOKEN}-default:robot"
    name = f"{TOKEN}-team-d"
    async with As(shard, user) as client:
        made = await create_workspace(client, workspace(name))
        await remove_workspace(client, name)
    assert owner(made) == user


async def test_controllers_name_the_owner(shard: ControlPlane) -> None:
    obj = {
        "apiVersion": CLUSTER_WORKSPACES.api_version,
        "kind": "ClusterWorkspace",
        "metadata": {"name": f"{TOKEN}-team-e", "annotations": {"tenancy.kcp.dev/owner": f"{TOKEN}-alice"}},
        "spec": {"type": "Universal"},
    }
    async with shard.client() as client:
        made = await eventually(lambda: dry_run(client, CLUSTER_WORKSPACES, obj), StatusError, timeout=60)
    assert owner(made) == f"{TOKEN}-alice"


async def test_what_controllers_make_has_no_managed_fields(shard: ControlPlane, alice: Client) -> None:
    """And gets none by their later writes; what users make has them, whatever they call themselves."""
    name = f"{TOKEN}-team-f"
    obj = workspace(name)
    async with shard.client() as admin:
        tenancy = Identity.TENANCY.on(admin)

        async def taken_out() -> bool:
            params = {"fieldManager": LEAN, "dryRun": "All"}
            path, kind = WORKSPACES.path(name=name), "application/apply-patch+yaml"
            tried = await tenancy.request("PATCH", path, body=obj, params=params, content_type=kind)
            return "managedFields" not in tried["metadata"]

        await eventually(taken_out, StatusError, timeout=60)
        made = await apply_lean(tenancy, WORKSPACES, obj)
        try:
            assert "managedFields" not in made["metadata"]
            ready = {"status": {"phase": "Ready"}}
            told = await tenancy.patch(WORKSPACES, name, ready, subresource="status")
            assert told["status"] == ready["status"]
            assert "managedFields" not in told["metadata"]
            labelled = await alice.apply(
                WORKSPACES,
                {
                    "apiVersion": WORKSPACES.api_version,
                    "kind": "Workspace",
                    "metadata": {"name": name, "labels": {"team": "f"}},
                },
                manager="kubectl",
            )
            managers = [entry["manager"] for entry in labelled["metadata"]["managedFields"]]
            assert sorted(managers) == ["before-first-apply", "kubectl"]
        finally:
            await remove_workspace(admin, name)
    theirs = await alice.apply(WORKSPACES, workspace(name), manager=LEAN)
    try:
        assert theirs["metadata"]["managedFields"]
    finally:
        await remove_workspace(alice, name)


async def test_nothing_of_a_workspace_runs_on_a_shards_node(shard: ControlPlane) -> None:
    """A kubelet that a shard has for its own control plane starts every pod that names its node."""
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "shard-control-plane"}}

    def pod(name: str, **spec: Any) -> Object:
        spec = {"containers": [{"name": "x", "image": "x"}], "automountServiceAccountToken": False, **spec}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}

    async with shard.client() as client:
        inside, outside = f"{TOKEN}-nodes", "no-workspace"
        for namespace in (inside, outside):
            await ensure_namespace(client, namespace)
            account = functools.partial(client.get, ACCOUNTS, "default", namespace)
            await eventually(account, StatusError, timeout=60)
        await client.create(NODES, node)
        try:
            named = pod("named", nodeName="shard-control-plane")

            async def refused() -> bool:
                try:
                    await dry_run(client, PODS, named, inside)
                except StatusError as error:
                    return error.code == 403 and "node shard-control-plane belongs to the control plane" in str(error)
                return False

            await eventually(refused, timeout=60)
            await dry_run(client, PODS, pod("elsewhere", nodeName="node-1"), inside)
            await dry_run(client, PODS, named, outside)
            await client.create(PODS, pod("pending"), inside)
            for target, allowed in (("shard-control-plane", False), ("node-1", True)):
                binding = {
                    "apiVersion": "v1",
                    "kind": "Binding",
                    "metadata": {"name": "pending"},
                    "target": {"apiVersion": "v1", "kind": "Node", "name": target},
                }
                for path in (PODS.path(inside, "pending", "binding"), BINDINGS.path(inside)):
                    post = client.request("POST", path, body=binding, params={"dryRun": "All"})
                    if allowed:
                        await post
                    else:
                        with pytest.raises(StatusError, match="nothing of a workspace runs there"):
                            await post
        finally:
            await client.delete(NODES, "shard-control-plane")
