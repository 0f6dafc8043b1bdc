"""Watches: what they begin with, what they tell and how they end; in one namespace and over all of them."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from tests.clients import same
from tests.e2e.workspaces.twins import DEFAULT, RBAC, Api, Twins

MERGE = "application/merge-patch+json"
PLACES = (f"{DEFAULT}/configmaps", "/api/v1/configmaps")
METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"


def about(events: list[Any], prefix: str) -> list[Any]:
    """Of objects of that name, and bookmarks."""
    kept = []
    for event in events:
        obj = event["object"]
        row = obj["rows"][0]["object"] if obj["kind"] == "Table" and obj.get("rows") else obj
        name = row.get("metadata", {}).get("name", "")
        if event["type"] == "BOOKMARK":
            kept.append(["BOOKMARK", obj["kind"], row.get("metadata", {}).get("annotations")])
        elif name.startswith(prefix):
            kept.append([event["type"], obj["kind"], name, row.get("metadata", {}).get("labels"), obj.get("data")])
    return kept


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("accept", ["application/json", METADATA, TABLE])
async def test_what_happens_is_told_in_order(twins: Twins, place: str, accept: str) -> None:
    async def scenario(api: Api) -> Any:
        version = (await api.must("GET", f"{place}?limit=1"))["metadata"]["resourceVersion"]

        def enough(events: list[Any]) -> bool:
            return len(about(events, "told-")) >= 3

        async def act() -> None:
            path = f"{DEFAULT}/configmaps"
            body = {"metadata": {"name": "told-a", "labels": {"watch": "yes"}}, "data": {"a": "1"}}
            await api.must("POST", path, {"metadata": {"name": "told-b"}})
            await api.must("POST", path, body)
            await api.must("PATCH", f"{path}/told-a", {"data": {"a": "2"}}, content_type=MERGE)
            # What the selector no longer takes is gone for this watch.
            await api.must("PATCH", f"{path}/told-a", {"metadata": {"labels": {"watch": "no"}}}, content_type=MERGE)
            for name in ("told-a", "told-b"):
                await api.must("DELETE", f"{path}/{name}")

        query = f"watch=true&resourceVersion={version}&labelSelector=watch%3Dyes"
        events, _ = await asyncio.gather(api.watch(f"{place}?{query}", enough, Accept=accept), act())
        return same.obj(about(events, "told-"))

    told = await twins.same(scenario)
    assert [event[0] for event in told] == ["ADDED", "MODIFIED", "DELETED"]


@pytest.mark.parametrize("place", PLACES)
async def test_initial_events_end_with_a_bookmark(twins: Twins, place: str) -> None:
    async def scenario(api: Api) -> Any:
        for name in ("init-a", "init-b"):
            await api.ask("POST", f"{DEFAULT}/configmaps", {"metadata": {"name": name}})
        query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"

        def ended(events: list[Any]) -> bool:
            return bool(events[-1]["type"] == "BOOKMARK")

        seen = [
            about(await api.watch(f"{place}?{query}&resourceVersion={version}", ended), "init-")
            for version in ("", "0")
        ]
        bookmark = (await api.watch(f"{place}?{query}", ended))[-1]["object"]
        assert int(bookmark["metadata"]["resourceVersion"]) > 0
        for name in ("init-a", "init-b"):
            await api.must("DELETE", f"{DEFAULT}/configmaps/{name}")
        return seen

    seen = await twins.same(scenario)
    assert [event[0] for event in seen[0]] == ["ADDED", "ADDED", "BOOKMARK"]


async def test_refusals(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        queries = ("resourceVersion=x", "timeoutSeconds=x", "sendInitialEvents=true", "resourceVersionMatch=Exact",
                   "sendInitialEvents=true&resourceVersionMatch=Exact&resourceVersion=1", "fieldSelector=a%3Db",
                   "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&continue=x")  # fmt: skip
        return [
            (place, query, (await api.ask("GET", f"{place}?watch=1&{query}")).said)
            for place in PLACES
            for query in queries
        ]

    await twins.same(scenario)


@pytest.mark.parametrize("place", PLACES)
async def test_it_ends_in_good_order_when_its_time_is_over(twins: Twins, place: str) -> None:
    async def scenario(api: Api) -> Any:
        version = (await api.must("GET", f"{place}?limit=1"))["metadata"]["resourceVersion"]
        began = time.monotonic()
        events = await api.watch(f"{place}?watch=1&timeoutSeconds=1&resourceVersion={version}", lambda _: False)
        return about(events, "none-"), 0.8 < time.monotonic() - began < 10

    assert (await twins.same(scenario))[1]


async def test_paths_of_old(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.ask("POST", f"{DEFAULT}/configmaps", {"metadata": {"name": "old-a"}})
        seen = []
        for path in (
            "watch/namespaces/default/configmaps/old-a",
            "watch/namespaces/default/configmaps",
            "watch/configmaps",
        ):
            events = await api.watch(f"/api/v1/{path}?timeoutSeconds=3", lambda found: bool(about(found, "old-")))
            seen.append((path, about(events, "old-")))
        await api.must("DELETE", f"{DEFAULT}/configmaps/old-a")
        return seen

    await twins.same(scenario)


async def test_cluster_scoped_objects_by_name(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        path = f"{RBAC}/clusterroles"

        async def act() -> None:
            await asyncio.sleep(0.3)
            for name in ("named-a", "named-b"):
                await api.must("POST", path, {"metadata": {"name": name}, "rules": []})
                await api.must("DELETE", f"{path}/{name}")

        version = (await api.must("GET", f"{path}?limit=1"))["metadata"]["resourceVersion"]
        query = f"watch=1&fieldSelector=metadata.name%3Dnamed-b&resourceVersion={version}"
        events, _ = await asyncio.gather(api.watch(f"{path}?{query}", lambda found: len(found) >= 2), act())
        return [[event["type"], event["object"]["metadata"]["name"]] for event in events]

    assert await twins.same(scenario) == [["ADDED", "named-b"], ["DELETED", "named-b"]]
