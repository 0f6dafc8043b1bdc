"""What many users do in many workspaces: read, write, watch for a while, and leave in all the ways that there are."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace

from tests.bench.load import Target, connect
from tests.bench.system import System
from tests.bench.works import configmap

MAPS = "/api/v1/namespaces/default/configmaps"
NAMES = 20
"""Of objects in each workspace: few, so that the same are made, changed and deleted again and again."""
REQUESTS = 30
"""On one connection, at most."""
WATCHED = 20.0
"""Seconds of a watch, at most."""
EXPECTED = frozenset({200, 201, 404, 409, 429})


class Load:
    """``done`` counts answers by method and code; ``wrong`` tells of those that nobody should get."""

    def __init__(self, system: System, workspaces: list[str], seed: int) -> None:
        self._random = random.Random(f"{seed} soak")
        admin = replace(system.proxied(), headers=(("authorization", f"Bearer {system.org.connection.token}"),))
        self._targets = [replace(admin, url=f"{system.url}/clusters/{path}") for path in workspaces]
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def run(self, users: int, watchers: int) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for act in [self._use] * users + [self._watch] * watchers:
                group.create_task(self._again(act))

    async def _again(self, act: Callable[[Target], Awaitable[None]]) -> None:
        while True:
            try:
                await act(self._random.choice(self._targets))
            except OSError as error:
                self.wrong.append(f"{act.__name__}: {error!r}")

    async def _use(self, target: Target) -> None:
        """Some requests over one connection, which is left open, closed, or dropped in the middle of an answer."""
        connection = await connect(target)
        try:
            for _ in range(self._random.randint(1, REQUESTS)):
                method, request = self._request(target)
                asked = connection.start(request)
                if self._random.random() < 0.02:
                    await asyncio.sleep(self._random.random() * 0.01)
                    asked.cancel()
                    return
                status, body = await asked
                self.done[f"{method} {status}"] += 1
                if status not in EXPECTED:
                    self.wrong.append(f"{method}: {status} {body[:200]!r}")
                if status == 429:
                    await asyncio.sleep(1)
        finally:
            connection.transport.abort()

    def _request(self, target: Target) -> tuple[str, bytes]:
        name = f"o-{self._random.randrange(NAMES)}"
        method, path, body = self._random.choice(
            (
                ("GET", f"{MAPS}/{name}", b""),
                ("GET", f"{MAPS}/{name}", b""),
                ("GET", MAPS, b""),
                ("GET", "/api/v1/configmaps?limit=7", b""),
                ("GET", "/apis", b""),
                ("POST", MAPS, configmap(name)),
                ("PUT", f"{MAPS}/{name}", configmap(name, str(self._random.random()))),
                ("DELETE", f"{MAPS}/{name}", b""),
            )
        )
        return method, target.request(method, path, body)

    async def _watch(self, target: Target) -> None:
        """For a while; many see each other's changes, some end by themselves."""
        connection = await connect(target)
        connection.on_data = lambda data: None
        path = self._random.choice((MAPS, "/api/v1/configmaps", "/api/v1/namespaces"))
        version = self._random.choice(("", "&resourceVersion=0", "&timeoutSeconds=3"))
        ended = connection.start(target.request("GET", f"{path}?watch=true&allowWatchBookmarks=true{version}"))
        try:
            await asyncio.wait([ended], timeout=self._random.random() * WATCHED)
            self.done["WATCH"] += 1
        finally:
            connection.transport.abort()
            ended.cancel()
