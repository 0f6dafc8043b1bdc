"""One API resource, followed on both sides: what is common to all that is synced, in whatever direction.

A key (the object's name above) is worked on by one worker at a time, with what both informers know then, so the order
of events does not matter.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from proxy.kube.client import Client, Object
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from syncer.apis import Api
from syncer.events import Events
from syncer.finalizers import Finalizers
from syncer.metrics import Metrics
from syncer.namespaces import Namespaces
from syncer.tokens import Tokens

LOOK_AGAIN = 30.0
"""Seconds until it is seen whether what stands in the way is gone."""
MOST = 30.0
"""Seconds between two attempts, in the end."""


class Key(NamedTuple):
    """An object above."""

    namespace: str
    name: str


GroupKind = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """What all kinds of one syncer share."""

    above: Client
    below: Client
    cluster: str
    namespaces: Namespaces
    tokens: Tokens
    finalizers: Finalizers
    events: Events
    metrics: Metrics
    known: dict[GroupKind, list[Callable[[Key, str | None], str | None]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """Who knows the uids of such objects above."""
    curious: list[Callable[[GroupKind, Key], None]] = field(default_factory=list)
    """Called when an object above has come, or is another one now."""

    def uid(self, kind: GroupKind, key: Key, below: str | None) -> str | None:
        """Of the object above that is synced with the one of that uid below (None: whatever its uid)."""
        return next((uid for known in self.known.get(kind, ()) if (uid := known(key, below))), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What of a resource is followed on one side, and what is kept of it."""

    transform: Callable[[Object], Object]
    label_selector: str | None = None


class Followed(ABC):
    """``name`` is what it is counted under."""

    def __init__(self, api: Api, sides: Sides, *, name: str, workers: int, above: Side, below: Side) -> None:
        self.api = api
        self.name = name
        self._sides = sides
        self._resource = api.resource
        self._conflicts: set[Key] = set()
        """Whose places on the other side are taken."""
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name=f"sync {name}", workers=workers, max_delay=MOST)
        self._up = self._informer(sides.above, above)
        self._down = self._informer(sides.below, below)
        self._up.add_handler(self._above_event)
        self._down.add_handler(self._below_event)
        sides.namespaces.on_change(self._namespace_event)
        sides.metrics.met(name)
        sides.metrics.kinds.append(self)
        self._kind: GroupKind = (self._resource.group, api.kind)
        sides.known[self._kind].append(self._uid)
        self._up.add_handler(self._met)

    def _informer(self, client: Client, side: Side) -> Informer:
        return Informer(
            client,
            self._resource,
            label_selector=side.label_selector,
            transform=side.transform,
            reconnected=lambda: self._queue.retry(),
        )

    # what is counted

    @property
    @abstractmethod
    def objects(self) -> int:
        """Objects that are on both sides as they are to be."""

    @property
    @abstractmethod
    def oldest(self) -> float | None:
        """When the first change was seen, by `time.monotonic`, that is not on the other side yet."""

    @property
    def conflicts(self) -> int:
        return len(self._conflicts)

    @property
    def depth(self) -> int:
        return len(self._queue)

    @property
    def synced(self) -> bool:
        return self._up.synced and self._down.synced

    def connected(self, side: str) -> bool:
        return (self._up if side == "above" else self._down).connected

    # what happens

    async def run(self) -> None:
        """Until cancelled."""
        # What an object below stands for is told by its namespace.
        await self._sides.namespaces.wait_synced()
        async with asyncio.TaskGroup() as group:
            for informer in (self._up, self._down):
                group.create_task(informer.run())
            # Nothing is done on half a picture: an object missing from one side would be taken for deleted.
            await self._up.wait_synced()
            await self._down.wait_synced()
            group.create_task(self._queue.run())
            await self._begin(group)

    async def _begin(self, group: asyncio.TaskGroup) -> None:
        """Start what else there is to do, both sides known. Nothing here."""
        del group

    @abstractmethod
    def _above_event(self, kind: str, old: Object | None, new: Object) -> None: ...

    @abstractmethod
    def _below_event(self, kind: str, old: Object | None, new: Object) -> None: ...

    @abstractmethod
    def _namespace_event(self, namespace: str) -> None:
        """It has come, or is to go, or what stood in it below is gone."""

    @abstractmethod
    async def _reconcile(self, key: Key) -> float | None: ...

    def _uid(self, key: Key, below: str | None) -> str | None:
        """Of the object above, if it is the one for ``below``: always, where it is not another with each of those."""
        del below
        above = self._up.store.get(key)
        return None if above is None else above["uid"]

    def _met(self, kind: str, old: Object | None, new: Object) -> None:
        if kind != "DELETED" and (old is None or old["uid"] != new["uid"]):
            for curious in self._sides.curious:
                curious(self._kind, Key(new["namespace"], new["name"]))
