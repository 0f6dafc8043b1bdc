"""`kcp shard`: the shards of an installation, and whether they get new workspaces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.cli.kubeconfig import Kubeconfig, KubeconfigError
from proxy.cli.rest import ClientError, Overrides, RestClient
from proxy.cli.tables import TABLE, print_list
from proxy.cli.ws import quote
from proxy.kube.errors import StatusError

SHARDS = "/apis/tenancy.kcp.dev/v1alpha1/clusterworkspaceshards"
SINGULAR = "clusterworkspaceshard.tenancy.kcp.dev"
CONTEXT = "root"
"""Of the administrator's kubeconfig: the workspace that the shards are described in."""

Command = Callable[..., Any]


def _on_root(command: Command) -> Command:
    """The command gets a client of the workspace root as its first argument; errors are one line."""

    @click.option(
        "--root-directory", type=click.Path(file_okay=False, path_type=Path), default=".kcp", show_default=True,
        help="The folder of `kcp start`.",
    )  # fmt: skip
    @click.option("--kubeconfig", metavar="FILE", help="Kubeconfig with context root (default: the administrator's).")
    @functools.wraps(command)
    def wrapped(*args: Any, root_directory: Path, kubeconfig: str | None, **values: Any) -> Any:
        file = kubeconfig or str(root_directory / "admin.kubeconfig")
        if not Path(file).exists():
            raise click.ClickException(f"{file} does not exist; --root-directory names the folder of `kcp start`")
        try:
            client = RestClient.of(Kubeconfig.load(file), Overrides(context=CONTEXT))
            return command(client, *args, **values)
        except (KubeconfigError, ClientError, StatusError) as error:
            raise click.ClickException(str(error)) from error

    return wrapped


@click.group(
    epilog="""\b
Examples:
  kcp shard list
  kcp shard cordon eu            new workspaces go elsewhere
  kcp shard limit eu 5000        at most 5000 workspaces there
  kcp shard limit eu none
\b
Labels, which a workspace's spec.shard.selector selects, are set with kubectl in workspace root:
  kubectl --context root label clusterworkspaceshard eu region=eu"""
)
def shard() -> None:
    """The kube-apiservers that hold workspaces. `kcp start --shard NAME=KUBECONFIG` adds one."""


@shard.command(name="list")
@click.option("-o", "--output", type=click.Choice(("json", "yaml", "name", "wide")), help="Output format.")
@_on_root
def list_shards(client: RestClient, output: str | None) -> None:
    """Show all shards: whether they answer, how many workspaces they hold."""
    accept = "application/json" if output in ("json", "yaml", "name") else TABLE
    print_list(client.request("GET", SHARDS, accept=accept), output, SINGULAR)


@shard.command(epilog="\b\nExample:\n  kcp shard cordon eu")
@click.argument("name")
@_on_root
def cordon(client: RestClient, name: str) -> None:
    """No workspace is newly placed on shard NAME; what is there stays and works."""
    _set_schedulable(client, name, schedulable=False)


@shard.command(epilog="\b\nExample:\n  kcp shard uncordon eu")
@click.argument("name")
@_on_root
def uncordon(client: RestClient, name: str) -> None:
    """Workspaces may be placed on shard NAME again."""
    _set_schedulable(client, name, schedulable=True)


@shard.command(epilog="\b\nExamples:\n  kcp shard limit eu 5000\n  kcp shard limit eu none")
@click.argument("name")
@click.argument("workspaces")
@_on_root
def limit(client: RestClient, name: str, workspaces: str) -> None:
    """At most WORKSPACES (a number, or none) may be placed on shard NAME."""
    if workspaces != "none" and not (workspaces.isascii() and workspaces.isdigit()):
        raise click.ClickException(f"{workspaces!r} is neither a number nor none")
    maximum = None if workspaces == "none" else int(workspaces)
    _change(client, name, {"maxWorkspaces": maximum})
    click.echo(f"shard/{name} unlimited" if maximum is None else f"shard/{name} limited to {maximum} workspaces")


def _set_schedulable(client: RestClient, name: str, *, schedulable: bool) -> None:
    done = "uncordoned" if schedulable else "cordoned"
    spec = client.request("GET", f"{SHARDS}/{quote(name)}").get("spec") or {}
    if bool(spec.get("unschedulable")) is not schedulable:
        click.echo(f"shard/{name} already {done}")
        return
    _change(client, name, {"unschedulable": None if schedulable else True})
    click.echo(f"shard/{name} {done}")


def _change(client: RestClient, name: str, spec: dict[str, Any]) -> None:
    path = f"{SHARDS}/{quote(name)}"
    client.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")
