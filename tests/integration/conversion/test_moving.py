"""A workspace with a conversion webhook moves: the other shard asks kcp as well, with a secret of its own."""

from __future__ import annotations

from pathlib import Path

from proxy.kube.client import Client
from proxy.mapping.detours import asked_at
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.tenancy.api import MOVES
from proxy.tenancy.moves import name_of_move
from tests.integration.admission.side import Side
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.conversion.converting import CRDS, GROUP, PLACES, SITES, crd, obj
from tests.integration.conversion.test_like_a_cluster import NAME, made
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.integration.two_shards import Shards

PATH = "root:tests:webhooks"


async def test_a_workspace_moves(tmp_path: Path, server: WebhookServer) -> None:
    port = free_port()
    async with (
        ControlPlane(ControlPlaneSettings(folder=tmp_path / "us", durable=False)) as us,
        ControlPlane(ControlPlaneSettings(folder=tmp_path / "eu", durable=False)) as eu,
    ):
        known = [
            option for name, shard in (("us", us), ("eu", eu)) for option in ("--shard", f"{name}={shard.kubeconfig}")
        ]
        asks = ("--admission-url", f"https://127.0.0.1:{port}", "--webhook-allow-network")
        async with Kcp(tmp_path / "kcp", "--no-embedded", *known, *asks, "127.0.0.0/8", port=port) as kcp:
            shards = Shards(kcp, us, eu)
            await shards.make_of("root", "tests", "Organization", "us")
            await shards.make_of("root:tests", "webhooks", "Universal", "us")
            async with kcp.client(PATH) as client:
                await _moves(shards, Side("w", client), server)


async def _moves(shards: Shards, side: Side, server: WebhookServer) -> None:
    client = side.client
    await made(side, crd({"url": server.config("convert")["url"], "caBundle": server.bundle}))
    await made(side, crd(server.config("convert"), plural="sites"))
    await client.create(PLACES["v1"], obj("old", labels={"a": "b"}), "default")
    await client.create(SITES["v2"], obj("s", "v2", "Site"))
    await client.patch(CRDS, NAME, {"spec": {"versions": crd(None, stored="v2")["spec"]["versions"]}})
    await client.apply(PLACES["v1"], obj("new") | {"metadata": {"name": "new", "namespace": "default"}}, manager="me")
    before = await client.get(CRDS, NAME)
    token = await shards.token_of(PATH, "us")
    on_us = await _asked(shards.below("us"), token)
    await shards.switch(PATH, "eu")
    on_eu = await _asked(shards.below("eu"), token)
    assert on_us != on_eu  # shards have keys of their own
    after = await client.get(CRDS, NAME)
    assert after["spec"] == before["spec"]
    fields = [entry["fieldsV1"] for entry in before["metadata"]["managedFields"] if "subresource" not in entry]
    assert [entry["fieldsV1"] for entry in after["metadata"]["managedFields"] if "subresource" not in entry] == fields
    for version, address in (("v1", {"host": "old", "port": 80}), ("v2", {"address": "old:80"})):
        assert (await client.get(PLACES[version], "old", "default"))["spec"] == address
        assert len((await client.list(PLACES[version], "default"))["items"]) == 2
        assert (await client.get(SITES[version], "s"))["apiVersion"] == f"{GROUP}/{version}"
    # A webhook that fails does not keep what is left on the old shard, nor the way back where nothing is to convert.
    nobody = {"spec": {"conversion": {"webhook": {"clientConfig": {"url": "https://127.0.0.1:9/", "caBundle": None}}}}}
    for plural in ("places", "sites"):
        await client.patch(CRDS, f"{plural}.{GROUP}", nobody)
    async with shards.kcp.client("root") as root:

        async def over() -> bool:
            return await root.find(MOVES, name_of_move(PATH)) is None or not await shards.left("us", token)

        await eventually(over, timeout=60)
    await shards.switch(PATH, "us")
    assert (await client.get(PLACES["v2"], "old", "default"))["spec"] == {"address": "old:80"}
    assert (await client.get(CRDS, NAME))["spec"]["conversion"]["webhook"]["clientConfig"] == {
        "url": "https://127.0.0.1:9/"
    }


async def _asked(client: Client, token: str) -> object:
    async with client:
        found = await client.get(CRDS, f"places.{token}-{GROUP}")
    asked = asked_at(found["spec"]["conversion"]["webhook"]["clientConfig"]["url"])
    assert asked is not None
    return asked
