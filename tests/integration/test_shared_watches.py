"""Watches that share a request, before a real kube-apiserver: who sees what, and what it costs the shard."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import aiohttp
import orjson
import pytest
import pytest_asyncio

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.integration.eventually import eventually
from tests.integration.transport_front import Transport, transport

CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
WATCHERS = 200


@dataclass
class Side:
    """The shard, and the transport before it."""

    plane: ControlPlane
    front: Transport
    client: Client
    """Through the transport."""
    direct: Client
    numbers: int = 0

    async def namespace(self) -> str:
        """A new one, with a first object: what was before it is not known to a watch cache that began here."""
        self.numbers += 1
        name = f"of-watches-{self.numbers}"
        await self.direct.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await self.write("first", name)
        return name

    async def write(self, name: str, namespace: str, size: int = 1) -> int:
        """Make an object; its version."""
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v" * size}}
        made = await self.direct.create(CONFIGMAPS, body, namespace)
        return int(made["metadata"]["resourceVersion"])

    async def versions(self, namespace: str) -> tuple[int, list[int]]:
        """Of the list, and of its objects in order."""
        listed = await self.direct.list(CONFIGMAPS, namespace)
        found = sorted(int(item["metadata"]["resourceVersion"]) for item in listed["items"])
        return int(listed["metadata"]["resourceVersion"]), found

    async def shard_watches(self) -> int:
        """Of configmaps in one namespace, that the shard has now."""
        text = str(await self.direct.request("GET", "/metrics"))
        wanted = ('resource="configmaps"', 'scope="namespace"', 'verb="WATCH"')
        return sum(
            round(float(line.rpartition(" ")[2]))
            for line in text.splitlines()
            if line.startswith("apiserver_longrunning_requests{") and all(label in line for label in wanted)
        )


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def side(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Side]:
    settings = ControlPlaneSettings(folder=tmp_path_factory.mktemp("shared"), durable=False, controllers=())
    async with ControlPlane(settings) as plane:
        with transport(plane, tmp_path_factory.mktemp("before"), shared=True) as front:
            async with front.client() as client, plane.client() as direct:
                yield Side(plane, front, client, direct)


async def watch(
    connection: Client, trust: Any, namespace: str, query: str, enough: Callable[[list[Any]], bool]
) -> list[Any]:
    """Events of a watch until they are enough or it ends."""
    url = f"{connection.connection.server}/api/v1/namespaces/{namespace}/configmaps?watch=true&{query}"
    events: list[Any] = []
    bearer = connection.connection.bearer()
    headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        asyncio.timeout(60),
        session.get(url, ssl=trust) as answer,
    ):
        assert answer.status == 200, await answer.text()
        async for line in answer.content:
            events.append(orjson.loads(line))
            if enough(events):
                break
    return events


def _as_many(count: int, events: list[Any]) -> bool:
    return len(events) >= count


def told(events: list[Any]) -> list[tuple[str, int]]:
    return [(event["type"], int(event["object"]["metadata"].get("resourceVersion", 0))) for event in events]


@dataclass
class Watcher:
    """Follows a namespace as a client does that loses nothing: from its own version on, and anew where that has
    expired."""

    client: Client
    namespace: str
    runs: list[tuple[int, list[int]]] = field(default_factory=list)
    """Version of each beginning, and what was seen from there on."""

    @property
    def last(self) -> int:
        begin, seen = self.runs[-1]
        return seen[-1] if seen else begin

    async def run(self, begin: int) -> None:
        self.runs.append((begin, []))
        while True:
            try:
                events = self.client.watch(CONFIGMAPS, self.namespace, resource_version=str(self.last))
                async for event in events:
                    version = int(event["object"]["metadata"]["resourceVersion"])
                    if event["type"] != "BOOKMARK":
                        self.runs[-1][1].append(version)
            except StatusError as error:
                if error.code == 410:
                    await self._anew()
            await asyncio.sleep(random.uniform(0.02, 0.1))

    async def _anew(self) -> None:
        try:
            listed = await self.client.list(CONFIGMAPS, self.namespace)
        except StatusError:
            return
        self.runs.append((int(listed["metadata"]["resourceVersion"]), []))

    def check(self, log: list[int]) -> None:
        for number, (begin, seen) in enumerate(self.runs):
            last = self.last if number == len(self.runs) - 1 else (seen[-1] if seen else begin)
            assert seen == [version for version in log if begin < version <= last]


async def end(tasks: Iterable[asyncio.Task[None]], clients: Iterable[Client]) -> None:
    """Of watchers."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    for client in clients:
        await client.close()


async def test_many_watchers_are_one_to_the_shard(side: Side) -> None:
    namespace = await side.namespace()
    begin, _ = await side.versions(namespace)
    own = await side.shard_watches()  # a kube-apiserver's of itself
    clients = [side.front.client() for _ in range(4)]
    watchers = [Watcher(clients[number % 4], namespace) for number in range(WATCHERS)]
    # The second half comes while events do, with versions that are as old as those of the first.
    tasks = [asyncio.create_task(watcher.run(begin)) for watcher in watchers[: WATCHERS // 2]]
    for number in range(20):
        await side.write(f"o-{number}", namespace)
    tasks += [asyncio.create_task(watcher.run(begin)) for watcher in watchers[WATCHERS // 2 :]]
    for number in range(20, 40):
        last = await side.write(f"o-{number}", namespace)

    async def seen() -> bool:
        return all(watcher.last == last for watcher in watchers)

    async def one() -> bool:
        return await side.shard_watches() == own + 1

    await eventually(seen)
    await eventually(one)
    _, log = await side.versions(namespace)
    for watcher in watchers:
        assert len(watcher.runs) == 1
        watcher.check(log)
    await end(tasks, clients)

    async def none() -> bool:
        return await side.shard_watches() == own

    await eventually(none)


async def test_every_beginning_is_as_the_shards(side: Side) -> None:
    namespace = await side.namespace()
    begin, _ = await side.versions(namespace)
    await side.write("second", namespace)
    listed, _ = await side.versions(namespace)
    initial = "sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    queries = {
        "": 2, "resourceVersion=0": 2, "resourceVersion=0&allowWatchBookmarks=true": 2, f"resourceVersion={begin}": 1,
        f"{initial}&resourceVersion=": 3, f"{initial}&resourceVersion=0": 3, f"{initial}&resourceVersion={begin}": 3,
        "resourceVersion=1": 1, "fieldSelector=metadata.name%3Dsecond": 1,
    }  # fmt: skip
    others = [
        asyncio.create_task(
            watch(side.client, side.front.tls(), namespace, f"resourceVersion={listed}", lambda _: False)
        )
        for _ in range(3)
    ]
    for query, count in queries.items():
        answers = [
            told(await watch(client, trust, namespace, query, partial(_as_many, count)))
            for client, trust in ((side.direct, side.direct.connection.ssl_context()), (side.client, side.front.tls()))
        ]
        assert [kind for kind, _ in answers[0]] == [kind for kind, _ in answers[1]], query
        changes = [[event for event in answer if event[0] != "BOOKMARK"] for answer in answers]
        assert changes[0] == changes[1], query
        assert len(answers[1]) == count, query
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def test_each_ends_when_its_own_time_is_over(side: Side) -> None:
    namespace = await side.namespace()
    version, _ = await side.versions(namespace)
    trust = side.front.tls()

    async def lasts(seconds: int) -> float:
        began = time.monotonic()
        query = f"resourceVersion={version}&timeoutSeconds={seconds}"
        assert await watch(side.client, trust, namespace, query, lambda _: False) == []
        return time.monotonic() - began

    another = asyncio.create_task(lasts(300))
    assert await lasts(2) >= 2
    assert not another.done()
    another.cancel()
    await asyncio.gather(another, return_exceptions=True)


async def test_a_client_that_does_not_read_is_cut_and_hinders_nobody(side: Side) -> None:
    namespace = await side.namespace()
    version, _ = await side.versions(namespace)
    reader, writer = await side.front.connect(receive_buffer=8192)
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=true&resourceVersion={version}"
    writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
    assert b" 200 " in await reader.readuntil(b"\r\n\r\n")
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    watcher = Watcher(side.client, namespace)
    task = asyncio.create_task(watcher.run(version))
    before = side.front.memory()
    for number in range(40):
        last = await side.write(f"large-{number}", namespace, 500_000)

        async def seen(last: int = last) -> bool:
            return watcher.last == last

        await eventually(seen)
    assert side.front.memory() - before < 60
    assert len(watcher.runs) == 1
    writer.transport.resume_reading()  # type: ignore[attr-defined]
    rest = bytearray()
    try:
        while data := await asyncio.wait_for(reader.read(1 << 20), 60):
            rest += data
    except ConnectionError:
        pass
    assert not rest.endswith(b"0\r\n\r\n")  # it cannot take it for the end of a watch
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_nothing_is_lost_where_the_shard_dies(side: Side) -> None:
    namespace = await side.namespace()
    begin, _ = await side.versions(namespace)
    clients = [side.front.client() for _ in range(2)]
    watchers = [Watcher(clients[number % 2], namespace) for number in range(30)]
    tasks = [asyncio.create_task(watcher.run(begin)) for watcher in watchers]
    for number in range(60):

        async def written(number: int = number) -> bool:
            try:
                await side.write(f"o-{number}", namespace)
            except StatusError as error:
                return error.code == 409  # it was written, and the answer lost
            return True

        if number == 20:
            pid = side.plane.processes["kube-apiserver"].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        await eventually(written)

    _, log = await side.versions(namespace)
    last = log[-1]

    async def seen() -> bool:
        return all(watcher.last >= last for watcher in watchers)

    await eventually(seen)
    for watcher in watchers:
        watcher.check(log)
    await end(tasks, clients)
