"""``kubectl kcp``: workspaces and workloads."""

from __future__ import annotations

import importlib
from collections.abc import Mapping

import click

from proxy.cli.flags import run

COMMANDS: Mapping[str, tuple[str, str]] = {
    "workload": ("proxy.cli.workload", "workload"),
    "workspace": ("proxy.cli.ws_commands", "ws"),
}
ALIASES: Mapping[str, str] = {"workloads": "workload", "workspaces": "workspace", "ws": "workspace"}


class Lazy(click.Group):
    """Commands whose module is imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        name = ALIASES.get(cmd_name, cmd_name)
        if name not in COMMANDS:
            return None
        module, attribute = COMMANDS[name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
def kcp() -> None:
    """Work with kcp: workspaces, and the clusters that run their workloads."""


def main() -> None:
    run(kcp, "kubectl kcp")
