"""Workers give each other tunnels: a syncer's connection lands in any of them, and so does a user's request.

Each worker has a socket in a folder that is theirs alone. Who connects names a workspace's token and a cluster; the
answer is ``+`` and from then on the connection is a tunnel, or ``-`` and its end.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
import socket
from pathlib import Path

from proxy.kube.pipe import Pipe
from proxy.metrics.snapshot import address
from proxy.server.tunnels import Cluster, Tunnel, Tunnels

log = logging.getLogger(__name__)

SUFFIX = ".tunnels"
MAX_QUESTION = 512
"""Bytes."""
PATIENCE = 1.0
"""Seconds for a sibling to answer."""


def instance_of(folder: str | None) -> str:
    """Names the workers that share ``folder``, all over the world; without one, this process."""
    return hashlib.sha256(f"{socket.gethostname()}:{folder or os.getpid()}".encode()).hexdigest()[:16]


class Handover:
    """Of the worker called ``name``. ``run()`` answers siblings until cancelled."""

    def __init__(self, tunnels: Tunnels, folder: Path, name: str) -> None:
        self._tunnels = tunnels
        self._path = folder / f"{name}{SUFFIX}"
        tunnels.ask = self._ask

    async def run(self) -> None:
        """Raises OSError where the socket cannot be made."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        loop = asyncio.get_running_loop()
        server = await loop.create_unix_server(lambda: _Asked(self._tunnels), address(self._path))
        self._path.chmod(0o600)
        async with server:
            await server.serve_forever()

    async def _ask(self, cluster: Cluster) -> Tunnel | None:
        """A tunnel of a sibling's."""
        for path in self._path.parent.glob(f"*{SUFFIX}"):
            if path == self._path:
                continue
            try:
                async with asyncio.timeout(PATIENCE):
                    tunnel = await self._ask_one(path, cluster)
            except (OSError, TimeoutError):
                continue  # it has ended, or is about to
            if tunnel is not None:
                return tunnel
        return None

    async def _ask_one(self, path: Path, cluster: Cluster) -> Tunnel | None:
        question = "{} {}\n".format(*cluster.key).encode()
        transport, asking = await asyncio.get_running_loop().create_unix_connection(_Asking, address(path))
        try:
            transport.write(question)
            if await asking.answer != b"+":
                transport.abort()
                return None
        except BaseException:
            transport.abort()
            raise
        tunnel = Tunnel(cluster)
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)
        return tunnel


class _Asking(asyncio.Protocol):
    def __init__(self) -> None:
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def data_received(self, data: bytes) -> None:
        if not self.answer.done():
            self.answer.set_result(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.answer.done():
            self.answer.set_result(b"")


class _Asked(asyncio.Protocol):
    def __init__(self, tunnels: Tunnels) -> None:
        self._tunnels = tunnels
        self._question = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._question += data
        question, end, beyond = self._question.partition(b"\n")
        if not end and len(question) <= MAX_QUESTION:
            return
        token, _, name = question.decode("latin-1").partition(" ")
        tunnel = self._tunnels.pop(token, name) if end and not beyond else None
        if tunnel is None:
            self._transport.write(b"-")
            self._transport.close()
            return
        self._transport.write(b"+")
        Pipe(self._transport, tunnel.transport, lambda: None, scratch=tunnel.scratch)
