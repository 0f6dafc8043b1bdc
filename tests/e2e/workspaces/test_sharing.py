"""Workspaces that import the same type share a CRD of the shard, and nothing else."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from proxy.workload.api import CRDS
from tests.e2e.workspaces.importing import GROUP, Importer
from tests.e2e.workspaces.installation import CONFIGMAPS, WORKSPACES, Installation
from tests.integration.eventually import eventually

MOONS = Resource(GROUP, "v1", "moons")
SUNS = Resource(GROUP, "v1", "suns", namespaced=False)
COMETS = Resource(GROUP, "v1", "comets")
BINDINGS = Resource("internal.kcp.dev", "v1alpha1", "typebindings", namespaced=False)
QUOTAS = Resource("", "v1", "resourcequotas")
APPLY = "application/apply-patch+yaml"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pair(kcp: Installation) -> AsyncIterator[tuple[Importer, Importer]]:
    made = [await Importer.fresh(kcp) for _ in range(2)]
    for importer in made:
        await importer.cluster()
        await importer.imports(MOONS, "Moon")
        await importer.imports(SUNS, "Sun")
    for importer in made:
        await importer.served(MOONS)
        await importer.served(SUNS)
        await importer.make(MOONS, "Moon", "luna", spec={"size": 1}, metadata={"labels": {"of": word_of(importer)}})
        await importer.make(SUNS, "Sun", "sol", spec={"size": 1})
    yield made[0], made[1]


def word_of(importer: Importer) -> str:
    return importer.path.rpartition(":")[2]


async def names(importer: Importer, resource: Resource, **selectors: str | None) -> list[str]:
    label, field = selectors.get("label_selector"), selectors.get("field_selector")
    listed = await importer.client.list(resource, label_selector=label, field_selector=field)
    return [item["metadata"]["name"] for item in listed["items"]]


async def shared(kcp: Installation, plural: str) -> list[str]:
    """Names of the CRDs of a kind on the shard."""
    return [
        crd["metadata"]["name"]
        for crd in (await kcp.shard.list(CRDS))["items"]
        if crd["spec"]["names"]["plural"] == plural
    ]


async def test_one_crd(kcp: Installation, pair: tuple[Importer, Importer]) -> None:
    for plural in ("moons", "suns"):
        (name,) = await shared(kcp, plural)
        assert name.startswith(f"{plural}.0kcp")
        assert name.endswith(f".{GROUP}")
    for importer in pair:
        (crd,) = await shared(kcp, "moons")
        stored = await kcp.shard.get(
            Resource(crd.partition(".")[2], "v1", "moons"), "luna", f"{importer.token}-default"
        )
        assert stored["metadata"]["labels"]["0.kcp.dev/w"] == importer.token


async def test_objects_are_ones_own(pair: tuple[Importer, Importer]) -> None:
    one, other = pair
    await one.make(MOONS, "Moon", "phobos", spec={"size": 7})
    await one.make(SUNS, "Sun", "vega", spec={"size": 7})
    assert await names(one, MOONS) == ["luna", "phobos"]
    assert await names(other, MOONS) == ["luna"]
    assert await names(one, SUNS) == ["sol", "vega"]
    assert await names(other, SUNS) == ["sol"]
    assert await names(other, SUNS, field_selector="metadata.name=vega") == []
    assert await names(other, MOONS, label_selector=f"of={word_of(one)}") == []
    assert await names(one, MOONS, label_selector=f"of={word_of(one)}") == ["luna"]
    for path in (MOONS.path("default", "phobos"), SUNS.path(name="vega")):
        for method in ("GET", "DELETE"):
            await other.refused(404, method, path)
    # The same name is another object.
    await one.client.patch(SUNS, "sol", {"spec": {"size": 99}})
    assert (await other.client.get(SUNS, "sol"))["spec"] == {"size": 1}
    await one.client.delete(SUNS, "sol")
    assert await names(other, SUNS) == ["sol"]
    # All of mine are mine.
    await other.client.request("DELETE", MOONS.path("default"))
    await other.client.request("DELETE", SUNS.path())
    assert await names(one, MOONS) == ["luna", "phobos"]
    assert await names(one, SUNS) == ["vega"]
    assert await names(other, MOONS) == await names(other, SUNS) == []


async def test_pages_end_with_the_workspace(pair: tuple[Importer, Importer]) -> None:
    for importer in pair:
        for number in range(5):
            await importer.make(SUNS, "Sun", f"page-{number}")
    for importer in pair:
        seen: list[str] = []
        going_on = ""
        while True:
            params: dict[str, str | int | None] = {"limit": 2, "continue": going_on or None}
            page = await importer.client.request("GET", SUNS.path(), params=params)
            seen += [item["metadata"]["name"] for item in page["items"]]
            going_on = page["metadata"].get("continue", "")
            if not going_on:
                break
        assert [name for name in seen if name.startswith("page-")] == [f"page-{number}" for number in range(5)]
        assert seen == await names(importer, SUNS)


async def test_watches_see_ones_own(pair: tuple[Importer, Importer]) -> None:
    one, other = pair

    async def follow(importer: Importer, resource: Resource) -> list[str]:
        version = (await importer.client.list(resource))["metadata"]["resourceVersion"]
        started.release()
        seen = []
        async for event in importer.client.watch(resource, resource_version=version):
            seen.append(event["object"]["metadata"]["name"])
            assert "0kcp" not in json.dumps(event)
            if seen[-1].endswith("last"):
                return seen
        return seen

    started = asyncio.Semaphore(0)
    tasks = [asyncio.create_task(follow(importer, resource)) for importer in pair for resource in (MOONS, SUNS)]
    for _ in tasks:
        await started.acquire()
    for importer, word in ((one, "one"), (other, "other")):
        for name in (f"{word}-first", f"{word}-last"):
            await importer.make(MOONS, "Moon", name)
            await importer.make(SUNS, "Sun", name)
    async with asyncio.timeout(30):
        seen = await asyncio.gather(*tasks)
    assert seen == [[f"{word}-first", f"{word}-last"] for word in ("one", "one", "other", "other")]


async def test_nothing_says_how_it_is_called_below(kcp: Installation, pair: tuple[Importer, Importer]) -> None:
    one, _ = pair
    body = {"apiVersion": MOONS.api_version, "kind": "Moon", "metadata": {"name": "applied"}, "spec": {"size": 3}}
    path = MOONS.path("default", "applied")
    for size in (3, 4):
        body["spec"] = {"size": size}
        params: dict[str, str | int | None] = {"fieldManager": "tester"}
        made = await one.client.request("PATCH", path, body=body, content_type=APPLY, params=params)
    assert made["apiVersion"] == MOONS.api_version
    assert [(entry["manager"], entry["apiVersion"]) for entry in made["metadata"]["managedFields"]] == [
        ("tester", MOONS.api_version)
    ]
    made["status"] = {"seen": 2}
    written = await one.client.request("PUT", f"{path}/status", body=made)
    assert (written["spec"], written["status"]) == ({"size": 4}, {"seen": 2})
    wrong = {**body, "metadata": {"name": "wrong"}, "spec": {"size": "large"}}
    refusal = await one.refused(422, "POST", MOONS.path("default"), wrong)
    assert refusal.message.startswith(f'Moon.{GROUP} "wrong" is invalid: spec.size: Invalid value: "string"')
    missing = await one.refused(404, "GET", MOONS.path("default", "none"))
    assert missing.message == f'moons.{GROUP} "none" not found'
    for arguments in (
        ["get", "moons", "-A", "-o", "yaml"], ["get", "moons,suns", "-A"], ["explain", "moons.spec"],
        ["api-resources", "-o", "wide"], ["get", "--raw", f"/openapi/v3/apis/{GROUP}/v1"], ["get", "crds"],
        ["get", "--raw", "/openapi/v2"], ["get", "--raw", "/apis"],
    ):  # fmt: skip
        answer = await kcp.kubectl(one.path, *arguments)
        assert answer.code == 0, answer.err
        assert "0kcp" not in answer.text, arguments
    document = await one.client.request("GET", f"/openapi/v3/apis/{GROUP}/v1")
    assert set(document["paths"]) >= {f"/apis/{GROUP}/v1/suns", f"/apis/{GROUP}/v1/namespaces/{{namespace}}/moons"}
    operation = document["paths"][f"/apis/{GROUP}/v1/suns"]["get"]
    assert operation["operationId"] == "listStarsExampleComV1Sun"
    assert operation["tags"] == ["starsExampleCom_v1"]


async def test_the_crd_is_nobodys(kcp: Installation, pair: tuple[Importer, Importer]) -> None:
    one, _ = pair
    (name,) = await shared(kcp, "moons")
    group = name.partition(".")[2]
    stranger = await Importer.fresh(kcp)
    for importer in (one, stranger):
        assert not [crd for crd in await names(importer, CRDS) if crd.startswith("moons.")]
        for crd, code in ((name, 422), (f"moons.{GROUP}", 404)):
            await importer.refused(404, "GET", CRDS.path(name=crd))
            await importer.refused(code, "DELETE", CRDS.path(name=crd))
        # Who knows the name gains nothing by it.
        for path in (f"/apis/{group}/v1/moons", f"/apis/{group}/v1/namespaces/default/moons/luna"):
            await importer.refused(404, "GET", path)
        await importer.refused(404, "GET", BINDINGS.path())
    await stranger.refused(404, "GET", MOONS.path())
    by_hand = {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"moons.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Namespaced", "names": {"plural": "moons", "kind": "Moon"}},
    }
    refusal = await one.refused(409, "POST", CRDS.path(), by_hand)
    assert refusal.reason == "AlreadyExists"
    literal = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "literal"}, "data": {"group": group}}
    await one.refused(422, "POST", CONFIGMAPS.path("default"), literal)


async def test_owners_and_quotas(pair: tuple[Importer, Importer]) -> None:
    one, _ = pair
    owner = await one.make(SUNS, "Sun", "owner")
    reference = {"apiVersion": SUNS.api_version, "kind": "Sun", "name": "owner", "uid": owner["metadata"]["uid"]}
    for number in range(2):
        await one.make(CONFIGMAPS, "ConfigMap", f"owned-{number}", metadata={"ownerReferences": [reference]})
    assert (await one.client.get(CONFIGMAPS, "owned-0", "default"))["metadata"]["ownerReferences"] == [reference]
    await one.client.delete(SUNS, "owner")

    async def collected() -> bool:
        return not [name for name in await names(one, CONFIGMAPS) if name.startswith("owned-")]

    await eventually(collected)

    await one.namespace("limited")
    count = f"count/moons.{GROUP}"
    quota: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    made = await one.client.create(QUOTAS, {**quota, "spec": {"hard": {count: "1"}}}, "limited")
    assert made["spec"]["hard"] == {count: "1"}

    turns = itertools.cycle(("8", "9"))

    async def counted() -> bool:
        # A controller that has not heard of the type yet looks again when the quota changes, or minutes later.
        changed = {"spec": {"hard": {"secrets": next(turns)}}}
        await one.client.patch(QUOTAS, "few", changed, "limited")
        await asyncio.sleep(0.5)
        status = (await one.client.get(QUOTAS, "few", "limited")).get("status") or {}
        return bool(status.get("used", {}).get(count) == "0")

    await eventually(counted, timeout=80)
    await one.make(MOONS, "Moon", "first", "limited")
    body = {"apiVersion": MOONS.api_version, "kind": "Moon", "metadata": {"name": "second"}}
    refusal = await one.refused(403, "POST", MOONS.path("limited"), body)
    assert f"exceeded quota: few, requested: {count}=1, used: {count}=1, limited: {count}=1" in refusal.message


async def test_rights_are_those_of_the_workspace(kcp: Installation, pair: tuple[Importer, Importer]) -> None:
    one, other = pair
    enter = ["--verb=access", "--resource=clusterworkspaces/content"]
    assert (await kcp.kubectl("root:tests", "create", "clusterrole", "sharing-enter", *enter)).code == 0
    grant = ["create", "clusterrolebinding", "sharing-enter", "--clusterrole=sharing-enter", "--user=alice"]
    assert (await kcp.kubectl("root:tests", *grant)).code == 0
    rule = ["--verb=get,list", f"--resource=moons.{GROUP}"]
    assert (await kcp.kubectl(one.path, "create", "clusterrole", "reader", *rule)).code == 0
    bind = ["create", "clusterrolebinding", "alice", "--clusterrole=reader", "--user=alice"]
    assert (await kcp.kubectl(one.path, *bind)).code == 0
    allowed = await kcp.kubectl(one.path, "get", "moons", "-A", token="alice-token")
    assert allowed.code == 0, allowed.err
    can = await kcp.kubectl(one.path, "auth", "can-i", "create", f"moons.{GROUP}", token="alice-token")
    assert can.out.strip() == "no"
    denied = await kcp.kubectl(one.path, "delete", "moons", "luna", token="alice-token")
    assert f'moons.{GROUP} "luna" is forbidden' in denied.err
    elsewhere = await kcp.kubectl(other.path, "get", "moons", "-A", token="alice-token")
    assert "is forbidden" in elsewhere.err


async def test_a_workspace_that_goes_takes_its_own_along(kcp: Installation, pair: tuple[Importer, Importer]) -> None:
    one, _ = pair
    leaver = await Importer.fresh(kcp)
    await leaver.cluster()
    await leaver.imports(MOONS, "Moon")
    await leaver.imports(SUNS, "Sun")
    await leaver.served(MOONS)
    await leaver.served(SUNS)
    await leaver.make(MOONS, "Moon", "gone")
    await leaver.make(SUNS, "Sun", "gone")
    before = await names(one, MOONS), await names(one, SUNS)
    parent = kcp.client("root:tests")
    await parent.delete(WORKSPACES, word_of(leaver))

    async def left() -> bool:
        found = []
        for plural in ("moons", "suns"):
            (crd,) = await shared(kcp, plural)
            resource = Resource(crd.partition(".")[2], "v1", plural)
            listed = await kcp.shard.list(resource, label_selector=f"0.kcp.dev/w={leaver.token}")
            found += listed["items"]
        found += (await kcp.shard.list(BINDINGS, label_selector=f"0.kcp.dev/w={leaver.token}"))["items"]
        return not found

    await eventually(left, timeout=90)
    assert (await names(one, MOONS), await names(one, SUNS)) == before


@pytest.mark.parametrize("kind", ["integer", "string"])
async def test_another_schema_is_another_crd(kcp: Installation, kind: str) -> None:
    importer = await Importer.fresh(kcp)
    await importer.cluster()
    schema: Object = {
        "type": "object",
        "properties": {"spec": {"type": "object", "properties": {"tail": {"type": kind}}}},
    }
    await importer.imports(COMETS, "Comet", schema)
    await importer.served(COMETS)
    wrong, right = ({"tail": "long"}, {"tail": 3}) if kind == "integer" else ({"tail": 3}, {"tail": "long"})
    assert (await importer.make(COMETS, "Comet", "halley", spec=right))["spec"] == right
    with pytest.raises(StatusError) as refusal:
        await importer.make(COMETS, "Comet", "encke", spec=wrong)
    assert refusal.value.code == 422
