"""The same answers as a kube-apiserver, to thousands of random requests (see the package)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from tests.differential.compare import compare
from tests.differential.documents import compare_documents
from tests.differential.ground import two_sides
from tests.differential.sides import Side
from tests.wire.monitor import Wire
from tests.wire.neighbour import PATH, finds_a_planted_leak, token_of

SEEDS = (1002, 1005)
REQUESTS = 1200
"""Of each seed."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("differential")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def sides(folder: Path) -> AsyncIterator[tuple[Side, Side]]:
    async with two_sides(folder) as sides:
        yield sides


async def test_a_planted_leak_is_found(folder: Path, sides: tuple[Side, Side], wire: Wire) -> None:
    """What the workspace answers is looked at as well."""
    root = folder / ".kcp"
    connection = replace(load_kubeconfig(root / "admin.kubeconfig", "system:admin"), server=sides[1].base)
    async with Client(connection) as client, Client(load_kubeconfig(root / "shard" / "admin.kubeconfig")) as shard:
        await finds_a_planted_leak(wire, client, PATH, await token_of(shard, PATH))


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
