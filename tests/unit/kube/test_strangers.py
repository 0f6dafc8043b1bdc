"""Servers that may be anybody's: addresses that are guarded, answers that are bounded, redirects that lead nowhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from proxy.kube.client import Client, Resource
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.kube.networks import Guard, Networks
from proxy.kube.streams import Dialer

PODS = Resource("", "v1", "pods")
ALL = ("127.0.0.0/8", "::1/128")


@asynccontextmanager
async def stranger(answer: bytes) -> AsyncIterator[tuple[int, list[bytes]]]:
    """Port of loopback at which ``answer`` is given, and what was asked."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n"))
        writer.write(answer)
        try:
            await writer.drain()
        except ConnectionError:
            pass
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], asked


def client(host: str, port: int, *allowed: str, largest: int | None = None) -> Client:
    guard = Guard(Networks(allowed=allowed))
    return Client(Connection(server=f"http://{host}:{port}", guard=guard), largest=largest)


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::ffff:127.0.0.1]"])
async def test_an_address_that_is_guarded_is_not_connected_to(host: str) -> None:
    async with stranger(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (port, asked):
        async with client(host, port) as refused:
            with pytest.raises(StatusError) as caught:
                await refused.request("GET", "/version")
            assert caught.value.code == 503
            with pytest.raises(OSError, match="may not be connected to"):
                await Dialer(refused.connection).open()
        assert not asked
        async with client(host, port, *ALL) as allowed:
            assert await allowed.request("GET", "/version") == {}
            peer = await Dialer(allowed.connection).open()
            peer.transport.abort()
        assert len(asked) == 1


async def test_nobody_is_sent_elsewhere() -> None:
    async with stranger(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}") as (other, asked):
        answer = b"HTTP/1.1 307 Over there\r\nLocation: http://127.0.0.1:%d/\r\nContent-Length: 0\r\n\r\n" % other
        async with stranger(answer) as (port, _), client("127.0.0.1", port, *ALL) as it:
            with pytest.raises(StatusError) as caught:
                await it.request("GET", "/version")
            assert caught.value.code == 307
            with pytest.raises(StatusError):
                async for _event in it.watch(PODS, resource_version="1"):
                    pass
        assert not asked


@pytest.mark.parametrize("length", [b"Content-Length: 3000000\r\n", b""])
async def test_an_answer_without_end(length: bytes) -> None:
    answer = b"HTTP/1.1 200 OK\r\n" + length + b"\r\n" + b" " * 3_000_000
    async with stranger(answer) as (port, _), client("127.0.0.1", port, *ALL, largest=2**20) as it:
        with pytest.raises(StatusError, match="more than 1 MiB"):
            await it.request("GET", "/version")
        with pytest.raises(StatusError, match="more than 1 MiB"):
            async for _event in it.watch(PODS, resource_version="1"):
                pass
