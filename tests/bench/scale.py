"""Thousands of workspaces on one shard: ``python -m tests.bench.scale --workspaces 10000``.

They are made, listed, entered at random, watched, found again after a restart, and deleted; one workspace beside them
is measured before and after.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from tests.bench.load import Result, Target, run
from tests.bench.system import LOGICAL, WORKSPACES, System
from tests.bench.works import CONFIGMAPS, configmap

OUTPUT = Path("build/bench-scale.json")
SMALL = "/api/v1/namespaces/default/configmaps/small"
STEP = 1000
"""Workspaces from one line of progress to the next."""
REST = 5.0
"""Seconds until memory is read."""


@click.command()
@click.option("--workspaces", default=10_000, show_default=True)
@click.option("--at-once", default=8, show_default=True, help="Workspaces that are being made or deleted.")
@click.option("--entered", default=1000, show_default=True, help="Of them, at random.")
@click.option("--watched", default=100, show_default=True, help="Of those, each with a change that is waited for.")
@click.option("--workers", default=2, show_default=True, help="Proxy workers.")
def main(workspaces: int, at_once: int, entered: int, watched: int, workers: int) -> None:
    """Measure, print, write build/bench-scale.json."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        figures = runner.run(measure(workspaces, at_once, entered, watched, workers))
    OUTPUT.parent.mkdir(exist_ok=True)
    OUTPUT.write_text(json.dumps(figures, indent=2))


class Figures(dict[str, float]):
    """What was measured, shown as it comes."""

    def note(self, what: str, value: float, unit: str) -> None:
        self[f"{what}, {unit}"] = round(value, 2)
        print(f"{what:>60}: {value:.2f} {unit}", flush=True)

    def timed(self, what: str, result: Result) -> None:
        self.note(f"{what}: p50", result.percentile(0.5) * 1000, "ms")
        self.note(f"{what}: p99", result.percentile(0.99) * 1000, "ms")

    def memory(self, what: str, before: dict[str, float], after: dict[str, float], count: int) -> None:
        for name in sorted(after):
            grown = after[name] - before.get(name, 0.0)
            self.note(f"{what}, {name}", grown * 1024 / count, "KiB")


async def measure(count: int, at_once: int, entered: int, watched: int, workers: int) -> Figures:
    figures = Figures()
    async with System(workers) as system:
        await system.client.create(CONFIGMAPS, json.loads(configmap("small")), "default")
        await _small(system, Figures(), "warming up")
        await _small(system, figures, "GET, before")
        names = [f"w{number}" for number in range(count)]
        empty = system.memory()
        async with asyncio.TaskGroup() as group:
            following = Informer(system.org, WORKSPACES)
            task = group.create_task(following.run())
            await following.wait_synced()
            began = time.perf_counter()
            async with _took(figures, "made until Ready", count, system):
                await _each(names, at_once, lambda name: _make(system, name))
                await _until(lambda: len(following.store) > count and all(map(_ready, following.store.values())))
            await asyncio.sleep(REST)
            figures.memory("memory for each, empty", empty, system.memory(), count)
            async with _took(figures, "listed", 1, system):
                listed = await system.org.list(WORKSPACES)
            assert len(listed["items"]) == count + 1
            await _small(system, figures, "GET, beside them")
            chosen = random.Random(1).sample(names, min(entered, count))
            await _enter(system, figures, chosen, "entered for the first time")
            await _enter(system, figures, chosen, "entered again")
            async with _took(figures, "watched", watched, system):
                await _each(chosen[:watched], at_once, lambda name: _watch(system, name))
            await _small(system, figures, "GET, after it")
            await system.restart()
            figures.note("kcp start, with them in store", system.ready_seconds, "s")
            await _small(system, figures, "GET, after that")
            async with _took(figures, "deleted", count, system):
                await _each(names, at_once, lambda name: system.org.delete(WORKSPACES, name))
                await _until(lambda: len(following.store) == 1)
                left = len((await system.shard.list(LOGICAL))["items"])
                assert left == 4, f"{left} logical clusters: root, its default, and two of the benchmark's"
            figures.note("all of it", time.perf_counter() - began, "s")
            task.cancel()
    return figures


@asynccontextmanager
async def _took(figures: Figures, what: str, count: int, system: System) -> AsyncIterator[None]:
    began, before = time.perf_counter(), system.cpu()
    requests = await requests_of(system.shard)
    yield
    seconds = time.perf_counter() - began
    figures.note(what, seconds, "s")
    if count > 1:
        figures.note(what, count / seconds, "a second")
        figures.note(f"{what}: of the shard", (await requests_of(system.shard) - requests) / count, "requests each")
        for name, used in sorted(system.cpu().items()):
            figures.note(f"{what}: CPU of {name}", (used - before.get(name, 0.0)) / count * 1000, "ms each")


async def requests_of(shard: Client) -> float:
    """That its kube-apiserver has answered."""
    text = await shard.request("GET", "/metrics", accept="text/plain")
    lines = str(text).splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith("apiserver_request_total{"))


async def _each(names: Iterable[str], at_once: int, act: Callable[[str], Awaitable[object]]) -> None:
    waiting = enumerate(names, 1)

    async def work() -> None:
        for number, name in waiting:
            await act(name)
            if not number % STEP:
                print(f"{number} …", file=sys.stderr, flush=True)

    await asyncio.gather(*(work() for _ in range(at_once)))


async def _make(system: System, name: str) -> None:
    body = {
        "apiVersion": WORKSPACES.api_version,
        "kind": "Workspace",
        "metadata": {"name": name},
        "spec": {"type": "Universal"},
    }
    await system.org.create(WORKSPACES, body)


def _ready(workspace: dict[str, dict[str, str]]) -> bool:
    return (workspace.get("status") or {}).get("phase") == "Ready"


async def _until(true: Callable[[], bool]) -> None:
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.05)


async def _small(system: System, figures: Figures, what: str) -> None:
    """Of the user that the benchmarks have, who needs RBAC's leave."""
    target = system.proxied()
    request = target.request("GET", SMALL)
    figures.timed(what, await run(target, lambda _: request, connections=4, requests=3000))


def _in(system: System, name: str) -> Target:
    """Workspace ``name``, as who made it."""
    at = system.proxied()
    headers = (("authorization", f"Bearer {system.org.connection.token}"),)
    return replace(at, url=f"{system.url}/clusters/root:benchmarks:{name}", headers=headers)


async def _enter(system: System, figures: Figures, names: list[str], what: str) -> None:
    requests = [_in(system, name).request("GET", "/api/v1/namespaces/default") for name in names]
    result = await run(_in(system, ""), lambda number: requests[number], connections=8, requests=len(names))
    figures.timed(what, result)


async def _watch(system: System, name: str) -> None:
    """Until a change that is made after the watch began is seen."""
    url = f"{system.url}/clusters/root:benchmarks:{name}"
    async with Client(replace(system.org.connection, server=url)) as client:
        version = (await client.list(CONFIGMAPS))["metadata"]["resourceVersion"]
        await client.create(CONFIGMAPS, json.loads(configmap("seen", "small")), "default")
        async for event in client.watch(CONFIGMAPS, resource_version=version):
            if event["object"]["metadata"]["name"] == "seen":
                return
    raise StatusError(504, f"{name}: the watch ended")


if __name__ == "__main__":
    main()
