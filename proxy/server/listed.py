"""How the answer to a list begins and ends that is put together here, and what is said where it cannot be."""

from __future__ import annotations

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, Page, list_metadata
from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Exchange, Header

_META = b'"apiVersion":"meta.k8s.io/'
"""Of lists in another form than the resource's own."""
PASSED_ON = frozenset(
    {b"warning", b"retry-after", b"x-kubernetes-pf-flowschema-uid", b"x-kubernetes-pf-prioritylevel-uid"}
)


async def begin(listing: Listing, page: Page, headers: list[Header], exchange: Exchange, going_on: str = "") -> bytes:
    """Begin with ``page``, the first one, and ``headers`` of the shard's answer about it; what comes before
    ``page.between``. ``going_on``: continue token for the client. Raises StatusError 504 if its version is too old."""
    # The version is that of the first page: the later ones are read at the same one.
    if page.resource_version.isdigit() and int(page.resource_version) < listing.not_older_than:
        raise _too_new(listing.not_older_than, page.resource_version)
    await exchange.start(200, plain_headers(headers, listing.token))
    always = listing.custom and _META not in page.head
    return page.head + list_metadata(page.resource_version, going_on, always=always)


def end(page: Page) -> bytes:
    """What comes after `begin` where there is nothing at all."""
    if _META in page.head and not page.rows:
        return b',"items":null}\n'  # as Go writes a list that was never begun
    return page.between + b"]}\n"


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


def _too_new(wanted: int, current: str) -> StatusError:
    """As ``k8s.io/apiserver/pkg/storage.NewTooLargeResourceVersionError``."""
    return StatusError(
        504,
        f"Timeout: Too large resource version: {wanted}, current: {current}",
        details={
            "causes": [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}],
            "retryAfterSeconds": 1,
        },
    )
