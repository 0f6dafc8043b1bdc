"""Every process dies once, and has a wrong clock once, under load."""

from __future__ import annotations

from pathlib import Path

from tests.history.play import Play


async def test_whatever_dies_nothing_is_lost_or_told_twice(tmp_path: Path) -> None:
    said: list[object] = []
    wrong = await Play(tmp_path, seed=7, say=said.append).run(seconds=0)
    assert not wrong, "\n".join(map(str, [*wrong[:20], *said]))
