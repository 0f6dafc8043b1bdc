"""A shard's own etcd, as its operator sees it: how full it is, and what gives it room again.

By etcd's JSON gateway on its socket: https://etcd.io/docs/v3.6/dev-guide/api_grpc_gateway/
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from proxy.shard.commands import ETCD_SOCKET

NOSPACE = "NOSPACE"
"""Alarm that etcd raises at its quota: it takes no more writes, until it has room and the alarm is lifted."""


COMPACTED = "required revision has been compacted"
"""etcd's answer where somebody has done it already."""


class StoreError(Exception):
    """One line."""


@dataclass(frozen=True, slots=True)
class StoreStatus:
    """Bytes."""

    size: int
    """Of its file, which counts for the quota: what was deleted and compacted is in it until it is defragmented."""
    used: int
    quota: int
    full: bool
    """Whether it refuses writes."""
    revision: int


class Store:
    """The etcd whose sockets are in ``folder``. Each method raises StoreError."""

    def __init__(self, folder: Path, *, timeout: float = 5.0) -> None:
        """``timeout``: seconds for an answer, but for those of ``compact`` and ``defragment``, which take what they
        take."""
        self._folder = folder
        self._timeout = timeout

    async def status(self) -> StoreStatus:
        async with self._session() as ask:
            status = await ask("maintenance/status")
            return StoreStatus(
                size=int(status["dbSize"]),
                used=int(status["dbSizeInUse"]),
                quota=int(status["dbSizeQuota"]),
                full=any(NOSPACE in error for error in status.get("errors") or ()),
                revision=int(status["header"]["revision"]),
            )

    async def compact(self, revision: int) -> None:
        """Forget what has been overwritten and deleted before that revision: who watches or pages from an older one
        gets 410."""
        try:
            async with self._session(None) as ask:
                await ask("kv/compaction", revision=revision, physical=True)
        except StoreError as error:
            if COMPACTED not in str(error):
                raise

    async def defragment(self) -> None:
        """Give unused pages back to the disk. etcd answers nobody meanwhile, some seconds for each GiB."""
        async with self._session(None) as ask:
            await ask("maintenance/defragment")

    async def lift_alarm(self) -> None:
        """Where there is no room, it comes again with the next write."""
        async with self._session() as ask:
            [member] = (await ask("cluster/member/list"))["members"]
            await ask("maintenance/alarm", action="DEACTIVATE", memberID=member["ID"], alarm=NOSPACE)

    @asynccontextmanager
    async def _session(self, timeout: float | None = 0) -> AsyncIterator[Any]:
        try:
            descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            raise StoreError(f"{self._folder}: {error.strerror}") from error
        try:
            # By way of the open folder: paths of sockets may not be longer than 107 bytes.
            connector = aiohttp.UnixConnector(f"/proc/self/fd/{descriptor}/{ETCD_SOCKET}")
            limits = aiohttp.ClientTimeout(total=self._timeout if timeout == 0 else timeout, sock_connect=self._timeout)
            async with aiohttp.ClientSession("http://etcd", connector=connector, timeout=limits) as session:

                async def ask(what: str, **body: object) -> Any:
                    async with session.post(f"/v3/{what}", json=body) as answer:
                        found = await answer.json(content_type=None)
                        if answer.status != 200:
                            raise StoreError(f"etcd in {self._folder}: {found.get('message', answer.status)}")
                        return found

                yield ask
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError) as error:
            raise StoreError(f"etcd in {self._folder}: {str(error) or 'no answer'}") from error
        finally:
            os.close(descriptor)
