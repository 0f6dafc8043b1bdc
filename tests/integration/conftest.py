"""Real parts for the tests: an embedded shard, started once for a session."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.binaries import BinaryError, ensure
from proxy.shard.bootstrap import bootstrap
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shard(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """A shard as `kcp start` embeds it, with all that a shard needs applied: ``.kubeconfig`` (administrator),
    ``.front_proxy_kubeconfig``, ``.connection``, ``.client()``, ``.processes``.

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
