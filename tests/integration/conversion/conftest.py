"""One plain cluster, one kcp, and one webhook server for all tests of this folder."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.integration.admission.conftest import plain, server
from tests.integration.kcp_process import Kcp

__all__ = ["kcp", "plain", "server"]


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("kcp")
    options = ("--webhook-allow-network", "127.0.0.0/8", "--workers", "1")
    async with Kcp(folder / ".kcp", *options) as kcp:
        await kcp.make_workspace("root", "tests", "Organization")
        yield kcp
