"""What it takes to move a large workspace: ``python -m tests.bench.moves --objects 10000``.

Two shards; the workspace has ConfigMaps of a KiB, of which some are changed all the time while it moves.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path

import click
import uvloop

from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.tenancy.api import MOVES
from proxy.tenancy.moves import COMPLETED, name_of_move
from tests.bench.system import cpu_seconds, memory_mib
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp
from tests.integration.moving_load import CONFIGMAPS, Load

PATH = "root:large"


@click.command()
@click.option("--objects", default=10_000, show_default=True)
@click.option("--writers", default=2, show_default=True, help="Clients that change objects meanwhile.")
def main(objects: int, writers: int) -> None:
    """Measure, and print lines: time in all, time without writes, memory and CPU time of kcp."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(objects, writers))


async def measure(objects: int, writers: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        folder = Path(name)
        async with (
            ControlPlane(ControlPlaneSettings(folder=folder / "us", durable=False)) as us,
            ControlPlane(ControlPlaneSettings(folder=folder / "eu", durable=False)) as eu,
        ):
            shards = [f"--shard={name}={shard.kubeconfig}" for name, shard in (("us", us), ("eu", eu))]
            async with Kcp(folder / "kcp", "--no-embedded", *shards) as kcp:
                await kcp.make_workspace("root", "large", "Organization", shard="us")
                async with kcp.client(PATH) as client:
                    await _fill(client, objects)
                    await _move(kcp, client, objects, writers)


async def _fill(client: Client, objects: int) -> None:
    numbers = iter(range(objects))

    async def fill() -> None:
        for number in numbers:
            await client.create(CONFIGMAPS, _config_map(number), "default")

    await asyncio.gather(*(fill() for _ in range(16)))


def _config_map(number: int) -> Object:
    meta = {"name": f"large-{number}"}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": {"text": "x" * 900}}


async def _move(kcp: Kcp, client: Client, objects: int, writers: int) -> None:
    memory, cpu, began = memory_mib(kcp.pid), cpu_seconds(kcp.pid), time.perf_counter()
    peak = memory
    load = Load(client, writers)
    async with load.running():
        code, _, errors = await run_kcp("shard", "move", PATH, "eu", "--no-wait", "--root-directory", str(kcp.root))
        assert code == 0, errors

        async def completed() -> Object | None:
            nonlocal peak
            peak = max(peak, memory_mib(kcp.pid))
            async with kcp.client("root") as root:
                found = await root.get(MOVES, name_of_move(PATH))
            return found if (found.get("status") or {}).get("phase") == COMPLETED else None

        move = await eventually(completed, StatusError, timeout=3600, interval=0.5)
    assert move is not None
    print(f"{objects} objects of a KiB, {writers} writers:")
    print(f"  moved in {time.perf_counter() - began:.1f} s, without writes for {move['status']['frozenSeconds']} s")
    print(f"  kcp: {memory:.0f} → {peak:.0f} MiB, CPU {cpu_seconds(kcp.pid) - cpu:.1f} s")


if __name__ == "__main__":
    main()
