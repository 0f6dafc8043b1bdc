"""Watches that share requests to the shard, in the whole product: one per worker, and nobody else's events."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from proxy.kube.config import load_kubeconfig
from tests.e2e.workspaces.installation import Installation
from tests.e2e.workspaces.twins import DEFAULT, Api
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

EACH = 5


async def shard_watches(shard: Api, resource: str) -> int:
    """That the shard has now for all workspaces."""
    text = (await shard.ask("GET", "/metrics", Accept_Encoding="identity")).body.decode()
    wanted = (f'resource="{resource}"', 'verb="WATCH"')
    return sum(
        round(float(line.rpartition(" ")[2]))
        for line in text.splitlines()
        if line.startswith("apiserver_longrunning_requests{") and all(label in line for label in wanted)
    )


async def shard_is_settled(kcp_process: Kcp) -> bool:
    """Whether its garbage collector, which comes up behind kcp, has all the watches that it will have."""
    log = kcp_process.root / "log" / "kube-controller-manager.log"
    return log.exists() and "all resource monitors have synced" in log.read_text()


def changes(events: list[Any]) -> list[Any]:
    return [event for event in events if event["type"] != "BOOKMARK"]


async def test_one_request_per_worker_and_workspace(kcp_process: Kcp, kcp: Installation) -> None:
    paths = [await kcp.fresh() for _ in range(2)]
    one, other = (Api(path, load_kubeconfig(kcp.config(path))) for path in paths)
    shard = Api("shard", load_kubeconfig(kcp_process.root / "shard" / "admin.kubeconfig"))
    await eventually(partial(shard_is_settled, kcp_process))
    before = await shard_watches(shard, "secrets")
    versions = {
        api: (await api.must("GET", f"{DEFAULT}/secrets?limit=1"))["metadata"]["resourceVersion"]
        for api in (one, other)
    }

    opened: list[None] = []

    def both(events: list[Any]) -> bool:
        return len(changes(events)) >= 2

    queries = ("resourceVersion={}", "resourceVersion={}&allowWatchBookmarks=true", "fieldSelector=type%3DOpaque", "")
    watches = [
        asyncio.create_task(
            api.watch(
                f"{place}?watch=1&{query.format(versions[api])}", both, within=120, opened=lambda: opened.append(None)
            )
        )
        for api in (one, other)
        for place in (f"{DEFAULT}/secrets", "/api/v1/secrets")
        for query in queries
        for _ in range(EACH)
    ]

    async def all_opened() -> bool:
        return len(opened) == len(watches)

    async def shared() -> bool:
        """Those of one workspace about the same: by namespace and over all, with the selector and without it."""
        now = await shard_watches(shard, "secrets") - before
        return 0 < now <= 2 * 2 * 2 * workers

    workers = len(list((kcp_process.root / "log").glob("worker-*.log")))
    assert workers > 0
    await eventually(all_opened)  # one that begins with a state after the change would be ahead of others for a minute
    for api in (one, other):
        await api.must("POST", f"{DEFAULT}/secrets", {"metadata": {"name": f"of-{api.name.rpartition(':')[2]}-a"}})
    await eventually(shared)
    for api in (one, other):
        await api.must("POST", f"{DEFAULT}/secrets", {"metadata": {"name": f"of-{api.name.rpartition(':')[2]}-b"}})
    found = await asyncio.gather(*watches)
    half = len(found) // 2
    for api, of_it in ((one, found[:half]), (other, found[half:])):
        name = f"of-{api.name.rpartition(':')[2]}"
        for events in of_it:
            assert [event["object"]["metadata"]["name"] for event in changes(events)] == [f"{name}-a", f"{name}-b"]
            assert all(event["object"]["metadata"]["namespace"] == "default" for event in changes(events))
            assert not any("labels" in event["object"]["metadata"] for event in events)

    async def given_back() -> bool:
        return await shard_watches(shard, "secrets") <= before

    await eventually(given_back)
    for api in (one, other, shard):
        await api.close()
