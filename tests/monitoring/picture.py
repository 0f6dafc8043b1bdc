"""``python -m tests.monitoring.picture [OUT.png]``: the README's picture of the dashboard *Overview*.

A kcp in use by several teams for five minutes, a syncer between one of their workspaces and a cluster, and a Prometheus
that scrapes both; then what the dashboard's own queries say. Needs matplotlib: ``pip install '.[picture]'``.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import click

from grafana.picture import draw
from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.shard.addresses import free_port
from tests.clusters.system import REPOSITORY
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.monitoring.prometheus import program, scraping
from tests.monitoring.syncing import CONFIGMAPS, WORKSPACES, connection, named, syncing

TARGET = REPOSITORY / "docs" / "overview.png"
TEAMS = {"team-a": 30.0, "team-b": 18.0, "payments": 9.0, "search": 5.0, "sandbox": 2.0}
"""Requests per second of each, at their mean."""
MINUTES = 4
WARMING = 40
"""Seconds before what is drawn."""
SECRETS = Resource("", "v1", "secrets")


async def make(kcp: Kcp, team: str) -> Client:
    """A new workspace's client."""
    async with Client(connection(kcp, "root:default")) as parent:
        await parent.create(WORKSPACES, named(WORKSPACES, "Workspace", team, spec={"type": "Universal"}))

        async def ready() -> bool:
            return bool((await parent.get(WORKSPACES, team)).get("status", {}).get("phase") == "Ready")

        await eventually(ready, timeout=60)
    return Client(connection(kcp, f"root:default:{team}"))


async def work(client: Client, rate: float) -> None:
    """What a team with an operator or two does: mostly reads, some writes, a few mistakes; never quite as much."""
    rng = random.Random(rate)
    names = [f"settings-{number}" for number in range(20)]
    for name in names:
        body = named(CONFIGMAPS, "ConfigMap", name, data={"size": "x" * 200}) | {}
        body["metadata"]["namespace"] = "default"
        await eventually(lambda body=body: client.create(CONFIGMAPS, body), StatusError, timeout=30)  # type: ignore[misc]
    actions: list[tuple[int, Callable[[str], Awaitable[object]]]] = [
        (50, lambda name: client.get(CONFIGMAPS, name, "default")),
        (20, lambda name: client.list(CONFIGMAPS, namespace="default")),
        (4, lambda name: client.list(SECRETS)),
        (12, lambda name: client.patch(CONFIGMAPS, name, {"data": {"n": str(rng.random())}}, namespace="default")),
        (3, lambda name: client.get(CONFIGMAPS, f"{name}-none", "default")),
        (3, lambda name: client.request("GET", "/apis")),
        (1, lambda name: client.request("GET", "/api/v1/nodes")),
    ]
    weights, choices = zip(*actions, strict=True)
    while True:
        wave = 1 + 0.5 * math.sin(time.monotonic() / (20 + rate)) + 0.2 * rng.random()
        await asyncio.sleep(rng.expovariate(rate * wave))
        [action] = rng.choices(choices, weights)
        with contextlib.suppress(StatusError):
            await action(rng.choice(names))


async def stranger(kcp: Kcp) -> None:
    """Who has no business here."""
    nobody = connection(kcp, "root:default")
    async with Client(nobody, headers={"Authorization": "Bearer not-a-token"}) as client:
        while True:
            with contextlib.suppress(StatusError):
                await client.request("GET", "/api/v1/secrets")
            await asyncio.sleep(2.5)


async def run(folder: Path, target: Path) -> None:
    scraped, synced = free_port(), free_port()
    (folder / "prometheus").mkdir()
    async with (
        Kcp(folder / "root", "--metrics-bind-address", f"127.0.0.1:{scraped}") as kcp,
        scraping(folder / "prometheus", kcp=scraped, syncer=synced) as url,
        syncing(kcp, synced),
    ):
        tasks = [asyncio.create_task(stranger(kcp))]
        clients = []
        for team, rate in TEAMS.items():
            clients.append(await make(kcp, team))
            tasks.append(asyncio.create_task(work(clients[-1], rate)))
            tasks.append(asyncio.create_task(Informer(clients[-1], CONFIGMAPS).run()))
            await asyncio.sleep(4)
        await asyncio.sleep(WARMING + MINUTES * 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.to_thread(draw, url, target, span=MINUTES * 60)
        for client in clients:
            await client.close()


@click.command()
@click.argument("target", type=click.Path(dir_okay=False, path_type=Path), default=TARGET)
def main(target: Path) -> None:
    """Draw TARGET, a PNG."""
    if program("prometheus") is None:
        raise click.ClickException("no Prometheus: python -m tests.monitoring says why it could not be had")
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(Path(folder), target))
    click.echo(f"{target}, {target.stat().st_size // 1024} KiB", err=True)


if __name__ == "__main__":
    sys.exit(main())
