"""What a workspace starts with is made when it is first used; nobody who uses it can tell."""

from __future__ import annotations

import asyncio

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from tests.bench.scale import requests_of
from tests.e2e.workspaces.installation import CONFIGMAPS, LOGICAL_CLUSTERS, NAMESPACES, WORKSPACES, Installation
from tests.integration.eventually import eventually

ACCOUNTS = Resource("", "v1", "serviceaccounts")


async def record(kcp: Installation, path: str) -> Object:
    return await kcp.shard.get(LOGICAL_CLUSTERS, await kcp.token_of(path))


async def on_the_shard(kcp: Installation, token: str) -> list[str]:
    """Namespaces of a workspace."""
    names = [item["metadata"]["name"] for item in (await kcp.shard.list(NAMESPACES))["items"]]
    return [name.removeprefix(f"{token}-") for name in names if name.startswith(token)]


async def seen(kcp: Installation, path: str) -> list[str]:
    return [item["metadata"]["name"] for item in (await kcp.client(path).list(NAMESPACES))["items"]]


async def test_nothing_is_there_until_somebody_looks(kcp: Installation) -> None:
    path = await kcp.fresh()
    token = await kcp.token_of(path)
    assert (await record(kcp, path))["spec"]["content"] == "Unopened"
    client = kcp.client(path)
    await client.request("GET", "/apis")  # says nothing about what is in it
    assert await on_the_shard(kcp, token) == []
    assert await seen(kcp, path) == ["default"]
    assert (await record(kcp, path))["spec"]["content"] == "Open"
    assert (await client.get(CONFIGMAPS, "kube-root-ca.crt", "default"))["data"]["ca.crt"]
    await client.get(ACCOUNTS, "default", "default")


async def test_everybody_at_once(kcp: Installation) -> None:
    path = await kcp.fresh()
    clients = [kcp.client(path) for _ in range(16)]  # over connections of their own, so in both workers
    found = await asyncio.gather(*(client.get(ACCOUNTS, "default", "default") for client in clients))
    assert len({account["metadata"]["uid"] for account in found}) == 1


async def test_who_may_do_nothing_there_opens_nothing(kcp: Installation) -> None:
    path = await kcp.fresh()
    for token in (None, "nobody"):
        with pytest.raises(StatusError) as refused:
            await kcp.client(path, token or "none").list(NAMESPACES)
        assert refused.value.code == 401
    assert (await record(kcp, path))["spec"]["content"] == "Unopened"


async def test_who_opened_it_died_on_the_way(kcp: Installation) -> None:
    path = await kcp.fresh()
    token = await kcp.token_of(path)
    await kcp.shard.patch(LOGICAL_CLUSTERS, token, {"spec": {"content": "Opening"}})
    assert await seen(kcp, path) == ["default"]
    assert (await record(kcp, path))["spec"]["content"] == "Open"


async def test_what_is_deleted_later_stays_away(kcp: Installation) -> None:
    path = await kcp.fresh()
    await kcp.client(path).delete(NAMESPACES, "default")

    async def is_gone() -> bool:
        return await seen(kcp, path) == []

    await eventually(is_gone)
    assert (await record(kcp, path))["spec"]["content"] == "Open"


async def test_unused_ones_go_at_little_cost(kcp: Installation) -> None:
    """Requests are counted, as times are not the same anywhere. What else goes on here asks for a few as well."""
    count = 20
    org = await kcp.fresh("Organization")
    client = kcp.client(org)
    await asyncio.gather(*(kcp.create(org, f"unused-{number}") for number in range(count)))
    await kcp.create(org, "used")
    await kcp.client(f"{org}:used").create(CONFIGMAPS, {"metadata": {"name": "here"}}, "default")
    before = await requests_of(kcp.shard)
    for number in range(count):
        await client.delete(WORKSPACES, f"unused-{number}")

    async def are_gone() -> bool:
        return [item["metadata"]["name"] for item in (await client.list(WORKSPACES))["items"]] == ["used"]

    await eventually(are_gone)
    assert await requests_of(kcp.shard) - before < 20 * count, "a look at every kind alone takes some thirty"
    await client.delete(WORKSPACES, "used")

    async def all_gone() -> bool:
        return not (await client.list(WORKSPACES))["items"]

    await eventually(all_gone)
