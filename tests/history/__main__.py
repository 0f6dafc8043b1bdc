"""``python -m tests.history``: kill every process of kcp in turn under load, and set its clock wrong, then see whether
what clients were told can have been."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
from pathlib import Path

import click

from tests.history.play import Play


@click.command()
@click.option("--seed", type=int, help="Of what clients do; without it another one each time.")
@click.option("--seconds", default=300.0, show_default=True, help="How long things die; each at least once.")
def main(seed: int | None, seconds: float) -> None:
    """Print how long clients felt each fault, and the verdict; exit code 1 if the history is impossible."""
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {chosen}")
    with tempfile.TemporaryDirectory(prefix="kcp-history-") as folder:
        wrong = asyncio.run(Play(Path(folder), seed=chosen, say=click.echo).run(seconds))
    for line in wrong[:50]:
        click.echo(line)
    click.echo(f"seed {chosen}: " + (f"{len(wrong)} faults" if wrong else "nothing lost, nothing twice, all in order"))
    sys.exit(1 if wrong else 0)


main()
