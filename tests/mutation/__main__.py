"""``python -m tests.mutation``: each mutant of what keeps workspaces apart must make a test fail."""

from __future__ import annotations

import ast
import importlib
import sys
import time
from pathlib import Path

import click

from tests.clusters.system import REPOSITORY
from tests.mutation.mutants import mutants
from tests.mutation.runner import Changed, collect
from tests.mutation.subjects import SUBJECTS


@click.command()
@click.option("--subject", "names", multiple=True, type=click.Choice(list(SUBJECTS)), help="Only these.")
def main(names: tuple[str, ...]) -> None:
    """Exit code 1: a change went unnoticed, and is printed."""
    failed = False
    for name in names or SUBJECTS:
        subject = SUBJECTS[name]
        begin = time.monotonic()
        module = importlib.import_module(name)
        source = Path(str(module.__file__)).read_text()
        made = mutants(source, subject.only)
        tests = collect([REPOSITORY / file for file in subject.tests])
        changed = Changed(module)
        for test in tests:
            test()
        alive = [mutant for mutant in made if changed.survives(mutant, tests)]
        changed.load(ast.parse(source))
        for test in tests:
            test()  # nothing of the mutants is left
        unknown = [mutant for mutant in alive if mutant.name not in subject.equivalent]
        for mutant in unknown:
            click.echo(f"{name}:{mutant.line}: survives: {mutant.name}", err=True)
        gone = set(subject.equivalent) - {mutant.name for mutant in alive}
        for line in sorted(gone):
            click.echo(f"{name}: does not survive, or is not there any more: {line}", err=True)
        failed |= bool(unknown or gone)
        click.echo(
            f"{name}: {len(made)} mutants, {len(tests)} tests, {len(unknown)} survive, "
            f"{len(alive) - len(unknown)} mean the same; {time.monotonic() - begin:.0f} s"
        )
    sys.exit(failed)


if __name__ == "__main__":
    main()
