"""Connections are taken one in each turn of the event loop, and whatever some of them do, the others are."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import uvloop

from proxy.server import accepting
from proxy.server.accepting import Acceptor
from proxy.shard.pki import Authority

MANY = 30
LOOPS = pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
NewLoop = Callable[[], asyncio.AbstractEventLoop]


class Scarce(socket.socket):
    """A listener whose process has no file descriptor left, once."""

    lacks = True

    def accept(self) -> tuple[socket.socket, object]:
        if self.lacks:
            self.lacks = False
            raise OSError(errno.EMFILE, "Too many open files")
        return super().accept()


class Said(asyncio.Protocol):
    """Answers what it is asked with the same."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self._transport.write(data)


class Served:
    """An acceptor; ``turns`` of the loop in which something was taken."""

    def __init__(self, folder: Path, listener: socket.socket) -> None:
        authority = Authority(folder, "ca")
        pair = authority.server("serving", ["localhost"])
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(pair.cert_file, pair.key_file)
        self.client_tls = ssl.create_default_context(cafile=str(authority.cert_file))
        listener.bind(("127.0.0.1", 0))
        listener.listen(MANY * 2)
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self.turn = 0
        self.turns: list[int] = []
        self.acceptor = Acceptor(listener, tls, self._made)

    def _made(self) -> Said:
        self.turns.append(self.turn)
        return Said()

    async def count(self) -> None:
        while True:
            await asyncio.sleep(0)
            self.turn += 1

    async def echo(self, tls: ssl.SSLContext | None = None) -> None:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=tls or self.client_tls, server_hostname="localhost"
        )
        writer.write(b"said")
        assert await reader.readexactly(4) == b"said"
        writer.close()


@asynccontextmanager
async def serving(folder: Path, listener: socket.socket | None = None) -> AsyncIterator[Served]:
    served = Served(folder, listener or socket.socket())
    counting = asyncio.create_task(served.count())
    try:
        yield served
    finally:
        counting.cancel()
        served.acceptor.close()


def run(loop: NewLoop, check: Callable[[], object]) -> None:
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(check())  # type: ignore[arg-type]


@LOOPS
def test_one_in_each_turn(loop: NewLoop, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as served, asyncio.timeout(20):
            clients = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(MANY)]
            for client in clients:
                client.sendall(b"\x16\x03\x01")  # the begin of a handshake: all of them wait now
            while len(served.turns) < MANY:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
            assert len(set(served.turns)) == MANY, "others were served between each two"
            await served.echo()
            for client in clients:
                client.close()

    run(loop, check)


@LOOPS
def test_who_says_nothing_or_speaks_no_tls_keeps_nobody_out(
    loop: NewLoop, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def check() -> None:
        async with serving(tmp_path) as served, asyncio.timeout(20):
            silent = [socket.create_connection(("127.0.0.1", served.port)) for _ in range(MANY)]
            for _ in range(3):
                with socket.create_connection(("127.0.0.1", served.port)) as client:
                    client.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ssl.SSLError):
                await served.echo(ssl.create_default_context())  # which does not trust the certificate
            await served.echo()
            assert len(served.turns) == 5, "the silent ones cost nothing"
            silent[0].close()
            await served.echo()

    with caplog.at_level(logging.WARNING):
        run(loop, check)
    assert not caplog.records, "what a client does is no fault of ours"


@LOOPS
def test_it_goes_on_once_there_are_file_descriptors(
    loop: NewLoop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(accepting, "FULL", 0.05)

    async def check() -> None:
        async with serving(tmp_path, Scarce()) as served, asyncio.timeout(20):
            await served.echo()

    run(loop, check)
    assert "Too many open files" in caplog.text


@LOOPS
def test_closed_it_takes_nobody(loop: NewLoop, tmp_path: Path) -> None:
    async def check() -> None:
        async with serving(tmp_path) as served, asyncio.timeout(20):
            await served.echo()
            served.acceptor.close()
            with pytest.raises(ConnectionRefusedError):
                await served.echo()

    run(loop, check)
