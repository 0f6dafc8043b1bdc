"""One fetch for all who want the same at the same time, and what is done once and for all."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

from cachetools import LRUCache

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Flights(Generic[K, V]):
    """Fetches under way, by what they are for. Usable from one event loop."""

    __slots__ = ("_tasks",)

    def __init__(self) -> None:
        self._tasks: dict[K, asyncio.Task[V]] = {}

    async def once(self, key: K, fetch: Callable[[], Coroutine[Any, Any, V]]) -> V:
        """What ``fetch`` gives or raises; a fetch under way is shared, and goes on when one of its waiters leaves."""
        task = self._tasks.get(key)
        if task is None:
            task = self._tasks[key] = asyncio.get_running_loop().create_task(fetch())
            task.add_done_callback(lambda finished: self._landed(key, finished))
        return await asyncio.shield(task)

    def _landed(self, key: K, task: asyncio.Task[V]) -> None:
        del self._tasks[key]
        if not task.cancelled():
            task.exception()  # everybody may have left: then nobody else looks at it


class Once(Generic[K]):
    """What is done once for each key. What was done is remembered of the last ``size`` keys, and must be harmless to do
    again."""

    __slots__ = ("_done", "_under_way")

    def __init__(self, size: int) -> None:
        self._done: LRUCache[K, bool] = LRUCache(size)
        self._under_way: Flights[K, None] = Flights()

    def needed(self, key: K, act: Callable[[], Coroutine[Any, Any, None]]) -> Awaitable[None] | None:
        """None if it is done; else what does it, with others who need it now. Raises what ``act`` raises."""
        return None if key in self._done else self._under_way.once(key, lambda: self._do(key, act))

    async def _do(self, key: K, act: Callable[[], Coroutine[Any, Any, None]]) -> None:
        await act()
        self._done[key] = True
