"""``kubectl kcp``: workspaces and workloads."""

from __future__ import annotations

import importlib
from typing import ClassVar

import click

from proxy.cli.flags import run
from proxy.cli.ws_commands import ws


class Lazy(click.Group):
    """Commands whose module is imported when they are called."""

    lazy: ClassVar = {"workload": "proxy.cli.workload:workload", "workloads": "proxy.cli.workload:workload"}
    aliases: ClassVar = {"workspaces": "workspace", "ws": "workspace"}

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted([*self.commands, "workload"])

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in self.lazy:
            module, _, name = self.lazy[cmd_name].partition(":")
            command: click.Command = getattr(importlib.import_module(module), name)
            return command
        return super().get_command(ctx, self.aliases.get(cmd_name, cmd_name))


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def kcp() -> None:
    """Work with kcp: workspaces, and the clusters that run their workloads."""


kcp.add_command(ws, "workspace")


def main() -> None:
    run(kcp, "kubectl kcp")
