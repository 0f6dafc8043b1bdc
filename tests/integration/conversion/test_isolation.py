"""A conversion webhook is its own workspace's business: nobody else feels it, and nobody finds a way in by it."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from typing import Any

import pytest

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.detours import PATH, asked_at
from proxy.mapping.token import LABEL
from proxy.tenancy.api import WORKSPACES
from proxy.tenancy.asked import KEY, NAME, NAMESPACE, SECRETS, read_detour
from proxy.tenancy.index import LOGICAL_CLUSTERS
from tests.integration.admission.side import CONFIG_MAPS, VALIDATING, Side, rule
from tests.integration.admission.test_isolation import ask, hook, shard, token_of
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.conversion.converting import CRDS, GROUP, PLACES, SITES, Object, crd, obj
from tests.integration.conversion.test_like_a_cluster import NAME as CRD
from tests.integration.conversion.test_like_a_cluster import made
from tests.integration.conversion.workspaces import fresh
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.wire.monitor import Wire

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
MERGE = "application/merge-patch+json"


def points_at(url: str) -> Object:
    return {"spec": {"conversion": {"webhook": {"clientConfig": {"url": url}}}}}


async def points(side: Side, config: Object) -> None:
    """Another webhook for the type, from when the shard asks it."""
    before = await side.send("GET", PLACES["v2"].path("default", "a"))
    await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": config}}}})

    async def other() -> bool:
        return await side.send("GET", PLACES["v2"].path("default", "a")) != before

    await eventually(other)


async def stored(client: Client, token: str) -> Any:
    """``clientConfig`` as it stands on the shard."""
    found = await client.get(CRDS, f"places.{token}-{GROUP}")
    return found["spec"]["conversion"]["webhook"]["clientConfig"]


def review(token: str, **request: Any) -> Object:
    given = obj("a", namespace=f"{token}-default", uid="1", labels={LABEL: token})
    given["apiVersion"] = f"{token}-{given['apiVersion']}"
    asked = {"uid": "1", "desiredAPIVersion": f"{token}-{GROUP}/v2", "objects": [given]}
    return {"kind": "ConversionReview", "apiVersion": "apiextensions.k8s.io/v1", "request": asked | request}


async def test_only_the_shard_is_answered(kcp: Kcp, server: WebhookServer) -> None:
    """Made-up secrets, that of another workspace or another type, none at all."""
    async with fresh(kcp) as one, fresh(kcp) as two, shard(kcp) as client:
        for side in (one, two):
            await made(side, crd(server.config("convert/secret")))
        mine, others = await token_of(kcp, one), await token_of(kcp, two)
        good = (await stored(client, mine))["url"]
        own, foreign = asked_at(good), asked_at((await stored(client, others))["url"])
        assert own is not None
        assert foreign is not None
        assert own.secret != foreign.secret
        front = PATH.decode()
        server.converted.clear()
        for path in (
            front, f"{front}{mine}", f"{front}{mine}/{CRD}/", f"{front}{mine}/{CRD}/{'a' * 43}/https://x/",
            f"{front}{mine}/{CRD}/{foreign.secret}/https://x/", f"{front}{others}/{CRD}/{own.secret}/https://x/",
            f"{front}{mine}/sites.{GROUP}/{own.secret}/https://x/", f"{front}{mine}/{CRD}/{own.secret}",
            f"{front}kaaaaaaaa/{CRD}/{own.secret}/https://x/",
        ):  # fmt: skip
            assert (await ask(kcp, path, review(mine))).code == 403, path
        path = f"{front}{mine}/{CRD}/{own.secret}/https://elsewhere.example.com/"
        assert (await ask(kcp, path, b"nothing")).code == 400
        assert (await ask(kcp, path, {})).code == 400
        assert "convert/secret" not in server.converted
        said = await ask(kcp, path, review(mine))  # whatever stands behind it, the CRD says who is called
        assert said.body["response"]["result"] == {"status": "Success"}
        assert len(server.converted["convert/secret"]) == 1


async def test_what_stands_on_the_shard_is_seen_by_nobody(kcp: Kcp, server: WebhookServer) -> None:
    """Neither in the CRD, however it is read, nor by the workspace's other webhooks, nor in errors."""
    async with fresh(kcp) as side, shard(kcp) as client:
        await side.install(VALIDATING, "look", [hook(server, "allow/crds", rule("apiextensions.k8s.io", "*"))])
        server.bodies.clear()
        await made(side, crd({"url": server.config("convert")["url"]}))
        token = await token_of(kcp, side)
        config = await stored(client, token)
        own = asked_at(config["url"])
        assert own is not None
        assert config["caBundle"]
        assert (
            "caBundle" not in server.asked["allow/crds"][0]["object"]["spec"]["conversion"]["webhook"]["clientConfig"]
        )
        await side.client.create(PLACES["v1"], obj("a"), "default")
        answers = [await side.send("GET", CRDS.path())]
        for query in ({"pretty": "true"}, {"limit": "1"}, {"watch": "true", "timeoutSeconds": "1"}):
            answers.append(await side.send("GET", CRDS.path(), **query))
        answers.append(await side.send("GET", CRDS.path(name=CRD)))
        answers.append(await side.send("GET", PLACES["v2"].path("default", "a")))
        answers.append(await side.send("PATCH", CRDS.path(name=CRD), {"spec": {"group": "x"}}, MERGE))
        # A shard that cannot reach the proxy tells what it has called.
        base = config["url"].replace(str(kcp.port), "9")
        await client.patch(CRDS, f"places.{token}-{GROUP}", points_at(base))

        async def refused() -> bool:
            answers.append(await side.send("GET", PLACES["v2"].path("default", "a")))
            return "connection refused" in str(answers[-1].body)

        await eventually(refused)
        answers.append(await side.send("GET", PLACES["v2"].path("default")))
        for body in [*server.bodies, *(repr(answer.body).encode() for answer in answers)]:
            assert own.secret.encode() not in body
            assert b"admission/convert" not in body
            assert token.encode() not in body


HOSTILE = {
    'set/metadata.labels:={"0.kcp.dev/w":"%s"}': "is reserved",
    "set/metadata.namespace=%s-default": "must have the same namespace: default != %s-default",
    "set/metadata.name=%s-a": "must have the same name: a != %s-a",
    "set/metadata.uid=%u": "must have the same UID",
    "version/%s-shapes.example.com_v2": "invalid groupVersion",
    "version/v1": "invalid groupVersion",
    "huge": "larger than 8 MiB",
    "redirect": "server responded with the status code 302",
    "garbage": "invalid character",
    "scalar": "cannot unmarshal",
    "set/metadata.finalizers:=7": "",
}
"""Way to answer → what comes of it; nothing for what is not taken over."""


@pytest.mark.parametrize("way", HOSTILE)
async def test_answers_that_reach_out(kcp: Kcp, server: WebhookServer, way: str, wire: Wire) -> None:
    """They name another workspace, its objects and its label, or are no answers."""
    async with fresh(kcp) as side, fresh(kcp) as victim, shard(kcp) as client:
        token = await token_of(kcp, victim)
        uid = (await victim.client.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default"))["metadata"]["uid"]
        await made(side, crd(server.config("convert/other")))
        await side.client.create(PLACES["v1"], obj("a"), "default")
        path = way.replace("%s", token).replace("%u", uid)
        await points(side, server.config(path)) if HOSTILE[way] else await side.client.patch(
            CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": server.config(path)}}}}
        )
        said = await side.send("GET", PLACES["v2"].path("default", "a"))
        if HOSTILE[way]:
            assert said.code == 500
            assert HOSTILE[way].replace("%s", token) in said.body["message"]
        else:
            assert said.code == 200
        assert (await side.send("GET", PLACES["v1"].path("default", "a"))).code == 200
        said = await side.send("PATCH", PLACES["v2"].path("default", "a"), {"metadata": {"labels": {"x": "y"}}}, MERGE)
        assert said.code == (500 if HOSTILE[way] else 200)
        mine = await token_of(kcp, side)
        below = await client.list(Resource(f"{mine}-{GROUP}", "v1", "places"))
        assert [item["metadata"]["labels"][LABEL] for item in below["items"]] == [mine]
        assert [item["metadata"]["name"] for item in (await victim.client.list(CONFIG_MAPS, "default"))["items"]] == [
            "a", "kube-root-ca.crt",
        ]  # fmt: skip
    # What its own webhook has said, or stands in its URL, the workspace is told, and nothing else.
    repeated = ("the internal label in body", f"the token of root:tests:{victim.name} in body")
    assert all("%s" in way and note.startswith(repeated) for note in wire.noted())


async def test_addresses_that_only_kcp_reaches(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side:
        await made(side, crd(server.config("convert")))
        await side.client.create(PLACES["v1"], obj("a"), "default")
        for url in ("https://169.254.169.254/latest", "https://[::1]/x", "https://0.0.0.0/x"):
            await points(side, {"url": url})
            said = await side.send("GET", PLACES["v2"].path("default", "a"))
            assert said.code == 500
            assert "an address that webhooks of a workspace may not have" in said.body["message"]


async def test_what_cannot_be_had_is_said(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side:
        for service in ({"name": "x", "namespace": "default"}, {}):
            with pytest.raises(StatusError, match="services of a workspace have no endpoints") as caught:
                await side.client.create(CRDS, crd({"service": service, "caBundle": server.bundle}))
            assert caught.value.code == 422
            assert caught.value.causes[0]["field"] == "spec.conversion.webhookClientConfig.service"
        moved = [{"op": "copy", "from": "/metadata/annotations/a", "path": "/spec/conversion/webhook/clientConfig/url"}]
        said = await side.send("PATCH", CRDS.path(name=CRD), moved, "application/json-patch+json")
        assert said.code == 422


async def test_who_does_not_answer_is_not_asked_for_a_while(kcp: Kcp, server: WebhookServer) -> None:
    """One slow webhook holds no more than one question every twenty seconds, and others go on."""
    async with fresh(kcp) as side, fresh(kcp) as other:
        await made(side, crd(server.config("convert")))
        await made(other, crd(server.config("convert")))
        await side.client.create(PLACES["v1"], obj("a"), "default")
        await other.client.create(PLACES["v1"], obj("a"), "default")
        config = server.config("slow")
        await side.client.patch(CRDS, CRD, {"spec": {"conversion": {"webhook": {"clientConfig": config}}}})
        await eventually(lambda: _is_asked(side, server))
        began = time.monotonic()
        said = await side.send("GET", PLACES["v2"].path("default", "a"))
        assert said.code == 500
        assert "context deadline exceeded" in said.body["message"]
        assert time.monotonic() - began < 11
        began = time.monotonic()
        assert await side.send("GET", PLACES["v2"].path("default", "a")) == said
        assert (await side.send("GET", PLACES["v1"].path("default", "a"))).code == 200
        assert (await other.send("GET", PLACES["v2"].path("default", "a"))).code == 200
        assert time.monotonic() - began < 2


async def _is_asked(side: Side, server: WebhookServer) -> bool:
    asking = asyncio.create_task(side.send("GET", PLACES["v2"].path("default", "a")))
    done, _ = await asyncio.wait([asking], timeout=0.5)
    asking.cancel()
    return not done


async def test_a_broken_webhook_blocks_nothing_else(kcp: Kcp, server: WebhookServer) -> None:
    """Neither other types nor other workspaces, nor what the shard's controllers do there, nor the workspace's end."""
    nobody: Object = {"url": "https://127.0.0.1:9/nobody"}
    async with fresh(kcp) as side, fresh(kcp) as other:
        for plural in ("places", "sites"):
            await made(side, crd(server.config("convert"), plural=plural))
        await side.client.create(PLACES["v1"], obj("a"), "default")
        await side.client.create(SITES["v1"], obj("s", kind="Site"))
        await side.client.create(NAMESPACES, {"metadata": {"name": "more"}})
        held = obj("held") | {"metadata": {"name": "held", "namespace": "more", "finalizers": ["example.com/x"]}}
        await side.client.create(PLACES["v1"], held, "more")
        await points(side, nobody)
        await side.client.patch(CRDS, f"sites.{GROUP}", {"spec": {"conversion": {"webhook": {"clientConfig": nobody}}}})
        await side.client.delete(CRDS, f"sites.{GROUP}")  # which waits for its objects
        await asyncio.sleep(1)
        assert (await side.create(CONFIG_MAPS, {"metadata": {"name": "b"}}, "default")).code == 201
        # The garbage collector of the shard goes on elsewhere.
        owner = await other.client.create(CONFIG_MAPS, {"metadata": {"name": "owner"}}, "default")
        reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
        await other.create(CONFIG_MAPS, {"metadata": {"name": "owned", "ownerReferences": [reference]}}, "default")
        await other.client.delete(CONFIG_MAPS, "owner", "default")
        await other.client.create(NAMESPACES, {"metadata": {"name": "gone"}})
        await other.client.delete(NAMESPACES, "gone")

        async def collected() -> bool:
            left = [item["metadata"]["name"] for item in (await other.client.list(CONFIG_MAPS, "default"))["items"]]
            return "owned" not in left

        await eventually(collected, timeout=30)
        async with kcp.client("root:tests") as parent:
            await side.client.patch(PLACES["v1"], "held", {"metadata": {"finalizers": None}}, "more")
            await parent.delete(WORKSPACES, side.name)

            async def gone() -> bool:
                return await parent.find(WORKSPACES, side.name) is None

            await eventually(gone, timeout=60)

        async def all_gone() -> bool:
            return await other.client.find(NAMESPACES, "gone") is None

        await eventually(all_gone, timeout=90)  # what may have waited
        async with shard(kcp) as client:
            assert side.name not in json.dumps(await client.list(LOGICAL_CLUSTERS))


async def test_the_key_is_changed(kcp: Kcp, server: WebhookServer) -> None:
    """What the shard has learnt before goes on, and is brought up to date, and nobody becomes the fields' manager."""
    async with fresh(kcp) as side, shard(kcp) as client:
        await made(side, crd({"url": server.config("convert")["url"], "caBundle": server.bundle}))
        await side.client.create(PLACES["v1"], obj("a"), "default")
        token = await token_of(kcp, side)
        before, seen = await stored(client, token), await side.client.get(CRDS, CRD)
        new = base64.b64encode(b"a" * 32).decode()
        await client.patch(SECRETS, NAME, {"data": {KEY: new}}, NAMESPACE)
        for version in ("v1", "v2"):
            assert (await side.send("GET", PLACES[version].path("default", "a"))).code == 200
        detour = await read_detour(client)
        assert detour is not None

        async def renewed() -> bool:
            return str((await stored(client, token))["url"]) == detour.url(token, CRD, server.config("convert")["url"])

        await eventually(renewed, timeout=60)
        assert await stored(client, token) != before
        after = await side.client.get(CRDS, CRD)
        for found in (seen, after):
            del found["metadata"]["resourceVersion"], found["metadata"]["generation"]
        assert after == seen
        assert (await side.send("GET", PLACES["v2"].path("default", "a"))).code == 200
