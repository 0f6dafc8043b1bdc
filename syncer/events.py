"""Events in the workspace: what becomes of an object on its cluster, where `kubectl describe` shows it.

An Event that says the same again is counted up, as client-go does. News that is not bad has a budget, so that ten
thousand new objects do not mean ten thousand Events; what is too much is left out and counted.
"""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events")
BURST, RATE = 50, 5.0
"""Events of type Normal: at once, and per second."""
WAITING = 500
REMEMBERED = 2000
"""Events that may be counted up."""
PAUSE = 30.0
"""Seconds in which the same is not said again."""


@dataclass(frozen=True, slots=True)
class Subject:
    """The object above that an Event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str


class Events:
    """``source``: the component that Events name; ``dropped`` is called for each that is not written."""

    def __init__(self, above: Client, *, source: str, dropped: Callable[[], object]) -> None:
        self._above = above
        self._source = source
        self._queue: asyncio.Queue[tuple[Subject, str, str, str]] = asyncio.Queue(WAITING)
        self._said: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """Name of an Event → how often it was said, and when last."""
        self._budget = float(BURST)
        self._filled = time.monotonic()
        self._dropped = dropped

    def normal(self, subject: Subject, reason: str, message: str) -> None:
        """What goes as it should; may be left out."""
        now = time.monotonic()
        self._budget = min(BURST, self._budget + (now - self._filled) * RATE)
        self._filled = now
        if self._budget < 1:
            self._dropped()
            return
        self._budget -= 1
        self._put(subject, "Normal", reason, message)

    def warning(self, subject: Subject, reason: str, message: str) -> None:
        self._put(subject, "Warning", reason, message)

    def _put(self, subject: Subject, kind: str, reason: str, message: str) -> None:
        try:
            self._queue.put_nowait((subject, kind, reason, message[:1000]))
        except asyncio.QueueFull:
            self._dropped()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            subject, kind, reason, message = await self._queue.get()
            try:
                await self._write(subject, kind, reason, message)
            except StatusError as error:
                # An Event is not worth more than one attempt: what it tells of is tried again, and told again.
                self._dropped()
                log.debug("event %s: %s", reason, error)

    async def _write(self, subject: Subject, kind: str, reason: str, message: str) -> None:
        digest = hashlib.sha256(f"{subject.uid}/{kind}/{reason}/{message}".encode()).hexdigest()[:16]
        name = f"{subject.name[:200]}.{digest}"
        key = f"{subject.namespace}/{name}"
        count, last = self._said.get(key, (0, float("-inf")))
        moment = time.monotonic()
        if moment - last < PAUSE:
            return
        self._said[key] = count + 1, moment
        self._said.move_to_end(key)
        while len(self._said) > REMEMBERED:
            self._said.popitem(last=False)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if count:
            await self._again(subject.namespace, name, count + 1, now)
            return
        event: Object = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": subject.namespace},
            "involvedObject": {
                "apiVersion": subject.api_version,
                "kind": subject.kind,
                "namespace": subject.namespace,
                "name": subject.name,
                "uid": subject.uid,
            },
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": self._source},
            "reportingComponent": self._source,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._above.create(EVENTS, event)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            # From before this syncer started.
            await self._again(subject.namespace, name, None, now)

    async def _again(self, namespace: str, name: str, count: int | None, now: str) -> None:
        patch: Object = {"lastTimestamp": now} | ({"count": count} if count else {})
        await self._above.patch(EVENTS, name, patch, namespace)
