"""A TCP relay that can be cut: what a network, or a balancer, does between two ends that are alive."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from types import TracebackType
from typing import Self

CHUNK = 2**16


class Relay:
    """Listens at ``host`` and ``port`` (0: a free one) and passes connections on, in turns, to those of ``targets``
    (host and port) that take them. Cut, it carries nothing and says nothing, and takes no new connections."""

    def __init__(self, *targets: tuple[str, int], host: str = "127.0.0.1", port: int = 0) -> None:
        self._targets = targets
        self._turns = itertools.count()
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._host = host
        self.port = port

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, self._host, self.port)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._open.set()
        self.reset()

    def cut(self) -> None:
        self._open.clear()

    def heal(self) -> None:
        """Connections from before are reset: their ends have long given them up, or should have."""
        self.reset()
        self._open.set()

    def reset(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ends = [writer]
        self._writers.add(writer)
        try:
            await self._open.wait()
            there, to = await self._connect()
            ends.append(to)
            self._writers.add(to)
            await asyncio.gather(self._carry(reader, to), self._carry(there, writer))
            for end in ends:
                end.close()
        except OSError:
            for end in ends:
                end.transport.abort()
        finally:
            self._writers.difference_update(ends)

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Raises the last one's OSError where nobody takes it."""
        for left in reversed(range(len(self._targets))):
            host, port = self._targets[next(self._turns) % len(self._targets)]
            try:
                return await asyncio.open_connection(host, port)
            except OSError:
                if not left:
                    raise
        raise ConnectionError("no targets")

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Either direction ends for itself, as TCP's do."""
        while data := await reader.read(CHUNK):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        with contextlib.suppress(OSError, RuntimeError):
            writer.write_eof()  # RuntimeError: uvloop's, of a connection that is closed
