"""Physical clusters, started once for all tests that want them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import pytest_asyncio

from tests.clusters import Cluster, ClusterError
from tests.clusters.spec import Runtime
from tests.e2e.ground import Ground, ground
from tests.leaks import keep
from tests.wire.watching import may_come_back, nothing_leaves_a_workspace

__all__ = ["may_come_back", "nothing_leaves_a_workspace"]

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What needs physical clusters comes last: they run to the end, and cost a tenth of a core when idle."""
    items.sort(key=lambda item: HERE in item.path.parents and HERE / "workspaces" not in item.path.parents)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def physical(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    """Two physical clusters, and where kcp must listen so that their pods reach it."""
    asked = request.config.getoption("cluster_provider")
    wanted = None if asked == "auto" else cast(Runtime, asked)
    said: list[str] = []
    try:
        async with ground(tmp_path_factory.mktemp("physical"), runtime=wanted, say=said.append) as clusters:
            _tell(request.config, said)
            kept = tmp_path_factory.mktemp("kept")
            keeping = asyncio.create_task(_keep(clusters, kept))
            yield clusters
            keeping.cancel()
            await asyncio.gather(keeping, return_exceptions=True)
            for cluster in clusters.clusters:
                keep(cluster.folder, kept)
    except ClusterError as error:
        pytest.fail(str(error))


async def _keep(clusters: Ground, kept: Path) -> None:
    """Pods' logs go with the pods, and everything else with the clusters; what was in them is looked at in the end."""
    while True:
        for cluster in clusters.clusters:
            await asyncio.to_thread(keep, cluster.folder, kept)
        await asyncio.sleep(0.5)


def _tell(config: pytest.Config, lines: list[str]) -> None:
    """On the terminal, whatever is captured: what the tests ran on is part of their result."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None:
        for line in lines:
            reporter.write_line(f"physical clusters: {line}")


@pytest.fixture(scope="session")
def physical_a(physical: Ground) -> Cluster:
    return physical.clusters[0]


@pytest.fixture(scope="session")
def physical_b(physical: Ground) -> Cluster:
    return physical.clusters[1]


@pytest.fixture
def real_nodes(physical: Ground) -> None:
    """Skips a test that looks into containers where nothing runs in them."""
    if physical.runtime == "kwok":
        pytest.skip("needs real nodes")
