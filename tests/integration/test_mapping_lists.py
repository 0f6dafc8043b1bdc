"""Lists and watches over several namespaces through the mapping, against a real kube-apiserver."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.server.lengths import Lengths
from tests.integration.mapping_front import Front, Workspace
from tests.integration.mapping_workspaces import (
    BEHIND,
    METADATA,
    MINE,
    RBAC,
    TABLE,
    clean,
    config_map,
    names,
)


async def fill(workspaces: dict[str, Workspace], count: int, name: str, label: str = "x") -> None:
    for workspace in workspaces.values():
        for index in range(count):
            body = config_map(f"{name}-{index:03}", a="b")
            body["metadata"]["labels"] = {"fill": label}
            await workspace.ask("POST", "/api/v1/namespaces/demo/configmaps", body)


async def test_lists_of_all_namespaces_hold_only_its_own(workspaces: dict[str, Workspace]) -> None:
    await fill(workspaces, 7, "page")
    mine = workspaces[MINE]
    wanted = [f"page-{index:03}" for index in range(7)]
    for path, accept in (
        ("/api/v1/configmaps", ""),
        ("/api/v1/configmaps", TABLE),
        ("/api/v1/configmaps", METADATA),
        ("/api/v1/configmaps?resourceVersion=0", ""),
        ("/api/v1/configmaps?includeObject=None", TABLE),
        ("/api/v1/configmaps?labelSelector=fill%3Dx", ""),
        ("/api/v1/configmaps?labelSelector=fill%3Dx", TABLE),
        ("/api/v1/configmaps?fieldSelector=metadata.namespace%3Ddemo", ""),
        ("/api/v1/configmaps?fieldSelector=metadata.namespace!%3Ddefault&limit=500", ""),
    ):
        answer: Any = clean(await mine.ask("GET", path, accept=accept))
        found = [name for name in names(answer) if name.startswith("page-")]
        assert found == wanted, (path, accept)
        assert answer["metadata"]["resourceVersion"].isdigit()
        assert "remainingItemCount" not in answer["metadata"]


@pytest.mark.parametrize("accept", ["", TABLE])
@pytest.mark.parametrize("selector", ["", "&labelSelector=fill"])
async def test_pages_of_a_clients_own_size(workspaces: dict[str, Workspace], accept: str, selector: str) -> None:
    await fill(workspaces, 0, "")
    mine = workspaces[MINE]
    for index in range(5):
        body = config_map(f"limit-{index}")
        body["metadata"]["labels"] = {"fill": "limit"}
        status, _ = await mine.raw("POST", "/api/v1/namespaces/default/configmaps", body)
        assert status in (201, 409)
    whole: Any = await mine.ask("GET", f"/api/v1/configmaps?{selector}", accept=accept)
    found: list[str] = []
    token, pages, versions = "", 0, set()
    while True:
        answer: Any = clean(
            await mine.ask("GET", f"/api/v1/configmaps?limit=3&continue={token}{selector}", accept=accept)
        )
        found += names(answer)
        versions.add(answer["metadata"]["resourceVersion"])
        pages += 1
        assert len(names(answer)) <= 3
        token = answer["metadata"].get("continue", "")
        if not token:
            break
    assert found == names(whole)
    assert pages >= 2
    assert len(versions) == 1, "pages of one list must be of one version"


@pytest.mark.parametrize(
    "path", ["/api/v1/configmaps", f"{RBAC}/clusterroles", "/apis/discovery.k8s.io/v1/endpointslices"]
)
@pytest.mark.parametrize("accept", ["", TABLE])
@pytest.mark.parametrize("limit", ["", "?limit=5"])
async def test_lists_longer_than_a_page(
    workspaces: dict[str, Workspace], front: Front, monkeypatch: pytest.MonkeyPatch, path: str, accept: str, limit: str
) -> None:
    mine = workspaces[MINE]
    wanted = [f"long-{index}" for index in range(8)]
    inside = path.replace("/v1/", "/v1/namespaces/demo/") if "roles" not in path else path
    for name in wanted:
        body: dict[str, Any] = {"metadata": {"name": name}}
        if "slices" in path:
            body |= {"addressType": "IPv4", "endpoints": []}
        status, _ = await mine.raw("POST", inside, body)
        assert status in (201, 409)
    for constant, value in (("SMALLEST", 1), ("FIRST", 2), ("LARGEST", 3)):
        monkeypatch.setattr(f"proxy.server.lengths.{constant}", value)
    front.lengths = Lengths()

    async def listed() -> list[str]:
        front.fetched.clear()
        found: list[str] = []
        query = limit
        while True:
            answer: Any = clean(await mine.ask("GET", path + query, accept=accept))
            found += names(answer)
            if not answer["metadata"].get("continue"):
                return found
            assert limit
            query = f"{limit}&continue={answer['metadata']['continue']}"

    found = await listed()
    assert [name for name in found if name.startswith("long-")] == wanted
    assert found == names(await mine.ask("GET", f"{path}?labelSelector=")), "each once, in order"
    first = len(front.fetched)
    assert first >= 3
    assert await listed() == found, "where its length is known"
    monkeypatch.setattr("proxy.server.lengths.LARGEST", 100)
    assert await listed() == found
    assert len(front.fetched) == 1 if not limit else len(front.fetched) < first


async def test_continue_tokens_never_lead_outside(workspaces: dict[str, Workspace]) -> None:
    mine = workspaces[MINE]
    await workspaces[BEHIND].raw("POST", "/api/v1/namespaces/default/configmaps", config_map("theirs"))

    def token(start: str, version: int = -1) -> str:
        raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": version, "start": start})
        return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

    for start in (f"{BEHIND}-default/", "kube-system/", "../secrets/", f"{MINE}-default/../{BEHIND}-default/x"):
        for path in ("/api/v1/configmaps", "/api/v1/configmaps?labelSelector=a"):
            joint = "&" if "?" in path else "?"
            status, answer = await mine.raw("GET", f"{path}{joint}continue={token(start)}")
            assert status == 400, answer
    # Inside one namespace the shard's own tokens pass as they are; it keeps them inside.
    for start in (f"../{BEHIND}-default/", "../../secrets/kube-system/", f"{BEHIND}-default/theirs"):
        status, answer = await mine.raw("GET", f"/api/v1/namespaces/default/configmaps?continue={token(start)}")
        assert status == 400 or b"theirs" not in answer, answer


async def test_lists_of_cluster_scoped_objects(workspaces: dict[str, Workspace]) -> None:
    for workspace in workspaces.values():
        await workspace.raw("POST", f"{RBAC}/clusterroles", {"metadata": {"name": "listed"}, "rules": []})
    mine = workspaces[MINE]
    for accept in ("", TABLE):
        assert "listed" in names(clean(await mine.ask("GET", f"{RBAC}/clusterroles", accept=accept)))
        shown = names(clean(await mine.ask("GET", "/api/v1/namespaces", accept=accept)))
        assert shown[:2] == ["default", "demo"]
        assert "kube-system" not in shown
    by_name: Any = await mine.ask("GET", "/api/v1/namespaces?fieldSelector=metadata.name%3Ddemo")
    assert names(by_name) == ["demo"]
    by_label: Any = await mine.ask("GET", "/api/v1/namespaces?labelSelector=kubernetes.io/metadata.name+in+(demo,x)")
    assert names(by_label) == ["demo"]
    assert clean(by_label)["items"][0]["metadata"]["labels"] == {"kubernetes.io/metadata.name": "demo"}
    for theirs in (f"{BEHIND}-demo", "kube-system"):
        status, answer = await mine.raw("GET", f"/api/v1/namespaces/{theirs}")
        assert status == 404
        assert orjson.loads(answer)["message"] == f'namespaces "{theirs}" not found'


async def events(content: aiohttp.StreamReader, count: int) -> list[Any]:
    found: list[Any] = []
    while len(found) < count:
        line = await asyncio.wait_for(content.readline(), 10)
        event = orjson.loads(line)
        if event["type"] != "BOOKMARK" and event["object"]["metadata"]["name"].startswith("watched"):
            found.append(clean(event))
    return found


@pytest.mark.parametrize(
    "query",
    ["watch=true", "watch=true&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan"],
)
async def test_watches_of_all_namespaces(workspaces: dict[str, Workspace], query: str) -> None:
    mine = workspaces[MINE]
    version: Any = await mine.ask("GET", "/api/v1/configmaps?limit=1")
    start = "" if "sendInitial" in query else f"&resourceVersion={version['metadata']['resourceVersion']}"
    async with mine.watch(f"/api/v1/configmaps?{query}{start}&timeoutSeconds=20") as content:
        for workspace in workspaces.values():
            body = config_map("watched", of=workspace.token[4:])
            await workspace.ask("POST", "/api/v1/namespaces/demo/configmaps", body)
        for workspace in workspaces.values():
            await workspace.ask("DELETE", "/api/v1/namespaces/demo/configmaps/watched")
        added, deleted = await events(content, 2)
    assert (added["type"], deleted["type"]) == ("ADDED", "DELETED")
    assert added["object"]["data"] == {"of": MINE[4:]}
    assert added["object"]["metadata"]["namespace"] == "demo"
    assert "labels" not in added["object"]["metadata"]
