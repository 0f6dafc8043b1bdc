"""Snapshots of a shard's own etcd: taken while it runs, and made into the data of a new one."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, BinaryIO

import aiohttp
import orjson

from proxy.shard.commands import ETCD_NAME, ETCD_PEER_SOCKET, ETCD_SOCKET

REVISIONS_AHEAD = 1_000_000_000
"""How far a restored etcd goes on beyond the snapshot: whatever its clients have seen since is older, so they list anew
instead of taking one state for another (etcd's advice for Kubernetes)."""
_DIGEST = hashlib.sha256().digest_size
"""Bytes at a snapshot's end, over all before."""

Progress = Callable[[int, int], None]


class SnapshotError(Exception):
    """One line."""


async def save(folder: Path, to: BinaryIO, progress: Progress = lambda done, whole: None) -> int:
    """Write a snapshot of the etcd whose sockets are in ``folder``; its revision. ``progress`` gets bytes done and all.

    Changes the working directory meanwhile: a socket's path may be too long otherwise. Raises SnapshotError.
    """
    if not (folder / ETCD_SOCKET).is_socket():
        raise SnapshotError(f"no etcd runs in {folder}: backups are taken of a kcp that runs, with an etcd of its own")
    try:
        with contextlib.chdir(folder):
            connector = aiohttp.UnixConnector(path=ETCD_SOCKET)
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=5, sock_read=60)
            async with aiohttp.ClientSession("http://etcd", connector=connector, timeout=timeout) as session:
                revision = int((await _ask(session, "status"))["header"]["revision"])
                await _copy(session, to, progress)
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
        raise SnapshotError(f"etcd in {folder}: {error or type(error).__name__}") from error
    return revision


async def _ask(session: aiohttp.ClientSession, what: str) -> Any:
    async with session.post(f"/v3/maintenance/{what}", json={}, raise_for_status=True) as answer:
        return await answer.json(content_type=None)


async def _copy(session: aiohttp.ClientSession, to: BinaryIO, progress: Progress) -> None:
    digest, held, done = hashlib.sha256(), b"", 0
    async for part, left in _parts(session):
        done += len(part)
        held += part
        digest.update(held[:-_DIGEST])
        held = held[-_DIGEST:]
        to.write(part)
        progress(done, done + left)
    if held != digest.digest():
        raise ValueError("the snapshot is not what its digest says")


async def _parts(session: aiohttp.ClientSession) -> AsyncIterator[tuple[bytes, int]]:
    """Parts of a snapshot, each with how many bytes remain."""
    async with session.post("/v3/maintenance/snapshot", json={}, raise_for_status=True, read_bufsize=2**20) as answer:
        async for line in answer.content:
            message = orjson.loads(line)
            if "error" in message:
                raise ValueError(message["error"].get("message"))
            result = message["result"]
            yield base64.b64decode(result.get("blob", "")), int(result.get("remaining_bytes", 0))


async def restore(etcdutl: Path, snapshot: Path, data: Path) -> None:
    """Make ``data``, the data of a shard's own etcd, of a snapshot. Raises SnapshotError."""
    peer = f"unix://{ETCD_PEER_SOCKET}"
    process = await asyncio.create_subprocess_exec(
        *(etcdutl, "snapshot", "restore", snapshot, "--data-dir", data, "--name", ETCD_NAME),
        *("--initial-cluster", f"{ETCD_NAME}={peer}", "--initial-advertise-peer-urls", peer),
        *("--bump-revision", str(REVISIONS_AHEAD), "--mark-compacted"),
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await process.communicate()
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines()
        raise SnapshotError(f"etcdutl: {said[-1] if said else f'it ended with {process.returncode}'}")
