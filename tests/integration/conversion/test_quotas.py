"""Quotas are kept while a conversion webhook of another workspace fails, and those of its own but for that type."""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from proxy.kube.client import Client, Resource
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.conversion.converting import CRDS, GROUP, PLACES, crd, obj
from tests.integration.conversion.test_like_a_cluster import NAME as CRD
from tests.integration.conversion.test_like_a_cluster import made
from tests.integration.conversion.test_namespaces import SOONER, broken
from tests.integration.conversion.workspaces import fresh
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

QUOTAS = Resource("", "v1", "resourcequotas")
SECRETS = Resource("", "v1", "secrets")
COUNT = f"count/places.{GROUP}"


async def limit(client: Client, name: str, **hard: str) -> None:
    await client.create(QUOTAS, {"metadata": {"name": name}, "spec": {"hard": hard}}, "default")


async def until_used(client: Client, name: str, key: str, amount: str) -> float:
    """In seconds."""
    began = time.monotonic()

    async def used() -> bool:
        status: Any = (await client.get(QUOTAS, name, "default")).get("status") or {}
        return bool((status.get("used") or {}).get(key) == amount)

    await eventually(used, interval=0.02)
    return time.monotonic() - began


async def longest(client: Client, quota: str) -> float:
    """Seconds until what goes is free."""
    took = []
    for number in range(8):
        await client.create(SECRETS, {"metadata": {"name": f"s-{number}"}}, "default")
        await until_used(client, quota, "secrets", "1")
        await client.delete(SECRETS, f"s-{number}", "default")
        took.append(await until_used(client, quota, "secrets", "0"))
    return max(took)


async def test_a_broken_webhook_keeps_nobodys_quotas(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side, fresh(kcp) as other:
        await limit(other.client, "before", secrets="9")
        await until_used(other.client, "before", "secrets", "0")
        await broken(side, server, "default")
        await limit(side.client, "own", secrets="9", **{COUNT: "9"})
        await limit(other.client, "after", configmaps="9")
        assert await until_used(other.client, "after", "configmaps", "1") < SOONER
        assert await until_used(side.client, "own", "secrets", "0") < SOONER
        assert await longest(other.client, "before") < SOONER
        assert await longest(side.client, "own") < SOONER
        said = (await side.client.get(QUOTAS, "own", "default"))["status"]
        assert said == {"hard": {"secrets": "9", COUNT: "9"}, "used": {"secrets": "0"}}
        good = server.config("convert")
        await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": good}}}})
        await until_used(side.client, "own", COUNT, "1")


async def test_a_slow_webhook_keeps_nobodys_quotas(kcp: Kcp, server: WebhookServer) -> None:
    """More of them wait for an answer than are counted at once."""
    async with fresh(kcp) as side, fresh(kcp) as other:
        await limit(other.client, "q", secrets="9")
        await until_used(other.client, "q", "secrets", "0")
        await made(side, crd(server.config("convert")))
        await side.client.create(PLACES["v1"], obj("old"), "default")
        await limit(side.client, "first", **{COUNT: "9"})
        await until_used(side.client, "first", COUNT, "1")
        await side.client.patch(CRDS, CRD, {"spec": crd(server.config("slow"), stored="v2")["spec"]})
        for number in range(40):
            await limit(side.client, f"q-{number}", **{COUNT: "9"})
        assert await longest(other.client, "q") < SOONER
        assert await longest_of_own(side.client) < SOONER
        good = server.config("convert")
        await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": good}}}})
        await eventually(partial(all_used, side.client), timeout=90)


async def longest_of_own(client: Client) -> float:
    await limit(client, "plain", secrets="9", configmaps="9")
    await until_used(client, "plain", "secrets", "0")
    return await longest(client, "plain")


async def all_used(client: Client) -> bool:
    found = [item for item in (await client.list(QUOTAS, "default"))["items"] if COUNT in item["spec"]["hard"]]
    return all((item.get("status", {}).get("used") or {}).get(COUNT) == "1" for item in found)


async def test_objects_of_every_version_count(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side:
        await made(side, crd(server.config("convert")))
        await limit(side.client, "q", **{COUNT: "9"})
        await until_used(side.client, "q", COUNT, "0")
        for version in ("v1", "v2"):
            await side.client.create(PLACES[version], obj(version, version), "default")
        await until_used(side.client, "q", COUNT, "2")
        await side.client.patch(CRDS, CRD, {"spec": crd(server.config("convert"), stored="v2")["spec"]})
        await side.client.create(PLACES["v2"], obj("more", "v2"), "default")
        await until_used(side.client, "q", COUNT, "3")
        for name in ("v1", "v2"):
            await side.client.delete(PLACES["v1"], name, "default")
        await until_used(side.client, "q", COUNT, "1")
