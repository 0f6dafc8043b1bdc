"""TLS and sockets alone, on uvloop: bytes go to a connection of their own to the kube-apiserver, and back. Whoever asks
tells the kube-apiserver himself who he is. What this costs, no proxy in Python that ends TLS can save."""

from __future__ import annotations

import argparse
import asyncio
import ssl
from typing import cast
from urllib.parse import urlsplit

from tests.bench.peers.program import run


class End(asyncio.Protocol):
    """One of two: what comes goes out at the other."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.other: End | None = None
        self._early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        for data in self._early:
            self.transport.write(data)
        self._early.clear()

    def send(self, data: bytes) -> None:
        if self.transport is None:
            self._early.append(data)
        else:
            self.transport.write(data)

    def data_received(self, data: bytes) -> None:
        assert self.other is not None
        self.other.send(data)

    def connection_lost(self, exc: Exception | None) -> None:
        if self.other is not None and self.other.transport is not None:
            self.other.transport.close()


class Front(End):
    """A client's; ``dial`` opens the other one."""

    def __init__(self, dial: Dial) -> None:
        super().__init__()
        self._dial = dial
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.other = End()
        self.other.other = self
        self._dialling = asyncio.get_running_loop().create_task(self._dial(self.other))


class Dial:
    def __init__(self, server: str, tls: ssl.SSLContext) -> None:
        place = urlsplit(server)
        self._host, self._port = place.hostname or "", place.port or 443
        self._tls = tls

    async def __call__(self, end: End) -> None:
        await asyncio.get_running_loop().create_connection(lambda: end, self._host, self._port, ssl=self._tls)


async def serve(arguments: argparse.Namespace) -> None:
    """Until killed."""
    dial = Dial(arguments.server, ssl.create_default_context(cafile=arguments.ca))
    front = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    front.load_cert_chain(arguments.cert, arguments.key)
    host, _, port = arguments.listen.rpartition(":")
    await asyncio.get_running_loop().create_server(lambda: Front(dial), host, int(port), ssl=front, backlog=2048)
    await asyncio.Event().wait()


if __name__ == "__main__":
    run(serve)
