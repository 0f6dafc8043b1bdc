"""What controllers count of themselves: plain numbers, kept when a controller is started anew."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Protocol
from weakref import WeakSet

WORK_BOUNDS = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 30.0)
CREATION_BOUNDS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds, both."""


class Durations:
    """How often something took how long."""

    __slots__ = ("bounds", "counts")

    def __init__(self, bounds: Sequence[float]) -> None:
        """``bounds``: upper ends of the buckets, in seconds; the last, infinite one is implied."""
        self.bounds = tuple(bounds)
        self.counts = [0.0] * (len(bounds) + 2)
        """Of each bucket (not cumulative), the infinite one too, and the sum of all at the end."""

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.counts[-1] += seconds


class Queue(Protocol):
    """What is needed of a `proxy.kube.workqueue.WorkQueue`."""

    def __len__(self) -> int: ...


class QueueTally:
    """Of all work queues of one name."""

    __slots__ = ("added", "queues", "retried", "work")

    def __init__(self) -> None:
        self.added = 0
        """Keys that were queued."""
        self.retried = 0
        """Keys whose reconciliation failed, so that it is tried again."""
        self.work = Durations(WORK_BOUNDS)
        """How long reconciliations took."""
        self.queues: WeakSet[Queue] = WeakSet()

    @property
    def depth(self) -> int:
        """Keys that wait or are worked on now."""
        return sum(len(queue) for queue in self.queues)


class Tallies:
    """Of one installation's controllers."""

    def __init__(self) -> None:
        self.queues: dict[str, QueueTally] = {}
        """By the queues' name."""
        self.created = Durations(CREATION_BOUNDS)
        """From the moment that a new workspace is heard of until it is Ready."""

    @contextmanager
    def counting(self) -> Iterator[None]:
        """Work queues that are made inside, or in tasks that are started inside, count here: controllers need not
        know of it."""
        before = _counting.set(self)
        try:
            yield
        finally:
            _counting.reset(before)

    def queue(self, name: str) -> QueueTally:
        """The tally for queues of that name; queues of several shards share one."""
        return self.queues.setdefault(name, QueueTally())


_counting: ContextVar[Tallies | None] = ContextVar("counting", default=None)


def tally_for(queue: Queue, name: str) -> QueueTally:
    """Where ``queue`` counts."""
    tallies = _counting.get()
    tally = tallies.queue(name) if tallies is not None else QueueTally()
    tally.queues.add(queue)
    return tally
