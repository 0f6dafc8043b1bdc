"""What imported types cost a shard: ``python -m tests.bench.imports --workspaces 50 --types 20``.

A shard of its own with the workload controllers, no proxy: each workspace has one cluster that imports the same types.
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
from proxy.shard.bootstrap import bootstrap
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.workload.api import CRDS, NEGOTIATED, is_true
from tests.bench.system import cpu_seconds, memory_mib
from tests.integration.eventually import eventually
from tests.integration.workload_workspace import Workspace, controllers

GROUP = "bench.example.com"


def schema(fields: int) -> Object:
    """Of about the size of a usual operator's CRD."""
    text: Object = {"type": "string", "description": "What the operator makes of it is said in its documentation."}
    part: Object = {"type": "object", "properties": {f"field{number}": text for number in range(fields)}}
    spec: Object = {"type": "object", "properties": {f"part{number}": part for number in range(10)}}
    return {"type": "object", "properties": {"spec": spec, "status": {"type": "object", "properties": {"phase": text}}}}


@click.command()
@click.option("--workspaces", default=50, show_default=True)
@click.option("--types", default=20, show_default=True, help="That each of them imports.")
@click.option("--fields", default=10, show_default=True, help="Of each of ten parts of a type.")
def main(workspaces: int, types: int, fields: int) -> None:
    """Measure, and print lines: CRDs, memory and CPU time of kube-apiserver, time until all types are published."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(measure(workspaces, types, fields))


async def measure(workspaces: int, types: int, fields: int) -> None:
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as folder:
        settings = ControlPlaneSettings(folder=Path(folder), durable=False)
        async with ControlPlane(settings) as plane, plane.client() as client:
            await bootstrap(client)
            server = plane.processes["kube-apiserver"].pid or 0
            await asyncio.sleep(5)
            crds, memory, cpu = await _crds(client), memory_mib(server), cpu_seconds(server)
            async with controllers(client):
                began = time.perf_counter()
                await asyncio.gather(*(_import(client, types, fields) for _ in range(workspaces)))
                made = time.perf_counter() - began
                await eventually(lambda: _published(client, workspaces * types), StatusError, timeout=7200, interval=1)
                seconds = time.perf_counter() - began
                await asyncio.sleep(15)
            print(f"{workspaces} workspaces importing {types} types each:")
            print(f"  imports written in {made:.1f} s, all types published after {seconds:.1f} s")
            print(f"  CRDs on the shard: {crds} → {await _crds(client)}")
            print(
                f"  kube-apiserver: {memory:.0f} → {memory_mib(server):.0f} MiB, CPU {cpu_seconds(server) - cpu:.0f} s"
            )


async def _crds(client: Client) -> int:
    return len((await client.list(CRDS))["items"])


async def _published(client: Client, wanted: int) -> bool:
    return sum(is_true(obj, "Published") for obj in (await client.list(NEGOTIATED))["items"]) >= wanted


async def _import(client: Client, types: int, fields: int) -> None:
    workspace = Workspace(client)
    cluster = await workspace.cluster("east")
    for number in range(types):
        await workspace.imports(
            cluster, f"kind{number}s", GROUP, schema(fields), subResources=[{"name": "status"}], kind=f"Kind{number}"
        )


if __name__ == "__main__":
    main()
