"""Audit events on their way out: a bounded queue and one thread for each place that they go to.

The event loop only appends; what an event is made of is rendered and written in the thread, in batches. While a place
takes nothing, events wait, and are tried again; beyond the queue's bound new ones are dropped and counted, as by
kube-apiserver's batching mode: the API goes on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from proxy.audit.event import Moment, render

log = logging.getLogger(__name__)

GATHERING = 0.02
"""Seconds in which events come together for one write."""
BATCH = 1000
"""Events of one write."""
QUEUED = 64 * 2**20
"""Bytes, roughly, that may wait."""
FIRST_DELAY, LAST_DELAY = 0.5, 10.0
"""Seconds before a write that failed is tried again: doubled each time, up to the last."""
FAREWELL = 1.5
"""Seconds that the end waits for what is still queued."""


class Sink(Protocol):
    """Where events go."""

    def write(self, lines: Sequence[bytes]) -> None:
        """Raises OSError where they could not be taken."""
        ...


class Writer:
    """``put()`` on the event loop; ``close()`` at the end. ``written`` and ``dropped`` count events."""

    def __init__(self, name: str, sink: Sink, *, queued: int = QUEUED) -> None:
        self.written = 0
        self.dropped = 0
        self.name = name
        self._sink = sink
        self._bound = queued
        self._queue: deque[tuple[Moment, int]] = deque()
        self._waiting = 0
        """Bytes put in; only the loop's thread counts them up, only the writer's thread `_done`."""
        self._done = 0
        self._wake = threading.Event()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=f"audit-{name}", daemon=True)
        self._thread.start()

    def put(self, moment: Moment) -> None:
        size = moment.size
        if self._waiting - self._done + size > self._bound:
            self.dropped += 1
            if self.dropped & (self.dropped - 1) == 0:  # 1, 2, 4, …: enough to be seen, too few to flood
                log.error("audit events for %s are dropped: %d so far", self.name, self.dropped)
            return
        self._waiting += size
        self._queue.append((moment, size))
        if not self._wake.is_set():
            self._wake.set()

    def close(self) -> None:
        """What is queued is still written, if that does not take long."""
        self._closing = True
        self._wake.set()
        self._thread.join(FAREWELL)

    def _run(self) -> None:
        while not (self._closing and not self._queue):
            self._wake.wait()
            if not self._closing:
                time.sleep(GATHERING)
            self._wake.clear()
            while self._queue:
                self._write([self._queue.popleft() for _ in range(min(BATCH, len(self._queue)))])

    def _write(self, batch: list[tuple[Moment, int]]) -> None:
        lines = [line for moment, _ in batch if (line := _rendered(moment)) is not None]
        delay = FIRST_DELAY
        while True:
            try:
                self._sink.write(lines)
                break
            except OSError as error:
                if delay == FIRST_DELAY:
                    log.error("audit events wait: %s cannot be written: %s", self.name, error)
                if self._closing:
                    self.dropped += len(lines)
                    return
                time.sleep(delay)
                delay = min(2 * delay, LAST_DELAY)
        self.written += len(lines)
        self._done += sum(size for _, size in batch)


def _rendered(moment: Moment) -> bytes | None:
    try:
        return render(moment)
    except Exception:
        log.exception("an audit event could not be made")
        return None
