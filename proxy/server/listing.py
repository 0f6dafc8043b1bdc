"""Lists over all namespaces, put together from pages (see `proxy.mapping.listing`)."""

from __future__ import annotations

import functools
from collections.abc import Callable

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, Page, join_items, list_metadata, split_page
from proxy.mapping.request import page_target
from proxy.mapping.stream import strip_bytes
from proxy.server.lengths import Pages
from proxy.server.messages import Exchange, Forward, Header, Produce, Response

_META = b'"apiVersion":"meta.k8s.io/'
"""Of lists in another form than the resource's own."""
PASSED_ON = frozenset(
    {b"warning", b"retry-after", b"x-kubernetes-pf-flowschema-uid", b"x-kubernetes-pf-prioritylevel-uid"}
)


def produce_list(listing: Listing, forward: Callable[[bytes], Forward], pages: Pages) -> Produce:
    """An answer to ``listing``; ``forward(target)`` makes the request of one of its ``pages``."""
    return Produce(functools.partial(_run, listing, forward, pages))


def produce_deleted(listing: Listing, deletion: Forward, look: Callable[[bytes], Forward]) -> Produce:
    """An answer to the deletion of a limited number; ``look(target)`` reads."""
    return Produce(functools.partial(_deleted, listing, deletion, look))


async def _deleted(listing: Listing, deletion: Forward, look: Callable[[bytes], Forward], exchange: Exchange) -> None:
    answer = await exchange.fetch(deletion)
    if answer.status != 200:
        await _pass_on(answer, listing.token, exchange)
        return
    page = split_page(answer.body, listing.token, selected=True)
    if page.next and not (await _next(listing, look, exchange, page.next, 1)).items:
        page.next = ""
    meta = list_metadata(page.resource_version, page.next, always=listing.custom)
    items = strip_bytes(join_items(page.items, listing.token), listing.token)
    await exchange.start(200, _headers(answer.headers, listing.token))
    await exchange.write(page.head + meta + page.between + items + b"]}\n")
    await exchange.end()


async def _pass_on(refusal: Response, token: str, exchange: Exchange) -> None:
    kind = [(name, value) for name, value in refusal.headers if name in _KIND]
    await exchange.start(refusal.status, [*kind, *_headers(refusal.headers, token)[1:]])
    await exchange.write(strip_bytes(refusal.body, token))
    await exchange.end()


_KIND = frozenset({b"content-type", b"x-content-type-options"})


async def _run(listing: Listing, forward: Callable[[bytes], Forward], pages: Pages, exchange: Exchange) -> None:
    # Whether anything follows what the client wants is seen from one more: the shard's word, said of all that it
    # holds, would tell of others.
    left = listing.limit + 1 if listing.limit else 0
    size = left if listing.selected else min(pages.size(0), left) if left else pages.size(0)
    answer = await exchange.fetch(forward(page_target(listing, listing.start, size)))
    if answer.status == 410 and not listing.continued:
        raise _too_old()
    if answer.status != 200:
        await _pass_on(answer, listing.token, exchange)
        return
    page = split_page(answer.body, listing.token, selected=listing.selected)
    if page.resource_version.isdigit() and int(page.resource_version) < listing.not_older_than:
        raise _too_new(listing.not_older_than, page.resource_version)
    if listing.selected:
        page.next = ""
    # The metadata, written first, says where a list with a client's limit goes on. One without is always whole.
    while listing.limit and page.next and (count := len(page.items)) <= listing.limit:
        more = await _next(listing, forward, exchange, page.next, min(left - count, pages.size(count)))
        page.items += more.items
        page.next = more.next
    count = len(page.items)
    going_on = page.cut(listing.limit) if listing.limit else ""
    await exchange.start(200, _headers(answer.headers, listing.token))
    partial = _META in page.head
    # The version is that of the first page: the later ones are read at the same one.
    head = page.head + list_metadata(page.resource_version, going_on, always=listing.custom and not partial)
    body = strip_bytes(join_items(page.items, listing.token), listing.token)
    token = "" if listing.limit else page.next
    if not token and not body and partial and not page.rows:
        pages.learn(0)
        await exchange.write(head + b',"items":null}\n')  # as Go writes a list that was never begun
        await exchange.end()
        return
    await exchange.write(head + page.between + body)
    while token:
        page = await _next(listing, forward, exchange, token, pages.size(count))
        count += len(page.items)
        body = strip_bytes(join_items(page.items, listing.token), listing.token)
        if body:
            await exchange.write(b"," + body)
        token = page.next
    pages.learn(count)
    await exchange.write(b"]}\n")
    await exchange.end()


async def _next(
    listing: Listing, forward: Callable[[bytes], Forward], exchange: Exchange, token: str, size: int
) -> Page:
    answer = await exchange.fetch(forward(page_target(listing, token, size)))
    if answer.status != 200:
        raise _failure(answer.status, answer.body, listing.token)
    return split_page(answer.body, listing.token, selected=listing.selected)


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
