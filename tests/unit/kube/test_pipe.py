"""Two connections made one, over real sockets and TLS."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import cast

import pytest
import uvloop

from proxy.kube.pipe import Pipe, pause, resume
from proxy.kube.streams import Peer
from proxy.shard.pki import Authority, private_folder
from tests.integration.eventually import eventually

MANY = b"0123456789abcdef" * (1 << 20)
"""16 MiB: more than all that sockets and buffers hold on the way."""


@dataclass
class Tls:
    server: ssl.SSLContext
    client: ssl.SSLContext


@pytest.fixture(scope="module")
def tls(tmp_path_factory: pytest.TempPathFactory) -> Tls:
    authority = Authority(private_folder(tmp_path_factory.mktemp("tls") / "ca"), "ca")
    pair = authority.server("server", ["127.0.0.1"])
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair.cert_file, pair.key_file)
    return Tls(server, ssl.create_default_context(cadata=authority.cert.decode()))


@dataclass
class Joined:
    """What one end says goes through the pipe to the other."""

    left: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    right: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    pipe: Pipe
    ended: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def joined(tls: Tls, *, one_way: bool = False, room: int = 1 << 20) -> AsyncIterator[Joined]:
    """Two clients of a server that makes one of their connections; ``room``: bytes that a socket may hold."""
    loop = asyncio.get_running_loop()
    made: asyncio.Queue[Peer] = asyncio.Queue()

    class Accepted(Peer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, room)
            made.put_nowait(self)

    server = await loop.create_server(Accepted, "127.0.0.1", 0, ssl=tls.server)
    port = server.sockets[0].getsockname()[1]
    ends = []
    for _ in range(2):
        end = socket.socket()
        end.setblocking(False)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        await loop.sock_connect(end, ("127.0.0.1", port))
        stream = await asyncio.open_connection(sock=end, ssl=tls.client, server_hostname="127.0.0.1")
        ends.append((stream, await made.get()))
    (left, left_peer), (right, right_peer) = ends
    ended = asyncio.Event()
    pipe = Pipe(left_peer.transport, right_peer.transport, ended.set, one_way=one_way)
    try:
        yield Joined(left, right, pipe, ended)
    finally:
        pipe.close()
        for _, writer in (left, right):
            writer.transport.abort()
        server.close()


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_all_arrives_although_the_other_end_has_gone(tls: Tls, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """Whoever says something and hangs up is heard to the end by one who listens later."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_says_and_hangs_up(tls))


async def _says_and_hangs_up(tls: Tls) -> None:
    async with joined(tls, room=8192) as ends:
        said = MANY[: 1 << 20]
        ends.left[1].write(said)
        ends.left[1].close()
        # uvloop loses what comes with the end of a connection while that is paused, if nobody sees to it.
        listener = Peer()
        transport = cast(asyncio.Transport, ends.right[1].transport)
        pause(transport)
        await asyncio.sleep(0.5)
        transport.set_protocol(listener)
        listener.connection_made(transport)
        resume(transport)
        got = bytearray()
        while not listener.ended.done():
            with contextlib.suppress(ConnectionError):
                await listener.more()
            got += listener.unread
            listener.unread = b""
        assert bytes(got) == said
        await asyncio.wait_for(ends.ended.wait(), 10)


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
@pytest.mark.parametrize("size", [1, 20_000, 60_000])
def test_what_came_before_the_end_is_heard_after_a_pause(
    tls: Tls, loop: Callable[[], asyncio.AbstractEventLoop], size: int
) -> None:
    """Where the last bytes were there while nothing was read, and nothing but the connection's end is to come."""
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(_ends_in_a_pause(tls, size))


async def _ends_in_a_pause(tls: Tls, size: int) -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[Peer] = loop.create_future()

    class Accepted(Peer):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            accepted.set_result(self)

    server = await loop.create_server(Accepted, "127.0.0.1", 0, ssl=tls.server)
    _, writer = await asyncio.open_connection(
        "127.0.0.1", server.sockets[0].getsockname()[1], ssl=tls.client, server_hostname="127.0.0.1"
    )
    peer = await accepted
    pause(peer.transport)
    writer.write(MANY[:size])
    await asyncio.sleep(0.1)
    writer.transport.abort()  # what was written has arrived: after it comes the end of the connection alone
    await asyncio.sleep(0.1)
    loop.call_soon(resume, peer.transport)
    await asyncio.wait_for(peer.ended, 10)
    assert len(peer.unread) == size
    server.close()


async def test_both_ways_at_once(tls: Tls) -> None:
    async with joined(tls) as ends:
        for _, writer in (ends.left, ends.right):
            writer.write(MANY)
        heard = await asyncio.gather(
            ends.left[0].readexactly(len(MANY)), ends.right[0].readexactly(len(MANY)), ends.left[1].drain()
        )
        assert heard[0] == heard[1] == MANY
        ends.right[1].close()
        assert await ends.left[0].read() == b""
        await asyncio.wait_for(ends.ended.wait(), 10)


async def test_one_way(tls: Tls) -> None:
    async with joined(tls, one_way=True) as ends:
        ends.left[1].write(b"not for you")
        ends.right[1].write(b"for you")
        assert await ends.left[0].readexactly(7) == b"for you"
        ends.left[1].close()
        assert await ends.right[0].read() == b"", "its end is passed on"


async def test_nothing_is_collected_for_one_who_does_not_listen(tls: Tls) -> None:
    async with joined(tls) as ends:
        writer = ends.left[1]
        taken = 0

        async def says() -> None:
            nonlocal taken
            while True:
                writer.write(MANY[: 1 << 16])
                await writer.drain()
                taken += 1 << 16

        task = asyncio.create_task(says())

        async def settles() -> bool:
            before = taken
            await asyncio.sleep(0.3)
            return taken == before

        try:
            await eventually(settles, timeout=20)
            transports = [half.own for half in ends.pipe._halves]
            assert sum(transport.get_write_buffer_size() for transport in transports) < 1 << 20
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
