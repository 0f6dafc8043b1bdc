"""Lists and watches over several namespaces through the mapping, against a real kube-apiserver."""

from __future__ import annotations

import asyncio
import base64
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.kube.client import Client
from proxy.server.pages import Known
from proxy.server.surroundings import Surroundings
from proxy.workload.api import CRDS
from tests.integration.mapping_front import SHARED, Front, Workspace, settled
from tests.integration.mapping_workspaces import (
    BEHIND,
    METADATA,
    MINE,
    RBAC,
    TABLE,
    clean,
    config_map,
    crd,
    names,
)


async def fill(workspaces: dict[str, Workspace], count: int, name: str, label: str = "x") -> None:
    for workspace in workspaces.values():
        for index in range(count):
            body = config_map(f"{name}-{index:03}", a="b")
            body["metadata"]["labels"] = {"fill": label}
            status, _ = await workspace.raw("POST", "/api/v1/namespaces/demo/configmaps", body)
            assert status in (201, 409)


@pytest.fixture(params=["in one", "by namespace"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """How lists over all namespaces are read; the second where much stands behind them."""
    if request.param == "by namespace":
        by_namespace(monkeypatch)


def by_namespace(monkeypatch: pytest.MonkeyPatch, most: int = 100) -> None:
    monkeypatch.setattr(Surroundings, "namespaces", lambda self, listing, *_: most if listing.in_namespaces else 0)


@pytest.mark.usefixtures("way")
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


@pytest.mark.usefixtures("way")
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
    front.lists = Known()

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


async def read_whole(workspace: Workspace, query: str, accept: str) -> tuple[list[str], list[str]]:
    """Namespaces and names of a list's objects, over all its pages, and the versions that its pages are of."""
    found, versions, token = [], [], ""
    while True:
        kept = [part for part in query.split("&") if not token or part.startswith(("limit", "labelS", "fieldS"))]
        asked = "&".join([*kept, f"continue={token}"] if token else kept)
        answer: Any = clean(await workspace.ask("GET", f"/api/v1/secrets?{asked}", accept=accept))
        items = answer["items"] if "items" in answer else [row["object"] for row in answer["rows"]]
        found += ["/".join((item["metadata"]["namespace"], item["metadata"]["name"])) for item in items]
        versions.append(answer["metadata"]["resourceVersion"])
        assert answer.keys() >= {"kind", "apiVersion", "metadata"}
        token = answer["metadata"].get("continue", "")
        if not token:
            return found, versions


@pytest.mark.parametrize("accept", ["", TABLE, METADATA])
@pytest.mark.parametrize("query", ["", "limit=1", "limit=2", "limit=3", "limit=500", "resourceVersion=0"])
async def test_by_namespace_the_same_is_read_as_in_one(
    workspaces: dict[str, Workspace], front: Front, monkeypatch: pytest.MonkeyPatch, accept: str, query: str
) -> None:
    mine = workspaces[MINE]
    # In the order of keys "over-b/" comes before "over/"; one namespace has nothing, one more than a page.
    there = [f"over-b/s-{number}" for number in range(5)] + ["over/s", "over-c/s"]
    for namespace in ("over", "over-b", "over-c", "over-empty"):
        await mine.raw("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
    for workspace in workspaces.values():
        for place in there if workspace is mine else ("default/theirs",):
            namespace, _, name = place.partition("/")
            await workspace.raw("POST", f"/api/v1/namespaces/{namespace}/secrets", {"metadata": {"name": name}})
    wanted, _ = await read_whole(mine, query, accept)
    assert [place for place in wanted if place.startswith("over")] == sorted(there)
    by_namespace(monkeypatch)
    monkeypatch.setattr("proxy.server.pages.LARGEST", 3)
    front.fetched.clear()
    found, versions = await read_whole(mine, query, accept)
    assert found == wanted
    assert len(set(versions)) == 1
    assert not any(b"theirs" in page for page in front.fetched), "what is others' is not even read"
    assert any(b"over-empty" in page for page in front.fetched)
    by_namespace(monkeypatch, 3)
    front.fetched.clear()
    assert (await read_whole(mine, query, accept))[0] == wanted, "there are more namespaces than that"
    assert any(b"theirs" in page for page in front.fetched)


@pytest.mark.parametrize("accept", ["", TABLE, METADATA])
@pytest.mark.parametrize(
    "limit", ["", "&limit=1", "&limit=2", "&limit=500", "&resourceVersion=0", "&resourceVersion=1"]
)
@pytest.mark.parametrize("left_out", ["", "&fieldSelector=metadata.name!%3Dpick-2,metadata.namespace!%3Dpicked-c"])
async def test_by_namespace_the_same_is_selected_as_in_one(
    workspaces: dict[str, Workspace],
    front: Front,
    monkeypatch: pytest.MonkeyPatch,
    accept: str,
    limit: str,
    left_out: str,
) -> None:
    for workspace in workspaces.values():
        for namespace in ("picked", "picked-b", "picked-c"):
            await workspace.raw("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
            for name in ("pick-1", "pick-2", "other"):
                labels = {"pick": name.partition("-")[0], "of": "me" if workspace is workspaces[MINE] else "others"}
                body = {"metadata": {"name": name, "labels": labels}}
                await workspace.raw("POST", f"/api/v1/namespaces/{namespace}/secrets", body)
    mine = workspaces[MINE]
    query = f"labelSelector=pick%3Dpick{left_out}{limit}"
    own = [f"{namespace}/pick-{number}" for namespace in ("picked-b", "picked-c", "picked") for number in (1, 2)]
    wanted = [place for place in own if not left_out or not (place.endswith("-2") or "-c/" in place)]
    assert (await read_whole(mine, query, accept))[0] == wanted
    by_namespace(monkeypatch)
    front.fetched.clear()
    assert (await read_whole(mine, query, accept))[0] == wanted
    assert not any(b'"of":"others"' in page for page in front.fetched)
    by_namespace(monkeypatch, 1)
    assert (await read_whole(mine, query, accept))[0] == wanted, "there are more namespaces than that"


@pytest.mark.parametrize("accept", ["", TABLE, METADATA])
@pytest.mark.parametrize("query", ["", "limit=1", "labelSelector=pick", "labelSelector=pick&limit=1"])
async def test_custom_resources_are_read_by_namespace(
    workspaces: dict[str, Workspace], front: Front, admin: Client, monkeypatch: pytest.MonkeyPatch,
    accept: str, query: str,
) -> None:  # fmt: skip
    """Their lists have kind and metadata at the end."""
    await admin.apply(CRDS, crd("Namespaced", SHARED, "things", "Thing", "size"), manager="test")
    group, mine = "/apis/shared.test/v1", workspaces[MINE]
    for workspace in workspaces.values():
        labels = {"pick": "a", "of": "me" if workspace is mine else "others"}
        thing = {"apiVersion": "shared.test/v1", "kind": "Thing", "metadata": {"name": "t", "labels": labels}}
        for namespace in ("default", "demo"):
            path = f"{group}/namespaces/{namespace}/things"
            if (await workspace.raw("GET", f"{path}/t"))[0] != 200:
                await settled(workspace, "POST", path, thing | {"spec": {"size": 1}})
    for way in (100, 1):
        by_namespace(monkeypatch, way)
        front.fetched.clear()
        answer = clean(await mine.ask("GET", f"{group}/things?{query}", accept=accept))
        assert answer["metadata"].keys() >= {"resourceVersion"}
        found = names(answer)
        assert found == (["t"] if "limit" in query else ["t", "t"])
        assert bool(answer["metadata"].get("continue")) == ("limit" in query)
        assert not any(b'"of":"others"' in page for page in front.fetched) or way == 1


async def test_what_stands_behind_decides_how_a_list_is_read(
    workspaces: dict[str, Workspace], front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the shard says of others' objects behind the first list makes the second one read by namespace."""
    mine, behind = workspaces[MINE], workspaces[BEHIND]
    for number in range(60):
        name = f"crowd-{number}"
        await behind.raw("POST", "/api/v1/namespaces/default/serviceaccounts", {"metadata": {"name": name}})
    await mine.raw("POST", "/api/v1/namespaces/demo/serviceaccounts", {"metadata": {"name": "mine"}})
    front.lists = Known()
    monkeypatch.setattr("proxy.server.surroundings.A_NAMESPACE", 1)
    read: list[tuple[list[str], bool]] = []
    for _ in range(2):
        front.fetched.clear()
        found = names(clean(await mine.ask("GET", "/api/v1/serviceaccounts")))
        read.append((found, any(b"crowd" in page for page in front.fetched)))
    assert "mine" in read[0][0]
    assert read == [(read[0][0], True), (read[0][0], False)]


async def test_by_namespace_a_list_is_of_one_version(
    workspaces: dict[str, Workspace], front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is made while it is read is not in it, and what is removed is."""
    mine = workspaces[MINE]
    await mine.raw("POST", "/api/v1/namespaces/demo/secrets", {"metadata": {"name": "stays"}})
    before = await mine.ask("GET", "/api/v1/secrets")
    by_namespace(monkeypatch)

    async def changed() -> None:
        await mine.ask("DELETE", "/api/v1/namespaces/demo/secrets/stays")
        await mine.raw("POST", "/api/v1/namespaces", {"metadata": {"name": "late"}})
        await mine.ask("POST", "/api/v1/namespaces/late/secrets", {"metadata": {"name": "late"}})

    front.behind_first = changed
    found = await mine.ask("GET", "/api/v1/secrets")
    assert names(found) == names(before)
    version = found["metadata"]["resourceVersion"]
    exact = await mine.ask("GET", f"/api/v1/secrets?resourceVersion={version}&resourceVersionMatch=Exact")
    assert names(exact) == names(before)
    now = await mine.ask("GET", f"/api/v1/secrets?resourceVersion={version}&resourceVersionMatch=NotOlderThan")
    assert set(names(now)) == set(names(before)) - {"stays"} | {"late"}
    assert (await mine.raw("GET", "/api/v1/secrets?resourceVersion=999999999"))[0] == 504


@pytest.mark.usefixtures("way")
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
