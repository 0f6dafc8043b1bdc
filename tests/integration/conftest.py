"""Real parts for the tests: an embedded shard, started once for a session."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.binaries import BinaryError, ensure
from proxy.kube.client import Client
from proxy.shard.bootstrap import bootstrap
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.integration.mapping_front import Front, Workspace, serve
from tests.integration.mapping_workspaces import BEFORE, BEHIND, MINE
from tests.wire.watching import may_come_back, nothing_leaves_a_workspace

__all__ = ["may_come_back", "nothing_leaves_a_workspace"]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A shard as `kcp start` embeds it, with all that a shard needs applied: ``.kubeconfig`` (administrator),
    ``.connection``, ``.client()``, ``.processes``.

    Shared by all tests of the session: use names or tokens of your own, and count on objects of others.
    """
    try:
        ensure(("etcd", "kube-apiserver", "kube-controller-manager"))
    except BinaryError as error:
        pytest.fail(str(error))
    settings = ControlPlaneSettings(folder=tmp_path_factory.mktemp("shard"), durable=False)
    async with ControlPlane(settings) as plane, plane.client() as client:
        await bootstrap(client)
        yield plane


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def front(shard: ControlPlane) -> AsyncIterator[Front]:
    async with serve(shard) as front:
        yield front


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def workspaces(front: Front, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Workspace]:
    """Three workspaces, each with namespaces ``default`` and ``demo``."""
    folder: Path = tmp_path_factory.mktemp("mapping")
    made = {token: Workspace(front, token, folder) for token in (BEFORE, MINE, BEHIND)}
    for workspace in made.values():
        for name in ("default", "demo"):
            await workspace.ask("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    return made


@pytest.fixture
def mine(workspaces: dict[str, Workspace]) -> Workspace:
    return workspaces[MINE]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def admin(shard: ControlPlane) -> AsyncIterator[Client]:
    async with shard.client() as client:
        yield client
