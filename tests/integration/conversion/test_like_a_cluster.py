"""Types whose versions a webhook converts are in a workspace what they are in a cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import orjson
import pytest

from proxy.kube.client import Client
from tests.integration.admission.side import Said, Side, same
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.conversion.converting import CRDS, GROUP, PLACES, SITES, Object, crd, obj
from tests.integration.conversion.workspaces import fresh
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
NAME = f"places.{GROUP}"
CRD_PATH = CRDS.path(name=NAME)


@asynccontextmanager
async def two(kcp: Kcp, plain: Side) -> AsyncIterator[tuple[Side, Side]]:
    """A cluster and a workspace; no CRDs are left in the cluster."""
    async with fresh(kcp) as workspace:
        try:
            yield plain, workspace
        finally:
            for name in (NAME, f"sites.{GROUP}"):
                if await plain.client.find(CRDS, name) is not None:
                    await plain.client.patch(
                        CRDS, name, {"spec": {"conversion": {"strategy": "None", "webhook": None}}}
                    )
                    await plain.client.delete(CRDS, name)
                    await eventually(partial(_gone, plain.client, name))


async def _gone(client: Client, name: str) -> bool:
    return await client.find(CRDS, name) is None


async def made(side: Side, body: Object) -> None:
    """A CRD that is served."""
    await side.client.create(CRDS, body)
    plural = body["spec"]["names"]["plural"]

    async def served() -> bool:
        codes = [(await side.send("GET", f"/apis/{GROUP}/{version}/{plural}")).code for version in ("v1", "v2")]
        return codes == [200, 200]

    await eventually(served)


async def test_objects_in_both_versions(kcp: Kcp, plain: Side, server: WebhookServer) -> None:
    said: list[list[Said]] = []
    async with two(kcp, plain) as sides:
        for side in sides:
            await made(side, crd(server.config("convert")))
            await made(side, crd(server.config("convert"), plural="sites"))
            answers = []
            place, place2 = (PLACES[version].path("default", "a") for version in ("v1", "v2"))
            answers.append(await side.create(PLACES["v1"], obj("a", labels={"b": "c"}), "default"))
            answers.append(await side.create(PLACES["v2"], obj("b", "v2", annotations={"b": "c"}), "default"))
            answers.append(await side.create(SITES["v2"], obj("s", "v2", "Site")))
            for version in ("v1", "v2"):
                answers.append(await side.send("GET", PLACES[version].path("default", "b")))
                answers.append(await side.send("GET", PLACES[version].path("default")))
                answers.append(await side.send("GET", PLACES[version].path(), labelSelector="b=c"))
                answers.append(await side.send("GET", SITES[version].path(name="s")))
                answers.append(await side.send("GET", SITES[version].path(), limit="1"))
            answers.append(await side.send("PATCH", place2, {"spec": {"address": "c:81"}}, MERGE))
            patch = [{"op": "replace", "path": "/spec/port", "value": 82}]
            answers.append(await side.send("PATCH", place, patch, JSON_PATCH))
            applied = obj("a", "v2", labels={"d": "e"})
            answers.append(await side.send("PATCH", place2, applied, APPLY, fieldManager="me"))
            answers.append(await side.send("PATCH", place2, applied, APPLY, fieldManager="me", force="true"))
            applied = obj("new", "v2")
            answers.append(
                await side.send("PATCH", PLACES["v2"].path("default", "new"), applied, APPLY, fieldManager="me")
            )
            found = await side.client.get(PLACES["v2"], "b", "default")
            answers.append(
                await side.send("PUT", PLACES["v2"].path("default", "b"), found | {"spec": {"address": "x:1"}})
            )
            answers.append(await side.send("GET", PLACES["v1"].path("default", "b")))
            answers.append(await side.send("DELETE", PLACES["v2"].path("default", "new")))
            answers.append(await side.send("DELETE", PLACES["v2"].path("default"), labelSelector="b=c"))
            answers.append(await side.send("GET", PLACES["v1"].path("default")))
            said.append(answers)
    for number, (expected, got) in enumerate(zip(*said, strict=True)):
        same(_without_versions(got), _without_versions(expected), number)
    for body in server.bodies:
        assert b"0.kcp.dev" not in body


def _without_versions(said: Said) -> Any:
    body = said.body
    if isinstance(body, dict) and body.get("kind", "").endswith("List"):
        body = body | {"metadata": {}}
    return said.code, said.warnings, body


async def test_what_the_webhook_is_asked(kcp: Kcp, plain: Side, server: WebhookServer) -> None:
    asked = []
    async with two(kcp, plain) as sides:
        for side in sides:
            await made(side, crd(server.config("convert/asked")))
            await side.client.create(PLACES["v1"], obj("a"), "default")
            server.converted.clear()
            await side.client.get(PLACES["v2"], "a", "default")
            question, *_ = server.converted["convert/asked"]  # a garbage collector asks as well
            assert question["objects"][0]["metadata"]["namespace"] == "default"
            asked.append(question["objects"][0] | {"metadata": sorted(question["objects"][0]["metadata"])})
            assert question["desiredAPIVersion"] == f"{GROUP}/v2"
    same(asked[1], asked[0])


async def test_watches_and_a_change_of_the_stored_version(kcp: Kcp, plain: Side, server: WebhookServer) -> None:
    said = []
    async with two(kcp, plain) as sides:
        for side in sides:
            await made(side, crd(server.config("convert")))
            await side.client.create(PLACES["v1"], obj("a"), "default")
            events = asyncio.create_task(_events(side, "v2", 3))
            await asyncio.sleep(0.5)
            await side.client.create(PLACES["v1"], obj("b"), "default")
            await side.client.delete(PLACES["v1"], "a", "default")
            seen: list[Any] = [await asyncio.wait_for(events, 20)]
            versions = crd(None, stored="v2")["spec"]["versions"]
            await side.client.patch(CRDS, NAME, {"spec": {"versions": versions}})
            stored = (await side.client.get(CRDS, NAME))["status"]["storedVersions"]
            await side.client.create(PLACES["v2"], obj("c", "v2"), "default")
            for version in ("v1", "v2"):
                listed = await side.client.list(PLACES[version], "default")
                seen.append([(item["metadata"]["name"], item["spec"]) for item in listed["items"]])
            said.append([stored, *seen])
    same(said[1], said[0])


async def _events(side: Side, version: str, count: int) -> list[Any]:
    seen: list[Any] = []
    session, client = side.client._open(), side.client
    url = client._url(PLACES[version].path("default"), {"watch": "true", "timeoutSeconds": 30})
    async with session.get(url, headers=client._request_headers(None)) as response:
        async for line in response.content:
            event = orjson.loads(line)
            seen.append((event["type"], event["object"]["metadata"]["name"], event["object"]["spec"]))
            if len(seen) == count:
                break
    return seen


FAILING = [
    "fails", "mute", "uid", "nothing", "kind", "fewer", "more", "bare", "version/v2", "version/other.example.com_v2",
    "version/shapes.example.com_v1", "set/kind=Other", "set/metadata.name=other", "set/metadata.namespace=other",
    "set/metadata.uid=other", "set/metadata.labels:=[]", "set/metadata.labels:={\"a\":1}",
    "set/metadata.labels:={\"a b\":\"c\"}", "set/metadata.annotations:={\"a b\":\"c\"}", "error", "missing", "nobody",
    "http",
]  # fmt: skip


async def test_what_fails_is_worded_the_same(kcp: Kcp, plain: Side, server: WebhookServer) -> None:
    said: dict[str, list[Any]] = {way: [] for way in FAILING}
    async with two(kcp, plain) as sides:
        for side in sides:
            await made(side, crd(server.config("convert")))
            await side.client.create(PLACES["v1"], obj("a"), "default")
            before: Any = None
            for way in FAILING:
                config = server.config(way)
                if way == "nobody":
                    config["url"] = "https://127.0.0.1:9/nobody"
                if way == "http":
                    config["caBundle"] = None
                await side.client.patch(CRDS, NAME, {"spec": {"conversion": {"webhook": {"clientConfig": config}}}})

                async def looked(before: Any = before) -> bool:
                    answer = await side.send("GET", PLACES["v2"].path("default", "a"))  # noqa: B023
                    return answer.code != 200 and answer != before

                await eventually(looked)
                before = await side.send("GET", PLACES["v2"].path("default", "a"))
                said[way].append(_in_ten_seconds(before))
                # Its words are those of the first object, or none, as the watch cache is at the moment.
                said[way].append((await side.send("GET", PLACES["v2"].path("default"))).code)
                said[way].append(await side.send("GET", PLACES["v1"].path("default", "a")))
                patch = {"spec": {"address": "c:81"}}
                patched = await side.send("PATCH", PLACES["v2"].path("default", "a"), patch, MERGE)
                said[way].append(_in_ten_seconds(patched))
    for way, answers in said.items():
        same(answers[4:], answers[:4], way)


def _in_ten_seconds(said: Said) -> Any:
    """That is how long a workspace's webhook has, instead of thirty."""
    return said.code, json.dumps(said.body).replace("timeout=30s", "timeout=10s")


async def test_crds_are_read_as_they_were_written(kcp: Kcp, plain: Side, server: WebhookServer) -> None:
    """With and without a bundle, in every way of writing, and who manages which fields."""
    said: list[list[Any]] = []
    async with two(kcp, plain) as sides:
        for side in sides:
            seen: list[Any] = []
            look = partial(_look, side, seen)

            def config(config: Any) -> Object:
                return {"spec": {"conversion": {"webhook": {"clientConfig": config}}}}

            url, bundle = server.config("convert")["url"], server.bundle
            await look("POST", CRDS.path(), crd({"url": url}), fieldManager="maker")
            await made_known(side)
            await look("PATCH", CRD_PATH, config({"caBundle": bundle}), MERGE, fieldManager="merger")
            await look("PATCH", CRD_PATH, config({"url": f"{url}/a%20b/:x@y", "caBundle": None}), MERGE)
            await look("PATCH", CRD_PATH, config({"url": url}), STRATEGIC, fieldManager="strategist")
            where = "/spec/conversion/webhook/clientConfig"
            for operation in (
                {"op": "test", "path": f"{where}/url", "value": url},
                {"op": "test", "path": f"{where}/url", "value": "https://other"},
                {"op": "add", "path": f"{where}/caBundle", "value": bundle},
                {"op": "test", "path": f"{where}/caBundle", "value": bundle},
                {"op": "test", "path": where, "value": {"url": url, "caBundle": bundle}},
                {"op": "replace", "path": where, "value": {"url": f"{url}/b"}},
                {"op": "replace", "path": "/spec/conversion", "value": crd({"url": url})["spec"]["conversion"]},
                {"op": "replace", "path": f"{where}/url", "value": "http://no"},
            ):
                await look("PATCH", CRD_PATH, [operation], JSON_PATCH, fieldManager="patcher")
            for applied, query in (
                (crd({"url": url}), {}),
                (crd({"url": f"{url}/c"}), {}),
                (crd({"url": f"{url}/c"}), {"force": "true"}),
                (crd({"url": f"{url}/c", "caBundle": bundle}), {}),
                (crd({"url": f"{url}/c", "caBundle": bundle}), {}),
                (crd({"url": f"{url}/c"}), {}),
            ):
                await look("PATCH", CRD_PATH, applied, APPLY, fieldManager="me", **query)
            found = await side.client.get(CRDS, NAME)
            last = json.dumps(crd({"url": url, "caBundle": bundle}), sort_keys=True, separators=(",", ":")) + "\n"
            found["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": last}
            await look("PUT", CRD_PATH, found, fieldManager="putter")
            await look("PUT", CRD_PATH, await side.client.get(CRDS, NAME), fieldManager="putter again")
            for wrong in (
                "http://x/", "https:///x", "https://u:p@x/", "https://x/?a=b", "https://x/#a", "x", "https://x/?a=b#c",
            ):  # fmt: skip
                await look("PATCH", CRD_PATH, config({"url": wrong}), MERGE)
            seen.append((await side.send("PATCH", CRD_PATH, config({"caBundle": "%"}), MERGE)).code)
            await look("PATCH", CRD_PATH, config({"url": None}), MERGE)
            await look("PATCH", CRD_PATH, {"spec": {"conversion": {"strategy": "None"}}}, MERGE)
            await look("PATCH", CRD_PATH, {"spec": {"conversion": {"strategy": "None", "webhook": None}}}, MERGE)
            await look("PATCH", CRD_PATH, crd({"url": url, "caBundle": bundle}), MERGE)
            for query in ({}, {"limit": "1"}, {"fieldSelector": f"metadata.name={NAME}"}):
                listed = (await side.send("GET", CRDS.path(), **query)).body["items"]
                seen.append([item["spec"]["conversion"] for item in listed if item["metadata"]["name"] == NAME])
            seen.append(await _first_event(side))
            said.append(seen)
    for number, (expected, got) in enumerate(zip(*said, strict=True)):
        same(got, expected, number)


async def _look(
    side: Side, seen: list[Any], method: str, path: str, body: Any = None, kind: str = "application/json", **query: str
) -> None:
    """What is answered, and what there is then."""
    answer = await side.send(method, path, body, kind, **query)
    seen.append((answer.code, answer.body if answer.code >= 400 else answer.body["spec"]["conversion"]))
    found = await side.client.find(CRDS, NAME)
    if found is not None:
        seen.append((found["spec"]["conversion"], _managed(found), found["metadata"].get("annotations")))


async def made_known(side: Side) -> None:
    async def established() -> bool:
        found = await side.client.get(CRDS, NAME)
        states = {item["type"]: item["status"] for item in found["status"]["conditions"] or ()}
        return states.get("Established") == "True"

    await eventually(established)


def _managed(found: Object) -> list[Any]:
    return sorted(
        (
            [entry["manager"], entry["operation"], entry["fieldsV1"]]
            for entry in found["metadata"]["managedFields"]
            if entry.get("subresource") != "status"  # which comes when it comes
        ),
        key=lambda entry: (entry[0], entry[1], json.dumps(entry[2])),
    )


async def _first_event(side: Side) -> Any:
    session, client = side.client._open(), side.client
    query: dict[str, str | int | None] = {
        "watch": "true",
        "timeoutSeconds": 5,
        "fieldSelector": f"metadata.name={NAME}",
    }
    async with session.get(client._url(CRDS.path(), query), headers=client._request_headers(None)) as response:
        async for line in response.content:
            return orjson.loads(line)["object"]["spec"]["conversion"]
    return None


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
async def test_versions_of_the_question(kcp: Kcp, plain: Side, server: WebhookServer, version: str) -> None:
    async with two(kcp, plain) as sides:
        for side in sides:
            await made(side, crd(server.config("convert"), conversionReviewVersions=["v7", version]))
            await side.client.create(PLACES["v1"], obj("a"), "default")
            found = await side.client.get(PLACES["v2"], "a", "default")
            assert found["spec"] == {"address": "a:80"}
