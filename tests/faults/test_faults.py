"""A short run with a fixed seed: each kind of fault once."""

from __future__ import annotations

from pathlib import Path

from tests.faults.play import play

SEED = 7


async def test_both_sides_are_equal_whatever_dies(tmp_path: Path) -> None:
    said: list[str] = []
    left = await play(tmp_path, seed=SEED, seconds=45, patience=120, say=said.append)
    assert left == [], "\n".join(said)
