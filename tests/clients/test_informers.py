"""Informers of client-go: what they tell of each object, in order, is what they tell on a cluster."""

from __future__ import annotations

from typing import Any

import orjson

from tests.clients.programs import program
from tests.clients.side import Side, Sides

COUNT = 60
"""Of ConfigMaps in each of two namespaces."""
SPACES = ("one-informed", "two-informed")


async def _histories(side: Side) -> dict[str, Any]:
    outcome = await side.run(program("informers"), f"-count={COUNT}", f"-namespaces={','.join(SPACES)}")
    assert outcome.code == 0, f"{side.name}: {outcome.text}"
    histories: dict[str, Any] = orjson.loads(outcome.out)
    return histories


async def test_informers_of_client_go(sides: Sides) -> None:
    program("informers")
    told = await sides.same(_histories)
    for name in ("typed all", "dynamic all", "metadata all"):
        assert len(told[name]) == 2 * COUNT
    left = 2 * (COUNT - COUNT // 3 + COUNT // 6)
    assert told["compared"] >= 4 * left  # three informers of all, two of one namespace
    changes = ["added 1", "updated 1 to 2", "updated 2 to 3", "deleted 3", "added 1"]
    assert told["typed all"]["one-informed/map-0"] == changes
    assert set(told["typed even"]) == {f"{space}/map-{n}" for space in SPACES for n in range(0, COUNT, 2)}
    assert told["typed namespace"] == {f"/{space}": ["added 1"] for space in SPACES}
