"""``python -m tests.unit.kube.reading_server CERT KEY``: takes TLS connections and throws away what they send.

It says its port, and for each line of its input how many bytes it has got, how many connections there are and how much
memory it has (KiB)."""

from __future__ import annotations

import asyncio
import os
import ssl
import sys
from pathlib import Path

import uvloop

from proxy.kube.reading import Reading, Scratch

PAGE = os.sysconf("SC_PAGE_SIZE") // 1024


class Thrown(Reading):
    """One connection."""

    got = 0
    open = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        Thrown.open += 1

    def data_received(self, data: bytes) -> None:
        Thrown.got += len(data)

    def connection_lost(self, exc: Exception | None) -> None:
        Thrown.open -= 1


def said() -> str:
    memory = int(Path("/proc/self/statm").read_text().split()[1]) * PAGE
    return f"{Thrown.got} {Thrown.open} {memory}"


async def main(cert: str, key: str) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(cert, key)
    loop, scratch = asyncio.get_running_loop(), Scratch()
    server = await loop.create_server(lambda: Thrown(scratch), "127.0.0.1", 0, ssl=context, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(said(), flush=True)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
