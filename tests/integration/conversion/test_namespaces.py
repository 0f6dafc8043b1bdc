"""Namespaces end as in a cluster, and a broken conversion webhook keeps those of its own workspace alone."""

from __future__ import annotations

import asyncio
import time
from functools import partial
from typing import Any

from proxy.kube.client import Client, Resource
from proxy.tenancy.api import WORKSPACES
from tests.integration.admission.side import CONFIG_MAPS, VALIDATING, Side, rule
from tests.integration.admission.test_isolation import hook, shard, token_of
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.conversion.converting import CRDS, PLACES, crd, obj
from tests.integration.conversion.test_like_a_cluster import NAME as CRD
from tests.integration.conversion.test_like_a_cluster import made, two
from tests.integration.conversion.workspaces import fresh
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
HELD = "example.com/held"
UNHINDERED = 30.0
"""Seconds, on a busy machine too. Who was held up by a webhook that never answers well would wait for ever."""
SOONER = 20.0
"""Seconds: less than a webhook may take for an answer."""


async def gone(client: Client, name: str, resource: Resource = NAMESPACES) -> bool:
    return await client.find(resource, name) is None


async def ended(client: Client, name: str, resource: Resource = NAMESPACES) -> float:
    """Seconds until it is gone."""
    began = time.monotonic()
    await client.delete(resource, name)
    await eventually(partial(gone, client, name, resource), interval=0.02)
    return time.monotonic() - began


async def said_of(client: Client, name: str) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message by type."""
    found = (await client.get(NAMESPACES, name))["status"].get("conditions") or ()
    return {item["type"]: (item["status"], item["reason"], item["message"]) for item in found}


async def says(client: Client, name: str, kind: str) -> bool:
    return (await said_of(client, name)).get(kind, ("",))[0] == "True"


async def made_namespace(client: Client, name: str) -> None:
    await client.create(NAMESPACES, {"metadata": {"name": name}})
    await eventually(lambda: client.find(CONFIG_MAPS, "kube-root-ca.crt", name))


async def test_it_says_what_stays_as_a_cluster_does(kcp: Kcp, plain: Side) -> None:
    said: list[Any] = []
    async with two(kcp, plain) as sides:
        for side in sides:
            await made(side, crd(None))
            await made_namespace(side.client, "waits")
            meta = {"name": "a", "finalizers": [HELD]}
            for resource, thing in ((CONFIG_MAPS, {}), (PLACES["v1"], obj("a"))):
                await side.client.create(resource, {**thing, "metadata": meta}, "waits")
            await side.client.delete(NAMESPACES, "waits")
        for side in sides:
            await eventually(partial(says, side.client, "waits", "NamespaceFinalizersRemaining"))
            said.append(await said_of(side.client, "waits"))
            refused = await side.create(CONFIG_MAPS, {"metadata": {"name": "b"}}, "waits")
            said.append(refused)
            for resource in (CONFIG_MAPS, PLACES["v1"]):
                await side.client.patch(resource, "a", {"metadata": {"finalizers": None}}, "waits")
        assert said[:2] == said[2:]
        assert "places.shapes.example.com has 1 resource instances" in str(said[0])
        for side in sides:
            await eventually(partial(gone, side.client, "waits"))


async def broken(side: Side, server: WebhookServer, namespace: str) -> None:
    """An object in an older version than that in which they are stored now, and nobody who could convert it."""
    await made(side, crd(server.config("convert")))
    await side.client.create(PLACES["v1"], obj("old"), namespace)
    await side.client.patch(CRDS, CRD, {"spec": crd({"url": "https://127.0.0.1:9/nobody"}, stored="v2")["spec"]})

    async def fails() -> bool:
        return (await side.send("GET", PLACES["v2"].path(namespace, "old"))).code == 500

    await eventually(fails)


async def test_a_broken_webhook_keeps_its_own_namespaces_alone(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side, fresh(kcp) as other, fresh(kcp) as third, kcp.client("root:tests") as parent:
        await third.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        await made_namespace(side.client, "held")
        await made_namespace(side.client, "free")
        await broken(side, server, "held")
        await side.client.delete(NAMESPACES, "held")
        await eventually(partial(says, side.client, "held", "NamespaceDeletionContentFailure"))
        await made_namespace(other.client, "more")
        assert await ended(other.client, "more") < UNHINDERED
        assert await ended(parent, third.name, WORKSPACES) < UNHINDERED
        assert await ended(side.client, "free") < UNHINDERED
        # What keeps it is said, in the workspace's words, and nobody else says something else.
        said = await said_of(side.client, "held")
        status, reason, message = said["NamespaceDeletionContentFailure"]
        assert (status, reason) == ("True", "ContentDeletionFailed")
        assert message.startswith(
            "Failed to delete all resource types, 1 remaining: "
            "conversion webhook for shapes.example.com/v1, Kind=Place failed: "
        )
        assert "admission/convert" not in message
        assert said["NamespaceContentRemaining"][0] == "False"
        await asyncio.sleep(7)
        assert await said_of(side.client, "held") == said
        good = server.config("convert")
        await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": good}}}})
        await eventually(partial(gone, side.client, "held"), timeout=30)


async def test_a_slow_webhook_keeps_its_own_namespaces_alone(kcp: Kcp, server: WebhookServer) -> None:
    """More of them wait for an answer than would be asked for at once."""
    async with fresh(kcp) as side, fresh(kcp) as other:
        names = [f"held-{number}" for number in range(30)]
        await made(side, crd(server.config("convert")))
        for name in names:
            await side.client.create(NAMESPACES, {"metadata": {"name": name}})
            await side.client.create(PLACES["v1"], obj("old"), name)
        await side.client.patch(CRDS, CRD, {"spec": crd(server.config("slow"), stored="v2")["spec"]})
        for name in names:
            await side.client.delete(NAMESPACES, name)
        for _ in range(5):
            await made_namespace(other.client, "more")
            assert await ended(other.client, "more") < SOONER
        good = server.config("convert")
        await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": good}}}})

        async def all_gone() -> bool:
            left = (await side.client.list(NAMESPACES))["items"]
            return not [item for item in left if item["metadata"]["name"] in names]

        await eventually(all_gone, timeout=90)


async def test_what_a_webhook_keeps_waiting_is_not_let_into_a_namespace_that_is_gone(
    kcp: Kcp, server: WebhookServer
) -> None:
    async with fresh(kcp) as side:
        await side.install(VALIDATING, "look", [hook(server, "wait/8", rule("", "configmaps"))])
        await side.client.create(NAMESPACES, {"metadata": {"name": "more"}})
        asked = len(server.asked.get("wait/8", ()))
        late = asyncio.create_task(side.create(CONFIG_MAPS, {"metadata": {"name": "late"}}, "more"))

        async def waits() -> bool:
            return len(server.asked.get("wait/8", ())) > asked

        await eventually(waits)
        await ended(side.client, "more")
        assert not late.done()
        said = await late
        assert (said.code, said.body["message"]) == (404, 'namespaces "more" not found')
        async with shard(kcp) as client:
            place = f"{await token_of(kcp, side)}-more"
            assert (await client.list(CONFIG_MAPS, place))["items"] == []
