"""resourceVersion in lists, in one namespace and over all of them, where they are put together by the proxy."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from tests.clients import same
from tests.e2e.workspaces.twins import DEFAULT, RBAC, Answer, Api, Twins

PLACES = (f"{DEFAULT}/configmaps", "/api/v1/configmaps", f"{RBAC}/clusterrolebindings")
LISTS = (
    "", "?resourceVersion=0", "?resourceVersion=1", "?resourceVersion=x", "?resourceVersion=-1",
    "?resourceVersion=99999999999", "?resourceVersionMatch=Exact", "?resourceVersionMatch=NotOlderThan",
    "?resourceVersion=0&resourceVersionMatch=Exact", "?resourceVersion=0&resourceVersionMatch=NotOlderThan",
    "?resourceVersion=1&resourceVersionMatch=NotOlderThan", "?resourceVersion=1&resourceVersionMatch=Other",
    "?resourceVersion=99999999999&resourceVersionMatch=Exact", "?limit=x", "?limit=-1", "?limit=1&resourceVersion=0",
    "?sendInitialEvents=true", "?sendInitialEvents=true&resourceVersionMatch=NotOlderThan", "?timeoutSeconds=x",
    "?fieldSelector=metadata.name%3Dnone&resourceVersion=99999999999", "?fieldSelector=a%3Db", "?limit=",
    "?timeoutSeconds=", "?resourceVersion=", "?labelSelector=%20", "?labelSelector=%20&limit=0", "?limit=00",
    "?labelSelector=a&limit=x", "?labelSelector=a&limit=1&continue=x", "?labelSelector=a&limit=1&resourceVersion=0",
)  # fmt: skip


def brief(answer: Answer) -> Any:
    """Of a Status all, of a list what is asked here."""
    value = answer.json
    if value["kind"] == "Status":
        return re.sub(r"current: \d+", "current: N", str((answer.status, same.obj(value))))
    return answer.status, value["kind"], "continue" in value["metadata"], value["metadata"]["resourceVersion"] > "0"


@pytest.mark.parametrize("place", PLACES)
async def test_lists(twins: Twins, place: str) -> None:
    async def scenario(api: Api) -> Any:
        binding = {
            "metadata": {},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "x"},
        }
        for name in ("versions-a", "versions-b"):
            binding["metadata"] = {"name": name}
            await api.ask("POST", f"{RBAC}/clusterrolebindings", binding)
        # All at once: for a version that is yet to come a server waits three seconds.
        answers = await asyncio.gather(*(api.ask("GET", place + query) for query in LISTS))
        return [(query, brief(answer)) for query, answer in zip(LISTS, answers, strict=True)]

    await twins.same(scenario)


@pytest.mark.parametrize("place", PLACES[:2])
async def test_an_exact_version_shows_what_was(twins: Twins, place: str) -> None:
    async def scenario(api: Api) -> Any:
        for name in ("exact-1", "exact-2", "exact-3"):
            await api.ask("DELETE", f"{DEFAULT}/configmaps/{name}")
        await api.must("POST", f"{DEFAULT}/configmaps", {"metadata": {"name": "exact-1"}})
        made = await api.must("POST", f"{DEFAULT}/configmaps", {"metadata": {"name": "exact-2"}})
        version = made["metadata"]["resourceVersion"]
        await api.must("DELETE", f"{DEFAULT}/configmaps/exact-1")
        last = await api.must("POST", f"{DEFAULT}/configmaps", {"metadata": {"name": "exact-3"}})
        asked = [
            f"?resourceVersion={version}&resourceVersionMatch=Exact",
            f"?resourceVersion={version}&resourceVersionMatch=Exact&limit=500",
            f"?resourceVersion={version}&resourceVersionMatch=NotOlderThan",
            f"?resourceVersion={last['metadata']['resourceVersion']}",
            "",
        ]
        seen = []
        for query in asked:
            answer = await api.must("GET", place + query)
            names = [item["metadata"]["name"] for item in answer["items"]]
            exact = answer["metadata"]["resourceVersion"] == version
            seen.append(([name for name in names if name.startswith("exact-")], exact))
        return seen

    seen = await twins.same(scenario)
    assert seen[0] == (["exact-1", "exact-2"], True)
    assert seen[3] == (["exact-2", "exact-3"], False)


@pytest.mark.parametrize("place", PLACES[:2])
async def test_pages_are_of_one_version(twins: Twins, place: str) -> None:
    async def scenario(api: Api) -> Any:
        for n in range(7):
            await api.ask("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": f"pages-{n}"}})
        where = place.replace("configmaps", "serviceaccounts")
        names: list[str] = []
        versions = set()
        query = "limit=3"
        pages = 0
        while query:
            page = await api.must("GET", f"{where}?{query}")
            pages += 1
            names += [item["metadata"]["name"] for item in page["items"] if item["metadata"]["namespace"] == "default"]
            versions.add(page["metadata"]["resourceVersion"])
            token = page["metadata"].get("continue")
            query = f"limit=3&continue={token}" if token else ""
            if pages == 1:
                await api.must("DELETE", f"{DEFAULT}/serviceaccounts/pages-6")
        return len(versions), [name for name in names if name.startswith("pages-")]

    assert (await twins.same(scenario))[1] == [f"pages-{n}" for n in range(7)]
