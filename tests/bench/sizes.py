"""What workspaces, objects and watches cost the processes of kcp: ``python -m tests.bench.sizes``.

One `kcp start` as users have it. Figures are resident memory, of all processes of a name, after a rest.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import click
import uvloop

from proxy.kube.client import Client
from proxy.kube.informer import Informer
from tests.bench.system import System
from tests.bench.works import CONFIGMAPS, fill

REST = 30.0
"""Seconds, for what was needed for a moment to be given back."""
AT_ONCE = 8
"""Workspaces that are being made."""
WATCHES = 50
"""Of one client, with connections of its own."""


@click.command()
@click.option("--workspaces", default=1000, show_default=True)
@click.option("--objects", default=10_000, show_default=True, help="Of a KiB, in one workspace.")
@click.option("--watches", default=1000, show_default=True, help="In which nothing happens.")
@click.option("--workers", default=2, show_default=True)
def main(workspaces: int, objects: int, watches: int, workers: int) -> None:
    """Measure, and print a table of MiB."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(workspaces, objects, watches, workers))


async def measure(workspaces: int, objects: int, watches: int, workers: int) -> None:
    async with System(workers) as system:
        before = await _rested(system)
        _print("at rest", before)
        await _make(system, workspaces)
        after = await _rested(system)
        _print(f"{workspaces} workspaces", _grown(before, after))
        await fill(system.client, "default", objects)
        before, after = after, await _rested(system)
        _print(f"{objects} objects", _grown(before, after))
        async with AsyncExitStack() as stack:
            group = await stack.enter_async_context(asyncio.TaskGroup())
            tasks = []
            for number in range(watches):
                if number % WATCHES == 0:
                    client = await stack.enter_async_context(Client(system.client.connection))
                informer = Informer(client, CONFIGMAPS, namespace="default", label_selector=f"none={number}")
                tasks.append(group.create_task(informer.run()))
                await informer.wait_synced()
            before, after = after, await _rested(system)
            _print(f"{watches} watches", _grown(before, after))
            for task in tasks:
                task.cancel()


async def _make(system: System, workspaces: int) -> None:
    numbers = iter(range(workspaces))

    async def make() -> None:
        for number in numbers:
            await system.create_workspace(f"w{number}", "Universal", system.org)

    await asyncio.gather(*(make() for _ in range(AT_ONCE)))


async def _rested(system: System) -> dict[str, float]:
    await asyncio.sleep(REST)
    return system.memory()


def _grown(before: dict[str, float], after: dict[str, float]) -> dict[str, float]:
    return {name: after[name] - before[name] for name in before}


def _print(what: str, memory: dict[str, float]) -> None:
    parts = [f"{name} {size:.0f}" for name, size in sorted(memory.items())]
    print(f"{what:>20}: {', '.join(parts)} MiB", flush=True)


if __name__ == "__main__":
    main()
