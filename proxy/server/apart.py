"""Lists over all namespaces that are read namespace by namespace (see `proxy.mapping.stretches`), passed on as they
come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from stringzilla import count

from proxy.mapping.items import Items
from proxy.mapping.listing import Listing
from proxy.mapping.stream import ResponseFilter, patterns, strip_bytes
from proxy.mapping.stretches import Stretch, by_namespace, namespaces_target, target_of
from proxy.mapping.token import LABEL
from proxy.server.listed import failure, plain_headers
from proxy.server.messages import Exchange, Forward, Pieces, Response
from proxy.server.surroundings import Surroundings

AT_ONCE = 3
"""Namespaces under way to the shard for one list."""
_LABEL = f'"{LABEL}":'.encode()


async def stretches_of(
    listing: Listing, most: int, forward: Callable[[bytes], Forward], surroundings: Surroundings, exchange: Exchange
) -> list[Stretch]:
    """One for each namespace, of which there may be ``most``; none where the list is not to be read like that. Raises
    StatusError 504 if the client has seen a later version."""
    if not most:
        return []
    answer = await exchange.fetch(forward(namespaces_target(listing, most)))
    if answer.status != 200:
        return []
    stretches = by_namespace(listing, answer.body, most)
    if not stretches:
        surroundings.crowded(listing, most)
    return stretches


class Passing:
    """Answers a list without a limit with all that there is in ``stretches``, which are at one version."""

    def __init__(
        self, listing: Listing, stretches: list[Stretch], forward: Callable[[bytes], Forward], exchange: Exchange
    ) -> None:
        self._listing = listing
        self._left = deque(stretches)
        self._forward = forward
        self._exchange = exchange
        self._patterns = patterns(listing.token)
        self._under_way: deque[Pieces] = deque()
        self._beginning = self._ending = b""
        """Of what has no items; then of the first, and the last, that has some."""
        self._begun = False
        self.count = 0
        """Objects, about: how often the internal label was there."""

    async def run(self) -> Response | None:
        """The shard's refusal of the first stretch, if it is refused: then nothing has been answered. Raises
        StatusError."""
        try:
            self._go_on()
            answer = await self._under_way[0].begun()
            if answer.status != 200:
                answer.body = await _rest(self._under_way[0])
                return answer
            await self._exchange.start(200, plain_headers(answer.headers, self._listing.token))
            while self._under_way:
                await self._pass_on(self._under_way[0])
                self._under_way.popleft()
                self._go_on()
        finally:
            for pieces in self._under_way:
                pieces.cancel()
        await self._exchange.write(self._ending if self._begun else self._beginning + self._ending)
        await self._exchange.end()
        return None

    def _go_on(self) -> None:
        while self._left and len(self._under_way) < AT_ONCE:
            target = target_of(self._left.popleft(), self._listing.query, 0)
            self._under_way.append(self._exchange.open(self._forward(target)))

    async def _pass_on(self, pieces: Pieces) -> None:
        answer = await pieces.begun()
        if answer.status != 200:
            raise failure(answer.status, await _rest(pieces), self._listing.token)
        items, rewrite = Items(), ResponseFilter(self._patterns)
        between = b"," if self._begun else b""
        ended = False
        while not ended:
            data = await pieces.more()
            ended = not data
            found = items.feed(data) if data else items.flush()
            self.count += count(found, _LABEL)
            plain = rewrite.feed(found) + (rewrite.flush() if ended else b"")
            if plain:
                begins = b"" if self._begun else strip_bytes(items.beginning, self._listing.token)
                self._begun = True
                await self._exchange.write(begins + between + plain)
                between = b""
        if items.ending or not self._ending:
            self._beginning, self._ending = (
                strip_bytes(part, self._listing.token) for part in (items.beginning, items.ending)
            )


async def _rest(pieces: Pieces) -> bytes:
    every = []
    while data := await pieces.more():
        every.append(data)
    return b"".join(every)
