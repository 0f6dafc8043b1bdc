"""The same answers as a kube-apiserver, to thousands of random requests (see the package)."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.differential.compare import compare
from tests.differential.documents import compare_documents
from tests.differential.ground import two_sides
from tests.differential.sides import Side

SEEDS = (1002, 1005)
REQUESTS = 1200
"""Of each seed."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sides(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Side, Side]]:
    async with two_sides(tmp_path_factory.mktemp("differential")) as sides:
        yield sides


async def test_documents_are_the_same(sides: tuple[Side, Side]) -> None:
    found = await compare_documents(*sides)
    assert not found.differences, "\n\n".join(found.differences[:10])
    assert found.compared > 300


@pytest.mark.parametrize("seed", SEEDS)
async def test_answers_are_the_same(sides: tuple[Side, Side], seed: int) -> None:
    report = await compare(*sides, seed=seed, requests=REQUESTS, most=3, smallest=True, say=lambda text: None)
    found = "\n\n".join(difference.shown() for difference in report.differences)
    assert not report.differences, f"repeat with make differential SEED={seed} REQUESTS={REQUESTS}:\n{found}"
    assert report.compared == REQUESTS
    # The sequences are about something: of most kinds of answers there are many.
    assert all(report.by_status.get(status, 0) >= 10 for status in (200, 201, 400, 403, 404, 409, 415, 422))
