"""What a kube-apiserver does to its etcd every five minutes, done now: versions before the present are gone."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import aiohttp

from proxy.shard.commands import ETCD_SOCKET

REMEMBERED = "compact_rev_key"
"""Key that an apiserver reads the last compacted version from (k8s.io/apiserver/pkg/storage/etcd3/compact.go)."""


async def compact(control_plane: Path) -> None:
    """``control_plane``: its folder. By etcd's own API."""
    folder = os.open(control_plane / "etcd", os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Paths of sockets are limited to 107 bytes.
        connector = aiohttp.UnixConnector(path=f"/proc/self/fd/{folder}/{ETCD_SOCKET}")
        async with aiohttp.ClientSession("http://etcd", connector=connector) as etcd:
            now = (await _ask(etcd, "kv/range", {"key": _encoded(REMEMBERED)}))["header"]["revision"]
            await _ask(etcd, "kv/put", {"key": _encoded(REMEMBERED), "value": _encoded(now)})
            await _ask(etcd, "kv/compaction", {"revision": now, "physical": True})
    finally:
        os.close(folder)


async def _ask(etcd: aiohttp.ClientSession, what: str, body: dict[str, Any]) -> Any:
    async with etcd.post(f"/v3/{what}", json=body) as answer:
        assert answer.status == 200, await answer.text()
        return await answer.json()


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
