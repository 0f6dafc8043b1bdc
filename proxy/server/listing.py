"""Lists over all namespaces, put together from pages (see `proxy.mapping.listing`)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.listing import FIRST_PAGE, PAGE, Listing, join_items, list_metadata, split_page
from proxy.mapping.request import page_target
from proxy.mapping.stream import strip_bytes
from proxy.server.messages import Exchange, Forward, Header, Produce

_META = b'"apiVersion":"meta.k8s.io/'
"""Of lists in another form than the resource's own."""
PASSED_ON = frozenset(
    {b"warning", b"retry-after", b"x-kubernetes-pf-flowschema-uid", b"x-kubernetes-pf-prioritylevel-uid"}
)


def produce_list(listing: Listing, forward: Callable[[bytes], Forward]) -> Produce:
    """An answer to ``listing``; ``forward(target)`` makes the request of one page."""
    return Produce(functools.partial(_run, listing, forward))


async def _run(listing: Listing, forward: Callable[[bytes], Forward], exchange: Exchange) -> None:
    left = listing.limit
    token = listing.start
    version = ""
    first = True
    while True:
        page_size = FIRST_PAGE if first else PAGE
        size = min(left, page_size) if left else page_size
        answer = await exchange.fetch(forward(page_target(listing, token, size)))
        if answer.status == 410 and first and not listing.continued:
            raise _too_old()
        if answer.status != 200 and first:
            await exchange.start(answer.status, _headers(answer.headers, listing.token))
            await exchange.write(strip_bytes(answer.body, listing.token))
            await exchange.end()
            return
        if answer.status != 200:
            raise _failure(answer.status, answer.body, listing.token)
        page = split_page(answer.body, listing.token)
        if first and page.resource_version.isdigit() and int(page.resource_version) < listing.not_older_than:
            raise _too_new(listing.not_older_than, page.resource_version)
        left = left - len(page.items) if listing.limit else 0
        whole = not page.next or (listing.limit > 0 and left <= 0)
        body = strip_bytes(join_items(page.items, listing.token), listing.token)
        if first:
            # The version is that of the first page: the later ones are read at the same one. A client's own limit
            # ends the list with a token to go on from; without one the list is always whole.
            version = page.resource_version
            going_on = page.next if listing.limit and whole else ""
            if listing.limit and not whole:
                body, page.next, left = await _rest(listing, forward, exchange, page.next, left, body)
                going_on, whole = page.next, True
            await exchange.start(200, _headers(answer.headers, listing.token))
            partial = _META in page.head
            head = page.head + list_metadata(version, going_on, always=listing.custom and not partial)
            if whole and not body and partial and b'"items":' in page.between:
                await exchange.write(head + b',"items":null}\n')  # as Go writes a list that was never begun
                await exchange.end()
                return
            await exchange.write(head + page.between + body)
            first = False
        elif body:
            await exchange.write(b"," + body)
        if whole:
            break
        token = page.next
    await exchange.write(b"]}\n")
    await exchange.end()


async def _rest(
    listing: Listing, forward: Callable[[bytes], Forward], exchange: Exchange, token: str, left: int, body: bytes
) -> tuple[bytes, str, int]:
    """The further pages of a list with a client's limit above the size of a page, of which the metadata, written
    first, must say where to go on."""
    while token and left > 0:
        answer = await exchange.fetch(forward(page_target(listing, token, min(left, PAGE))))
        if answer.status != 200:
            raise _failure(answer.status, answer.body, listing.token)
        page = split_page(answer.body, listing.token)
        more = strip_bytes(join_items(page.items, listing.token), listing.token)
        body = b",".join(part for part in (body, more) if part)
        left -= len(page.items)
        token = page.next
    return body, token, left


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


def _too_old() -> StatusError:
    """As ``k8s.io/apiserver/pkg/storage/etcd3``: the client has given no continue token, and gets none."""
    return StatusError(410, "The resourceVersion for the provided list is too old.", reason="Expired")


def _headers(headers: list[Header], token: str) -> list[Header]:
    kept = [(name, strip_bytes(value, token)) for name, value in headers if name in PASSED_ON]
    return [(b"content-type", b"application/json"), *kept]


def _failure(status: int, body: bytes, token: str) -> StatusError:
    plain = strip_bytes(body, token)
    try:
        return StatusError.of_body(status, orjson.loads(plain))
    except orjson.JSONDecodeError:
        return StatusError.of_body(status, plain.decode("utf-8", "replace"))
