"""One plain cluster, one kcp and one webhook server for all tests of this folder."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.shard.control_plane import ControlPlane, full_cluster
from tests.integration.admission.side import Side
from tests.integration.admission.webhook_server import WebhookServer, webhook_server
from tests.integration.kcp_process import Kcp
from tests.wire.neighbour import settle
from tests.wire.watching import may_come_back, nothing_leaves_a_workspace

__all__ = ["may_come_back", "nothing_leaves_a_workspace"]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path_factory.mktemp("webhooks")) as server:
        yield server


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def plain(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Side]:
    settings = full_cluster(tmp_path_factory.mktemp("plain"), durable=False, scheduler=False)
    async with ControlPlane(settings) as plane, Client(load_kubeconfig(plane.kubeconfig)) as client:
        yield Side("plain", client)


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    """One worker: what one knows, all know."""
    folder = tmp_path_factory.mktemp("kcp")
    async with Kcp(folder / ".kcp", "--webhook-allow-network", "127.0.0.0/8", "--workers", "1") as kcp:
        await settle(kcp)
        await kcp.make_workspace("root", "tests", "Organization")
        yield kcp


@pytest_asyncio.fixture(loop_scope="session")
async def workspace(kcp: Kcp) -> AsyncIterator[Side]:
    async with fresh(kcp) as side:
        yield side


class fresh:
    """A workspace of its own."""

    def __init__(self, kcp: Kcp) -> None:
        self._kcp = kcp
        self.name = f"w{secrets.token_hex(4)}"

    async def __aenter__(self) -> Side:
        await self._kcp.make_workspace("root:tests", self.name)
        self._client = self._kcp.client(f"root:tests:{self.name}")
        return Side(self.name, self._client)

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()
