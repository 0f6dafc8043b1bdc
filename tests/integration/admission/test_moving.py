"""A workspace that moves to another shard takes its webhooks and policies along: no write gets by them on the way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.kube.client import Resource
from proxy.shard.addresses import free_port
from tests.integration.admission.side import CONFIG_MAPS, MUTATING, REGISTRATIONS, VALIDATING, Said, Side, rule
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.eventually import eventually
from tests.integration.two_shards import Shards, two_shards

KINDS = [
    Resource(REGISTRATIONS, "v1", plural, namespaced=False)
    for kind in ("mutating", "validating")
    for plural in (f"{kind}admissionpolicies", f"{kind}admissionpolicybindings", f"{kind}webhookconfigurations")
]
CONSTRAINTS = {
    "resourceRules": [rule("", "configmaps")],
    "objectSelector": {"matchExpressions": [{"key": "case", "operator": "Exists"}]},
}


@pytest_asyncio.fixture(loop_scope="session")
async def shards(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shards]:
    port = free_port()
    options = ["--admission-url", f"https://127.0.0.1:{port}", "--webhook-allow-network", "127.0.0.0/8"]
    async with two_shards(tmp_path_factory.mktemp("moving"), "--workers", "1", *options, port=port) as shards:
        yield shards


async def play(side: Side, name: str) -> list[Said]:
    """What is changed by policy and webhook, what a policy refuses, and what a webhook does."""
    return [
        await side.create(CONFIG_MAPS, {"metadata": {"name": name, "labels": {"case": case}}}, "default", dryRun="All")
        for case in ("good", "policy", "webhook")
    ]


async def install(side: Side, server: WebhookServer) -> None:
    spec = {
        "matchConstraints": CONSTRAINTS,
        "reinvocationPolicy": "Never",
        "paramKind": {"apiVersion": "v1", "kind": "ConfigMap"},
        "mutations": [
            {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{data: params.data}"}}
        ],
    }
    await side.client.create(CONFIG_MAPS, {"metadata": {"name": "given"}, "data": {"a": "b"}}, "default")
    await side.client.create(KINDS[0], {"metadata": {"name": "give"}, "spec": spec})
    param = {"name": "given", "namespace": "default", "parameterNotFoundAction": "Deny"}
    await side.client.create(
        KINDS[1], {"metadata": {"name": "give"}, "spec": {"policyName": "give", "paramRef": param}}
    )
    no = {"expression": "object.metadata.labels['case'] != 'policy'"}
    await side.client.create(
        KINDS[3], {"metadata": {"name": "no"}, "spec": {"matchConstraints": CONSTRAINTS, "validations": [no]}}
    )
    await side.client.create(
        KINDS[4], {"metadata": {"name": "no"}, "spec": {"policyName": "no", "validationActions": ["Deny"]}}
    )
    hook = {"admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": [rule("", "configmaps")]}
    for resource, path, case in ((MUTATING, "label/x", "good"), (VALIDATING, "deny", "webhook")):
        more = {
            "name": "hook.example.com", "clientConfig": server.config(path),
            "objectSelector": {"matchLabels": {"case": case}},
        }  # fmt: skip
        await side.install(resource, "hook", [hook | more])


async def test_what_a_workspace_says_about_writes_moves_with_it(shards: Shards, server: WebhookServer) -> None:
    kcp, path = shards.kcp, "root:moves"
    await shards.make_of("root", "moves", "Organization", "us")
    token = await shards.token_of(path, "us")
    async with kcp.client(path) as client:
        side = Side("moves", client)
        await install(side, server)

        async def acts() -> bool:
            return [said.code for said in await play(side, "a")] == [201, 422, 403]

        await eventually(acts)
        before = await play(side, "a")
        assert before[0].body["data"] == {"a": "b"}
        assert before[0].body["metadata"]["labels"] == {"case": "good", "x": "x"}
        kept = [(await side.send("GET", kind.path())).body["items"] for kind in KINDS]
        assert all(kept)

        moved = asyncio.Event()
        wrong: list[Said] = []

        async def write() -> None:
            """All the time: what a policy refuses is refused, or waits, whichever shard it is that asks."""
            while not moved.is_set():
                said = (await play(side, "a"))[1]
                if said.code not in (422, 429, 503):
                    wrong.append(said)

        writing = asyncio.create_task(write())
        await shards.switch(path, "eu")
        assert await shards.token_of(path, "eu") == token
        await asyncio.sleep(1)
        moved.set()
        await writing
        assert not wrong
        assert await play(side, "a") == before
        assert [(await side.send("GET", kind.path())).body["items"] for kind in KINDS] == kept

        async def nothing_left() -> bool:
            return not await shards.left("us", token)

        await eventually(nothing_left)
        await client.delete(KINDS[4], "no")

        async def allowed() -> bool:
            return [said.code for said in await play(side, "a")] == [201, 201, 403]

        await eventually(allowed)
