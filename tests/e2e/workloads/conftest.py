"""One kcp that pods can reach, and two teams on two physical clusters, for all tests of this folder."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.ground import Ground
from tests.e2e.workloads.team import Team
from tests.e2e.workspaces.installation import Installation
from tests.integration.kcp_process import Kcp


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp_process(physical: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    root = tmp_path_factory.mktemp("kcp") / ".kcp"
    async with Kcp(root, "--bind-address", physical.address, "-v", "5", port=physical.port) as process:
        yield process


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(kcp_process: Kcp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    installation = Installation(kcp_process.root, tmp_path_factory.mktemp("clients"))
    await installation.create("root", "telcops", "Organization")
    yield installation
    await installation.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def teams(kcp: Installation, physical: Ground) -> AsyncIterator[tuple[Team, Team]]:
    """Each with a workspace and a cluster of its own, ready for work."""
    made = []
    for name, location, cluster in zip(("team-a", "team-b"), ("east", "west"), physical.clusters, strict=True):
        path = await kcp.create("root:telcops", name)
        made.append(Team(kcp, path, cluster, location))
    await asyncio.gather(*(team.onboard() for team in made))
    yield made[0], made[1]
    for team in made:
        await team.leave()
        await team.close()


@pytest.fixture(scope="package")
def team_a(teams: tuple[Team, Team]) -> Team:
    return teams[0]


@pytest.fixture(scope="package")
def team_b(teams: tuple[Team, Team]) -> Team:
    return teams[1]
