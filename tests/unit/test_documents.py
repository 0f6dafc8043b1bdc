"""That the promises in the documents name tests that are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODEL = (ROOT / "docs" / "threat-model.md").read_text()
ROWS = [row for row in MODEL.splitlines() if re.match(r"\| [STRIDE] \|", row)]


@pytest.mark.parametrize("row", ROWS)
def test_every_test_that_shows_a_promise_is_there(row: str) -> None:
    folder = ROOT / "tests"
    for name in re.findall(r"`((?:[a-z0-9_]+/)*(?:[a-z0-9_]+\.py|[a-z_]+(?:/[a-z_]+)?))`", row):
        if name.startswith("proxy/") or name in (
            "gate.py",
            "requests",
            "heads",
            "mapping",
            "protobuf",
            "stream",
            "noise",
        ):
            continue
        place = ROOT / "tests" / name
        if "/" not in name and not place.exists():
            place = folder / name  # beside the one before
        assert place.exists(), name
        folder = place.parent
