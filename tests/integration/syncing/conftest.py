"""A physical cluster (its API server) beside the shard, and pairs of a workspace and a cluster.

The shard stands for the workspace: the syncer is a client like any other. Labels that the workload controllers would
put are put by hand here.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.shard.commands import SHARD_CONTROLLERS
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.integration.syncer_pair import Pair


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def plane(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """The physical cluster."""
    settings = ControlPlaneSettings(
        folder=tmp_path_factory.mktemp("physical"),
        durable=False,
        admission_off=(),
        controllers=(*SHARD_CONTROLLERS, "resourcequota-controller"),
    )
    async with ControlPlane(settings) as running:
        yield running


@pytest.fixture
async def pair(shard: ControlPlane, plane: ControlPlane) -> AsyncIterator[Pair]:
    async with shard.client() as above, plane.client() as below:
        made = Pair(above, below)
        await made.prepare()
        yield made
