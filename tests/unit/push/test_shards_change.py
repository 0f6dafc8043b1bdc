"""`kcp syncer` begins anew when kcp has other shards."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from proxy.cli import syncer
from proxy.cli.installation import Installation
from proxy.server.settings import ServerSettings, ShardSettings

SETTINGS = ServerSettings("127.0.0.1", 6443, "a", "b", "https://a", (ShardSettings("root", "root.kubeconfig"),))


async def test_work_ends_when_shards_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(syncer, "SHARDS_EVERY", 0.01)
    file = tmp_path / "server.json"
    SETTINGS.write(file)
    installation = cast(Installation, SimpleNamespace(root=tmp_path, settings=ServerSettings.read(file)))
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    running = asyncio.create_task(syncer._until_shards_change(work(), installation))
    replace(SETTINGS, verbosity=5).write(file)
    file.rename(tmp_path / "away")
    await asyncio.sleep(0.1)
    assert not running.done()
    replace(SETTINGS, shards=(*SETTINGS.shards, ShardSettings("eu", "eu.kubeconfig"))).write(file)
    async with asyncio.timeout(10):
        await running
    assert ended.is_set()


async def test_work_that_fails_says_so(tmp_path: Path) -> None:
    SETTINGS.write(tmp_path / "server.json")
    installation = cast(Installation, SimpleNamespace(root=tmp_path, settings=SETTINGS))

    async def work() -> Any:
        raise OSError("no")

    with pytest.raises(OSError, match="no"):
        await syncer._until_shards_change(work(), installation)
