"""A queue of keys to reconcile: each key by one worker at a time, errors retried with backoff and jitter."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from proxy.kube.errors import StatusError
from proxy.kube.tally import tally_for

log = logging.getLogger(__name__)
Key = TypeVar("Key", bound=Hashable)
LOOK_AT_CLOCK = 10.0
"""Seconds between looks whether the wall clock was set."""
SET = 2.0
"""Seconds by which it was, at least; one that is made to go faster or slower takes its time with that."""


class WorkQueue(Generic[Key]):
    """``reconcile(key)`` returns None when done, or seconds after which to look again.

    A key that is added while it is worked on is worked on once more afterwards; added twice while it waits, once.
    What was added before `run` is what there was before: it is worked on when nothing else waits, so that after a
    restart what changes now does not queue behind all that has not changed.
    Failures wait ``base_delay`` × 2ⁿ seconds, at most ``max_delay``, each ± 25 %.
    ``dated``: ``reconcile`` goes by dates. Where the wall clock was set, whatever waits is looked at again: it may have
    been told to wait for hours by the wrong one.
    """

    def __init__(
        self,
        reconcile: Callable[[Key], Awaitable[float | None]],
        *,
        name: str = "queue",
        workers: int = 4,
        base_delay: float = 0.05,
        max_delay: float = 60.0,
        dated: bool = False,
    ) -> None:
        self._reconcile = reconcile
        self._name = name
        self._tally = tally_for(self, name)
        self._workers = workers
        self._base_delay = base_delay
        self._max_delay = max_delay
        self._dated = dated
        self._waiting: deque[Key] = deque()
        self._before: dict[Key, None] = {}
        """Keys of `_queued` that were added before `run`, in order."""
        self._queued: set[Key] = set()
        self._active: set[Key] = set()
        self._again: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._ready = asyncio.Semaphore(0)

    def add(self, key: Key) -> None:
        """Work on ``key`` as soon as a worker is free."""
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        if key in self._active:
            self._again.add(key)
        elif key in self._before:
            del self._before[key]
            self._waiting.append(key)
        elif key not in self._queued:
            self._tally.added += 1
            self._queued.add(key)
            self._waiting.append(key)
            self._ready.release()

    def add_after(self, key: Key, seconds: float) -> None:
        """Work on ``key`` in ``seconds``, or sooner if something adds it or an earlier timer is set."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + seconds:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(seconds, self.add, key)

    def retry(self) -> None:
        """Work on all keys that have failed at once: what they failed for is over."""
        for key in list(self._failures):
            self._failures[key] = 0
            self.add(key)

    def __len__(self) -> int:
        """Keys that wait or are worked on; timers do not count."""
        return len(self._queued) + len(self._active)

    @property
    def failing(self) -> int:
        """Keys whose last attempt has failed."""
        return len(self._failures)

    async def run(self) -> None:
        """Work until cancelled."""
        self._before = dict.fromkeys(self._waiting)
        self._waiting.clear()
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._workers):
                    group.create_task(self._work())
                if self._dated:
                    group.create_task(self._look_at_clock())
        finally:
            for timer in self._timers.values():
                timer.cancel()
            self._timers.clear()

    async def _work(self) -> None:
        while True:
            await self._ready.acquire()
            key = self._waiting.popleft() if self._waiting else self._oldest()
            self._queued.discard(key)
            self._active.add(key)
            began = time.perf_counter()
            try:
                after = await self._reconcile(key)
            except Exception as error:
                self._failed(key, error)
            else:
                self._failures.pop(key, None)
                if after is not None:
                    self.add_after(key, after)
            finally:
                self._tally.work.observe(time.perf_counter() - began)
                self._active.discard(key)
                if key in self._again:
                    self._again.discard(key)
                    self.add(key)

    async def _look_at_clock(self) -> None:
        ahead = time.time() - time.monotonic()
        while True:
            await asyncio.sleep(LOOK_AT_CLOCK)
            before, ahead = ahead, time.time() - time.monotonic()
            if abs(ahead - before) > SET:
                log.info("%s: the clock was set by %.0f s", self._name, ahead - before)
                for key in list(self._timers):
                    self.add(key)

    def _oldest(self) -> Key:
        key = next(iter(self._before))
        del self._before[key]
        return key

    def _failed(self, key: Key, error: Exception) -> None:
        self._tally.retried += 1
        count = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(self._base_delay * 2 ** min(count - 1, 30), self._max_delay) * random.uniform(0.75, 1.25)
        if isinstance(error, StatusError):
            # A conflict is the normal way of learning that somebody else wrote first.
            level = logging.DEBUG if error.code == 409 and count < 5 else logging.WARNING
            log.log(level, "%s: %s: %s (again in %.1f s)", self._name, key, error, delay)
        else:
            log.exception("%s: %s failed (again in %.1f s)", self._name, key, delay)
        self.add_after(key, delay)
