"""Lists over all namespaces, put together from pages (see `proxy.mapping.listing`)."""

from __future__ import annotations

import asyncio
import functools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, Page, join_items, list_metadata, split_page
from proxy.mapping.stream import strip_bytes
from proxy.mapping.stretches import Stretch, by_namespace, namespaces_target, target_of, whole
from proxy.server.lengths import LARGEST, Lengths
from proxy.server.messages import Exchange, Forward, Header, Produce, Response
from proxy.server.surroundings import Surroundings

_META = b'"apiVersion":"meta.k8s.io/'
"""Of lists in another form than the resource's own."""
PASSED_ON = frozenset(
    {b"warning", b"retry-after", b"x-kubernetes-pf-flowschema-uid", b"x-kubernetes-pf-prioritylevel-uid"}
)
AT_ONCE = 3
"""Namespaces under way to the shard for one list."""


@dataclass(frozen=True, slots=True)
class Known:
    """What one process has learnt about lists."""

    lengths: Lengths = field(default_factory=Lengths)
    surroundings: Surroundings = field(default_factory=Surroundings)


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
    await exchange.start(200, _headers(answer.headers, listing.token))
    await exchange.write(page.head + meta + page.between + items + b"]}\n")
    await exchange.end()


async def _any(listing: Listing, look: Callable[[bytes], Forward], exchange: Exchange, token: str) -> bool:
    """Whether anything of the workspace follows."""
    answer = await exchange.fetch(look(target_of(whole(listing).behind(token), listing.query, 1)))
    if answer.status != 200:
        raise _failure(answer.status, answer.body, listing.token)
    return bool(split_page(answer.body, listing.token, selected=True).items)


async def _pass_on(refusal: Response, token: str, exchange: Exchange) -> None:
    kind = [(name, value) for name, value in refusal.headers if name in _KIND]
    await exchange.start(refusal.status, [*kind, *_headers(refusal.headers, token)[1:]])
    await exchange.write(strip_bytes(refusal.body, token))
    await exchange.end()


_KIND = frozenset({b"content-type", b"x-content-type-options"})


async def _run(
    listing: Listing, shard: str, forward: Callable[[bytes], Forward], known: Known, exchange: Exchange
) -> None:
    reading = PageReader(listing, shard, forward, known, exchange)
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
    if page.resource_version.isdigit() and int(page.resource_version) < listing.not_older_than:
        raise _too_new(listing.not_older_than, page.resource_version)
    # The metadata, written first, says where a list with a client's limit goes on. One without is always whole.
    while not reading.ended and (listing.limit or not page.items):
        page.items += (await reading.next()).items
    going_on = page.cut(listing.limit) if listing.limit else ""
    await exchange.start(200, _headers(headers, listing.token))
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


class PageReader:
    """Reads a list, page by page. What comes next is under way while a page is worked on."""

    def __init__(
        self, listing: Listing, shard: str, forward: Callable[[bytes], Forward], known: Known, exchange: Exchange
    ) -> None:
        self._listing = listing
        self._shard = shard
        self._forward = forward
        self._exchange = exchange
        self._surroundings = known.surroundings
        self._pages = known.lengths.pages(listing)
        self._apart = False
        """Whether namespaces are read one by one."""
        self._left: list[Stretch] = []
        """Behind those under way; the next one last."""
        self._under_way: deque[tuple[Stretch, asyncio.Future[Response]]] = deque()
        self._count = 0
        """Objects that have been read."""

    @property
    def ended(self) -> bool:
        """Whether there is no page more, or none that the client wants."""
        return not self._under_way

    async def begin(self) -> Response:
        """The answer about the first page, which is the next one if that is what was asked for."""
        most = self._surroundings.namespaces(self._listing, self._shard)
        if most:
            self._left = await self._by_namespace(most)
            self._apart = bool(self._left)
            if self._apart:
                self._go_on()
                answer = await self._under_way[0][1]
                if answer.status == 200:
                    return answer
                self.close()  # what is wrong is said of what was asked for
                self._apart = False
        self._left = [whole(self._listing)]
        self._go_on()
        return await self._under_way[0][1]

    async def _by_namespace(self, most: int) -> list[Stretch]:
        """The last one first; none where there are too many namespaces."""
        answer = await self._exchange.fetch(self._forward(namespaces_target(self._listing, most)))
        if answer.status != 200:
            return []
        stretches = by_namespace(self._listing, answer.body, most)
        if not stretches:
            self._surroundings.crowded(self._listing, most)
        return stretches[::-1]

    async def next(self) -> Page:
        """What is the workspace's own of the next page. Raises StatusError."""
        listing = self._listing
        stretch, fetched = self._under_way[0]
        answer = await fetched
        self._under_way.popleft()
        if answer.status != 200:
            raise _failure(answer.status, answer.body, listing.token)
        page = split_page(answer.body, listing.token, selected=listing.selected or self._apart)
        self._count += len(page.items)
        if not self._apart:
            self._surroundings.passed(listing, self._shard, page.behind)
        if listing.limit and (listing.selected or self._count > listing.limit):
            self.close()
            return page
        if page.next:
            going_on = stretch.behind(page.next)
            self._under_way.appendleft((going_on, self._fetch(going_on)))
        self._go_on()
        return page

    def _go_on(self) -> None:
        # Of a list with a client's limit nobody knows yet how much will be wanted.
        while self._left and len(self._under_way) < (1 if self._listing.limit else AT_ONCE):
            stretch = self._left.pop()
            self._under_way.append((stretch, self._fetch(stretch)))

    def _fetch(self, stretch: Stretch) -> asyncio.Future[Response]:
        listing = self._listing
        # Whether anything follows what the client wants is seen from one more: the shard's word, said of all that it
        # holds, would tell of others.
        left = listing.limit + 1 - self._count if listing.limit else 0
        if listing.selected:
            size = left
        else:
            # The end of a namespace keeps a page from others' objects, that of a workspace does not.
            size = LARGEST if self._apart else self._pages.size(self._count)
            size = min(size, left) if left else size
        page = self._forward(target_of(stretch, listing.query, size))
        return asyncio.get_running_loop().create_task(self._exchange.fetch(page))

    def learn(self) -> None:
        """The list has been read to its end, or as far as its client wanted."""
        self._pages.learn(self._count)

    def close(self) -> None:
        """Nothing more is read."""
        self._left = []
        while self._under_way:
            _, fetched = self._under_way.popleft()
            if not fetched.cancel() and not fetched.cancelled():
                fetched.exception()  # which nobody asks for any more


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
