"""Versions that are gone: watches, lists and continue tokens that come too late, answered as a cluster answers them."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import orjson
import pytest_asyncio

from proxy.shard.control_plane import ControlPlane
from tests.clients import same
from tests.e2e.workspaces.compaction import compact
from tests.e2e.workspaces.installation import Installation
from tests.e2e.workspaces.twins import CRDS, DEFAULT, RBAC, Answer, Api, Twins

METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
TABLE = "application/json;as=Table;g=meta.k8s.io;v=v1"
EVENTS = "/apis/events.k8s.io/v1/namespaces/default/events"
ABOUT = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}, "reason": "R", "message": "m"}
THINGS, BIGS = "/apis/expiry.test/v1/namespaces/default/things", "/apis/expiry.test/v1/bigs"
OBJECTS: dict[str, dict[str, Any]] = {
    f"{DEFAULT}/configmaps": {},
    f"{DEFAULT}/events": ABOUT,
    f"{RBAC}/clusterroles": {"rules": []},
    THINGS: {"apiVersion": "expiry.test/v1", "kind": "Thing"},
    BIGS: {"apiVersion": "expiry.test/v1", "kind": "Big"},
}
"""Content by the place where it is made. Events come from etcd itself, the others from a server's cache, which follows
etcd every 15 s."""
LISTS = (*OBJECTS, "/api/v1/configmaps", "/api/v1/events", "/apis/expiry.test/v1/things")
FORGETFUL = tuple(path for path in LISTS if "events" in path or "expiry.test" in path)
"""Of which version 1 is gone for watches as well: a cache may remember all that a server has seen since its start."""


def definition(plural: str, scope: str) -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object"}}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    names = {"plural": plural, "kind": plural.title()[:-1]}
    spec = {"group": "expiry.test", "scope": scope, "names": names, "versions": versions}
    return {"metadata": {"name": f"{plural}.expiry.test"}, "spec": spec}


@pytest_asyncio.fixture(loop_scope="session")
async def folders(plain: ControlPlane, kcp: Installation) -> tuple[Path, Path]:
    """Of the two control planes whose etcds there are."""
    return plain.settings.folder, kcp.root


def plainly(value: Any) -> Any:
    """Without the numbers of versions, which two servers never share, and seconds that one draws by lot."""
    if isinstance(value, dict):
        value = {key: part for key, part in value.items() if key != "retryAfterSeconds"}
        return {key: "TOKEN" if key == "continue" and part else plainly(part) for key, part in value.items()}
    if isinstance(value, list):
        return [plainly(part) for part in value]
    return re.sub(r"\b\d+\b", "N", value) if isinstance(value, str) else value


def told(answer: Answer) -> Any:
    """Code, headers and body of a refusal; names of what a list holds."""
    value = answer.json
    if value["kind"] == "Status":
        return answer.seen, plainly(value)
    rows = [row["object"] for row in value["rows"]] if value["kind"] == "Table" else value["items"]
    names = [item["metadata"]["name"] for item in rows]
    return answer.seen, [name for name in names if name.startswith("expiry-")], bool(value["metadata"].get("continue"))


async def rest(api: Api, page: str, token: str) -> Any:
    """What is told of the pages from ``token`` on. A page that is full may be the last without saying so: a server
    looks no further, and what it sees ahead may be something else."""
    told_of: list[Any] = []
    names: list[str] = []
    while token:
        answer = await api.ask("GET", f"{page}{token}")
        seen, found, _ = told(answer)
        if seen not in told_of:
            told_of.append(seen)
        names += found
        token = answer.json["metadata"].get("continue", "")
    return told_of, names


async def watched(api: Api, path: str, **headers: str) -> Any:
    """Code and events of a watch that comes too late."""
    answer = await api.ask("GET", f"{path}&timeoutSeconds=2", **headers)
    return answer.seen, [plainly(same.obj(line)) for line in map(orjson.loads, answer.body.splitlines())]


async def prepared(api: Api) -> dict[str, tuple[str, str]]:
    """Objects of all kinds; version and continue token of each list before they change."""
    for plural, scope in (("things", "Namespaced"), ("bigs", "Cluster")):
        await api.must("POST", CRDS, definition(plural, scope))
    for place in (THINGS, BIGS):
        await api.until("GET", place, wanted=lambda answer: answer.status == 200)
    for place, content in OBJECTS.items():
        for n in range(4):
            body = content | {"metadata": {"name": f"expiry-{n}", "labels": {"expiry": "yes"}}}
            await api.until("POST", place, body, wanted=lambda answer: answer.status in (201, 409))
    known = {}
    for path in LISTS:
        page = await api.must("GET", f"{path}?limit=2&labelSelector=expiry")
        known[path] = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
    for place in OBJECTS:
        await api.must("DELETE", f"{place}/expiry-0")
    return known


async def test_what_comes_too_late(twins: Twins, folders: tuple[Path, Path]) -> None:
    known = await asyncio.gather(prepared(twins.plain), prepared(twins.workspace))
    for folder in folders:
        await compact(folder)
    seen_before = dict(zip((twins.plain.name, twins.workspace.name), known, strict=True))

    async def scenario(api: Api) -> Any:
        results: list[Any] = []

        async def seen(path: str, query: str, **headers: str) -> None:
            results.append((path, query, headers, told(await api.ask("GET", f"{path}?{query}", **headers))))

        for path in LISTS:
            version, token = seen_before[api.name][path]
            page = "limit=2&labelSelector=expiry&continue="
            old = f"{path}?{page}{token}"
            late = await api.until("GET", old, wanted=lambda answer: answer.status == 410, within=40)
            fresh = late.json["metadata"]["continue"]
            assert fresh != token
            results.append(told(late))
            # As the message says: the rest, as it is now.
            results.append(await rest(api, f"{path}?{page}", fresh))
            results.append(told(await api.ask("GET", old, Accept=TABLE)))
            for more in ("", "&labelSelector=expiry", "&limit=2"):
                exact = f"{path}?resourceVersion={version}&resourceVersionMatch=Exact{more}"
                results.append((more, told(await api.ask("GET", exact))))
                await seen(path, f"resourceVersion=1&resourceVersionMatch=Exact{more}")
        for path in FORGETFUL:
            for more in ("", "&allowWatchBookmarks=true", "&labelSelector=expiry", "&fieldSelector=metadata.name%3Dx"):
                results.append((path, more, await watched(api, f"{path}?watch=1&resourceVersion=1{more}")))
            for accept in (TABLE, METADATA):
                results.append((path, accept, await watched(api, f"{path}?watch=1&resourceVersion=1", Accept=accept)))
        for path in LISTS:
            # A WatchList begins at a version that is no older, so an old one is good.
            begin = f"{path}?watch=1&sendInitialEvents=true&allowWatchBookmarks=true&resourceVersionMatch=NotOlderThan"
            first = f"{begin}&resourceVersion=1&labelSelector=expiry"
            events = await api.watch(first, lambda found: bool(found[-1]["type"] == "BOOKMARK"))
            results.append([(event["type"], event["object"]["metadata"].get("name")) for event in events])
            results.append((path, await watched(api, f"{begin}&resourceVersion=99999999999")))
        for plural in ("things", "bigs"):
            await api.must("DELETE", f"{CRDS}/{plural}.expiry.test")
        for place in tuple(OBJECTS)[:3]:
            await api.must("DELETE", f"{place}?labelSelector=expiry")
        return results

    seen = await twins.same(scenario)
    assert str(seen).count("'reason': 'Expired'") > 8 * len(LISTS)
