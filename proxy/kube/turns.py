"""So many requests at a time to one server, and everybody's turn comes: who asks for much does not make others wait."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress

Turn = Callable[[], AbstractAsyncContextManager[None]]
"""``async with turn():`` around what takes a turn."""


class Turns:
    """``limit`` at a time. Those that wait are served one after the other, each with one thing, then again."""

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: OrderedDict[Hashable, deque[asyncio.Future[None]]] = OrderedDict()

    def of(self, who: Hashable) -> Turn:
        """The turns of one that shares the server with others."""

        @asynccontextmanager
        async def turn() -> AsyncIterator[None]:
            await self._take(who)
            try:
                yield
            finally:
                self._give_back()

        return turn

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(map(len, self._waiting.values()))

    async def _take(self, who: Hashable) -> None:
        if self._free > 0:
            self._free -= 1
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue = self._waiting.setdefault(who, deque())
        queue.append(granted)
        try:
            await granted
        except asyncio.CancelledError:
            if granted.done() and not granted.cancelled():
                self._give_back()
            else:
                with suppress(ValueError):  # passed over already
                    queue.remove(granted)
                if not queue and self._waiting.get(who) is queue:
                    del self._waiting[who]
            raise

    def _give_back(self) -> None:
        while self._waiting:
            who, queue = next(iter(self._waiting.items()))
            granted = queue.popleft()
            if queue:
                self._waiting.move_to_end(who)
            else:
                del self._waiting[who]
            if not granted.cancelled():
                granted.set_result(None)
                return
        self._free += 1
