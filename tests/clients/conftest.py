"""One plain cluster and one kcp for all tests of this folder; each test gets a workspace of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.shard.control_plane import ControlPlane, full_cluster
from tests.clients.side import Side, Sides
from tests.e2e.workspaces.installation import Installation
from tests.integration.kcp_process import Kcp


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """An ordinary control plane with all its controllers: there are no nodes, so nothing is to be scheduled."""
    settings = full_cluster(tmp_path_factory.mktemp("plain"), durable=False, scheduler=False)
    async with ControlPlane(settings) as plane:
        yield plane


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def installation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    async with Kcp(tmp_path_factory.mktemp("kcp") / ".kcp") as kcp:
        installation = Installation(kcp.root, tmp_path_factory.mktemp("kubeconfigs"))
        await installation.create("root", "tests", "Organization")
        yield installation
        await installation.close()


@pytest_asyncio.fixture(loop_scope="session")
async def sides(plain: ControlPlane, installation: Installation, tmp_path: Path) -> Sides:
    """The plain cluster is everybody's, so cluster-scoped names must be a test's own."""
    folders = [tmp_path / name for name in ("plain", "workspace")]
    for folder in folders:
        folder.mkdir()
    workspace = installation.kubeconfig(await installation.fresh())
    return Sides(Side("plain", plain.kubeconfig, folders[0]), Side("workspace", workspace, folders[1]))
