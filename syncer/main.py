"""``kcp-syncer``: takes a workspace's workloads to one physical cluster and their status back."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
import re
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import click
import uvloop

from proxy.kube.config import SERVICE_ACCOUNT, ConfigError, Connection, in_cluster, load_kubeconfig
from syncer.flags import observed, start_logging
from syncer.metrics import Registry, ready, serve
from syncer.names import SHOWABLE
from syncer.runner import Settings, Syncer
from syncer.shared import Shared


class Changes(TypedDict):
    """What flags say of all workspaces; seconds."""

    poll: float
    empty_namespace_delay: float
    token_lifetime: float
    lease_duration: float


_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration(value: str) -> float:
    """Seconds of a duration as Go writes it: ``1m30s``."""
    parts = re.findall(r"([0-9.]+)(ms|s|m|h)", value)
    if not parts or "".join(number + unit for number, unit in parts) != value:
        raise click.BadParameter(f"{value!r} is not a duration such as 30s or 1m")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Example:
  kcp-syncer --from-kubeconfig=/kcp/kubeconfig --from-cluster=root:telcops:team-a \\
    --workload-cluster-name=east --resources=deployments.apps --resources=configmaps
  kcp-syncer --from-secrets=kcp-syncer""",
)
@click.option("--from-kubeconfig", metavar="FILE", help="Kubeconfig of the workspace.")
@click.option("--from-cluster", metavar="WORKSPACE", help="Path of the workspace.")
@click.option(
    "--from-secrets",
    metavar="NAMESPACE",
    help="Sync many workspaces, each with a Secret in that namespace of the cluster, as kubectl kcp workload sync "
    "--shared prints them; instead of all that says which workspace, cluster and resources.",
)
@click.option("--to-kubeconfig", metavar="FILE", help="Kubeconfig of the physical cluster; without it, the pod's own.")
@click.option("--to-context", metavar="NAME", help="Context of that kubeconfig.")
@click.option("--workload-cluster-name", metavar="NAME", help="Name of the WorkloadCluster.")
@click.option("--resources", multiple=True, metavar="RESOURCE", help="plural[.group]; may be repeated.")
@click.option(
    "--sync-up",
    multiple=True,
    metavar="RESOURCE",
    type=click.Choice(SHOWABLE),
    help="Show in the workspace what the cluster's controllers make of its workloads: pods; events about what the "
    "workspace has; secrets and configmaps with label workloads.kcp.dev/sync-up=true. May be repeated.",
)
@click.option(
    "--tunnel",
    is_flag=True,
    help="Let users of the workspace reach into pods: kubectl logs, exec, attach, port-forward, cp. "
    "Connections are made from here to the workspace.",
)
@click.option("--api-import-poll-interval", default="1m", show_default=True, help="How often APIs are looked at.")
@click.option(
    "--on-removal",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="What becomes of synced objects when the syncer's own namespace is deleted from the cluster. "
    "Ending the syncer alone never deletes anything; objects that leave the workspace or its cluster always go.",
)
@click.option(
    "--empty-namespace-delay",
    default="30s",
    show_default=True,
    help="When a namespace on the cluster goes that nothing stands in any more.",
)
@click.option(
    "--kcp-namespace", default="default", show_default=True, help="Of the syncer's service account and Lease."
)
@click.option(
    "--token-secret",
    metavar="[NAMESPACE/]NAME",
    help="Secret on the cluster in which the renewed token of the workspace is kept. Without it none is renewed.",
)
@click.option("--token-lifetime", default="168h", show_default=True, help="How long a renewed token is good.")
@click.option(
    "--lease-duration",
    default="15s",
    show_default=True,
    help="When another syncer for the same cluster takes over from one that is not heard of.",
)
@observed
def main(
    from_kubeconfig: str | None,
    from_cluster: str | None,
    from_secrets: str | None,
    to_kubeconfig: str | None,
    to_context: str | None,
    workload_cluster_name: str | None,
    resources: Sequence[str],
    sync_up: Sequence[str],
    tunnel: bool,
    api_import_poll_interval: str,
    on_removal: str,
    empty_namespace_delay: str,
    kcp_namespace: str,
    token_secret: str | None,
    token_lifetime: str,
    lease_duration: str,
    metrics_bind_address: str,
    metrics_token_file: Path | None,
    log_format: str,
    verbosity: int,
) -> None:
    """Sync one workspace, or many, with one physical cluster until stopped."""
    start_logging(log_format, verbosity)
    own: Mapping[str, object] = {
        "--from-kubeconfig": from_kubeconfig,
        "--from-cluster": from_cluster,
        "--workload-cluster-name": workload_cluster_name,
        "--resources": resources,
    }
    common: Changes = {
        "poll": duration(api_import_poll_interval),
        "empty_namespace_delay": duration(empty_namespace_delay),
        "token_lifetime": duration(token_lifetime),
        "lease_duration": duration(lease_duration),
    }
    process = Registry()
    work: Shared | Syncer
    try:
        scraped = address(metrics_bind_address)
        if from_secrets is not None:
            if given := [name for name, value in own.items() if value]:
                raise click.UsageError(f"{given[0]} is of one workspace, --from-secrets of many")
            work = Shared(
                cluster_connection(to_kubeconfig, to_context),
                namespace=from_secrets,
                registry=process,
                changed=lambda settings: dataclasses.replace(settings, **common),
            )
            checks: Callable[[], Mapping[str, bool]] = work.checks
        else:
            if not (from_kubeconfig and from_cluster and workload_cluster_name and resources):
                missing = next(name for name, value in own.items() if not value)
                raise click.MissingParameter(param_hint=f"'{missing}'", param_type="option")
            reload = functools.partial(workspace_connection, from_kubeconfig, from_cluster)
            settings = Settings(
                workspace=from_cluster,
                cluster=workload_cluster_name,
                above=reload(),
                below=cluster_connection(to_kubeconfig, to_context),
                resources=sorted({part for item in resources for part in item.split(",") if part}),
                sync_up=sorted(set(sync_up)),
                tunnel=tunnel,
                delete_on_removal=on_removal == "delete",
                account_namespace=kcp_namespace,
                token_secret=secret_name(token_secret) if token_secret else None,
                reload=reload,
                **common,
            )
            work = Syncer(settings, process)
            checks = functools.partial(ready, work.metrics)
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(until_stopped(_run(work, process, checks, scraped, metrics_token_file)))
    except OSError as error:
        click.echo(f"error: --metrics-bind-address {metrics_bind_address}: {error.strerror}", err=True)
        sys.exit(1)


def address(value: str) -> tuple[str, int] | None:
    """Host (empty for all) and port of ``[HOST]:PORT``; None for ``off``."""
    if value == "off":
        return None
    host, colon, port = value.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise click.BadParameter(f"{value!r} is neither [HOST]:PORT nor off")
    return host.strip("[]"), int(port)


def secret_name(value: str) -> tuple[str, str]:
    """Namespace and name of a Secret; the pod's own namespace where none is given. Raises ConfigError."""
    namespace, _, name = value.rpartition("/")
    if not namespace:
        try:
            namespace = (SERVICE_ACCOUNT / "namespace").read_text().strip()
        except OSError as error:
            raise ConfigError(
                f"--token-secret {value}: not in a pod, so a namespace is needed: NAMESPACE/NAME"
            ) from error
    return namespace, name


def cluster_connection(kubeconfig: str | None, context: str | None) -> Connection:
    """To the cluster that is synced with. Raises ConfigError."""
    return load_kubeconfig(kubeconfig, context) if kubeconfig else in_cluster()


def workspace_connection(kubeconfig: str, workspace: str) -> Connection:
    """The connection of the kubeconfig, which must be to ``workspace``. Raises ConfigError."""
    connection = load_kubeconfig(kubeconfig)
    _, found, path = connection.server.partition("/clusters/")
    if found and path.strip("/") != workspace:
        raise ConfigError(f"{kubeconfig} is for workspace {path.strip('/')}, not for {workspace}")
    return connection


async def _run(
    work: Shared | Syncer,
    process: Registry,
    checks: Callable[[], Mapping[str, bool]],
    scraped: tuple[str, int] | None,
    token_file: Path | None,
) -> None:
    """Raises OSError where the address for metrics cannot be used."""
    async with contextlib.AsyncExitStack() as stack:
        if scraped is not None:
            await stack.enter_async_context(serve(process.registry, checks, *scraped, token_file))
        await work.run()


async def until_stopped(work: Coroutine[Any, Any, None]) -> None:
    """Do ``work`` until a signal ends it."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")


if __name__ == "__main__":
    main()
