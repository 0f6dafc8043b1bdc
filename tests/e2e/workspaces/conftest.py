"""One kcp for all tests of this folder; each test makes workspaces of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.commands import SHARD_CONTROLLERS
from proxy.shard.control_plane import ControlPlane, full_cluster
from tests.e2e.workspaces.installation import TOKEN_FILE, Installation
from tests.e2e.workspaces.natives import NAMESPACE
from tests.e2e.workspaces.places import Places
from tests.e2e.workspaces.twins import RBAC, Api, Twins
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.wire.monitor import Wire
from tests.wire.neighbour import settle


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp_process(tmp_path_factory: pytest.TempPathFactory, wire: Wire) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("kcp")
    tokens = folder / "tokens.csv"
    tokens.write_text(TOKEN_FILE)
    async with Kcp(folder / ".kcp", "--token-auth-file", str(tokens), "-v", "5") as process:
        assert wire.listened()
        await settle(process)
        yield process


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(kcp_process: Kcp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    installation = Installation(kcp_process.root, tmp_path_factory.mktemp("clients"))
    await installation.create("root", "tests", "Organization")
    yield installation
    await installation.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """An ordinary control plane, of which nobody cleans up: cluster-scoped names must be a test's own."""
    folder = tmp_path_factory.mktemp("plain")
    async with ControlPlane(full_cluster(folder, durable=False, scheduler=False)) as plane, plane.client() as client:

        async def aggregated() -> bool:
            names = ("view", "edit", "admin")
            view, edit, admin = [
                (await client.request("GET", f"{RBAC}/clusterroles/{name}")).get("rules") or () for name in names
            ]
            return bool(view) and all(rule in edit for rule in view) and all(rule in admin for rule in edit)

        await eventually(aggregated, StatusError, timeout=60)
        yield plane


@pytest_asyncio.fixture(loop_scope="session")
async def twins(plain: ControlPlane, kcp: Installation) -> AsyncIterator[Twins]:
    """The plain cluster, and a new workspace."""
    path = await kcp.fresh()
    twins = Twins(Api("plain", plain.connection), Api("workspace", load_kubeconfig(kcp.config(path))))
    yield twins
    await twins.plain.close()
    await twins.workspace.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def places(kcp: Installation, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Places]:
    """The admission of a cluster with no more controllers than a shard has, and two workspaces; with a namespace."""
    folder = tmp_path_factory.mktemp("quiet")
    controllers = (*SHARD_CONTROLLERS, "resourcequota-controller")
    settings = full_cluster(folder, durable=False, scheduler=False, controllers=controllers)
    async with ControlPlane(settings) as plane:
        paths = [await kcp.fresh("Cluster"), await kcp.fresh("Cluster")]
        one, other = (Api(path, load_kubeconfig(kcp.config(path))) for path in paths)
        found = Places(Api("plain", plane.connection), one, other)
        for api in found.all:
            await api.must("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        for api in found.all:
            path = f"/api/v1/namespaces/{NAMESPACE}/serviceaccounts/default"
            await api.until("GET", path, wanted=lambda answer: answer.status == 200)
        yield found
        for api in found.all:
            await api.close()
