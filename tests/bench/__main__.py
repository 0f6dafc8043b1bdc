"""``python -m tests.bench``: the proxy beside the direct kube-apiserver, in one run."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from pathlib import Path

import click
import uvloop
from rich.console import Console
from rich.table import Table

from tests.bench import sync
from tests.bench.discovery import discovery
from tests.bench.peers import reachable, running
from tests.bench.system import System
from tests.bench.works import Bench, Row

OUTPUT = Path("build/bench.json")


@click.command()
@click.option("--rounds", default=5, show_default=True, help="Turns of each system.")
@click.option("--workers", default=2, show_default=True, help="Proxy workers.")
@click.option("--foreign", default=10_000, show_default=True, help="Objects of others on the shard.")
@click.option("--objects", default=1000, show_default=True, help="Objects that the syncer takes down.")
@click.option(
    "--only",
    multiple=True,
    type=click.Choice(["get", "list", "create", "foreign", "watch", "workspace", "discovery", "sync"]),
)
def main(rounds: int, workers: int, foreign: int, objects: int, only: tuple[str, ...]) -> None:
    """Measure, print a table, write build/bench.json. Direct and proxy take turns; medians of the rounds are shown.

    The syncer's figures (``sync``) go to build/bench-sync.json.
    """
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if not only or set(only) != {"sync"}:
            runner.run(measure(rounds, workers, foreign, set(only)))
        if not only or "sync" in only:
            namespaces = max(objects // 100, 1)
            sync.write(runner.run(sync.measure(objects, namespaces)), Path("build/bench-sync.json"))


async def measure(rounds: int, workers: int, foreign: int, only: set[str]) -> None:
    console = Console(stderr=True)
    async with System(workers) as system:
        with console.status("preparing"), running(system.root / "pki", system.shard.connection.server) as peers:
            system.peers = {name: pid for name, (pid, _) in peers.items()}
            for _, url in peers.values():
                await reachable(url)
            bench = Bench(system, rounds, {name: url for name, (_, url) in peers.items()})
            start = {"work": "kcp start until root:default is served", "seconds": round(system.ready_seconds, 2)}
            idle = system.memory()
            await bench.prepare()
            rows = await work(bench, console, foreign, only)
            memory = system.memory()
    show(rows)
    print(f"{start['work']}: {start['seconds']} s")
    print(
        "memory, MiB (idle → after): "
        + ", ".join(f"{name} {idle.get(name, 0):.0f} → {used:.0f}" for name, used in memory.items())
    )
    print(f"{os.cpu_count()} cores, {workers} workers, {rounds} rounds each, alternating")
    OUTPUT.parent.mkdir(exist_ok=True)
    lines = [asdict(row) for row in rows] + [start, {"work": "memory MiB", "idle": idle, "after": memory}]
    OUTPUT.write_text(json.dumps(lines, indent=2))


async def work(bench: Bench, console: Console, foreign: int, only: set[str]) -> list[Row]:
    works: dict[str, Callable[[], Awaitable[list[Row]]]] = {
        "get": bench.gets,
        "list": bench.lists,
        "create": bench.creates,
        "watch": lambda: _each(bench.watches, (1, 100, 1000)),
        "discovery": lambda: discovery(bench),
        "workspace": lambda: bench.workspaces(30),
        "foreign": lambda: bench.foreign_lists(foreign),
    }
    rows: list[Row] = []
    for name, measured in works.items():
        if not only or name in only:
            console.log(f"measuring: {name}")
            rows += await measured()
    return rows


async def _each(measure: Callable[[int], Awaitable[list[Row]]], sizes: tuple[int, ...]) -> list[Row]:
    return [row for size in sizes for row in await measure(size)]


def show(rows: list[Row]) -> None:
    table = Table("work", "system", "conn", "req/s", "min", "p50 ms", "p99 ms", "CPU s per 10,000")
    for row in rows:
        cpu = ", ".join(f"{name} {used:.2f}" for name, used in sorted(row.cpu_s_per_10k.items()))
        rate, least = (f"{row.rps:.0f}", f"{row.rps_min:.0f}") if row.rps else ("", "")
        values = (f"{row.p50_ms:.2f}", f"{row.p99_ms:.2f}")
        table.add_row(row.work, row.system, str(row.connections), rate, least, *values, cpu)
    Console(width=170).print(table)
    for row in rows:
        if row.shard_watches is not None:
            print(f"{row.work}, {row.system}: {row.shard_watches} watches at the shard")


if __name__ == "__main__":
    main()
