"""Workers say how far they have followed a shard, and those that do not are waited for until they cannot serve."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.leadership import LEASES
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy.index import DEPARTED, FROZEN, LOGICAL_CLUSTERS, Workspace, WorkspaceIndex
from proxy.tenancy.presence import NAMESPACE, Presence, Timing, Workers
from tests.faults import disk
from tests.integration.eventually import eventually

TOKEN = "kaaaaaaab"
QUICK = Timing(duration=3.0, trusted=2.0, renew=0.4)


class Requests:
    """Those of a worker that has a write under way until it is ``done``."""

    def __init__(self) -> None:
        self.done = asyncio.Event()
        self.forsaken: list[str] = []

    async def settled(self, workspace: Workspace) -> None:
        await self.done.wait()

    def forsake(self, shard: str) -> None:
        self.forsaken.append(shard)


class Worker:
    """What there is of a worker here."""

    def __init__(self, client: Client, name: str) -> None:
        self.index = WorkspaceIndex({"us": client})
        self.requests = Requests()
        self._presence = Presence({"us": client}, self.index, self.requests, name, QUICK)
        self.task = asyncio.create_task(self._presence.run())


@pytest.fixture
async def below(shard: ControlPlane) -> AsyncIterator[Client]:
    async with shard.client() as client:
        spec = {"path": "root:a", "type": "Universal", "move": {"shard": "eu", "stage": FROZEN}}
        obj: Object = {
            "apiVersion": LOGICAL_CLUSTERS.api_version,
            "kind": "LogicalCluster",
            "metadata": {"name": TOKEN},
            "spec": spec,
        }
        await client.apply(LOGICAL_CLUSTERS, obj, manager="test")
        yield client
        await client.delete(LOGICAL_CLUSTERS, TOKEN)


async def test_everybody_is_waited_for(below: Client) -> None:
    first, second = Worker(below, "kcp-worker-first"), Worker(below, "kcp-worker-second")
    workers = Workers(below)
    for worker in (first, second):
        await eventually(lambda worker=worker: _knows(worker))  # type: ignore[misc]
    generation = (await below.get(LOGICAL_CLUSTERS, TOKEN))["metadata"]["generation"]
    following = asyncio.create_task(workers.follow(TOKEN, generation))
    first.requests.done.set()
    await asyncio.sleep(4 * QUICK.renew)
    assert not following.done(), "the second has a write under way"
    second.requests.done.set()
    await following
    # The next stage is another matter.
    second.requests.done.clear()
    changed = await below.patch(LOGICAL_CLUSTERS, TOKEN, {"spec": {"move": {"stage": DEPARTED}}})
    following = asyncio.create_task(workers.follow(TOKEN, changed["metadata"]["generation"]))
    await asyncio.sleep(4 * QUICK.renew)
    assert not following.done()
    # One that ends in good order is not waited for.
    second.task.cancel()
    await following
    first.task.cancel()

    async def gone() -> bool:
        names = {item["metadata"]["name"] for item in (await below.list(LEASES, NAMESPACE))["items"]}
        return not names & {"kcp-worker-first", "kcp-worker-second"}

    await eventually(gone)


async def test_one_that_is_lost_stops_before_it_is_given_up(below: Client) -> None:
    lost = Client(below.connection)
    worker = Worker(lost, "kcp-worker-lost")
    worker.requests.done.set()
    await eventually(lambda: _knows(worker))
    assert worker.index.trusted("us")
    workers = Workers(below)
    generation = (await below.get(LOGICAL_CLUSTERS, TOKEN))["metadata"]["generation"]
    await workers.follow(TOKEN, generation)
    lost.connection = replace(below.connection, server="https://127.0.0.1:1")
    began = time.monotonic()
    following = asyncio.create_task(workers.follow(TOKEN, generation + 1))

    async def forsaken() -> bool:
        return worker.requests.forsaken == ["us"]

    await eventually(forsaken)
    assert not worker.index.trusted("us")
    assert not following.done()
    await following
    assert time.monotonic() - began > QUICK.trusted
    # It is suspected no more when it is back, begins with a list, and is trusted again.
    lost.connection = below.connection

    async def back() -> bool:
        return worker.index.trusted("us") and await _knows(worker)

    await eventually(back)
    await workers.present()
    worker.task.cancel()
    await asyncio.gather(worker.task, return_exceptions=True)
    await lost.close()


async def test_a_shard_that_takes_no_writes_is_read(below: Client, shard: ControlPlane) -> None:
    worker = Worker(below, "kcp-worker-reading")
    await eventually(lambda: _knows(worker))
    held = await below.get(LEASES, "kcp-worker-reading", NAMESPACE)
    etcd = shard.settings.folder / "etcd"
    await disk.fill(etcd)
    try:
        await asyncio.sleep(2 * QUICK.trusted)
        assert worker.index.trusted("us")
        assert worker.requests.forsaken == []
        # Nobody can take it for gone meanwhile, for which something has to be written.
        with pytest.raises(StatusError, match="database space exceeded"):
            await Workers(below).follow(TOKEN, 10**9)
        # Another one can take its place.
        worker.task.cancel()
        await asyncio.gather(worker.task, return_exceptions=True)
        worker = Worker(below, "kcp-worker-reading")
        await eventually(lambda: _knows(worker))
        assert worker.index.trusted("us")
        kept = await below.get(LEASES, "kcp-worker-reading", NAMESPACE)
        assert kept["spec"]["holderIdentity"] == held["spec"]["holderIdentity"]
    finally:
        await disk.free(etcd)

    async def renewed() -> bool:
        lease = await below.get(LEASES, "kcp-worker-reading", NAMESPACE)
        return bool(lease["metadata"]["resourceVersion"] != kept["metadata"]["resourceVersion"])

    await eventually(renewed)
    worker.task.cancel()
    await asyncio.gather(worker.task, return_exceptions=True)


async def test_who_finds_its_lease_taken_does_not_act(below: Client, shard: ControlPlane) -> None:
    worker = Worker(below, "kcp-worker-taken")
    await eventually(lambda: _knows(worker))
    etcd = shard.settings.folder / "etcd"
    while True:  # it may take it back before the shard is full
        await below.patch(LEASES, "kcp-worker-taken", {"spec": {"holderIdentity": None}}, NAMESPACE)
        await disk.fill(etcd)
        if not (await below.get(LEASES, "kcp-worker-taken", NAMESPACE))["spec"].get("holderIdentity"):
            break
        await disk.free(etcd)
    try:

        async def forsaken() -> bool:
            return worker.requests.forsaken == ["us"]

        await eventually(forsaken)
        assert not worker.index.trusted("us")
    finally:
        await disk.free(etcd)

    async def back() -> bool:
        lease = await below.get(LEASES, "kcp-worker-taken", NAMESPACE)
        return bool(lease["spec"].get("holderIdentity")) and worker.index.trusted("us")

    await eventually(back)
    worker.task.cancel()
    await asyncio.gather(worker.task, return_exceptions=True)


async def _knows(worker: Worker) -> bool:
    return worker.index.by_token(TOKEN) is not None
