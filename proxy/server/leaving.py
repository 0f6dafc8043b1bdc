"""Writes of a type that no cluster imports any more: what there is of it can be read and deleted.

An object that is being deleted may still be changed, for only so do its finalizers end; whether it is, its shard is
asked. Where the deletion ends between question and write, the write finds nothing to change.
"""

from __future__ import annotations

from functools import partial

import msgspec

from proxy.kube.client import METADATA
from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo
from proxy.server.messages import Exchange, Forward, Produce
from proxy.server.settling import produce_settled


class _Meta(msgspec.Struct, rename="camel"):
    deletion_timestamp: str = ""


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)


_decoder = msgspec.json.Decoder(_Object)


def no_writes(info: RequestInfo) -> StatusError:
    """405 as a resource says it that lacks the verb, and why."""
    kind = f"{info.resource}.{info.group}" if info.group else info.resource
    message = f'{info.verb} is not supported on resources of kind "{kind}": no cluster imports it any more, its objects'
    details = {"group": info.group, "kind": info.resource} if info.group else {"kind": info.resource}
    return StatusError(405, f"{message} can be read and deleted", details=details)


def produce_leaving(look: bytes, write: Forward, info: RequestInfo, token: str) -> Produce:
    """``write``, if the object is being deleted; ``look``: the target at which it stands."""
    accept = [(b"accept", METADATA.encode())]
    kept = [header for header in write.headers if header[0] not in (b"accept", b"content-type")]
    asked = Forward(write.shard, b"GET", look, kept + accept, idempotent=True)
    return Produce(partial(_run, asked, write, info, token))


async def _run(look: Forward, write: Forward, info: RequestInfo, token: str, exchange: Exchange) -> None:
    answer = await exchange.fetch(look)
    if answer.status not in (200, 404):
        raise StatusError(503, "whether the object is being deleted is not known", details={"retryAfterSeconds": 1})
    if answer.status == 404 or not _decoder.decode(answer.body).metadata.deletion_timestamp:
        raise no_writes(info)
    await produce_settled(write, token).run(exchange)
