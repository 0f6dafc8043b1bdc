"""No change to the gate, or to where it is called, goes unnoticed."""

from __future__ import annotations

import subprocess
import sys

from tests.clusters.system import REPOSITORY
from tests.mutation.mutants import mutants

SAMPLE = r'''
PATTERN = "(?:[a-c]+|word)?"
def check(name: str, names: set[str]) -> bool:
    """Words."""
    if name in names and len(name) > 1:
        raise ValueError
    return True
'''


def test_what_is_changed() -> None:
    made = {mutant.name for mutant in mutants(SAMPLE)}
    assert {
        "PATTERN: '(?:[a-c]+|word)?' → '(?:[a-c]+|)?'",
        "PATTERN: '(?:[a-c]+|word)?' → '(?:[a-c]|word)?'",
        "PATTERN: '(?:[a-c]+|word)?' → '(?:[a-c/]+|word)?'",
        "PATTERN: '(?:[a-c]+|word)?' → '(?:[a-c]+|word)'",
        "check: name in names → name not in names",
        "check: name in names and len(name) > 1 → name in names or len(name) > 1",
        "check: name in names and len(name) > 1 → len(name) > 1",
        "check: len(name) > 1 → True",
        "check: raise ValueError → pass",
        "check: True → False",
    } <= made
    assert not any("Words" in name or "str" in name for name in made)


def test_no_change_to_the_gate_goes_unnoticed() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.mutation"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "proxy.mapping.gate: " in run.stdout
