"""One kcp for all tests of this folder; each test makes workspaces of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.e2e.workspaces.installation import TOKEN_FILE, Installation
from tests.integration.kcp_process import Kcp


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("kcp")
    tokens = folder / "tokens.csv"
    tokens.write_text(TOKEN_FILE)
    async with Kcp(folder / ".kcp", "--token-auth-file", str(tokens)) as process:
        yield process


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(kcp_process: Kcp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    installation = Installation(kcp_process.root, tmp_path_factory.mktemp("clients"))
    await installation.create("root", "tests", "Organization")
    yield installation
    await installation.close()
