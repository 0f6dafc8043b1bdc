"""Reads of TLS connections, by uvloop and over sockets: nothing is missing, and little memory is needed."""

from __future__ import annotations

import asyncio
import gc
import os
import random
import ssl
import subprocess
import sys
import time
import tracemalloc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvloop

from proxy.cli.workers import MALLOC
from proxy.kube.reading import SIZE, Reading, Scratch
from proxy.shard.pki import Authority, KeyPair

BIGGEST = 3 * SIZE + 7
AMOUNTS = (1, 1000, 16_384, SIZE - 1, SIZE, SIZE + 1, BIGGEST)
MOST = 64 * 1024
"""Bytes of memory for a read of a few."""
CONNECTIONS = 60
MORE = 64
"""KiB by which an idle connection may take more than at the beginning."""


class Reader(Reading):
    """Keeps what comes."""

    def __init__(self, scratch: Scratch) -> None:
        super().__init__(scratch)
        self.transport: asyncio.BaseTransport
        self.got = bytearray()
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # as a protocol of ours does

    def data_received(self, data: bytes) -> None:
        self.got += data
        self.changed.set()

    async def take(self, size: int) -> bytes:
        while len(self.got) < size:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 10)
        data = bytes(self.got)
        self.got.clear()
        return data


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> KeyPair:
    return Authority(tmp_path_factory.mktemp("pki"), "ca").server("serving", ["localhost", "127.0.0.1"])


def client_context() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def test_two_readers_of_one_buffer_get_what_each_was_sent_and_are_gone_when_closed(pair: KeyPair) -> None:
    async def talk() -> None:
        loop, scratch, ends = asyncio.get_running_loop(), Scratch(), list[Any]()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(pair.cert_file, pair.key_file)

        class Sender(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                ends.append(transport)

        server = await loop.create_server(Sender, "127.0.0.1", 0, ssl=context)
        port = server.sockets[0].getsockname()[1]
        made = [
            await loop.create_connection(lambda: Reader(scratch), "127.0.0.1", port, ssl=client_context())
            for _ in range(2)
        ]
        while len(ends) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for amount in AMOUNTS:
            sent = [random.randbytes(amount) for _ in ends]
            for transport, data in zip(ends, sent, strict=True):
                transport.write(data)
            assert [await reader.take(amount) for _, reader in made] == sent

        (_, reader), (end, *_) = made[0], ends
        end.write(b"warm")
        await reader.take(4)
        tracemalloc.start()
        try:
            before = tracemalloc.get_traced_memory()[0]
            end.write(b"few")
            await reader.take(3)
            assert tracemalloc.get_traced_memory()[1] - before < MOST
        finally:
            tracemalloc.stop()
        gone = [weakref.ref(reader) for _, reader in made]
        del reader
        gc.collect()
        gc.disable()
        try:
            while made:
                made.pop()[0].abort()
            await asyncio.sleep(0.1)
            assert [found() for found in gone] == [None, None], "only a collection of cycles would find them"
        finally:
            gc.enable()
        server.close()

    uvloop.run(talk())


@contextmanager
def served(pair: KeyPair, env: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.unit.kube.reading_server", str(pair.cert_file), str(pair.key_file)]
    process = subprocess.Popen(
        command, env={**os.environ, **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def grown(pair: KeyPair, env: dict[str, str]) -> float:
    """By how many KiB each idle connection takes more, after others have sent much and have gone."""

    async def use(port: int, process: subprocess.Popen[str]) -> float:
        loop, context = asyncio.get_running_loop(), client_context()

        def look() -> tuple[int, int, int]:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write("look\n")
            process.stdin.flush()
            got, count, memory = map(int, process.stdout.readline().split())
            return got, count, memory

        async def until(got: int, count: int) -> int:
            deadline = time.monotonic() + 20
            while True:
                found = await asyncio.to_thread(look)
                if found[0] >= got and found[1] == count:
                    return found[2]
                assert time.monotonic() < deadline, found
                await asyncio.sleep(0.005)

        async def connect() -> asyncio.Transport:
            transport, _ = await loop.create_connection(asyncio.Protocol, "127.0.0.1", port, ssl=context)
            return transport

        idle = [await connect() for _ in range(CONNECTIONS)]
        before = await until(0, CONNECTIONS)
        for transport in idle:
            transport.abort()
        await until(0, 0)
        sent = 0
        for _ in range(3):
            busy = [await connect() for _ in range(CONNECTIONS)]
            for transport in busy:  # one by one, so that nothing else takes much
                transport.write(bytes(BIGGEST))
                sent += BIGGEST
                await until(sent, CONNECTIONS)
            for transport in busy:
                transport.abort()
            await until(sent, 0)
        for _ in range(CONNECTIONS):
            await connect()
        return (await until(sent, CONNECTIONS) - before) / CONNECTIONS

    with served(pair, env) as process:
        assert process.stdout is not None
        return uvloop.run(use(int(process.stdout.readline()), process))


def test_an_idle_connection_has_no_memory_that_others_have_used(pair: KeyPair) -> None:
    own = "MALLOC_MMAP_THRESHOLD_"  # alone: what else there is lets the heap keep some memory, whoever has used it
    assert grown(pair, {own: MALLOC[own]}) < MORE
