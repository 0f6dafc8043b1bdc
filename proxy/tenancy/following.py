"""Changes of objects in some workspaces of a shard: a watch for each type and some hundred workspaces, and not one for
each namespace. Those of a type that fails keep nobody else waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from proxy.kube.changes import Changes
from proxy.kube.client import Client, Object, Resource
from proxy.mapping.token import LABEL

TOGETHER = 200
"""Workspaces in one watch, at most: their tokens are in its URL."""
GATHERED = 0.05
"""Seconds in which further workspaces come along before a watch begins anew for them."""

Happened = Callable[[Resource, Object], None]
"""Called with each event."""
Begun = Callable[[Resource, Collection[str]], None]
"""Called with tokens of workspaces, of whose objects nothing is known of what was before."""


class Following:
    """Of one shard."""

    def __init__(self, client: Client, group: asyncio.TaskGroup, happened: Happened, begun: Begun) -> None:
        self._client = client
        self._group = group
        self._happened = happened
        self._begun = begun
        self._watches: dict[tuple[Resource, bool], list[_Watch]] = {}

    def __len__(self) -> int:
        """Watches."""
        return sum(map(len, self._watches.values()))

    def follow(self, resource: Resource, token: str, *, whole: bool = False) -> bool:
        """Tell of changes in that workspace, with ``whole`` objects or their metadata alone; whether all is told that
        happens from now on. Otherwise ``begun`` will be called."""
        watches = self._watches.setdefault((resource, whole), [])
        for watch in watches:
            if token in watch.tokens:
                return watch.changes.known
        watch = next((each for each in watches if len(each.tokens) < TOGETHER), None) or self._new(resource, whole)
        watch.add(token)
        return watch.changes.known

    def _new(self, resource: Resource, whole: bool) -> _Watch:
        watch = _Watch(self._group)
        watch.changes = Changes(
            self._client,
            resource,
            happened=lambda event: self._happened(resource, event),
            begun=lambda: self._begun(resource, tuple(watch.tokens)),
            metadata_only=not whole,
        )
        self._watches[resource, whole].append(watch)
        return watch

    def leave(self, group: str, plural: str, token: str) -> None:
        """That workspace is nobody's concern any more, as far as this resource goes."""
        for (resource, whole), watches in list(self._watches.items()):
            if (resource.group, resource.plural) != (group, plural):
                continue
            for watch in watches:
                watch.remove(token)
            self._watches[resource, whole] = [watch for watch in watches if watch.tokens]
            if not self._watches[resource, whole]:
                del self._watches[resource, whole]

    def close(self) -> None:
        """No watch begins any more."""
        for watches in self._watches.values():
            for watch in watches:
                watch.end()
        self._watches.clear()


class _Watch:
    changes: Changes

    def __init__(self, group: asyncio.TaskGroup) -> None:
        self.tokens: set[str] = set()
        self._group = group
        self._task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    def add(self, token: str) -> None:
        self.tokens.add(token)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(GATHERED if self._task else 0, self._begin)

    def remove(self, token: str) -> None:
        """What is told of it until the watch begins anew, nobody wants to know."""
        self.tokens.discard(token)
        if not self.tokens:
            self.end()

    def _begin(self) -> None:
        self.end()
        self.changes.selector = f"{LABEL} in ({','.join(sorted(self.tokens))})"
        self._task = self._group.create_task(self.changes.run())

    def end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._task is not None:
            self._task.cancel()
            self._task = None
