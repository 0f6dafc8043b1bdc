"""Answers that are known here, to requests that are the shard's to judge: it may refuse them, or warn."""

from __future__ import annotations

from functools import partial

from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Exchange, Forward, Produce

_OTHER_FORMS = (b'{"kind":"Table"', b'{"kind":"PartialObjectMetadata"')
PASSED_ON = frozenset({b"warning", b"content-type", b"x-content-type-options"})


def produce_instead(forward: Forward, token: str, body: bytes) -> Produce:
    """``body`` where the shard says 201, and with an object of the resource's own kind; else what it says."""
    return Produce(partial(_run, forward, token, body))


async def _run(forward: Forward, token: str, body: bytes, exchange: Exchange) -> None:
    answer = await exchange.fetch(forward)
    kept = [(name, strip_bytes(value, token)) for name, value in answer.headers if name in PASSED_ON]
    await exchange.start(answer.status, kept)
    known = answer.status == 201 and not answer.body.startswith(_OTHER_FORMS)
    await exchange.write(body if known else strip_bytes(answer.body, token))
    await exchange.end()
