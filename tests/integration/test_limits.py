"""One workspace floods, another one goes on: limits and fair queuing before a real shard."""

from __future__ import annotations

import asyncio
import json
import ssl
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.kube.client import Client, Resource
from tests.bench.load import Connection, Target, connect
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp
from tests.integration.limited import USERS, limited_kcp, metric

CONFIGMAPS = Resource("", "v1", "configmaps")
OBJECTS = 60
MAPS = "/api/v1/namespaces/default/configmaps"
ENOUGH = 40
"""Requests of the one that is measured."""
FLAGS = {"queued-requests": 20, "watches": 10, "unread-megabytes": 1, "crds": 2}
TIMEOUT = 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    flags = [f"--workspace-{name}={value}" for name, value in FLAGS.items()]
    async with limited_kcp(tmp_path_factory.mktemp("limits"), "--workers=1", *flags) as kcp:
        for name in USERS:
            async with kcp.client(f"root:telcops:{name}") as client:
                await asyncio.gather(*(_fill(client, number) for number in range(OBJECTS)))
        yield kcp


async def _fill(client: Client, number: int) -> None:
    obj = {"metadata": {"name": f"o-{number}"}, "data": {"k": "v" * 8000}}
    await client.create(CONFIGMAPS, obj, "default")


def tenant(kcp: Kcp, name: str) -> Target:
    connection = kcp.client("root").connection
    tls = ssl.create_default_context(cadata=(connection.ca_data or b"").decode())
    url = f"https://127.0.0.1:{kcp.port}/clusters/root:telcops:{name}"
    return Target(name, url, tls, (("authorization", f"Bearer {USERS[name]}"),))


class Flood:
    """Connections that ask again as soon as they are answered."""

    def __init__(self, target: Target, connections: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.seconds: list[float] = []
        """Of the requests that were good."""
        self.refusals: list[bytes] = []
        self._target = target
        self._tasks = [asyncio.create_task(self._one(number)) for number in range(connections)]

    async def _one(self, number: int) -> None:
        connection = await connect(self._target)
        try:
            while True:
                number += 1
                began = time.perf_counter()
                status, body = await connection.start(self._request(number))
                self.statuses[status] += 1
                if status < 300:
                    self.seconds.append(time.perf_counter() - began)
                else:
                    self.refusals.append(body)
        finally:
            connection.transport.abort()

    def _request(self, number: int) -> bytes:
        target = self._target
        if number % 4 == 0:
            body = json.dumps({"metadata": {"generateName": "f-"}, "data": {"k": "v" * 5000}}).encode()
            return target.request("POST", MAPS + "?dryRun=All", body)
        return target.request("GET", "/api/v1/configmaps" if number % 4 == 1 else MAPS)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def test_a_flood_in_one_workspace_waits_behind_itself(kcp: Kcp) -> None:
    victim = tenant(kcp, "quiet")
    connection = await connect(victim)
    flood = Flood(tenant(kcp, "noisy"), 60)

    async def under_way() -> bool:
        return flood.statuses[200] > 20 and flood.statuses[429] > 0

    await eventually(under_way, timeout=TIMEOUT)
    times = []
    for number in range(ENOUGH):
        body = json.dumps({"metadata": {"name": f"v-{number}"}}).encode()
        request = victim.request("POST", MAPS, body) if number % 4 else victim.request("GET", f"{MAPS}/o-1")
        began = time.perf_counter()
        await connection.ask(request)  # raises for a request that is refused
        times.append(time.perf_counter() - began)
    await flood.end()
    assert set(flood.statuses) <= {200, 201, 429}
    assert statistics.median(times) * 2 < statistics.median(flood.seconds), "it is the flood that waits"
    told = json.loads(flood.refusals[0])
    assert (told["reason"], told["code"], told["details"]) == ("TooManyRequests", 429, {"retryAfterSeconds": 1})
    assert told["message"].startswith("Too many requests, please try again later")
    connection.transport.abort()


async def test_what_a_flood_had_is_free_again(kcp: Kcp) -> None:
    """Connections were cut at any point; no seat is lost."""
    target = tenant(kcp, "noisy")
    for _ in range(2):
        flood = Flood(target, 40)
        await asyncio.sleep(0.5)
        await flood.end()

    async def all_free() -> bool:
        return await metric(kcp, 'kcp_proxy_shard_seats{shard="root",state="taken"}') == 0

    await eventually(all_free, timeout=TIMEOUT)
    assert await metric(kcp, 'kcp_proxy_queued_requests{shard="root"}') == 0
    assert await metric(kcp, 'kcp_proxy_limited_requests_total{reason="queue-full"}') > 0
    assert await metric(kcp, "kcp_proxy_queue_seconds_count") > 0
    await (await connect(target)).ask(target.request("GET", MAPS))


async def test_watches(kcp: Kcp) -> None:
    target, other = tenant(kcp, "noisy"), tenant(kcp, "quiet")
    watch = f"{MAPS}?watch=true&timeoutSeconds=300"
    opened = [await _watch(target, watch) for _ in range(FLAGS["watches"])]
    surplus = await connect(target)
    status, body = await surplus.start(target.request("GET", watch))
    assert (status, "too many watches" in body.decode()) == (429, True)
    beside = await _watch(other, watch)
    file = kcp.root.parent / "limits.yaml"
    file.write_text(f"workspaces:\n- {{paths: ['root:telcops:noi*'], watches: {FLAGS['watches'] + 1}}}\n")

    async def one_more() -> bool:
        connection = await connect(target)
        connection.on_data = lambda data: None
        answer = connection.start(target.request("GET", watch))
        await asyncio.wait([answer], timeout=0.5)
        if answer.done():
            connection.transport.abort()
            return False
        opened.append(connection)
        return True

    await eventually(one_more, timeout=TIMEOUT)
    for connection in [*opened, beside, surplus]:
        connection.transport.abort()


async def _watch(target: Target, path: str) -> Connection:
    """Until its first event."""
    connection = await connect(target)
    begun = asyncio.Event()
    connection.on_data = lambda data: begun.set()
    connection.start(target.request("GET", path))
    async with asyncio.timeout(TIMEOUT):
        await begun.wait()
    return connection


async def test_slow_readers(kcp: Kcp) -> None:
    """Who leaves answers unread gets no more of them, until they are read or given up."""
    target = tenant(kcp, "noisy")
    stalled = []
    for _ in range(8):
        connection = await connect(target)
        connection.transport.pause_reading()
        connection.transport.write(target.request("GET", MAPS) * 30)  # more than sockets hold
        stalled.append(connection)

    async def is_refused() -> bool:
        asking = await connect(target)
        status, body = await asking.start(target.request("GET", f"{MAPS}/o-1"))
        asking.transport.abort()
        return status == 429 and b"unread" in body

    await eventually(is_refused, timeout=TIMEOUT)
    other = tenant(kcp, "quiet")
    await (await connect(other)).ask(other.request("GET", f"{MAPS}/o-1"))
    for connection in stalled:
        connection.transport.abort()

    async def is_served() -> bool:
        return not await is_refused()

    await eventually(is_served, timeout=TIMEOUT)


async def test_crds(kcp: Kcp) -> None:
    target, other = tenant(kcp, "noisy"), tenant(kcp, "quiet")
    path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    connection, beside = await connect(target), await connect(other)
    for number in range(FLAGS["crds"]):
        await connection.ask(target.request("POST", path, _crd(number)))

    async def is_refused() -> bool:
        """What a worker has not heard of yet is not counted."""
        status, body = await connection.start(target.request("POST", path + "?dryRun=All", _crd(9)))
        return status == 403 and b"exceeded quota" in body

    await eventually(is_refused, timeout=TIMEOUT)
    apply = "application/apply-patch+yaml"
    query = "?fieldManager=test&dryRun=All"
    new = target.request("PATCH", f"{path}/t9.example.com{query}", _crd(9), apply)
    assert (await connection.start(new))[0] == 403
    await connection.ask(target.request("PATCH", f"{path}/t0.example.com{query}", _crd(0), apply))
    await beside.ask(other.request("POST", path, _crd(9)))
    await connection.ask(target.request("DELETE", f"{path}/t0.example.com"))

    async def is_let_in() -> bool:
        return not await is_refused()

    await eventually(is_let_in, timeout=TIMEOUT)
    for one in (connection, beside):
        one.transport.abort()


def _crd(number: int) -> bytes:
    names = {"plural": f"t{number}", "kind": f"T{number}", "singular": f"t{number}", "listKind": f"T{number}List"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    meta = {"name": f"t{number}.example.com"}
    kind = {"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition"}
    return json.dumps({**kind, "metadata": meta, "spec": spec}).encode()


async def test_a_file_with_a_fault_is_refused_in_a_line(tmp_path: Path) -> None:
    file = tmp_path / "limits.yaml"
    file.write_text("workspaces: [{paths: [root], watchs: 1}]")
    options = ("--root-directory", str(tmp_path / ".kcp"), "--workspace-limits-file", str(file))
    code, _, errors = await run_kcp("start", *options)
    assert (code, errors) == (
        1,
        f"Error: --workspace-limits-file: {file}: workspaces[0]: there is no watchs; watches?\n",
    )
