"""Requests that a worker has under way, by workspace: what a move of a workspace waits for, or ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from proxy.server.front import READS, Front
from proxy.server.messages import Request
from proxy.server.reach import reached
from proxy.tenancy.index import DEPARTED, Workspace

POLL = 0.005


class UnderWay:
    """An `Observer`. ``connections`` of clients, those that are open now."""

    def __init__(self, connections: Callable[[], Iterable[Front]]) -> None:
        self._connections = connections
        self._writes: dict[str, set[int]] = {}
        """By the workspace's path: ids of those that were decided, and are not answered yet."""

    def arrived(self, request: Request) -> None:
        pass

    def decided(self, request: Request) -> None:
        if request.method not in READS:
            record = request.record
            if record.workspace and record.info is not None and not reached(record.info):
                self._writes.setdefault(record.workspace, set()).add(id(request))

    def streaming(self, request: Request) -> None:
        pass

    def finished(self, request: Request) -> None:
        if request.method not in READS:
            under_way = self._writes.get(request.record.workspace)
            if under_way is not None:
                under_way.discard(id(request))
                if not under_way:
                    del self._writes[request.record.workspace]

    def malformed(self, status: int) -> None:
        pass

    async def settled(self, workspace: Workspace) -> None:
        """As `presence.Requests`."""
        while workspace.path in self._writes:  # noqa: ASYNC110
            await asyncio.sleep(POLL)
        if workspace.stage == DEPARTED:
            for front in list(self._connections()):
                front.end_watch(lambda path, shard: path == workspace.path)

    def forsake(self, shard: str) -> None:
        """As `presence.Requests`."""
        for front in list(self._connections()):
            front.forsake(shard)
