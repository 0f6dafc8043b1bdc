"""Lists over all namespaces, put together from pages (see `proxy.mapping.listing`)."""

from __future__ import annotations

import functools
from collections.abc import Callable

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, join_items, list_metadata, split_page
from proxy.mapping.stream import strip_bytes
from proxy.mapping.stretches import target_of, whole
from proxy.server.apart import Passing, stretches_of
from proxy.server.listed import failure, plain_headers
from proxy.server.messages import Exchange, Forward, Header, Produce, Response
from proxy.server.pages import Known, PageReader

_META = b'"apiVersion":"meta.k8s.io/'
"""Of lists in another form than the resource's own."""


def produce_list(listing: Listing, shard: str, forward: Callable[[bytes], Forward], known: Known) -> Produce:
    """An answer to ``listing``; ``forward(target)`` makes the request of one of its pages to ``shard``."""
    return Produce(functools.partial(_run, listing, shard, forward, known))


def produce_deleted(listing: Listing, deletion: Forward, look: Callable[[bytes], Forward]) -> Produce:
    """An answer to the deletion of a limited number; ``look(target)`` reads."""
    return Produce(functools.partial(_deleted, listing, deletion, look))


async def _deleted(listing: Listing, deletion: Forward, look: Callable[[bytes], Forward], exchange: Exchange) -> None:
    answer = await exchange.fetch(deletion)
    if answer.status != 200:
        await _pass_on(answer, listing.token, exchange)
        return
    page = split_page(answer.body, listing.token, selected=True)
    if page.next and not await _any(listing, look, exchange, page.next):
        page.next = ""
    meta = list_metadata(page.resource_version, page.next, always=listing.custom)
    items = strip_bytes(join_items(page.items, listing.token), listing.token)
    await exchange.start(200, plain_headers(answer.headers, listing.token))
    await exchange.write(page.head + meta + page.between + items + b"]}\n")
    await exchange.end()


async def _any(listing: Listing, look: Callable[[bytes], Forward], exchange: Exchange, token: str) -> bool:
    """Whether anything of the workspace follows."""
    answer = await exchange.fetch(look(target_of(whole(listing).behind(token), listing.query, 1)))
    if answer.status != 200:
        raise failure(answer.status, answer.body, listing.token)
    return bool(split_page(answer.body, listing.token, selected=True).items)


async def _pass_on(refusal: Response, token: str, exchange: Exchange) -> None:
    kind = [(name, value) for name, value in refusal.headers if name in _KIND]
    await exchange.start(refusal.status, [*kind, *plain_headers(refusal.headers, token)[1:]])
    await exchange.write(strip_bytes(refusal.body, token))
    await exchange.end()


_KIND = frozenset({b"content-type", b"x-content-type-options"})


async def _run(
    listing: Listing, shard: str, forward: Callable[[bytes], Forward], known: Known, exchange: Exchange
) -> None:
    pages, surroundings = known.lengths.pages(listing), known.surroundings
    most = surroundings.namespaces(listing, shard, pages.expected)
    stretches = await stretches_of(listing, most, forward, surroundings, exchange)
    if not listing.limit and (stretches or listing.selected):
        passing = Passing(listing, stretches or [whole(listing)], forward, exchange)
        refusal = await passing.run()
        if refusal is None:
            pages.learn(passing.count)
            return
        if not stretches:
            await _pass_on(refusal, listing.token, exchange)
            return
        stretches = []  # what is wrong is said of what was asked for
    reading = PageReader(listing, shard, forward, pages, surroundings, exchange, stretches)
    try:
        answer = await reading.begin()
        if answer.status == 410 and not listing.continued:
            raise _too_old()
        if answer.status != 200:
            await _pass_on(answer, listing.token, exchange)
            return
        await _put_together(listing, answer.headers, reading, exchange)
        reading.learn()
    finally:
        reading.close()


async def _put_together(listing: Listing, headers: list[Header], reading: PageReader, exchange: Exchange) -> None:
    page = await reading.next()
    listing.check_version(page.resource_version)
    # The metadata, written first, says where a list with a client's limit goes on. One without is always whole.
    while not reading.ended and (listing.limit or not page.items):
        page.items += (await reading.next()).items
    going_on = page.cut(listing.limit) if listing.limit else ""
    await exchange.start(200, plain_headers(headers, listing.token))
    partial = _META in page.head
    # The version is that of the first page: the later ones are read at the same one.
    head = page.head + list_metadata(page.resource_version, going_on, always=listing.custom and not partial)
    body = strip_bytes(join_items(page.items, listing.token), listing.token)
    if not body and partial and not page.rows:
        await exchange.write(head + b',"items":null}\n')  # as Go writes a list that was never begun
        await exchange.end()
        return
    await exchange.write(head + page.between + body)
    while not reading.ended:
        page = await reading.next()
        body = strip_bytes(join_items(page.items, listing.token), listing.token)
        if body:
            await exchange.write(b"," + body)
    await exchange.write(b"]}\n")
    await exchange.end()


def _too_old() -> StatusError:
    """As ``k8s.io/apiserver/pkg/storage/etcd3``: the client has given no continue token, and gets none."""
    return StatusError(410, "The resourceVersion for the provided list is too old.", reason="Expired")
