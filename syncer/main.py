"""``kcp-syncer``: takes a workspace's workloads to one physical cluster and their status back."""

from __future__ import annotations

import asyncio
import logging
import re
import signal
import sys
from collections.abc import Sequence

import click

from proxy.kube.config import ConfigError, Connection, in_cluster, load_kubeconfig
from syncer.runner import Settings, Syncer

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
    --workload-cluster-name=east --resources=deployments.apps --resources=configmaps""",
)
@click.option("--from-kubeconfig", required=True, metavar="FILE", help="Kubeconfig of the workspace.")
@click.option("--from-cluster", required=True, metavar="WORKSPACE", help="Path of the workspace.")
@click.option("--to-kubeconfig", metavar="FILE", help="Kubeconfig of the physical cluster; without it, the pod's own.")
@click.option("--to-context", metavar="NAME", help="Context of that kubeconfig.")
@click.option("--workload-cluster-name", required=True, metavar="NAME", help="Name of the WorkloadCluster.")
@click.option("--resources", multiple=True, required=True, metavar="RESOURCE", help="plural[.group]; may be repeated.")
@click.option("--api-import-poll-interval", default="1m", show_default=True, help="How often APIs are looked at.")
@click.option(
    "--on-removal",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="What becomes of synced objects when the syncer's own namespace is deleted from the cluster. "
    "Ending the syncer alone never deletes anything; objects that leave the workspace or its cluster always go.",
)
@click.option("-v", "--verbosity", type=int, default=2, show_default=True, help="0 errors, 2 what is done, 4 details.")
def main(
    from_kubeconfig: str,
    from_cluster: str,
    to_kubeconfig: str | None,
    to_context: str | None,
    workload_cluster_name: str,
    resources: Sequence[str],
    api_import_poll_interval: str,
    on_removal: str,
    verbosity: int,
) -> None:
    """Sync one workspace with one physical cluster until stopped."""
    level = logging.DEBUG if verbosity > 3 else logging.INFO if verbosity > 1 else logging.WARNING
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    try:
        settings = Settings(
            workspace=from_cluster,
            cluster=workload_cluster_name,
            above=workspace_connection(from_kubeconfig, from_cluster),
            below=load_kubeconfig(to_kubeconfig, to_context) if to_kubeconfig else in_cluster(),
            resources=sorted({part for item in resources for part in item.split(",") if part}),
            poll=duration(api_import_poll_interval),
            delete_on_removal=on_removal == "delete",
        )
    except ConfigError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    asyncio.run(_until_stopped(Syncer(settings)))


def workspace_connection(kubeconfig: str, workspace: str) -> Connection:
    """The connection of the kubeconfig, which must be to ``workspace``. Raises ConfigError."""
    connection = load_kubeconfig(kubeconfig)
    _, found, path = connection.server.partition("/clusters/")
    if found and path.strip("/") != workspace:
        raise ConfigError(f"{kubeconfig} is for workspace {path.strip('/')}, not for {workspace}")
    return connection


async def _until_stopped(syncer: Syncer) -> None:
    task = asyncio.create_task(syncer.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        logging.getLogger(__name__).info("stopped")


if __name__ == "__main__":
    main()
