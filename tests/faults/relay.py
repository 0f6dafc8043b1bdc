"""A TCP relay on loopback that can be cut: what a network does between two ends that are alive."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self


class Relay:
    """To ``target``, a port of loopback. Cut, it carries nothing and says nothing, and takes no new connections."""

    def __init__(self, target: int) -> None:
        self._target = target
        self._open = asyncio.Event()
        self._open.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self.port = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = int(self._server.sockets[0].getsockname()[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
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
        self._writers.add(writer)
        try:
            await self._open.wait()
            there, to = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(to)
        try:
            await asyncio.gather(self._carry(reader, to), self._carry(there, writer))
        except OSError:
            pass
        finally:
            for each in (writer, to):
                each.transport.abort()
                self._writers.discard(each)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(2**16):
            await self._open.wait()
            writer.write(data)
            await writer.drain()
        writer.transport.abort()
