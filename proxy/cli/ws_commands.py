"""The commands of ``kubectl ws`` (``kubectl kcp workspace``): move between workspaces, list, create, delete them."""

from __future__ import annotations

import time
from typing import Any

import click

from proxy.cli.flags import kubectl_flags
from proxy.cli.places import WORKSPACES, ask, enter, go, list_current, show_current, split
from proxy.cli.rest import RestClient, segment
from proxy.cli.session import Session
from proxy.kube.errors import StatusError

VISIBLE_WITHIN = 5.0
READY_WITHIN = 60.0


class UseByDefault(click.Group):
    """A first argument that is no subcommand is a workspace to go to: ``kubectl ws ..``."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in self.commands:
            args = ["use", *args]
        return super().resolve_command(ctx, args)


@click.group(
    cls=UseByDefault,
    invoke_without_command=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  kubectl ws                                     show the current workspace
  kubectl ws root                                go to a workspace by its whole path
  kubectl ws team-a                              go to a workspace in the current one
  kubectl ws ..                                  go to the parent
  kubectl ws -                                   go back to the previous one
  kubectl ws create telcops --type Organization  create one in the current workspace
  kubectl ws create team-a --enter               create one and go there
  kubectl ws list                                list those in the current workspace""",
)
@click.pass_context
@kubectl_flags
def ws(session: Session, context: click.Context) -> None:
    """Manage workspaces; without a command, show the current one."""
    if context.invoked_subcommand is None:
        show_current(session, short=False)
    else:
        context.obj = session.overrides


@ws.command()
@click.option("--short", is_flag=True, help="Print the path alone.")
@kubectl_flags
def current(session: Session, short: bool) -> None:
    """Show the current workspace."""
    show_current(session, short)


@ws.command()
@click.argument("workspace")
@kubectl_flags
def use(session: Session, workspace: str) -> None:
    """Go to WORKSPACE: a name in the current one, a whole path (root:a:b), "..", "." or "-"."""
    go(session, workspace)


@ws.command()
@click.argument("name")
@click.option("--type", "kind", default="Universal", show_default=True, help="Type of the workspace.")
@click.option("--enter", "enter_it", is_flag=True, help="Go there once it is ready.")
@click.option("--use", "use_it", is_flag=True, hidden=True, help="Old spelling of --enter.")
@click.option("--ignore-existing", is_flag=True, help="Be content if it exists already.")
@kubectl_flags
def create(session: Session, name: str, kind: str, enter_it: bool, use_it: bool, ignore_existing: bool) -> None:
    """Create the workspace NAME in the current one and wait until it is ready."""
    client = session.client
    _, path = split(client.server)
    if path is None:
        raise click.ClickException(f'the current context is the URL "{client.server}", not a workspace')
    body = {
        "apiVersion": "tenancy.kcp.dev/v1beta1",
        "kind": "Workspace",
        "metadata": {"name": name},
        "spec": {"type": kind},
    }
    try:
        workspace = ask(client, "POST", body=body)
    except StatusError as error:
        if error.reason != "AlreadyExists" or not ignore_existing:
            raise
        workspace = client.request("GET", f"{WORKSPACES}/{segment(name)}")
        if workspace["spec"]["type"] != kind:
            other = workspace["spec"]["type"]
            raise click.ClickException(f'workspace "{name}" already exists with different type "{other}"') from error
        click.echo(f'Workspace "{name}" (type "{kind}") already exists.')
    else:
        click.echo(f'Workspace "{name}" (type "{kind}") created. Waiting for being ready.')
    workspace = wait_ready(client, name)
    if enter_it or use_it:
        enter(session, workspace, f"{path}:{name}")


def wait_ready(client: RestClient, name: str) -> dict[str, Any]:
    """The Workspace once it is Ready; says why not after `READY_WITHIN` seconds."""
    started = time.monotonic()
    pause = 0.01
    while True:
        try:
            workspace: dict[str, Any] = client.request("GET", f"{WORKSPACES}/{segment(name)}")
        except StatusError as error:
            # Who may make workspaces may see this one as its owner, a moment later.
            if error.code not in (403, 404) or time.monotonic() - started > VISIBLE_WITHIN:
                raise
        else:
            if (workspace.get("status") or {}).get("phase") == "Ready":
                return workspace
        # A type that does not exist will not come by waiting.
        reason = blocked_by(client, name) if time.monotonic() - started > 1.0 else None
        if reason or time.monotonic() - started > READY_WITHIN:
            raise click.ClickException(f'workspace "{name}" is not ready' + (f": {reason}" if reason else ""))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.3)


def blocked_by(client: RestClient, name: str) -> str | None:
    """The message of a condition that keeps the workspace from being scheduled."""
    try:
        details = client.request("GET", f"/apis/tenancy.kcp.dev/v1alpha1/clusterworkspaces/{segment(name)}")
    except StatusError:
        return None
    for condition in (details.get("status") or {}).get("conditions") or ():
        if condition["type"] == "WorkspaceScheduled" and condition["status"] == "False":
            return str(condition.get("message", "")) or None
    return None


@ws.command("list")
@click.option("-o", "--output", type=click.Choice(["wide", "json", "yaml", "name"]), help="Form of the output.")
@kubectl_flags
def list_command(session: Session, output: str | None) -> None:
    """List the workspaces in the current one."""
    list_current(session, output)


@ws.command("create-context")
@click.argument("name", required=False)
@click.option("--overwrite", is_flag=True, help="Replace a context of that name.")
@kubectl_flags
def create_context(session: Session, name: str | None, overwrite: bool) -> None:
    """Save the current workspace as a context of its own, named NAME or by its path, and switch to it."""
    _, path = split(session.client.server)
    if path is None:
        raise click.ClickException(f'the current context is the URL "{session.client.server}", not a workspace')
    name = name or path
    config = session.config
    if config.get("contexts", name) is not None and not overwrite:
        raise click.ClickException(f'context "{name}" already exists in kubeconfig, use --overwrite to update it')
    existed = config.get("contexts", name) is not None
    context = config.get("contexts", session.overrides.context or config.current_context) or {}
    config.set("clusters", name, config.get("clusters", context.get("cluster")) or {})
    config.set("contexts", name, {**context, "cluster": name})
    config.set_current(name)
    config.save()
    click.echo(f'{"Updated" if existed else "Created"} context "{name}" and switched to it.')


@ws.command()
@click.argument("name")
@click.option("--wait/--no-wait", default=True, show_default=True, help="Wait until it is gone.")
@kubectl_flags
def delete(session: Session, name: str, wait: bool) -> None:
    """Delete the workspace NAME in the current one, with everything in it."""
    path = f"{WORKSPACES}/{segment(name)}"
    uid = ask(session.client, "DELETE", name).get("details", {}).get("uid")
    click.echo(f'workspace.tenancy.kcp.dev "{name}" deleted')
    pause = 0.05
    while wait:
        try:
            found = session.client.request("GET", path)
        except StatusError as error:
            if error.code in (403, 404):  # the rights of its owner end with it
                return
            raise
        if uid and found["metadata"]["uid"] != uid:
            return
        time.sleep(pause)
        pause = min(pause * 1.5, 1.0)
