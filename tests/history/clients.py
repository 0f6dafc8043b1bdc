"""Who writes, lists and watches ConfigMaps through the proxy, and records it."""

from __future__ import annotations

import asyncio
import random
import ssl
import time
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson

from tests.history.record import Event, History, Key, Listing, Outcome, Read, Run, Scope, Seen, Write

ANSWER = 10.0
"""Seconds that a client waits for an answer."""
AWAY = 0.05
"""Seconds before it asks again where it got none."""
WATCHED = (0.5, 6.0)
"""Seconds of one watch, before it is ended by the client or the server and taken up again."""
NAMES = 6
"""Of objects in each namespace: few, so that the same are made, changed and deleted again and again."""
PACE = 0.03
"""Seconds between two requests of one client."""
OPEN = frozenset({429, 500, 502, 503, 504})
"""Codes of answers that whoever asks a Kubernetes API server may get when something dies."""
VERBS = ("create", "update", "patch", "apply", "delete", "read")
INITIAL = {"sendInitialEvents": "true", "resourceVersionMatch": "NotOlderThan", "allowWatchBookmarks": "true"}
END = "k8s.io/initial-events-end"
"""Annotation of the bookmark after the state."""
TYPES = {"patch": "application/merge-patch+json", "apply": "application/apply-patch+yaml"}
METHODS = {"create": "POST", "update": "PUT", "patch": "PATCH", "apply": "PATCH", "delete": "DELETE"}


class Clients:
    """All of them, of the kcp at ``url``. ``namespaces``: those of each workspace, by its path."""

    def __init__(
        self, url: str, token: str, tls: ssl.SSLContext, namespaces: Mapping[str, tuple[str, ...]], seed: int
    ) -> None:
        self.history = History()
        self._url = url
        self._headers = {"authorization": f"Bearer {token}"}
        self._tls = tls
        self._namespaces = namespaces
        self._random = random.Random(seed)
        self._number = 0
        self.writing = True
        """False ends those who write and list."""

    def session(self) -> aiohttp.ClientSession:
        """Connections of a client of its own."""
        timeout = aiohttp.ClientTimeout(total=ANSWER)
        connector = aiohttp.TCPConnector(ssl=self._tls)
        session = aiohttp.ClientSession(connector=connector, headers=self._headers, timeout=timeout)
        # A PUT or DELETE that aiohttp sends again after a connection was lost is answered 409 or 404 where the first
        # was done: it would be recorded as refused.
        session._retry_connection = False
        return session

    # writing

    async def write(self) -> None:
        """One client, that changes, makes and deletes whatever there is."""
        while self.writing:
            async with self.session() as session:  # from time to time by new connections
                for _ in range(50):
                    if not self.writing:
                        break
                    workspace = self._random.choice(list(self._namespaces))
                    namespace = self._random.choice(self._namespaces[workspace])
                    key = Key(workspace, namespace, f"o-{self._random.randrange(NAMES)}")
                    answered = await self.change(session, self._random.choice(VERBS), key)
                    await asyncio.sleep(PACE if answered else AWAY)

    async def change(self, session: aiohttp.ClientSession, verb: str, key: Key) -> bool:
        """Whether there was an answer that says whether it was done."""
        rests_on = None
        if verb in ("read", "update"):
            read = await self._read(session, key)
            if read is None or verb == "read" or read.seen is None:
                return read is not None
            rests_on = read.seen.version
        self._number += 1
        value = "" if verb == "delete" else f"v-{self._number}"
        write = Write(verb, key, value, time.monotonic(), rests_on)
        self.history.writes.append(write)
        metadata: dict[str, Any] = {"name": key.name}
        if rests_on is not None:
            metadata["resourceVersion"] = str(rests_on)
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"value": value}}
        target = self._maps(Scope(key.workspace, key.namespace)) + ("" if verb == "create" else f"/{key.name}")
        if verb == "apply":
            target += "?fieldManager=history&force=true"
        status, body = await self._ask(
            session, METHODS[verb], target, None if verb == "delete" else obj, TYPES.get(verb, "application/json")
        )
        write.ended = time.monotonic()
        if status in (200, 201):
            write.outcome = Outcome.ACKNOWLEDGED
            if verb != "delete":
                write.version = int(body["metadata"]["resourceVersion"])
                if body["data"] != {"value": value}:
                    self._wrong(f"{verb} of {value}", status, body)
        elif status in (404, 409, 429):
            write.outcome = Outcome.REFUSED
            if status != 429 and (body.get("details") or {}).get("name") != key.name:
                self._wrong(f"{verb} of {key}", status, body)
        elif status is None or status in OPEN:
            write.ended = float("inf")  # it may be done yet
            return False
        else:
            self._wrong(f"{verb} of {key}", status, body)
        return True

    async def _read(self, session: aiohttp.ClientSession, key: Key) -> Read | None:
        began = time.monotonic()
        status, body = await self._ask(session, "GET", f"{self._maps(Scope(key.workspace, key.namespace))}/{key.name}")
        if status == 200:
            read = Read(key, began, time.monotonic(), _seen(body))
        elif status == 404 and (body.get("details") or {}).get("name") == key.name:
            read = Read(key, began, time.monotonic(), None)
        else:
            if status is not None and status not in OPEN:
                self._wrong(f"read of {key}", status, body)
            return None
        self.history.reads.append(read)
        return read

    # listing

    async def look(self) -> None:
        """One client, that lists one namespace or all, the newest state or any."""
        while self.writing:
            async with self.session() as session:
                for scope in self.scopes():
                    if not self.writing:
                        return
                    listing = await self._list(session, scope, fresh=self._random.random() < 0.7)
                    if listing is not None:
                        self.history.listings.append(listing)
                    await asyncio.sleep(5 * PACE)

    async def list_all(self) -> None:
        """The newest state of every scope, once."""
        async with self.session() as session:
            for scope in self.scopes():
                listing = None
                while listing is None:
                    listing = await self._list(session, scope)
                self.history.listings.append(listing)

    def scopes(self) -> list[Scope]:
        """All that there are, in any order."""
        found = [
            Scope(workspace, namespace)
            for workspace, namespaces in self._namespaces.items()
            for namespace in (*namespaces, None)
        ]
        self._random.shuffle(found)
        return found

    async def _list(self, session: aiohttp.ClientSession, scope: Scope, *, fresh: bool = True) -> Listing | None:
        began = time.monotonic()
        target = self._maps(scope) + ("" if fresh else "?resourceVersion=0")
        status, body = await self._ask(session, "GET", target)
        if status != 200:
            if status is not None and status not in OPEN:
                self._wrong(f"list of {scope}", status, body)
            return None
        items = {_key(scope, item): _seen(item) for item in body["items"] if _of_ours(item)}
        version = int(body["metadata"]["resourceVersion"])
        return Listing(scope, began, time.monotonic(), version, items, fresh)

    # watching

    async def watch(self, scope: Scope, *, bookmarks: bool) -> None:
        """One client, that follows a scope until it is cancelled, and loses nothing if what it is told is true.

        With bookmarks, it begins as informers do, with a watch that tells the state first, or with a list.
        """
        runs: list[Run] = []
        self.history.watchers.append(runs)
        while True:
            async with self.session() as session:
                expired = not runs or await self._follow(session, scope, runs, _from(runs[-1].covered, bookmarks))
                if expired and bookmarks and self._random.random() < 0.5:
                    await self._follow(session, scope, runs, INITIAL)
                elif expired:
                    listing = await self._list(session, scope)
                    if listing is not None:
                        runs.append(Run(listing))
            await asyncio.sleep(self._random.uniform(0, 2 * AWAY))

    async def _follow(
        self, session: aiohttp.ClientSession, scope: Scope, runs: list[Run], query: Mapping[str, str]
    ) -> bool:
        """Whether the version from which it was to go on has expired."""
        began, lasts = time.monotonic(), self._random.uniform(*WATCHED)
        state: dict[Key, Seen] | None = {} if query is INITIAL else None
        query = {**query, "watch": "true", "timeoutSeconds": str(int(lasts) + 1)}
        try:
            async with (
                asyncio.timeout(lasts if self._random.random() < 0.5 else 2 * ANSWER),
                session.get(self._maps(scope), params=query, timeout=aiohttp.ClientTimeout()) as answer,
            ):
                if answer.status != 200:
                    body = await answer.read()
                    if answer.status not in OPEN and answer.status != 410:
                        self._wrong(f"watch of {scope}", answer.status, body)
                    return answer.status == 410
                async for line in answer.content:
                    event = orjson.loads(line)
                    obj = event["object"]
                    if event["type"] == "ERROR":
                        code = obj.get("code")
                        if code != 410 and code not in OPEN:
                            self._wrong(f"watch of {scope}", code, obj)
                        return bool(code == 410)
                    if state is None:
                        self._take(runs[-1], scope, event)
                    elif event["type"] == "ADDED":
                        if _of_ours(obj):
                            state[_key(scope, obj)] = _seen(obj)
                    elif END in (obj["metadata"].get("annotations") or {}):
                        version = int(obj["metadata"]["resourceVersion"])
                        runs.append(Run(Listing(scope, began, time.monotonic(), version, state)))
                        state = None
                    else:
                        self._wrong(f"state of {scope}", event["type"], obj)
        except (aiohttp.ClientError, OSError, TimeoutError):
            pass
        except orjson.JSONDecodeError:
            pass  # the connection ended within a line
        return False

    def _take(self, run: Run, scope: Scope, event: dict[str, Any]) -> None:
        obj, now = event["object"], time.monotonic()
        version = int(obj["metadata"]["resourceVersion"])
        if event["type"] == "BOOKMARK":
            run.events.append(Event("BOOKMARK", version, now))
        elif _of_ours(obj):
            run.events.append(Event(event["type"], version, now, _key(scope, obj), obj["data"]["value"]))

    # asking

    def _maps(self, scope: Scope) -> str:
        inner = f"namespaces/{scope.namespace}/" if scope.namespace is not None else ""
        return f"{self._url}/clusters/{scope.workspace}/api/v1/{inner}configmaps"

    async def _ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        target: str,
        body: object = None,
        content_type: str = "application/json",
    ) -> tuple[int | None, dict[str, Any]]:
        """Code and body; no code where there was no whole answer."""
        data = None if body is None else orjson.dumps(body)
        headers = {} if data is None else {"content-type": content_type}
        try:
            async with session.request(method, target, data=data, headers=headers) as answer:
                return answer.status, orjson.loads(await answer.read())
        except (aiohttp.ClientError, OSError, TimeoutError, orjson.JSONDecodeError):
            return None, {}

    def _wrong(self, what: str, code: object, body: object) -> None:
        self.history.wrong.append(f"at {time.monotonic():.2f} s: {what}: {code} {body!r}"[:500])


def _from(version: int, bookmarks: bool) -> dict[str, str]:
    return {"resourceVersion": str(version), **({"allowWatchBookmarks": "true"} if bookmarks else {})}


def _of_ours(item: dict[str, Any]) -> bool:
    """The shard makes some by itself."""
    return str(item["metadata"]["name"]).startswith("o-")


def _key(scope: Scope, item: dict[str, Any]) -> Key:
    return Key(scope.workspace, item["metadata"]["namespace"], item["metadata"]["name"])


def _seen(item: dict[str, Any]) -> Seen:
    return Seen(int(item["metadata"]["resourceVersion"]), item["data"]["value"])
