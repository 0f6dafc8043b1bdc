"""``python -m tests.clusters``: physical clusters on this machine."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click

from tests.clusters import network, requirements, spec
from tests.clusters.check import check as check_cluster
from tests.clusters.cluster import DEFAULT_ROOT, PROXY_PORT, PhysicalCluster, remove_root
from tests.clusters.errors import ClusterError

root_option = click.option(
    "--root",
    type=click.Path(file_okay=False, path_type=Path),
    default=DEFAULT_ROOT,
    help="Folder of the clusters. Default: build/clusters.",
)


@click.group()
def main() -> None:
    """Whole Kubernetes clusters on this machine, for tests and demo.

    \b
      python -m tests.clusters up a b
      kubectl --kubeconfig build/clusters/a/kubeconfig get nodes
      python -m tests.clusters down
    """


@main.command()
def install() -> None:
    """Install what real nodes need, where possible, and say what nodes there will be."""
    _run(lambda: _install())


@main.command()
@click.argument("names", nargs=-1, required=True)
@root_option
@click.option("--runtime", type=click.Choice(["auto", "nodes", "kwok"]), default="auto", help="What plays the nodes.")
@click.option(
    "--port",
    "ports",
    type=int,
    multiple=True,
    default=(PROXY_PORT,),
    help="Where pods may reach this machine (repeatable).",
)
def up(names: tuple[str, ...], root: Path, runtime: str, ports: tuple[int, ...]) -> None:
    """Start clusters NAMES."""
    _run(lambda: _up(names, root, runtime, ports))


@main.command()
@click.argument("names", nargs=-1)
@root_option
def down(names: tuple[str, ...], root: Path) -> None:
    """End clusters NAMES (default: all) and delete all of them."""
    _run(lambda: _down(names, root))


@main.command("list")
@root_option
def list_clusters(root: Path) -> None:
    """Show clusters, one a line."""
    _run(lambda: _list(root))


@main.command()
@click.argument("name")
@root_option
def check(name: str, root: Path) -> None:
    """Try everything that a real node has to be able to do in cluster NAME."""
    _run(lambda: check_cluster(PhysicalCluster(name, root=root), click.echo))


async def _install() -> None:
    await asyncio.to_thread(requirements.install, click.echo)


async def _up(names: tuple[str, ...], root: Path, runtime: Any, ports: tuple[int, ...]) -> None:
    said: set[str] = set()

    def say(line: str) -> None:
        if line not in said:
            said.add(line)
            click.echo(line)

    async def one(name: str) -> None:
        cluster = PhysicalCluster(
            name, root=root, runtime=None if runtime == "auto" else runtime, ports=ports, detached=True
        )
        started = time.monotonic()
        await cluster.start(say)
        say(f"{name}: up after {time.monotonic() - started:.1f} s; export KUBECONFIG={cluster.kubeconfig}")

    outcomes = await asyncio.gather(*map(one, names), return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
    bridge = network.find(root.resolve()) if PhysicalCluster(names[0], root=root).spec.runtime == "nodes" else None
    if bridge is not None:
        ports_text = ", ".join(map(str, ports))
        say(
            f"pods reach this machine at {bridge.address}, port {ports_text}: kcp start --bind-address {bridge.address}"
        )


async def _down(names: tuple[str, ...], root: Path) -> None:
    known = [file.parent.name for file in sorted(root.glob("*/spec.json"))]
    for name in names:
        if name not in known:
            raise ClusterError(f"there is no cluster {name} in {root}")
    await asyncio.gather(*(PhysicalCluster(name, root=root).destroy() for name in names or known))
    remove_root(root)


async def _list(root: Path) -> None:
    for cluster in spec.read_all(root):
        state = "up" if PhysicalCluster(cluster.name, root=root).up else "down"
        click.echo(f"{cluster.name}  {cluster.runtime}  {state}  {cluster.kubeconfig}")


def _run(task: Callable[[], Coroutine[Any, Any, None]]) -> None:
    try:
        asyncio.run(task())
    except (ClusterError, OSError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
