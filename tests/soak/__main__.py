"""``python -m tests.soak``: ten minutes of mixed load, then whether memory, files, tasks or connections leak."""

from __future__ import annotations

import asyncio
import random
import sys

import click

from tests.soak.play import play


@click.command()
@click.option("--seed", type=int, help="Of the load; without it another one each time.")
@click.option("--seconds", default=600.0, show_default=True)
@click.option("--workspaces", default=200, show_default=True)
@click.option("--users", default=24, show_default=True, help="Who read and write.")
@click.option("--watchers", default=100, show_default=True, help="Watches at once.")
def main(seed: int | None, seconds: float, workspaces: int, users: int, watchers: int) -> None:
    """Print what there is twenty times, and the verdict; exit code 1 if anything is left over."""
    chosen = random.SystemRandom().randrange(10**6) if seed is None else seed
    click.echo(f"seed {chosen}")
    failed = asyncio.run(
        play(
            seed=chosen,
            seconds=seconds,
            workspaces=workspaces,
            users=users,
            watchers=watchers,
            memory=True,
            say=click.echo,
        )
    )
    for line in failed:
        click.echo(line)
    click.echo(f"seed {chosen}: " + (f"{len(failed)} faults" if failed else "nothing left over"))
    sys.exit(1 if failed else 0)


main()
