"""The works that are measured, each alternating between the direct kube-apiserver and the proxy."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from proxy.kube.client import Client, Resource
from tests.bench.load import Connection, Result, Target, connect, run
from tests.bench.system import System

CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
VALUE = "v" * 900
ALL_NAMESPACES = "proxy, all namespaces"
TOGETHER = 100
"""Watches that begin at once: who asks for many more than may wait is refused some."""
UPDATES = 5
"""One after the other, in each round of watches."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table; times in ms, CPU seconds per 10,000 requests by process."""

    work: str
    system: str
    connections: int
    rounds: int
    rps: float
    rps_min: float
    p50_ms: float
    p99_ms: float
    cpu_s_per_10k: dict[str, float]
    shard_watches: int | None = None
    """Of watches: how many the shard has for them."""


def configmap(name: str, value: str = VALUE) -> bytes:
    return json.dumps(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}}
    ).encode()


class Bench:
    def __init__(self, system: System, rounds: int, peers: Mapping[str, str]) -> None:
        """``peers``: URLs of other proxies before the same kube-apiserver, by name."""
        self.system = system
        self.rounds = rounds
        self.targets = {"direct": system.direct(), "proxy": system.proxied()}
        self.peers = {name: system.peer(name, url) for name, url in peers.items()}

    def prefix(self, name: str) -> str:
        """What names begin with, as that system is asked."""
        return "" if name.startswith("proxy") else f"{self.system.token}-"

    async def prepare(self) -> None:
        client = self.system.client
        await client.create(CONFIGMAPS, json.loads(configmap("small")), "default")
        for name in ("list", "create", "watch"):
            await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        await fill(client, "list", 1000)

    async def alternate(
        self,
        work: str,
        make: Callable[[Target], Callable[[int], bytes]],
        *,
        connections: int,
        requests: int,
        targets: Mapping[str, Target] | None = None,
    ) -> list[Row]:
        """``make(system)`` gives the request maker of one system; systems take turns, round by round. ``targets``:
        others than all of them."""
        targets = targets or self.targets | self.peers
        results: dict[str, list[Result]] = {name: [] for name in targets}
        cpu: dict[str, dict[str, float]] = {name: {} for name in targets}
        for target in targets.values():
            await run(target, make(target), connections=connections, requests=max(requests // 10, connections))
        for _ in range(self.rounds):
            for name, target in targets.items():
                before = self.system.cpu()
                results[name].append(await run(target, make(target), connections=connections, requests=requests))
                for process, after in self.system.cpu().items():
                    used = after - before.get(process, 0.0)
                    cpu[name][process] = cpu[name].get(process, 0.0) + used
        rows = []
        for name, found in results.items():
            total = sum(len(result.times) for result in found)
            rows.append(
                Row(
                    work,
                    name,
                    connections,
                    self.rounds,
                    statistics.median(result.rate for result in found),
                    min(result.rate for result in found),
                    statistics.median(result.percentile(0.5) for result in found) * 1000,
                    statistics.median(result.percentile(0.99) for result in found) * 1000,
                    {process: round(used / total * 10_000, 3) for process, used in cpu[name].items() if used},
                )
            )
        return rows

    def reader(self, path: str, objects: int = 1) -> Callable[[Target], Callable[[int], bytes]]:
        """Makes GETs; ``{p}`` in ``path`` stands for the prefix that a name has on the shard, ``{n}`` for numbers below
        ``objects``, in turn."""

        def make(target: Target) -> Callable[[int], bytes]:
            mapped = path.replace("{p}", self.prefix(target.name))
            requests = [target.request("GET", mapped.replace("{n}", str(number))) for number in range(objects)]
            return lambda number: requests[number % objects]

        return make

    async def gets(self) -> list[Row]:
        path = "/api/v1/namespaces/{p}default/configmaps/small"
        rows = []
        for connections in (1, 8, 16, 32):
            requests = 500 if connections == 1 else 2000
            rows += await self.alternate("small GET", self.reader(path), connections=connections, requests=requests)
        path = "/api/v1/namespaces/{p}list/configmaps/o-{n}"
        work = "small GET, 1000 objects in turn"
        return rows + await self.alternate(work, self.reader(path, 1000), connections=16, requests=2000)

    async def lists(self) -> list[Row]:
        path = "/api/v1/namespaces/{p}list/configmaps"
        return await self.alternate("LIST 1000 x 1 KiB", self.reader(path), connections=4, requests=40)

    async def creates(self) -> list[Row]:
        numbers = iter(range(10**9))

        def make(target: Target) -> Callable[[int], bytes]:
            path = f"/api/v1/namespaces/{self.prefix(target.name)}create/configmaps"
            return lambda number: target.request("POST", path, configmap(f"c-{next(numbers)}"))

        return await self.alternate("create 1 KiB", make, connections=8, requests=400)

    async def foreign_lists(self, foreign: int) -> list[Row]:
        """1,000 objects of one's own among ``foreign`` others: in one namespace directly and here, and over all
        namespaces here."""
        await self._fill_foreign(foreign)
        one, every = "/api/v1/namespaces/{p}list/configmaps", "/api/v1/configmaps"
        for namespace in ("create", "watch"):
            await self.system.client.delete_collection(CONFIGMAPS, namespace)
        direct, proxied = self.targets["direct"], self.targets["proxy"]
        whole = replace(proxied, name=ALL_NAMESPACES)
        targets = {"direct": direct, "proxy": proxied, ALL_NAMESPACES: whole}

        def make(target: Target) -> Callable[[int], bytes]:
            return self.reader(every if target is whole else one)(target)

        work = f"LIST 1000 x 1 KiB among {foreign} foreign"
        return await self.alternate(work, make, connections=1, requests=20, targets=targets)

    async def _fill_foreign(self, foreign: int) -> None:
        """Half of the names before a token's, half behind, 100 to a namespace; small, as nobody reads them."""
        shard = self.system.shard
        for number in range(max(foreign // 100, 1)):
            name = f"{'az'[number % 2]}0-{number}"
            await shard.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            await fill(shard, name, min(foreign, 100), "small")

    async def watches(self, watchers: int) -> list[Row]:
        """From the moment an update is sent until each watcher has it; CPU for 10,000 such events."""
        times: dict[str, list[float]] = {name: [] for name in self.targets}
        cpu: dict[str, dict[str, float]] = {name: {} for name in self.targets}
        held: dict[str, int] = {}
        for turn in range(self.rounds):
            for name, target in self.targets.items():
                found, held[name] = await self._watch_round(name, target, watchers, turn, cpu[name])
                times[name] += found
        rows = []
        for name, found in times.items():
            ordered = sorted(found)
            p50, p99 = (ordered[int(len(ordered) * part)] * 1000 for part in (0.5, 0.99))
            used = {process: round(spent / len(found) * 10_000, 3) for process, spent in cpu[name].items() if spent}
            work = f"one update to {watchers} watchers"
            rows.append(Row(work, name, watchers, self.rounds, 0.0, 0.0, p50, p99, used, held[name]))
        return rows

    async def _watch_round(
        self, name: str, target: Target, watchers: int, turn: int, cpu: dict[str, float]
    ) -> tuple[list[float], int]:
        path = f"/api/v1/namespaces/{self.prefix(name)}watch/configmaps"
        markers = [f"w-{name}-{watchers}-{turn}-{number}" for number in range(UPDATES)]
        times: list[float] = []
        waiting = {"": watchers}
        began = 0.0
        done = asyncio.Event()
        opened: list[Connection] = []
        marker = b""

        def seen(data: bytes) -> None:
            if marker and marker in data:
                times.append(time.perf_counter() - began)
                waiting[""] -= 1
                if not waiting[""]:
                    done.set()

        before = await self._shard_watches()
        for number in range(watchers):
            connection = await connect(target)
            connection.on_data = seen
            connection.start(target.request("GET", f"{path}?watch=true&resourceVersion=0"))
            opened.append(connection)
            last = (number + 1) % TOGETHER == 0 or number + 1 == watchers
            while last and not all(begun.begun for begun in opened):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        refused = sum(connection.refused for connection in opened)
        if refused:
            raise RuntimeError(f"{refused} of {watchers} watches were refused by {name}")
        await asyncio.sleep(1.0)
        held = await self._shard_watches() - before
        writer = await connect(target)
        used = self.system.cpu()
        for name_of_object in markers:
            marker, waiting[""] = f'"{name_of_object}"'.encode(), watchers
            done.clear()
            began = time.perf_counter()
            await writer.ask(target.request("POST", path, configmap(name_of_object, "small")))
            try:
                async with asyncio.timeout(30):
                    await done.wait()
            except TimeoutError as error:
                closed = sum(connection.transport.is_closing() for connection in opened)
                what = f"{waiting['']} of {watchers} watchers, {closed} of them cut off, have not seen {name_of_object}"
                raise RuntimeError(what) from error
        for process, now in self.system.cpu().items():
            cpu[process] = cpu.get(process, 0.0) + now - used.get(process, 0.0)
        for connection in [*opened, writer]:
            connection.transport.abort()
        while await self._shard_watches() > before:  # noqa: ASYNC110
            await asyncio.sleep(0.5)
        return times, held

    async def _shard_watches(self) -> int:
        """Of configmaps in one namespace, that the shard has now."""
        text = str(await self.system.shard.request("GET", "/metrics"))
        return sum(
            round(float(line.rpartition(" ")[2]))
            for line in text.splitlines()
            if line.startswith("apiserver_longrunning_requests{")
            and 'resource="configmaps"' in line
            and 'scope="namespace"' in line
            and 'verb="WATCH"' in line
        )

    async def workspaces(self, count: int) -> list[Row]:
        times = [
            await self.system.create_workspace(f"w-{number}", "Universal", self.system.org) for number in range(count)
        ]
        result = Result(sum(times), times)
        return [
            Row(
                "create workspace until Ready", "proxy", 1, count, result.rate, 0.0,
                result.percentile(0.5) * 1000, result.percentile(0.99) * 1000, {},
            )
        ]  # fmt: skip


async def fill(client: Client, namespace: str, count: int, value: str = VALUE) -> None:
    """Make ``count`` configmaps, of about 1 KiB where nothing else is said."""
    numbers = iter(range(count))

    async def work() -> None:
        for number in numbers:
            await client.create(CONFIGMAPS, json.loads(configmap(f"o-{number}", value)), namespace)

    await asyncio.gather(*(work() for _ in range(16)))
