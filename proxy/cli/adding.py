"""`kcp shard add` and `remove`: shards of a kcp on this machine, while it runs or before."""

from __future__ import annotations

import asyncio
import base64
import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.cli.administered import one_line, root_flag
from proxy.cli.external import NAME, SUFFIX, ShardError, external_shard
from proxy.cli.kubeconfig import Kubeconfig
from proxy.cli.overrides import ClientError, Overrides
from proxy.cli.rest import RestClient, segment
from proxy.cli.shards import CONTEXT, SHARDS, shard
from proxy.kube.client import Client
from proxy.kube.config import ConfigError, Connection, load_kubeconfig, write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.kube.reviews import may_do_everything
from proxy.server.settings import ServerSettings
from proxy.shard.pki import private_folder

FOLLOWED_WITHIN = 120.0
"""Seconds for a kcp that runs to take up a shard, or to leave one."""
POLL = 0.3

Command = Callable[..., Any]


class Local:
    """The folder of `kcp start`, and what it knows of shards."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = folder / "shards"
        if not (folder / "server.json").is_file():
            raise click.ClickException(f"{folder} is no folder of `kcp start`; --root-directory names it")

    def file(self, name: str) -> Path:
        return self.files / f"{name}{SUFFIX}"

    def served(self) -> dict[str, str]:
        """Kubeconfigs of the shards that workers serve now, by name."""
        settings = ServerSettings.read(self.folder / "server.json")
        return {found.name: found.kubeconfig for found in settings.shards}

    def client(self) -> RestClient | None:
        """Of the workspace root, where kcp runs."""
        config = Kubeconfig.load(str(self.folder / "admin.kubeconfig"))
        client = RestClient.of(config, Overrides(context=CONTEXT))
        try:
            client.request("GET", SHARDS)
        except ClientError:
            return None
        return client


def _local(command: Command) -> Command:
    """The command gets a Local as its first argument; errors are one line."""

    @root_flag
    @functools.wraps(command)
    def wrapped(*args: Any, root_directory: Path, **values: Any) -> Any:
        with one_line(ConfigError, ShardError):
            return command(Local(root_directory.absolute()), *args, **values)

    return wrapped


@shard.command(
    epilog="\b\nExamples:\n  kcp shard add eu eu.kubeconfig\n  kcp shard add eu other-credentials.kubeconfig"
)
@click.argument("name")
@click.argument("kubeconfig", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_local
def add(local: Local, name: str, kubeconfig: Path) -> None:
    """Make the kube-apiserver of KUBECONFIG shard NAME, or give shard NAME other credentials.

    What is needed of the file is kept in the root directory. A kcp that runs takes the shard up without failing a
    request: its workers are replaced one by one.
    """
    if not NAME.fullmatch(name):
        raise click.ClickException(f"{name}: the name is of lower case letters, digits and dashes, 31 at most")
    external_shard(f"{name}={kubeconfig}")
    served, file = local.served(), local.file(name)
    if name in served and served[name] != str(file):
        raise click.ClickException(f"there is a shard {name} that `kcp start` has of its own, or by a flag")
    connection = load_kubeconfig(kubeconfig)
    asyncio.run(_check_rights(connection))
    private_folder(local.files)
    write_kubeconfig(file, _kubeconfig(connection))
    client = local.client()
    if client is None:
        click.echo(f"shard/{name} added: kcp does not run, and has it from its next start")
        return
    if name in served:
        click.echo(f"shard/{name} changed: kcp takes the credentials up within seconds")
        return
    _wait(lambda: name in local.served() and _is_ready(client, name), f"kcp has not taken up shard {name}")
    click.echo(f"shard/{name} added")


@shard.command(epilog="\b\nExample:\n  kcp shard drain eu && kcp shard remove eu")
@click.argument("name")
@_local
def remove(local: Local, name: str) -> None:
    """Leave shard NAME, which holds no workspaces (`kcp shard drain`) and was added by `kcp shard add`."""
    file = local.file(name)
    if not file.exists():
        known = name in local.served()
        why = "it is kcp's own, or was given by a flag" if known else "there is no such shard"
        raise click.ClickException(f"shard {name} cannot be removed: {why}")
    client = local.client()
    if client is None:
        raise click.ClickException("kcp does not run: it has to see that no workspace is left behind")
    path = f"{SHARDS}/{segment(name)}"
    count = (client.request("GET", path).get("status") or {}).get("workspaces", 0)
    if count:
        raise click.ClickException(f"shard {name} holds {count} workspaces: kcp shard drain {name} moves them away")
    cordoned = {"spec": {"unschedulable": True}}
    client.request("PATCH", path, cordoned, content_type="application/merge-patch+json")
    kept = file.read_bytes()
    file.unlink()
    try:
        _wait(lambda: name not in local.served(), f"kcp has not left shard {name}")
    except click.ClickException:
        file.touch(0o600)
        file.write_bytes(kept)
        raise
    client.request("DELETE", path)
    click.echo(f"shard/{name} removed")


async def _check_rights(connection: Connection) -> None:
    """Raises StatusError, click.ClickException for a user who may not do everything there."""
    async with Client(connection, user_agent="kcp") as client:
        allowed = await may_do_everything(client)
    if not allowed:
        raise click.ClickException(f"the kubeconfig's user may not do everything at {connection.server}, as kcp must")


def _kubeconfig(connection: Connection) -> dict[str, Any]:
    """One that needs no other files."""
    name = "shard"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": _cluster(connection)}],
        "users": [{"name": name, "user": _user(connection)}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}}],
        "current-context": name,
    }


def _cluster(connection: Connection) -> dict[str, Any]:
    stanza = {
        "server": connection.server,
        "certificate-authority-data": _base64(connection.ca_data),
        "insecure-skip-tls-verify": connection.insecure or None,
        "tls-server-name": connection.tls_server_name,
    }
    return {key: value for key, value in stanza.items() if value is not None}


def _user(connection: Connection) -> dict[str, Any]:
    stanza = {
        "client-certificate-data": _base64(connection.client_cert_data),
        "client-key-data": _base64(connection.client_key_data),
        "token": connection.token,
        "tokenFile": str(Path(connection.token_file).absolute()) if connection.token_file else None,
    }
    return {key: value for key, value in stanza.items() if value is not None}


def _base64(data: bytes | None) -> str | None:
    return base64.b64encode(data).decode() if data else None


def _is_ready(client: RestClient, name: str) -> bool:
    try:
        status = client.request("GET", f"{SHARDS}/{segment(name)}").get("status") or {}
    except (StatusError, ClientError):
        return False
    return any(item["type"] == "Ready" and item["status"] == "True" for item in status.get("conditions") or ())


def _wait(done: Callable[[], bool], what: str) -> None:
    """Raises click.ClickException."""
    deadline = time.monotonic() + FOLLOWED_WITHIN
    while not done():
        if time.monotonic() > deadline:
            raise click.ClickException(f"{what} within {FOLLOWED_WITHIN:g} s; what it says tells why")
        time.sleep(POLL)
