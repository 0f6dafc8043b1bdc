"""Making a kube-apiserver a shard: idempotent, repairing, and without harm to what is shared."""

from __future__ import annotations

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.bootstrap import BootstrapError, bootstrap
from proxy.shard.control_plane import ControlPlane
from proxy.shard.manifests import load_manifests


async def versions(client: Client) -> dict[str, str]:
    objects = [(manifest.resource, manifest.name) for manifest in load_manifests()]
    return {
        f"{resource.plural}/{name}": (await client.get(resource, name))["metadata"]["resourceVersion"]
        for resource, name in objects
    }


async def test_twice_changes_nothing(shard: ControlPlane) -> None:
    async with shard.client() as client:
        before = await versions(client)
        assert await bootstrap(client) == []
        assert await versions(client) == before


async def test_what_was_deleted_comes_back(shard: ControlPlane) -> None:
    flow_schemas = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", False)
    async with shard.client() as client:
        await client.delete(flow_schemas, "kcp-workspaces")
        assert await bootstrap(client) == ["FlowSchema kcp-workspaces"]
        assert await client.get(flow_schemas, "kcp-workspaces")


async def test_what_an_older_release_applied_is_brought_up_to_date(shard: ControlPlane) -> None:
    levels = Resource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", False)
    older: Object = {
        "metadata": {"annotations": {"internal.kcp.dev/manifest": "older"}},
        "spec": {"limited": {"nominalConcurrencyShares": 1}},
    }
    async with shard.client() as client:
        await client.patch(levels, "kcp-workspaces", older)
        assert await bootstrap(client) == ["PriorityLevelConfiguration kcp-workspaces"]
        assert (await client.get(levels, "kcp-workspaces"))["spec"]["limited"]["nominalConcurrencyShares"] == 100


async def test_what_is_kubernetes_own_is_made_but_never_changed(shard: ControlPlane) -> None:
    """Who has taken rights from everybody does not get them back from us."""
    roles = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", False)
    async with shard.client() as client:
        whole = await client.get(roles, "system:basic-user")
        assert not any("kcp" in name for name in whole["metadata"]["annotations"])
        kept = whole["rules"][:1]
        await client.patch(roles, "system:basic-user", {"rules": kept})
        try:
            assert await bootstrap(client) == []
            assert (await client.get(roles, "system:basic-user"))["rules"] == kept
        finally:
            await client.delete(roles, "system:basic-user")
        assert await bootstrap(client) == ["ClusterRole system:basic-user"]
        assert (await client.get(roles, "system:basic-user"))["rules"] == whole["rules"]


async def test_users_of_workspaces_have_a_priority_level_of_their_own(shard: ControlPlane) -> None:
    """Not the catch-all, which refuses at a handful of requests at once."""
    path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
    body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectRulesReview", "spec": {"namespace": "x"}}
    async with shard.client() as client:
        schema = await client.get(
            Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", False), "kcp-workspaces"
        )
        level = await client.get(
            Resource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", False), "kcp-workspaces"
        )
        headers = {"Impersonate-User": "kabc234xy-alice", "Impersonate-Group": "kabc234xy-dev"}
        headers["Authorization"] = f"Bearer {shard.connection.token}"
        async with (
            shard.client() as front,
            front._open().post(front.connection.server + path, json=body, headers=headers) as response,
        ):
            assert response.status == 201
            assert response.headers["X-Kubernetes-PF-FlowSchema-UID"] == schema["metadata"]["uid"]
            assert response.headers["X-Kubernetes-PF-PriorityLevel-UID"] == level["metadata"]["uid"]


async def test_a_user_without_rights_cannot_make_a_shard(shard: ControlPlane) -> None:
    async with shard.client(headers={"Impersonate-User": "nobody"}) as client:
        with pytest.raises((StatusError, BootstrapError), match="forbidden"):
            await bootstrap(client, timeout=10)
