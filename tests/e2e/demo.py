"""The whole story, played for people: ``python -m tests.e2e.demo``. Exit code 0 only if every line was right."""

from __future__ import annotations

import asyncio
import sys
import tempfile
import time
from pathlib import Path
from typing import Literal

import click

from proxy.binaries import BinaryError
from tests.clusters import ClusterError
from tests.clusters.spec import Runtime
from tests.e2e.ground import ground
from tests.e2e.stage import BLOG, Outcome, Stage, stage
from tests.e2e.transcript import INTERRUPT, Step, load


@click.command()
@click.option(
    "--runtime",
    type=click.Choice(["auto", "nodes", "kwok", "kind"]),
    default="auto",
    help="What plays the physical nodes.",
)
def main(runtime: Literal["auto", "nodes", "kwok", "kind"]) -> None:
    """Two teams, two workspaces, two physical clusters: from `kcp start` to the clean-up."""
    try:
        failures = asyncio.run(_play(None if runtime == "auto" else runtime))
    except (ClusterError, BinaryError) as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(1 if failures else 0)


async def _play(runtime: Runtime | None) -> int:
    started = time.monotonic()
    steps = load(BLOG)
    with tempfile.TemporaryDirectory(prefix="kcp-demo-") as folder:
        click.secho("Starting two physical clusters", bold=True)
        async with ground(Path(folder, "clusters"), runtime=runtime, say=click.echo) as clusters:
            click.echo(f"They are up after {time.monotonic() - started:.1f} s.")
            async with stage(Path(folder), clusters) as scene:
                failures = await _play_all(scene, steps)
            click.secho("\nEnding the physical clusters", bold=True)
    verdict = "something was not as it must be" if failures else f"{len(steps)} commands, every line as it must be"
    click.secho(f"{verdict}; {time.monotonic() - started:.0f} s in all", fg="red" if failures else "green", bold=True)
    return failures


async def _play_all(scene: Stage, steps: list[Step]) -> int:
    """The number of steps that were not as they must be: what follows the first builds on it and is not played."""
    chapter = ""
    for step in steps:
        if step.chapter != chapter:
            chapter = step.chapter
            click.secho(f"\n{chapter}", bold=True)
        _announce(step, step.filled(scene.values))
        outcome = await scene.play(step)
        _show(outcome)
        if outcome.problem:
            return 1
    return 0


def _announce(step: Step, command: str) -> None:
    if step.remark:
        click.secho(f"\n# {step.remark}", dim=True)
    else:
        click.echo()
    prompt = "" if command == INTERRUPT else click.style("$ ", fg="green")
    click.echo(prompt + click.style(command, bold=True))


def _show(outcome: Outcome) -> None:
    text = outcome.output.rstrip()
    if text:
        click.echo(text)
    if outcome.problem:
        click.secho(f"✗ {outcome.problem}", fg="red")
    else:
        click.secho(f"✓ {outcome.seconds:.2f} s", dim=True)


if __name__ == "__main__":
    main()
