"""Writes of custom resources just after their CRD was made.

A shard's admission policies know the schema of a new type only after five seconds or so, and refuse its objects with
503 until then; a kube-apiserver without policies takes them two seconds after the CRD is Established. Such a refusal
comes before anything was stored, so the write is sent again. With its label, which the policy would put there, it need
not wait; where that cannot be added without losing anything it is repeated until it is let in.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from functools import partial

import orjson

from proxy.mapping.stream import strip_bytes
from proxy.mapping.token import LABEL
from proxy.server.messages import Exchange, Forward, Produce, Response

NOT_YET = b"There can be a delay between when CustomResourceDefinitions are created and when they are available"
WITHIN = 10.0
"""Seconds until the refusal is passed on."""
EVERY = 0.1


def produce_settled(forward: Forward, token: str) -> Produce:
    return Produce(partial(_run, forward, token))


async def _run(forward: Forward, token: str, exchange: Exchange) -> None:
    answer = await let_in(forward, exchange, token)
    kept = [(name, strip_bytes(value, token)) for name, value in answer.headers if name not in FRAMING]
    await exchange.start(answer.status, kept)
    await exchange.write(strip_bytes(answer.body, token))
    await exchange.end()


FRAMING = frozenset({b"content-length", b"date", b"transfer-encoding", b"connection", b"audit-id", b"cache-control"})


async def let_in(forward: Forward, exchange: Exchange, token: str = "") -> Response:
    """The answer to ``forward``, sent again as long as it is refused for its type's being too young; with the label of
    the workspace with ``token``, where one is given."""
    deadline = time.monotonic() + WITHIN
    answer = await exchange.fetch(forward)
    if token and _is_refused(answer) and forward.method in (b"POST", b"PUT"):
        labelled = with_label(forward.body, token)
        if labelled is not None:
            forward = replace(forward, body=labelled)
            answer = await exchange.fetch(forward)
    while _is_refused(answer) and time.monotonic() < deadline:
        await asyncio.sleep(EVERY)
        answer = await exchange.fetch(forward)
    return answer


def _is_refused(answer: Response) -> bool:
    return answer.status == 503 and NOT_YET in answer.body


def with_label(body: bytes, token: str) -> bytes | None:
    """The object with its internal label; None for one that JSON decoded and encoded again would not be the same, keys
    that stand twice say, of which a shard warns."""
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    meta = value.get("metadata") if isinstance(value, dict) else None
    labels = meta.get("labels") if isinstance(meta, dict) else ()
    if not isinstance(meta, dict) or not isinstance(labels, dict | None) or len(orjson.dumps(value)) != len(body):
        return None
    meta["labels"] = {LABEL: token, **(labels or {})}
    return orjson.dumps(value)
