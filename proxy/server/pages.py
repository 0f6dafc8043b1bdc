"""Reads lists over all namespaces page by page: in one, or namespace by namespace (see `proxy.mapping.stretches`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, Page, split_page
from proxy.mapping.stream import strip_bytes
from proxy.mapping.stretches import Stretch, by_namespace, namespaces_target, target_of, whole
from proxy.server.lengths import LARGEST, Lengths
from proxy.server.messages import Exchange, Forward, Response
from proxy.server.surroundings import Surroundings

AT_ONCE = 3
"""Namespaces under way to the shard for one list."""


@dataclass(frozen=True, slots=True)
class Known:
    """What one process has learnt about lists."""

    lengths: Lengths = field(default_factory=Lengths)
    surroundings: Surroundings = field(default_factory=Surroundings)


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
        self._left = await self._by_namespace()
        if self._left:
            self._apart = True
            answer = await self._first()
            if answer.status == 200:
                return answer
            self.close()  # what is wrong is said of what was asked for
            self._apart = False
        self._left = [whole(self._listing)]
        return await self._first()

    async def _first(self) -> Response:
        self._go_on()
        return await self._under_way[0][1]

    async def _by_namespace(self) -> list[Stretch]:
        """The last one first; none where namespaces are not read one by one, as there are too many of them say."""
        most = self._surroundings.namespaces(self._listing, self._shard)
        if not most:
            return []
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
            raise failure(answer.status, answer.body, listing.token)
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


def failure(status: int, body: bytes, token: str) -> StatusError:
    """What the shard says of a page that cannot be had."""
    plain = strip_bytes(body, token)
    try:
        return StatusError.of_body(status, orjson.loads(plain))
    except orjson.JSONDecodeError:
        return StatusError.of_body(status, plain.decode("utf-8", "replace"))
