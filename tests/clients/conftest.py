"""One plain cluster and one kcp for all tests of this folder; each test gets a workspace of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest
import pytest_asyncio
import yaml

from proxy.kube.reviews import TOKEN_REVIEWS
from proxy.shard.control_plane import ControlPlane, full_cluster
from tests.clients.natives import CONTROLLERS
from tests.clients.side import Side, Sides
from tests.e2e.workspaces.installation import Installation
from tests.integration.kcp_process import Kcp
from tests.wire.monitor import Wire
from tests.wire.neighbour import settle
from tests.wire.watching import may_come_back, nothing_leaves_a_workspace

__all__ = ["may_come_back", "nothing_leaves_a_workspace"]

USERS = 'walters-token,walter,7,"shift,system:trusted"\nsystems-token,system:someone,8,shift\n'
"""Whom the plain cluster knows, and kcp by asking it."""
NO_ISSUERS = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"


@pytest.fixture(scope="package")
def authentication(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An AuthenticationConfiguration that both have; it says nothing yet."""
    file = tmp_path_factory.mktemp("authentication") / "authentication.yaml"
    file.write_text(NO_ISSUERS)
    return file


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def plain(authentication: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    """An ordinary control plane, but for the controllers that workspaces do not have either. There are no nodes."""
    controllers = ("*", *(f"-{name}-controller" for name in CONTROLLERS))
    settings = full_cluster(tmp_path_factory.mktemp("plain"), durable=False, scheduler=False, controllers=controllers)
    flags = (*settings.apiserver_args, f"--authentication-config={authentication}")
    plane = ControlPlane(replace(settings, apiserver_args=flags))
    with plane.pki.administrator.file.open("a") as known:  # a kube-apiserver reads one file
        known.write(USERS)
    async with plane:
        yield plane


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp_process(
    authentication: Path, plain: ControlPlane, tmp_path_factory: pytest.TempPathFactory, wire: Wire
) -> AsyncIterator[Kcp]:
    """It asks the plain cluster about tokens that it does not know."""
    folder = tmp_path_factory.mktemp("kcp")
    webhook = yaml.safe_load(plain.kubeconfig.read_text())
    webhook["clusters"][0]["cluster"]["server"] += TOKEN_REVIEWS.path()
    kubeconfig = folder / "webhook.kubeconfig"
    kubeconfig.touch(0o600)
    kubeconfig.write_text(yaml.safe_dump(webhook))
    options = (
        *("--authentication-config", str(authentication)),
        *("--authentication-token-webhook-config-file", str(kubeconfig)),
    )
    async with Kcp(folder / ".kcp", *options) as kcp:
        assert wire.listened()
        await settle(kcp)
        yield kcp


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def installation(kcp_process: Kcp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    installation = Installation(kcp_process.root, tmp_path_factory.mktemp("kubeconfigs"))
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
