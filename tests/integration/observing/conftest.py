"""One kcp for all tests of this folder, scraped with a token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from proxy.shard.addresses import free_port
from tests.integration.kcp_process import Kcp

PORT = free_port()
TOKEN = "scrape-me"


@pytest.fixture(scope="package")
def token_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("token") / "token"
    file.write_text(f"{TOKEN}\n")
    return file


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(tmp_path_factory: pytest.TempPathFactory, token_file: Path) -> AsyncIterator[Kcp]:
    options = ("--workers", "2", "--metrics-bind-address", f"127.0.0.1:{PORT}", "--metrics-busiest-workspaces", "2")
    folder = tmp_path_factory.mktemp("observing")
    async with Kcp(folder / "root", *options, "--metrics-token-file", str(token_file)) as running:
        yield running


async def ask(path: str, accept: str = "*/*", token: str | None = TOKEN) -> tuple[int, str]:
    headers = {"Accept": accept} | ({"Authorization": f"Bearer {token}"} if token else {})
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{PORT}{path}", headers=headers) as response,
    ):
        return response.status, await response.text()
