"""The garbage of others is collected while a conversion webhook keeps the garbage collector waiting."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from proxy.kube.client import Client, Resource
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.conversion.converting import CRDS, PLACES, crd, obj
from tests.integration.conversion.test_like_a_cluster import NAME as CRD
from tests.integration.conversion.test_like_a_cluster import made
from tests.integration.conversion.test_namespaces import SOONER
from tests.integration.conversion.workspaces import fresh
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

CONFIG_MAPS = Resource("", "v1", "configmaps")
MANY = 300
"""More than the garbage collector looks at at once, many times."""


async def owner_of(client: Client, name: str) -> dict[str, Any]:
    """The reference to a ConfigMap of that name, made now."""
    made = await client.create(CONFIG_MAPS, {"metadata": {"name": name}}, "default")
    return {"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": made["metadata"]["uid"]}


async def absent(client: Client, resource: Resource, name: str) -> bool:
    return await client.find(resource, name, "default") is None


async def collected(client: Client) -> float:
    """Seconds until a ConfigMap without its owner is gone."""
    meta = {"name": "owned", "ownerReferences": [await owner_of(client, "owner")]}
    await client.create(CONFIG_MAPS, {"metadata": meta}, "default")
    began = time.monotonic()
    await client.delete(CONFIG_MAPS, "owner", "default")
    await eventually(partial(absent, client, CONFIG_MAPS, "owned"), timeout=120, interval=0.02)
    return time.monotonic() - began


async def test_a_slow_webhook_keeps_its_own_garbage_alone(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side, fresh(kcp) as other:
        await made(side, crd(server.config("convert")))
        first = obj("first", ownerReferences=[await owner_of(side.client, "first")])
        await side.client.create(PLACES["v1"], first, "default")
        await side.client.delete(CONFIG_MAPS, "first", "default")
        # The garbage collector looks for new types every half minute.
        await eventually(partial(absent, side.client, PLACES["v1"], "first"), timeout=120)
        reference = await owner_of(side.client, "all")
        things = [obj(f"o-{number}", ownerReferences=[reference]) for number in range(MANY)]
        for some in range(0, MANY, 20):
            await asyncio.gather(
                *(side.client.create(PLACES["v1"], thing, "default") for thing in things[some : some + 20])
            )
        config = server.config("late/8")
        await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": config}}}})

        async def late() -> bool:
            return bool(server.converted.get("late/8"))

        await side.client.delete(CONFIG_MAPS, "all", "default")
        await eventually(late, timeout=30)
        for _ in range(3):
            assert await collected(other.client) < SOONER
