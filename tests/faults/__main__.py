"""``python -m tests.faults``: kill, cut and set clocks wrong at random moments under load, then see whether both
sides are equal."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import click

from tests.faults.play import play


@click.command()
@click.option("--seed", type=int, help="Of load and faults; without it another one each time.")
@click.option("--seconds", default=120.0, show_default=True, help="How long things die.")
@click.option("--patience", default=120.0, show_default=True, help="Seconds until both sides must be equal.")
def main(seed: int | None, seconds: float, patience: float) -> None:
    """Print what was killed when, and the verdict; exit code 1 if the sides differ."""
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {chosen}")
    with tempfile.TemporaryDirectory(prefix="kcp-faults-") as folder:
        left = asyncio.run(play(Path(folder), seed=chosen, seconds=seconds, patience=patience, say=click.echo))
    for line in left:
        click.echo(line)
    click.echo(f"seed {chosen}: " + (f"{len(left)} differences" if left else "equal, nothing left over"))
    sys.exit(1 if left else 0)


main()
