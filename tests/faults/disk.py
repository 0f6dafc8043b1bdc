"""A full disk as etcd sees it: it raises its NOSPACE alarm and takes nothing in until the alarm is lifted."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import aiohttp

from proxy.shard.commands import ETCD_SOCKET


async def fill(folder: Path) -> None:
    """``folder``: where etcd runs. It reads on, and refuses whatever would take space."""
    await _alarm(folder, "ACTIVATE")


async def free(folder: Path) -> None:
    await _alarm(folder, "DEACTIVATE")


async def _alarm(folder: Path, action: str) -> None:
    """By etcd's JSON gateway: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/"""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        # A path by way of the open folder: those of sockets may not be longer than 107 bytes.
        connector = aiohttp.UnixConnector(f"/proc/self/fd/{descriptor}/{ETCD_SOCKET}")
        async with aiohttp.ClientSession("http://etcd", connector=connector, raise_for_status=True) as session:

            async def call(path: str, body: dict[str, Any]) -> dict[str, Any]:
                async with session.post(path, json=body) as answer:
                    found: dict[str, Any] = await answer.json()
                    return found

            [member] = (await call("/v3/cluster/member/list", {}))["members"]
            await call("/v3/maintenance/alarm", {"action": action, "memberID": member["ID"], "alarm": "NOSPACE"})
    finally:
        os.close(descriptor)
