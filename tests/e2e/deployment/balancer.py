"""What a cloud gives a Service of type LoadBalancer: an address outside of the cluster that leads to its node port."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

CHUNK = 2**16


@asynccontextmanager
async def balancer(address: str, port: int, *, node: str, node_port: int) -> AsyncIterator[None]:
    """Passes TCP through, either direction ended for itself."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection(node, node_port)
        except OSError:
            writer.transport.abort()
            return
        await asyncio.gather(_pass(reader, back), _pass(there, writer))
        for end in (writer, back):
            end.close()

    async with await asyncio.start_server(serve, address, port):
        yield


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        with contextlib.suppress(OSError):
            writer.transport.abort()
