"""`kcp shard`: the shards of an installation, and whether they get new workspaces."""

from __future__ import annotations

import time
from typing import Any

import click

from proxy.cli.administered import administered
from proxy.cli.rest import RestClient, segment
from proxy.cli.tables import TABLE, print_list
from proxy.kube.errors import StatusError
from proxy.tenancy.moves import OVER, name_of_move

SHARDS = "/apis/tenancy.kcp.dev/v1alpha1/clusterworkspaceshards"
MOVES = "/apis/tenancy.kcp.dev/v1alpha1/workspacemoves"
SINGULAR = "clusterworkspaceshard.tenancy.kcp.dev"
POLL = 0.3
"""Seconds between looks at what is waited for."""
CONTEXT = "root"
"""Of the administrator's kubeconfig: the workspace that the shards are described in."""

on_root = administered(CONTEXT)


@click.group(
    epilog="""\b
Examples:
  kcp shard list
  kcp shard add eu eu.kubeconfig
  kcp shard cordon eu            new workspaces go elsewhere
  kcp shard limit eu 5000        at most 5000 workspaces there
  kcp shard limit eu none
  kcp shard move root:telcops:team-a eu
  kcp shard drain eu             moves all workspaces away
  kcp shard remove eu
\b
Labels, which a workspace's spec.shard.selector selects, are set with kubectl in workspace root:
  kubectl --context root label clusterworkspaceshard eu region=eu"""
)
def shard() -> None:
    """The kube-apiservers that hold workspaces."""


@shard.command(name="list")
@click.option("-o", "--output", type=click.Choice(("json", "yaml", "name", "wide")), help="Output format.")
@on_root
def list_shards(client: RestClient, output: str | None) -> None:
    """Show all shards: whether they answer, how many workspaces they hold."""
    accept = "application/json" if output in ("json", "yaml", "name") else TABLE
    print_list(client.request("GET", SHARDS, accept=accept), output, SINGULAR)


@shard.command(epilog="\b\nExample:\n  kcp shard cordon eu")
@click.argument("name")
@on_root
def cordon(client: RestClient, name: str) -> None:
    """No workspace is newly placed on shard NAME; what is there stays and works."""
    _set_schedulable(client, name, schedulable=False)


@shard.command(epilog="\b\nExample:\n  kcp shard uncordon eu")
@click.argument("name")
@on_root
def uncordon(client: RestClient, name: str) -> None:
    """Workspaces may be placed on shard NAME again."""
    _set_schedulable(client, name, schedulable=True)


@shard.command(epilog="\b\nExamples:\n  kcp shard limit eu 5000\n  kcp shard limit eu none")
@click.argument("name")
@click.argument("workspaces")
@on_root
def limit(client: RestClient, name: str, workspaces: str) -> None:
    """At most WORKSPACES (a number, or none) may be placed on shard NAME."""
    if workspaces != "none" and not (workspaces.isascii() and workspaces.isdigit()):
        raise click.ClickException(f"{workspaces!r} is neither a number nor none")
    maximum = None if workspaces == "none" else int(workspaces)
    _change(client, name, {"maxWorkspaces": maximum})
    click.echo(f"shard/{name} unlimited" if maximum is None else f"shard/{name} limited to {maximum} workspaces")


@shard.command(epilog="\b\nExample:\n  kcp shard move root:telcops:team-a eu")
@click.argument("workspace")
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait until it has moved.")
@on_root
def move(client: RestClient, workspace: str, name: str, no_wait: bool) -> None:
    """Move WORKSPACE (a full path) to shard NAME while it is used.

    Its content is copied, then it takes no writes for a moment (429, which clients try again), then it is served from
    there, and watches begin anew.
    """
    client.request("GET", f"{SHARDS}/{segment(name)}")
    path = f"{MOVES}/{segment(name_of_move(workspace))}"
    before = _found(client, path)
    if before is not None and (before.get("status") or {}).get("phase") in OVER:
        client.request("DELETE", path)
    client.request(
        "POST",
        MOVES,
        {
            "apiVersion": "tenancy.kcp.dev/v1alpha1",
            "kind": "WorkspaceMove",
            "metadata": {"name": name_of_move(workspace)},
            "spec": {"workspace": workspace, "shard": name},
        },
    )
    click.echo(f"workspace {workspace} is to move to shard {name}")
    if not no_wait:
        _await_move(client, path, workspace)


@shard.command()
@click.option("-o", "--output", type=click.Choice(("json", "yaml", "name", "wide")), help="Output format.")
@on_root
def moves(client: RestClient, output: str | None) -> None:
    """Show moves of workspaces, and how far they have come."""
    accept = "application/json" if output in ("json", "yaml", "name") else TABLE
    print_list(client.request("GET", MOVES, accept=accept), output, "workspacemove.tenancy.kcp.dev")


@shard.command(epilog="\b\nExample:\n  kcp shard drain eu\n  kcp shard uncordon eu     calls it off")
@click.argument("name")
@click.option("--no-wait", is_flag=True, help="Do not wait until all have moved.")
@on_root
def drain(client: RestClient, name: str, no_wait: bool) -> None:
    """Move all workspaces but root from shard NAME to others; new ones go elsewhere from now on."""
    _change(client, name, {"unschedulable": True, "drain": True})
    click.echo(f"shard/{name} drains")
    said = ""
    while not no_wait:
        status = client.request("GET", f"{SHARDS}/{segment(name)}").get("status") or {}
        drained = next((item for item in status.get("conditions") or () if item["type"] == "Drained"), None)
        if drained is not None and drained["status"] == "True":
            click.echo(f"shard/{name} drained")
            return
        stuck = f" ({drained['message']})" if drained is not None and drained.get("message") else ""
        now = f"{status.get('workspaces', 0)} workspaces are there{stuck}"
        if now != said:
            click.echo(now)
            said = now
        time.sleep(POLL)


def _await_move(client: RestClient, path: str, workspace: str) -> None:
    """Raises ClickException where it fails."""
    said = ""
    while True:
        found = _found(client, path)
        if found is None:
            raise click.ClickException(f"the move of workspace {workspace} was called off")
        status = found.get("status") or {}
        phase, message = status.get("phase", "Pending"), status.get("message", "")
        if phase == "Failed":
            raise click.ClickException(f"workspace {workspace} does not move: {message}")
        now = f"{phase}: {message}" if message else phase
        if now != said:
            click.echo(now)
            said = now
        if phase in OVER:
            return
        time.sleep(POLL)


def _found(client: RestClient, path: str) -> dict[str, Any] | None:
    try:
        found: dict[str, Any] = client.request("GET", path)
        return found
    except StatusError as error:
        if error.code != 404:
            raise
        return None


def _set_schedulable(client: RestClient, name: str, *, schedulable: bool) -> None:
    done = "uncordoned" if schedulable else "cordoned"
    spec = client.request("GET", f"{SHARDS}/{segment(name)}").get("spec") or {}
    if bool(spec.get("unschedulable")) is not schedulable and not (schedulable and spec.get("drain")):
        click.echo(f"shard/{name} already {done}")
        return
    _change(client, name, {"unschedulable": None, "drain": None} if schedulable else {"unschedulable": True})
    click.echo(f"shard/{name} {done}")


def _change(client: RestClient, name: str, spec: dict[str, Any]) -> None:
    path = f"{SHARDS}/{segment(name)}"
    client.request("PATCH", path, {"spec": spec}, content_type="application/merge-patch+json")
