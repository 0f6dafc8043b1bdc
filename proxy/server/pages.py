"""Reads lists over all namespaces page by page: in one, or namespace by namespace (see `proxy.mapping.stretches`)."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from proxy.mapping.listing import Listing, Page, split_page
from proxy.mapping.stretches import Stretch, target_of, whole
from proxy.server.lengths import LARGEST, Lengths, Pages
from proxy.server.listed import failure
from proxy.server.messages import Exchange, Forward, Response
from proxy.server.surroundings import Surroundings


@dataclass(frozen=True, slots=True)
class Known:
    """What one process has learnt about lists."""

    lengths: Lengths = field(default_factory=Lengths)
    surroundings: Surroundings = field(default_factory=Surroundings)


class PageReader:
    """Reads a list, page by page. What comes next is under way while a page is worked on."""

    def __init__(
        self, listing: Listing, shard: str, forward: Callable[[bytes], Forward], pages: Pages,
        surroundings: Surroundings, exchange: Exchange, apart: list[Stretch],
    ) -> None:  # fmt: skip
        """``apart``: what it is read from, where that is not the workspace in one."""
        self._listing = listing
        self._shard = shard
        self._forward = forward
        self._exchange = exchange
        self._surroundings = surroundings
        self._pages = pages
        self._apart = bool(apart)
        self._left = deque(apart)
        """Behind those under way."""
        self._under_way: tuple[Stretch, asyncio.Task[Response]] | None = None
        self._count = 0
        """Objects that have been read."""

    @property
    def ended(self) -> bool:
        """Whether there is no page more, or none that the client wants."""
        return self._under_way is None

    async def begin(self) -> Response:
        """The answer about the first page, which is the next one if that is what was asked for."""
        if self._apart:
            answer = await self._first()
            if answer.status == 200:
                return answer
            self.close()  # what is wrong is said of what was asked for
            self._apart = False
        self._left.append(whole(self._listing))
        return await self._first()

    def _first(self) -> Awaitable[Response]:
        self._go_on(self._left.popleft())
        assert self._under_way is not None
        return self._under_way[1]

    async def next(self) -> Page:
        """What is the workspace's own of the next page. Raises StatusError."""
        assert self._under_way is not None  # not ended
        listing = self._listing
        stretch, fetched = self._under_way
        answer = await fetched
        self._under_way = None
        if answer.status != 200:
            raise failure(answer.status, answer.body, listing.token)
        page = split_page(answer.body, listing.token, selected=listing.selected or self._apart)
        self._count += len(page.items)
        if not self._apart:
            self._surroundings.passed(listing, self._shard, page.behind)
        if listing.limit and ((listing.selected and not self._apart) or self._count > listing.limit):
            return page
        if page.next:
            self._go_on(stretch.behind(page.next))
        elif self._left:
            self._go_on(self._left.popleft())
        return page

    def _go_on(self, stretch: Stretch) -> None:
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
        self._under_way = stretch, asyncio.get_running_loop().create_task(self._exchange.fetch(page))

    def learn(self) -> None:
        """The list has been read to its end, or as far as its client wanted."""
        self._pages.learn(self._count)

    def close(self) -> None:
        """Nothing more is read."""
        self._left.clear()
        if self._under_way is not None:
            _, fetched = self._under_way
            self._under_way = None
            if not fetched.cancel() and not fetched.cancelled():
                fetched.exception()  # which nobody asks for any more
