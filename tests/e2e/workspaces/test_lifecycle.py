"""The life of workspaces on the shard: everything of one goes with it, and nothing of another."""

from __future__ import annotations

import asyncio

import pytest

from proxy.kube.client import METADATA_LIST, Client, Resource
from proxy.kube.errors import StatusError
from tests.e2e.workspaces.installation import CONFIGMAPS, LOGICAL_CLUSTERS, NAMESPACES, WORKSPACES, Installation
from tests.e2e.workspaces.test_objects import CRDS, WIDGETS, crd, widget
from tests.integration.eventually import eventually

CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)


async def remains(shard: Client, token: str) -> list[str]:
    """Names of everything on the shard that carries the token, of every kind that can be listed."""
    found = []
    for path in ("/api/v1", *[f"/apis/{group['preferredVersion']['groupVersion']}" for group in await groups(shard)]):
        try:
            listed = await shard.request("GET", path)
        except StatusError:
            continue  # a group that has just gone
        for entry in listed["resources"]:
            if "/" in entry["name"] or "list" not in entry["verbs"]:
                continue
            try:
                items = (await shard.request("GET", f"{path}/{entry['name']}", accept=METADATA_LIST))["items"] or []
            except StatusError:
                continue
            found += [
                f"{entry['name']} {item['metadata'].get('namespace', '')}/{item['metadata']['name']}"
                for item in items
                if token in item["metadata"]["name"] or token in item["metadata"].get("namespace", "")
            ]
    return found


async def groups(shard: Client) -> list[dict[str, dict[str, str]]]:
    listed: list[dict[str, dict[str, str]]] = (await shard.request("GET", "/apis"))["groups"]
    return listed


async def delete(kcp: Installation, path: str) -> None:
    parent, _, name = path.rpartition(":")
    client = kcp.client(parent)
    await client.delete(WORKSPACES, name)

    async def is_gone() -> bool:
        try:
            await client.get(WORKSPACES, name)
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(is_gone, timeout=60)


async def test_a_deleted_workspace_leaves_nothing_on_the_shard(kcp: Installation) -> None:
    org = await kcp.fresh("Organization")
    child = await kcp.create(org, "child")
    client = kcp.client(child)
    await client.create(NAMESPACES, {"metadata": {"name": "shop"}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "cm"}}, "shop")
    await client.create(CRDS, crd("integer"))
    await eventually(lambda: client.create(WIDGETS, widget("w", 1), "shop"), StatusError, timeout=60)
    await client.create(CLUSTER_ROLES, {"metadata": {"name": "role"}, "rules": []})
    tokens = [await kcp.token_of(org), await kcp.token_of(child)]
    assert len(await remains(kcp.shard, tokens[1])) > 5
    await delete(kcp, org)
    for token in tokens:
        assert await remains(kcp.shard, token) == []
    with pytest.raises(StatusError, match="not found"):
        await client.list(NAMESPACES)


async def test_a_name_that_begins_like_another_is_another(kcp: Installation) -> None:
    org = await kcp.fresh("Organization")
    short, long = await kcp.create(org, "team"), await kcp.create(org, "team-b")
    await kcp.client(long).create(CONFIGMAPS, {"metadata": {"name": "precious"}}, "default")
    await delete(kcp, short)
    assert (await kcp.client(long).get(CONFIGMAPS, "precious", "default"))["metadata"]["name"] == "precious"


async def test_one_name_in_two_parents(kcp: Installation) -> None:
    one, other = await kcp.fresh("Organization"), await kcp.fresh("Organization")
    paths = [await kcp.create(parent, "same") for parent in (one, other)]
    for path in paths:
        await kcp.client(path).create(CONFIGMAPS, {"metadata": {"name": "cm"}, "data": {"p": path}}, "default")
    for path in paths:
        assert (await kcp.client(path).get(CONFIGMAPS, "cm", "default"))["data"]["p"] == path


async def test_a_new_workspace_of_an_old_name_is_empty(kcp: Installation) -> None:
    org = await kcp.fresh("Organization")
    path = await kcp.create(org, "again")
    before = await kcp.token_of(path)
    await kcp.client(path).create(CONFIGMAPS, {"metadata": {"name": "old"}}, "default")
    await delete(kcp, path)
    await kcp.create(org, "again")
    assert await kcp.token_of(path) != before
    with pytest.raises(StatusError, match='configmaps "old" not found'):
        await kcp.client(path).get(CONFIGMAPS, "old", "default")


async def test_deleting_the_details_deletes_the_workspace(kcp: Installation) -> None:
    org = await kcp.fresh("Organization")
    path = await kcp.create(org, "pair")
    client = kcp.client(org)
    await client.delete(Resource("tenancy.kcp.dev", "v1alpha1", "clusterworkspaces", False), "pair")

    async def is_gone() -> bool:
        return not [item for item in (await client.list(WORKSPACES))["items"] if item["metadata"]["name"] == "pair"]

    await eventually(is_gone, timeout=40)
    with pytest.raises(AssertionError):
        await kcp.token_of(path)


async def test_eight_at_once(kcp: Installation) -> None:
    org = await kcp.fresh("Organization")
    paths = await asyncio.gather(*(kcp.create(org, f"w{number}") for number in range(8)))
    tokens = {await kcp.token_of(path) for path in paths}
    assert len(tokens) == 8


async def test_the_tenancy_records_cannot_be_reached_through_a_workspace(kcp: Installation) -> None:
    for path in ("root", "root:tests"):
        with pytest.raises(StatusError) as missing:
            await kcp.client(path).list(LOGICAL_CLUSTERS)
        assert missing.value.code == 404
