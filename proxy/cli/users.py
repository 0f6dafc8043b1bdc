"""`kcp kubeconfig`: kubeconfigs for people, with tokens that this kcp knows."""

from __future__ import annotations

import csv
import fcntl
import functools
import io
import os
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson

from proxy.auth.tokenfile import parse, read
from proxy.cli.administered import one_line, root_flag
from proxy.cli.home import ADMIN, SYSTEM_ADMIN
from proxy.cli.kubeconfig import Kubeconfig
from proxy.cli.overrides import Overrides
from proxy.cli.rest import RestClient
from proxy.kube.config import write_kubeconfig
from proxy.shard.pki import write_private

RBAC = "/apis/rbac.authorization.k8s.io/v1"
Row = list[str]
Command = Callable[..., Any]


class Users:
    """The token file of a kcp in ``root`` (``tokens.csv``), which running workers read again when it changes."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._file = root / "tokens.csv"

    def rows(self) -> list[Row]:
        """``token,user,uid[,groups]`` of all but the administrator. Raises OSError, ValueError."""
        content = read(self._file)
        parse(content, str(self._file))
        rows = csv.reader(io.StringIO(content, newline=""), skipinitialspace=True)
        return [row for row in rows if row and not row[0].startswith("#") and row[1] != ADMIN]

    def add(self, user: str, groups: tuple[str, ...]) -> str:
        """A new token of ``user``. Raises click.ClickException where the user has one."""
        with self._locked():
            if any(row[1] == user for row in self.rows()):
                raise click.ClickException(f"user {user} has one already; kcp kubeconfig revoke {user} ends it")
            token = secrets.token_urlsafe(32)
            line = io.StringIO()
            csv.writer(line, lineterminator="\n").writerow([token, user, user, *([",".join(groups)] if groups else [])])
            content = self._file.read_bytes()
            write_private(self._file, content + (b"" if content.endswith(b"\n") else b"\n") + line.getvalue().encode())
        return token

    def remove(self, user: str) -> bool:
        """Whether there were tokens of ``user`` to remove."""
        with self._locked():
            content = read(self._file)
            lines = content.splitlines(keepends=True)
            kept = [line for line in lines if next(csv.reader([line], skipinitialspace=True), ["", ""])[1:2] != [user]]
            if kept != lines:
                write_private(self._file, "".join(kept).encode())
        return kept != lines

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self._root / "users.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _of_root(command: Command) -> Command:
    """The command gets the root directory as its first argument; errors are one line."""

    @root_flag
    @functools.wraps(command)
    def wrapped(*args: Any, root_directory: Path, **values: Any) -> Any:
        if not (root_directory / "tokens.csv").exists():
            raise click.ClickException(f"no kcp was started in {root_directory}; --root-directory names its folder")
        with one_line(ValueError, OSError):
            return command(root_directory, *args, **values)

    return wrapped


@click.group(
    epilog="""\b
Examples:
  kcp kubeconfig create alice --workspace root:telcops:team-a --admin
  kcp kubeconfig create bob --group dev --file /tmp/bob.kubeconfig
  kcp kubeconfig list
  kcp kubeconfig revoke alice"""
)
def kubeconfig() -> None:
    """Kubeconfigs for people. Larger organisations use OpenID Connect or client certificates instead."""


@kubeconfig.command(
    epilog="""\b
Examples:
  kcp kubeconfig create alice --workspace root:telcops:team-a --admin
  kcp kubeconfig create bob --group dev"""
)
@click.argument("user")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group of the user. Repeatable.")
@click.option("--workspace", default="root:default", show_default=True, help="Where the kubeconfig leads.")
@click.option("--admin", is_flag=True, help="The user may do everything in that workspace.")
@click.option("--access", is_flag=True, help="The user may enter it; what else is up to the RBAC inside.")
@click.option("--file", type=click.Path(dir_okay=False, path_type=Path), help="File to write (USER.kubeconfig).")
@_of_root
def create(
    root: Path, user: str, groups: tuple[str, ...], workspace: str, admin: bool, access: bool, file: Path | None
) -> None:
    """Write a kubeconfig for USER with a token of its own. It is good until it is revoked."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,62}", user) or user == ADMIN:
        raise click.ClickException(f"{user!r} is no name for a user: letters, digits, and . _ @ - between; not {ADMIN}")
    if any(group.startswith("system:") or not re.fullmatch(r"[^\s,\"]{1,128}", group) for group in groups):
        raise click.ClickException("groups have no blanks, commas or quotes, and do not begin with system:")
    target = file or Path(f"{user}.kubeconfig")
    if target.exists():
        raise click.ClickException(f"{target} exists; --file names another one")
    config = Kubeconfig.load(str(root / "admin.kubeconfig"))
    cluster = config.get("clusters", SYSTEM_ADMIN)
    if cluster is None:
        raise click.ClickException(f"{root / 'admin.kubeconfig'} has no cluster {SYSTEM_ADMIN}: restart kcp")
    server = RestClient.of(config, Overrides(context=SYSTEM_ADMIN))
    server.at(f"{server.server}/clusters/{workspace}").request("GET", "/api/v1/namespaces/default")
    if admin or access:
        _grant(server, user, workspace, admin=admin)
    token = Users(root).add(user, groups)
    name = workspace.rpartition(":")[2]
    here = {**cluster, "server": f"{server.server}/clusters/{workspace}"}
    write_kubeconfig(
        target,
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": here}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
            "current-context": name,
        },
    )
    click.echo(f"{target}: {user} in {workspace}")


def _grant(server: RestClient, user: str, workspace: str, *, admin: bool) -> None:
    """A role in the parent that names this one workspace."""
    parent, _, name = workspace.rpartition(":")
    if not parent:
        raise click.ClickException(f"workspace {workspace} has no parent that could give rights to it")
    above = server.at(f"{server.server}/clusters/{parent}")
    role = f"{'admin' if admin else 'access'}-workspace-{name}"
    verbs = ["access", "admin"] if admin else ["access"]
    rule = {
        "apiGroups": ["tenancy.kcp.dev"],
        "resources": ["clusterworkspaces/content", "workspaces/content"],
        "resourceNames": [name],
        "verbs": verbs,
    }
    api = "rbac.authorization.k8s.io"
    kinds = {"apiVersion": f"{api}/v1"}
    _apply(above, f"{RBAC}/clusterroles/{role}", {**kinds, "kind": "ClusterRole", "rules": [rule]})
    binding = {
        **kinds,
        "kind": "ClusterRoleBinding",
        "roleRef": {"apiGroup": api, "kind": "ClusterRole", "name": role},
        "subjects": [{"apiGroup": api, "kind": "User", "name": user}],
    }
    _apply(above, f"{RBAC}/clusterrolebindings/{role}-{user}", binding)


def _apply(client: RestClient, path: str, obj: dict[str, Any]) -> None:
    whole = {**obj, "metadata": {"name": path.rpartition("/")[2]}}
    client.request("PATCH", f"{path}?fieldManager=kcp&force=true", whole, content_type="application/apply-patch+yaml")


@kubeconfig.command(name="list")
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True)
@_of_root
def list_users(root: Path, output: str) -> None:
    """Show whom kubeconfigs were made for. Tokens are not shown."""
    users = [
        {"user": row[1], "groups": [group for group in (row[3] if len(row) > 3 else "").split(",") if group]}
        for row in Users(root).rows()
    ]
    if output == "json":
        click.echo(orjson.dumps(users, option=orjson.OPT_INDENT_2).decode())
    elif not users:
        click.echo("No users: kcp kubeconfig create USER makes one", err=True)
    else:
        width = max(4, *(len(str(user["user"])) for user in users))
        click.echo(f"{'USER':{width}}   GROUPS")
        for user in users:
            click.echo(f"{user['user']:{width}}   {','.join(user['groups'])}".rstrip())


@kubeconfig.command(epilog="\b\nExample:\n  kcp kubeconfig revoke alice")
@click.argument("user")
@_of_root
def revoke(root: Path, user: str) -> None:
    """End the token of USER, wherever its kubeconfig is; within a second, and for connections that are open too."""
    if user == ADMIN or not Users(root).remove(user):
        raise click.ClickException(f"no user {user} was made by kcp kubeconfig create")
    click.echo(f"user {user} revoked")
