"""Writes of custom resources just after their CRD was made.

A shard's admission policies know a new type only a few seconds after the CRD is Established, and refuse its objects
with 503 until then; a kube-apiserver without policies takes them at once. Such a refusal comes before anything was
stored, so the write is sent again until it is let in.
"""

from __future__ import annotations

import asyncio
import time
from functools import partial

from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Exchange, Forward, Produce, Response

NOT_YET = b"There can be a delay between when CustomResourceDefinitions are created and when they are available"
WITHIN = 10.0
"""Seconds until the refusal is passed on."""
EVERY = 0.1


def produce_settled(forward: Forward, token: str) -> Produce:
    return Produce(partial(_run, forward, token))


async def _run(forward: Forward, token: str, exchange: Exchange) -> None:
    answer = await _let_in(forward, exchange)
    kept = [
        (name, strip_bytes(value, token)) for name, value in answer.headers if name not in (b"content-length", b"date")
    ]
    await exchange.start(answer.status, [header for header in kept if header[0] not in _FRAMING])
    await exchange.write(strip_bytes(answer.body, token))
    await exchange.end()


_FRAMING = frozenset({b"transfer-encoding", b"connection", b"audit-id", b"cache-control"})


async def _let_in(forward: Forward, exchange: Exchange) -> Response:
    deadline = time.monotonic() + WITHIN
    while True:
        answer = await exchange.fetch(forward)
        if answer.status != 503 or NOT_YET not in answer.body or time.monotonic() > deadline:
            return answer
        await asyncio.sleep(EVERY)
