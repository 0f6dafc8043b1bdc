"""`kcp config`: configuration files of `kcp start` and `kcp syncer`."""

from __future__ import annotations

from pathlib import Path

import click

from proxy.cli.configuration import defaults, read
from proxy.cli.start import start
from proxy.cli.syncer import syncer

COMMANDS: dict[str, click.Command] = {"start": start, "syncer": syncer}

_of = click.option(
    "--for", "name", type=click.Choice(list(COMMANDS)), default="start", show_default=True, help="The file's command."
)


@click.group(
    epilog="""\b
Examples:
  kcp config print-defaults > kcp.yaml
  kcp config check kcp.yaml
  kcp start --config kcp.yaml
  kcp config print-defaults --for syncer > syncer.yaml""",
)
def config() -> None:
    """Files with values for flags: a key for each flag, without its dashes."""


@config.command(name="print-defaults")
@_of
def print_defaults(name: str) -> None:
    """Print a file with all flags, what they do, and their defaults."""
    click.echo(f"# Configuration of `kcp {name}`, for its flag --config. What a flag says counts more.\n")
    click.echo("\n".join(defaults(COMMANDS[name])).rstrip())


@config.command()
@_of
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check(name: str, file: Path) -> None:
    """Say whether a file holds nothing but flags with values that they take."""
    values = read(click.Context(COMMANDS[name]), file)
    click.echo(f"{file}: {len(values)} values for kcp {name}")
