"""Where one is among workspaces: the current one, going to others, what is in it. Written in the kubeconfig."""

from __future__ import annotations

from typing import Any

from proxy.cli.kubeconfig import CURRENT, PREVIOUS, Stanza
from proxy.cli.overrides import CommandError
from proxy.cli.rest import RestClient, segment
from proxy.cli.session import Session, say
from proxy.cli.tables import TABLE, print_list
from proxy.kube.errors import StatusError

WORKSPACES = "/apis/tenancy.kcp.dev/v1beta1/workspaces"
CLUSTERS = "/clusters/"


def show_current(session: Session, short: bool) -> None:
    _, path = split(session.client.server)
    if path is None:
        say(session.client.server if short else f'Current workspace is the URL "{session.client.server}".')
    else:
        say(path if short else f'Current workspace is "{path}".')


def go(session: Session, workspace: str) -> None:
    """To ``workspace``: a name in the current one, a whole path (``root:a:b``), "..", "." or "-"."""
    client = session.client
    if workspace == "-":
        go_back(session)
        return
    if workspace == ".":
        show_current(session, short=False)
        return
    base, path = split(client.server)
    if path is None and not is_absolute(workspace):
        raise CommandError(f'the current context is the URL "{client.server}", not a workspace')
    if workspace == "..":
        parent, _, _ = (path or "").rpartition(":")
        if not parent:
            raise CommandError(f'current workspace is "{path}"')
        switch(session, f"{base}{CLUSTERS}{parent}")
        say(f'Current workspace is "{parent}".')
    elif is_absolute(workspace):
        check_entry(client.at(f"{base}{CLUSTERS}{workspace}"), workspace)
        switch(session, f"{base}{CLUSTERS}{workspace}")
        say(f'Current workspace is "{workspace}".')
    else:
        found = ask(client, "GET", workspace)
        enter(session, found, f"{path}:{workspace}")


def list_current(session: Session, output: str | None) -> None:
    """What is in the current workspace; ``output``: wide, json, yaml, name or None."""
    accept = TABLE if output in (None, "wide") else "application/json"
    print_list(ask(session.client, "GET", accept=accept), output, "workspace.tenancy.kcp.dev")


def ask(
    client: RestClient, method: str, name: str | None = None, body: Any = None, accept: str = "application/json"
) -> dict[str, Any]:
    """A request for the workspaces in the current one, or for one of them."""
    try:
        answer: dict[str, Any] = client.request(
            method, f"{WORKSPACES}/{segment(name)}" if name is not None else WORKSPACES, body, accept=accept
        )
    except StatusError as error:
        if error.code == 404 and not error.details.get("name"):
            _, path = split(client.server)
            message = f'workspace "{path}" is of a type that holds no workspaces: go up with "kubectl ws .."'
            raise CommandError(message) from error
        raise
    return answer


def enter(session: Session, workspace: dict[str, Any], path: str) -> None:
    """Go to a workspace whose object is at hand."""
    name = workspace["metadata"]["name"]
    if (workspace.get("status") or {}).get("phase") != "Ready":
        raise CommandError(f'workspace "{name}" is not ready')
    base, _ = split(session.client.server)
    switch(session, f"{base}{CLUSTERS}{path}")
    say(f'Current workspace is "{path}" (type "{workspace["spec"]["type"]}").')


def check_entry(client: RestClient, path: str) -> None:
    try:
        client.request("GET", "/version")
    except StatusError as error:
        if error.code == 404:
            raise CommandError(f'workspace "{path}" not found') from error
        if error.code == 403:
            raise CommandError(f'workspace "{path}" does not exist or may not be entered by you') from error
        raise


def switch(session: Session, server: str) -> None:
    """Make ``server`` the current workspace; where we were becomes the previous one."""
    config = session.config
    name = session.overrides.context or config.current_context
    context = config.get("contexts", name) or {}
    cluster = config.get("clusters", session.overrides.cluster or context.get("cluster")) or {}
    if name == CURRENT:
        config.set("clusters", PREVIOUS, dict(cluster))
        config.set("contexts", PREVIOUS, {**context, "cluster": PREVIOUS})
    else:
        config.set("contexts", PREVIOUS, dict(context))
    config.set("clusters", CURRENT, {**cluster, "server": server})
    config.set("contexts", CURRENT, {**context, "cluster": CURRENT})
    config.set_current(CURRENT)
    config.save()


def go_back(session: Session) -> None:
    config = session.config
    previous = config.get("contexts", PREVIOUS)
    cluster = config.get("clusters", previous.get("cluster")) if previous else None
    if previous is None or cluster is None:
        raise CommandError("no previous workspace found in kubeconfig")
    switch_to: Stanza = {**cluster}
    now = config.get("contexts", config.current_context) or {}
    now_cluster = config.get("clusters", now.get("cluster")) or {}
    config.set("clusters", PREVIOUS, now_cluster)
    config.set("contexts", PREVIOUS, {**now, "cluster": PREVIOUS})
    config.set("clusters", CURRENT, switch_to)
    config.set("contexts", CURRENT, {**previous, "cluster": CURRENT})
    config.set_current(CURRENT)
    config.save()
    _, path = split(str(cluster.get("server", "")))
    where = f'"{path}"' if path else f'the URL "{cluster.get("server")}"'
    say(f"Current workspace is {where}.")


def split(server: str) -> tuple[str, str | None]:
    """Base URL and workspace of a server's URL; None for one that is no workspace."""
    base, found, path = server.partition(CLUSTERS)
    return (base, path.strip("/")) if found and path.strip("/") and "/" not in path.strip("/") else (server, None)


def is_absolute(workspace: str) -> bool:
    return ":" in workspace or workspace == "root"
