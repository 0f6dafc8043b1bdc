"""Clients that send so slowly that they never come to an end, over TLS: each is refused in time, nobody else waits."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from proxy.server.serve import SWEEP
from proxy.server.settings import Limits
from proxy.shard.control_plane import ControlPlane
from tests.integration.transport_front import Transport, transport

LIMITS = Limits(header_timeout=2.0, request_timeout=4.0)
SENDERS = 100
"""Of each kind."""
BYTES_EVERY = 0.1
HEAD = b"GET /api/v1/namespaces/default HTTP/1.1\r\nHost: 127.0.0.1\r\nX-Slow: " + b"y" * 2000
BODY = b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100000\r\n\r\n"


@pytest.fixture
def front(shard: ControlPlane, tmp_path: Path) -> Iterator[Transport]:
    with transport(shard, tmp_path, LIMITS) as running:
        yield running


async def test_they_are_refused_and_hinder_nobody(front: Transport) -> None:
    slow = [
        asyncio.create_task(send(front, first, rest, limit))
        for first, rest, limit in (
            (b"", HEAD, LIMITS.header_timeout),
            (BODY, b"z" * 2000, LIMITS.request_timeout),
        )
        for _ in range(SENDERS)
    ]
    answered = 0
    async with front.client() as client:
        while not all(task.done() for task in slow):
            async with asyncio.timeout(10):
                await client.request("GET", "/api/v1/namespaces/default")
            answered += 1
    assert answered > 10
    for task in slow:
        assert task.result().startswith(b"HTTP/1.1 408 Request Timeout\r\n")


async def send(front: Transport, first: bytes, rest: bytes, limit: float) -> bytes:
    """Byte by byte, until there is an answer and the end of the connection; the answer."""
    reader, writer = await front.connect()
    writer.write(first)
    began = time.monotonic()
    answer = asyncio.create_task(reader.read())
    for number in range(len(rest)):
        writer.write(rest[number : number + 1])
        done, _ = await asyncio.wait([answer], timeout=BYTES_EVERY)
        if done:
            break
    took = time.monotonic() - began
    writer.transport.abort()
    # A sweep may just have been over, and both cores be busy.
    assert limit <= took < limit + 3 * SWEEP, took
    return await answer
