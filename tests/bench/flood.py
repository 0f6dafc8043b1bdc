"""``python -m tests.bench.flood``: how long one workspace's requests take while another one floods the same kcp.

A user with a token reads and writes a few small objects, on its connections, at a steady pace. Meanwhile another
workspace's user opens connections, from a process of its own, and asks as fast as it is answered. What is compared is
the first one's time for a request before (``quiet``) and during each flood, in turns.

What of that is the machine's tell ``computing``, which asks for nothing but keeps one core busy, and ``--direct``: then
the two are users of the kube-apiserver itself, between whom its own priority and fairness decides.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import ssl
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.table import Table

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from tests.bench.load import Connection, Target, connect
from tests.bench.system import System, at, grant
from tests.bench.works import CONFIGMAPS, NAMESPACES, configmap, fill

OUTPUT = Path("build/bench-flood.json")
NOISY = "noisy"
OBJECTS = 1000
PACE = 0.02
"""Seconds from one request of a connection to its next."""
VICTIMS = 4
"""Connections of the one that is measured."""
QUIET = "quiet"
KINDS = ("lists", "gets", "creates", "watches", "slow", "bodies", "connects", "computing")
HEADERS = "FLOOD_HEADERS"
"""Variable with what a flood's requests say of who asks, as JSON."""


@dataclass(frozen=True, slots=True)
class Row:
    """What the measured workspace saw during one kind of flood; milliseconds."""

    flood: str
    verb: str
    requests: int
    refused: int
    p50: float
    p99: float
    worst: float
    """The greatest p99 of a round."""
    answers: dict[str, int]
    """What the flood got in one round, by status, and ``open`` for what it did not get in the time."""


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: how it asks, and what its namespaces' names begin with there."""

    target: Target
    prefix: str = ""

    def request(self, method: str, namespace: str, name: str = "", body: bytes = b"", query: str = "") -> bytes:
        path = f"/api/v1/namespaces/{self.prefix}{namespace}/configmaps" if namespace else "/api/v1/configmaps"
        return self.target.request(method, path + (f"/{name}" if name else "") + query, body)


class Flood:
    """``connections`` of one kind; statuses are counted."""

    def __init__(self, side: Side, kind: str) -> None:
        self._side = side
        self._kind = kind
        self.answers: Counter[str] = Counter()
        self._numbers = itertools.count()

    def _request(self) -> bytes:
        side, number = self._side, next(self._numbers)
        name = f"f-{os.getpid()}-{number}"
        if self._kind == "gets":
            return side.request("GET", "list", f"o-{number % OBJECTS}")
        if self._kind == "creates":
            return side.request("POST", "create", body=configmap(name))
        if self._kind == "bodies":
            return side.request("POST", "create", body=configmap(name, "v" * 900_000), query="?dryRun=All")
        if self._kind == "watches":
            query = "?watch=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
            return side.request("GET", "list", query=f"{query}&timeoutSeconds=300")
        # Directly, all namespaces are everybody's.
        return side.request("GET", "" if number % 2 and not side.prefix else "list")

    async def one(self) -> None:
        """One connection, again and again."""
        while True:
            try:
                connection = await connect(self._side.target)
                await self._use(connection)
            except (OSError, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError):
                    raise
                self.answers["closed"] += 1
                await asyncio.sleep(0.1)

    async def _use(self, connection: Connection) -> None:
        if self._kind == "connects":
            connection.transport.abort()
            self.answers["connected"] += 1
            return
        if self._kind == "slow":
            connection.start(self._request())
            await asyncio.sleep(0.05)
            connection.transport.pause_reading()
            self.answers["unread"] += 1
            await asyncio.sleep(3600)
        while True:
            if self._kind == "watches":
                connection.on_data = lambda data: None
                answer = connection.start(self._request())
                await asyncio.sleep(1)
                self.answers[str(answer.result()[0]) if answer.done() else "200"] += 1
                connection.transport.abort()
                return
            status, _ = await connection.start(self._request())
            self.answers[str(status)] += 1


async def flood(kind: str, url: str, authority: Path, prefix: str, connections: int) -> None:
    """Until it is killed; says now and then what it was answered."""
    tls = ssl.create_default_context(cafile=str(authority))
    headers = tuple((name, value) for name, value in json.loads(os.environ[HEADERS]))
    made = Flood(Side(Target(NOISY, url, tls, headers), prefix), kind)
    if kind == "computing":
        print("{}", flush=True)
        while True:
            sum(range(10_000))
    async with asyncio.TaskGroup() as group:
        for _ in range(connections):
            group.create_task(made.one())
        while True:
            await asyncio.sleep(0.5)
            print(json.dumps(made.answers), flush=True)


@asynccontextmanager
async def flooding(kind: str, side: Side, authority: Path, connections: int) -> AsyncIterator[Counter[str]]:
    """A flood beside the block, from a process that gives way to others; afterwards its answers are counted."""
    answers: Counter[str] = Counter()
    if kind == QUIET:
        yield answers
        return
    process = await asyncio.create_subprocess_exec(
        *("nice", "-n", "5", sys.executable, "-m", "tests.bench.flood", "--flood", kind, "--url", side.target.url),
        *("--authority", str(authority), "--prefix", side.prefix, "--connections", str(connections)),
        stdout=asyncio.subprocess.PIPE,
        env=os.environ | {HEADERS: json.dumps(side.target.headers)},
    )
    assert process.stdout is not None
    await process.stdout.readline()
    try:
        yield answers
    finally:
        process.kill()
        said, _ = await process.communicate()
        answers.update(json.loads([b"{}", *said.splitlines(keepends=True)][-1]))


class Victim:
    """Requests at a steady pace, of which each one's time is known."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._numbers = itertools.count()
        self.times: dict[str, list[float]] = {"GET": [], "create": []}
        self.refused = 0

    def _next(self) -> tuple[str, bytes]:
        number = next(self._numbers)
        if number % 4:
            return "GET", self._side.request("GET", "own", f"o-{number % 100}")
        made = configmap(f"v-{os.getpid()}-{time.time_ns()}-{number}")
        return "create", self._side.request("POST", "create", body=made)

    async def run(self, seconds: float) -> None:
        """On `VICTIMS` connections. A request that takes long makes the next one late."""
        opened = [await connect(self._side.target) for _ in range(VICTIMS)]
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self._use(connection, until, turn) for turn, connection in enumerate(opened)))
        for connection in opened:
            connection.transport.close()

    async def _use(self, connection: Connection, until: float, turn: int) -> None:
        await asyncio.sleep(PACE * turn / VICTIMS)
        while time.perf_counter() < until:
            verb, request = self._next()
            began = time.perf_counter()
            status, _ = await connection.start(request)
            seconds = time.perf_counter() - began
            self.times[verb].append(seconds)
            self.refused += status >= 400
            await asyncio.sleep(max(0.0, PACE - seconds))


async def prepare(system: System, direct: bool) -> tuple[Side, Side]:
    """A second workspace full of objects; how the two ask."""
    await system.create_workspace(NOISY, "Universal", system.org)
    url = f"{system.url}/clusters/root:benchmarks:{NOISY}"
    for workspace in (system.client.connection.server, url):
        async with Client(load_kubeconfig(at(system.root / "admin.kubeconfig", workspace))) as client:
            for name in ("list", "create", "own"):
                await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
            await fill(client, "own", 100)
            if workspace == url:
                await grant(client, "", "configmaps", "*")
                await fill(client, "list", OBJECTS)
    if not direct:
        quiet = system.proxied()
        return Side(quiet), Side(Target(NOISY, url, quiet.tls, quiet.headers))
    victim, noisy = [await _user(system, f"root:benchmarks:{name}") for name in (system.name, NOISY)]
    return victim, noisy


async def clear(system: System) -> None:
    """What a flood has made would be in the lists of the next ones."""
    url = f"{system.url}/clusters/root:benchmarks:{NOISY}"
    async with Client(load_kubeconfig(at(system.root / "admin.kubeconfig", url))) as client:
        await client.delete_collection(CONFIGMAPS, "create")


async def _user(system: System, path: str) -> Side:
    """Of the kube-apiserver, who may do the same in the namespaces of the workspace at ``path``. Its administrator
    impersonates him, so that fairness knows him."""
    name, prefix = path.rpartition(":")[2], f"{await system.token_of(path)}-"
    await grant(system.shard, "", "configmaps", "*", name)
    target = system.direct()
    return Side(Target(name, target.url, target.tls, (*target.headers, ("impersonate-user", name))), prefix)


async def measure(
    rounds: int, seconds: float, workers: int, connections: int, kinds: tuple[str, ...], options: tuple[str, ...],
    direct: bool, say: Callable[[str], object],
) -> list[Row]:  # fmt: skip
    async with System(workers, *options) as system:
        quiet, noisy = await prepare(system, direct)
        authority = system.root / "flood-ca.crt"
        authority.write_bytes((system.shard if direct else system.client).connection.ca_data or b"")
        seen: dict[str, list[Victim]] = {}
        got: dict[str, Counter[str]] = {}
        await Victim(quiet).run(2)
        for turn in range(rounds):
            for kind in (QUIET, *kinds):
                say(f"round {turn + 1}: {kind}")
                async with flooding(kind, noisy, authority, connections) as answers:
                    victim = Victim(quiet)
                    await victim.run(seconds)
                seen.setdefault(kind, []).append(victim)
                got[kind] = answers
                await asyncio.sleep(1)  # what was under way ends
                if answers["201"]:
                    await clear(system)
    return [_row(kind, verb, victims, got[kind]) for kind, victims in seen.items() for verb in ("GET", "create")]


def _row(kind: str, verb: str, victims: list[Victim], answers: Counter[str]) -> Row:
    rounds = [sorted(victim.times[verb]) for victim in victims]
    p99 = [_part(times, 0.99) for times in rounds]
    return Row(
        kind, verb, sum(map(len, rounds)), sum(victim.refused for victim in victims),
        statistics.median(_part(times, 0.5) for times in rounds), statistics.median(p99), max(p99), dict(answers),
    )  # fmt: skip


def _part(ordered: list[float], part: float) -> float:
    return round(ordered[min(int(len(ordered) * part), len(ordered) - 1)] * 1000, 2) if ordered else 0.0


@click.command()
@click.option("--rounds", default=3, show_default=True)
@click.option("--seconds", default=10.0, show_default=True, help="Of each round and flood.")
@click.option("--workers", default=2, show_default=True, help="Proxy workers.")
@click.option("--connections", default=200, show_default=True, help="Of the flood.")
@click.option("--only", multiple=True, type=click.Choice(KINDS))
@click.option("--option", "options", multiple=True, help="Further flag of `kcp start`, as --workspace-watches=5.")
@click.option("--direct", is_flag=True, help="Both ask the kube-apiserver itself.")
@click.option("--flood", "flood_kind", hidden=True)
@click.option("--url", hidden=True, default="")
@click.option("--authority", hidden=True, type=Path)
@click.option("--prefix", hidden=True, default="")
def main(
    rounds: int, seconds: float, workers: int, connections: int, only: tuple[str, ...], options: tuple[str, ...],
    direct: bool, flood_kind: str | None, url: str, authority: Path, prefix: str,
) -> None:  # fmt: skip
    """Measure, print a table, write build/bench-flood.json."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if flood_kind:
            runner.run(flood(flood_kind, url, authority, prefix, connections))
            return
        console = Console(stderr=True)
        rows = runner.run(measure(rounds, seconds, workers, connections, only or KINDS, options, direct, console.log))
    table = Table("flood", "of the other", "requests", "refused", "p50 ms", "p99 ms", "worst p99", "×", "flood got")
    quiet = {row.verb: row.p99 for row in rows if row.flood == QUIET}
    for row in rows:
        got = ", ".join(f"{key}: {count}" for key, count in sorted(row.answers.items()))
        times = (f"{row.p50:.2f}", f"{row.p99:.2f}", f"{row.worst:.2f}", f"{row.p99 / quiet[row.verb]:.2f}")
        table.add_row(row.flood, row.verb, str(row.requests), str(row.refused), *times, got)
    Console(width=150).print(table)
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps([asdict(row) for row in rows], indent=2))


if __name__ == "__main__":
    main()
