"""What is said with a list that is put together here, and where it cannot be."""

from __future__ import annotations

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Header

PASSED_ON = frozenset(
    {b"warning", b"retry-after", b"x-kubernetes-pf-flowschema-uid", b"x-kubernetes-pf-prioritylevel-uid"}
)


def plain_headers(headers: list[Header], token: str) -> list[Header]:
    """Of an answer in JSON: what clients are to know of the shard's."""
    kept = [(name, strip_bytes(value, token)) for name, value in headers if name in PASSED_ON]
    return [(b"content-type", b"application/json"), *kept]


def failure(status: int, body: bytes, token: str) -> StatusError:
    """What the shard says of a page that cannot be had."""
    plain = strip_bytes(body, token)
    try:
        return StatusError.of_body(status, orjson.loads(plain))
    except orjson.JSONDecodeError:
        return StatusError.of_body(status, plain.decode("utf-8", "replace"))
