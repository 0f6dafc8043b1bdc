"""``python -m tests.fuzz``: all targets in turn, until the time is over. What is found is kept and tried first the next
time."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import click
from hypothesis import HealthCheck, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.clusters.system import REPOSITORY
from tests.fuzz.targets import TARGETS

FOUND = REPOSITORY / "build" / "fuzz"
ROUND = 2000
"""Examples of one target before the next has its turn."""


@click.command()
@click.option("--seconds", type=click.FloatRange(1), default=600.0, show_default=True)
@click.option("--target", "names", multiple=True, type=click.Choice(list(TARGETS)), help="Only these; may be repeated.")
@click.option("--found", type=click.Path(file_okay=False, path_type=Path), default=FOUND, help="Where finds are kept.")
def main(seconds: float, names: tuple[str, ...], found: Path) -> None:
    """Fuzz what reads tenants' bytes. Exit code 1: something was found, and is printed."""
    end = time.monotonic() + seconds
    look = settings(
        max_examples=ROUND,
        deadline=None,
        database=DirectoryBasedExampleDatabase(found),
        suppress_health_check=list(HealthCheck),
    )
    tried = dict.fromkeys(names or TARGETS, 0)
    while time.monotonic() < end:
        for name in tried:
            if time.monotonic() < end:
                try:
                    look(TARGETS[name]())()
                except BaseException:
                    click.echo(f"{name}: found, and kept in {found}", err=True)
                    raise
                tried[name] += ROUND
    for name, count in tried.items():
        click.echo(f"{name}: {count} examples, nothing found")


if __name__ == "__main__":
    sys.exit(main())
