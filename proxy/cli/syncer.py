"""`kcp syncer`: syncs the clusters whose kubeconfigs their workspaces have handed over, from beside the proxy."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Coroutine, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click
import uvloop

from proxy.cli.administered import root_flag
from proxy.cli.configuration import config_flag
from proxy.cli.controlling import NAMESPACE
from proxy.cli.home import SYSTEM_ADMIN
from proxy.cli.installation import Installation, NotThere
from proxy.identities import Identity
from proxy.kube.client import Client
from proxy.kube.config import ConfigError, load_kubeconfig
from proxy.kube.leadership import Leadership, process_identity
from proxy.kube.networks import Networks
from proxy.kube.running import keep_running
from proxy.push.fleet import Fleet
from proxy.push.pushed import Surroundings
from proxy.server.settings import ServerSettings
from proxy.shard.addresses import interface_addresses
from proxy.tenancy.root import root_shard
from syncer.flags import observed, start_logging
from syncer.main import address, duration, until_stopped
from syncer.metrics import Level, serve

LEASE = "kcp-syncer"
"""Beside that of the controllers."""
THREADS = 2
"""For what takes long: the interpreter's lock is shared with the event loop."""
RESOLVERS = "32"
"""Threads that look up names: a tenant's name server may take its time, and others do not wait for it."""


SHARDS_EVERY = 5.0
"""Seconds between looks whether kcp has other shards now."""


@click.command(
    epilog="""\b
Examples:
  kcp syncer
  kcp syncer --root-directory /var/lib/kcp --metrics-bind-address 127.0.0.1:9466
  kcp syncer --allow-network 127.0.0.0/8           clusters on this machine (kind, k3d), for development
  kcp syncer --deny-network 10.20.0.0/16           nothing in our own network
\b
A workspace hands a cluster over with
  kubectl kcp workload sync east --push east.kubeconfig"""
)
@config_flag
@root_flag
@click.option(
    "--kubeconfig",
    metavar="FILE",
    help=f"An administrator's kubeconfig with a context {SYSTEM_ADMIN!r} (default: the one in that folder).",
)
@click.option(
    "--allow-network",
    "allowed",
    multiple=True,
    metavar="CIDR",
    help="Where clusters may be although it is this machine, link-local, or a cloud's metadata. Repeatable.",
)
@click.option(
    "--deny-network",
    "denied",
    multiple=True,
    metavar="CIDR",
    help="Where no cluster may be. Of networks that hold an address the smallest decides. Repeatable.",
)
@click.option(
    "--allow-insecure", is_flag=True, help="Take kubeconfigs with plain http, or that do not check certificates."
)
@click.option(
    "--requests-per-cluster",
    type=click.IntRange(1, 1000),
    default=16,
    show_default=True,
    help="Requests to one API server at a time (watches not counted), in turns for all workspaces that use it.",
)
@click.option(
    "--clusters-per-workspace",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    help="How many of one workspace are synced; what there is beyond is told so.",
)
@click.option(
    "--lease-duration",
    default="30s",
    show_default=True,
    help="When another kcp syncer takes over from one that is not heard of.",
)
@observed
def syncer(
    root_directory: Path,
    kubeconfig: str | None,
    allowed: tuple[str, ...],
    denied: tuple[str, ...],
    allow_insecure: bool,
    requests_per_cluster: int,
    clusters_per_workspace: int,
    lease_duration: str,
    metrics_bind_address: str,
    metrics_token_file: Path | None,
    log_format: str,
    verbosity: int,
) -> None:
    """Sync all physical clusters that workspaces push to, until stopped. Nothing of it runs on the clusters.

    Several may run, on several machines; one of them works, the others wait for its end.
    """
    os.umask(0o077)
    os.environ.setdefault("UV_THREADPOOL_SIZE", RESOLVERS)
    start_logging(log_format, verbosity)
    try:
        networks = Networks(allowed=allowed, denied=denied, own=interface_addresses())
    except ValueError as error:
        raise click.ClickException(f"--allow-network, --deny-network: {error}") from error
    try:
        connection = load_kubeconfig(kubeconfig or root_directory / "admin.kubeconfig", SYSTEM_ADMIN)
        surroundings = Surroundings(
            proxy=Client(connection, user_agent="kcp-syncer"),
            networks=networks,
            allow_insecure=allow_insecure,
            requests=requests_per_cluster,
            clusters=clusters_per_workspace,
        )
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            scraped = address(metrics_bind_address)
            runner.run(
                until_stopped(_run(root_directory, surroundings, duration(lease_duration), scraped, metrics_token_file))
            )
    except (ConfigError, NotThere) as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"--metrics-bind-address {metrics_bind_address}: {error.strerror}") from error


async def _run(
    root: Path,
    surroundings: Surroundings,
    lease: float,
    scraped: tuple[str, int] | None,
    token_file: Path | None,
) -> None:
    """``lease``: seconds. Raises NotThere, OSError where the address for metrics cannot be used."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(THREADS))
    leads, knows = Level(), Level()
    current: list[Fleet] = []
    registry = surroundings.registry.registry

    def checks() -> Mapping[str, bool]:
        if leads.value:
            return {"clusters-known": all(fleet.synced for fleet in current)}
        return {"standing-by": bool(knows.value)}

    async with surroundings.proxy, AsyncExitStack() as stack:
        if scraped is not None:
            await stack.enter_async_context(serve(registry, checks, *scraped, token_file))
        while True:
            async with Installation(root) as installation:
                fleet = Fleet(installation.shards, surroundings)
                registry.register(fleet)
                current[:] = [fleet]
                try:
                    await _until_shards_change(_work(installation, fleet, leads, knows, lease), installation)
                finally:
                    registry.unregister(fleet)


async def _work(installation: Installation, fleet: Fleet, leads: Level, knows: Level, lease: float) -> None:
    shards = Identity.PUSHING.on_all(installation.shards)
    leadership = Leadership(
        shards[await root_shard(shards, next(iter(shards)))],
        namespace=NAMESPACE,
        name=LEASE,
        identity=process_identity(),
        work="syncing clusters",
        steps_down=True,
        duration=lease,
        leads=leads.set,
        knows=knows.set,
    )
    await leadership.run(lambda: keep_running("syncing clusters", fleet.run))


async def _until_shards_change(work: Coroutine[Any, Any, None], installation: Installation) -> None:
    """``work`` ends when kcp has taken up a shard, or left one."""
    working = asyncio.create_task(work)
    try:
        while not working.done() and not _changed(installation):
            await asyncio.wait((working,), timeout=SHARDS_EVERY)
        if working.done():
            working.result()
    finally:
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)


def _changed(installation: Installation) -> bool:
    try:
        return ServerSettings.read(installation.root / "server.json").shards != installation.settings.shards
    except (OSError, ValueError, TypeError, KeyError):
        return False  # it is being written, or kcp is being removed
