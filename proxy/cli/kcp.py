"""`kcp`: the server's command."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import click

COMMANDS: Mapping[str, tuple[str, str]] = {
    "start": ("proxy.cli.start", "start"),
    "config": ("proxy.cli.config", "config"),
    "kubeconfig": ("proxy.cli.users", "kubeconfig"),
    "shard": ("proxy.cli.adding", "shard"),
    "syncer": ("proxy.cli.syncer", "syncer"),
    "workspace": ("proxy.cli.workspaces", "workspace"),
    "backup": ("proxy.cli.backup", "backup"),
    "restore": ("proxy.cli.backup", "restore"),
    "defragment": ("proxy.cli.defragment", "defragment"),
    "top": ("proxy.cli.top", "top"),
    "doctor": ("proxy.cli.doctor", "doctor"),
    "binaries": ("proxy.cli.binaries", "binaries"),
    "version": ("proxy.cli.version", "version"),
}
"""Imported when needed: `kcp version` need not wait for what `kcp start` needs."""


class LazyGroup(click.Group):
    """A group that imports a command when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name]
        command: Any = getattr(importlib.import_module(module), name)
        assert isinstance(command, click.Command)
        return command


def _say_version(ctx: click.Context, param: click.Parameter, asked: bool) -> None:
    if asked and not ctx.resilient_parsing:
        assert isinstance(ctx.command, click.Group)
        command = ctx.command.get_command(ctx, "version")
        assert command is not None
        ctx.invoke(command)
        ctx.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  kcp start                                   all in one: embedded shard and proxy, data in .kcp
  kcp start --bind-address 127.0.0.1          for this machine alone
  kcp start --no-embedded --shard eu=eu.conf  on a kube-apiserver that runs already
  kcp config print-defaults                   all that kcp start can be told, as a file for --config
  kcp kubeconfig create alice                 a kubeconfig for somebody else
  kcp shard list                              the shards, and how many workspaces they hold
  kcp syncer                                  sync clusters from here, without anything of ours on them
  kcp top                                     busiest workspaces and physical clusters, live
  kcp workspace export root:team-a            all that is in a workspace, as YAML; kcp workspace import
  kcp backup                                  etcd, keys and tokens in one file; kcp restore
  kcp defragment                              give unused space of etcd back
  kcp doctor                                  what is wrong, and what to do
  kcp binaries list                           which control-plane programs are used""",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Print the releases of kcp and of Kubernetes, and exit.",
)
def main() -> None:
    """Many isolated Kubernetes control planes (workspaces) out of a few real kube-apiservers (shards)."""


if __name__ == "__main__":
    main()
