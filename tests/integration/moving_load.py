"""Clients of a workspace that moves: they write all the time, follow what is written, and know what it must be in the
end."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer

CONFIGMAPS = Resource("", "v1", "configmaps")
MINE = "of=writers"


class Writer:
    """Creates, changes and deletes its own few objects, one request after the other, and remembers what was
    acknowledged. Only 429 is tried again: no other failure may come of a move."""

    def __init__(self, client: Client, number: int) -> None:
        self._client = client
        self._random = random.Random(number)
        self.names = [f"w{number}-{at}" for at in range(6)]
        self.known: dict[str, Object] = {}
        """Name → the object as it was acknowledged."""
        self.writes = 0
        self.refused = 0
        self._stopped = False

    async def run(self) -> None:
        """Until `stop`."""
        while not self._stopped:
            await self.one()

    def stop(self) -> None:
        self._stopped = True

    def resume(self) -> None:
        self._stopped = False

    async def one(self) -> None:
        name = self._random.choice(self.names)
        known = self.known.get(name)
        if known is None:
            made = await self._insist("POST", CONFIGMAPS.path("default"), _object(name, self.writes))
            self._learn(name, made)
        elif self._random.random() < 0.3:
            body = {"preconditions": {"uid": known["metadata"]["uid"]}} if self._random.random() < 0.3 else None
            try:
                await self._insist("DELETE", CONFIGMAPS.path("default", name), body)
            except StatusError as error:  # its uid has changed with the shard
                if error.code != 409:
                    raise
                self._learn(name, await self._client.get(CONFIGMAPS, name, "default"))
                return
            del self.known[name]
        else:
            changed = known | {"data": {"n": str(self.writes)}}
            try:
                self._learn(name, await self._insist("PUT", CONFIGMAPS.path("default", name), changed))
            except StatusError as error:  # its version is that of the other shard
                if error.code != 409:
                    raise
                current = await self._client.get(CONFIGMAPS, name, "default")
                if current["data"] != known["data"]:
                    raise AssertionError(f"{current['data']} is there, {known['data']} was acknowledged") from error
                self._learn(name, current)
        self.writes += 1

    def _learn(self, name: str, obj: Object) -> None:
        self.known[name] = obj

    async def _insist(self, method: str, path: str, body: Object | None) -> Object:
        while True:
            try:
                answer: Object = await self._client.request(method, path, body=body)
                return answer
            except StatusError as error:
                if error.code != 429 or error.details["retryAfterSeconds"] != 1:
                    raise
                self.refused += 1
                await asyncio.sleep(0.02)


def _object(name: str, number: int) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "labels": {"of": "writers"}},
        "data": {"n": str(number)},
    }


class Load:
    """``writers`` of one workspace, and an informer that follows them."""

    def __init__(self, client: Client, writers: int) -> None:
        self.client = client
        self.writers = [Writer(client, number) for number in range(writers)]
        self.informer = Informer(client, CONFIGMAPS, namespace="default", label_selector=MINE)
        self.versions: list[tuple[int, int]] = []
        """Of objects that changed: before and after."""
        self.informer.add_handler(self._seen)

    def _seen(self, kind: str, old: Object | None, new: Object) -> None:
        if kind == "MODIFIED" and old is not None:
            self.versions.append((int(old["metadata"]["resourceVersion"]), int(new["metadata"]["resourceVersion"])))

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """While the block runs; a failure of a writer is raised at its end."""
        for writer in self.writers:
            writer.resume()
        tasks = [asyncio.create_task(writer.run()) for writer in self.writers]
        try:
            yield
        finally:
            for writer in self.writers:
                writer.stop()
            await asyncio.gather(*tasks)

    def expected(self) -> dict[str, str]:
        """Name → data, as was acknowledged to all writers."""
        return {name: obj["data"]["n"] for writer in self.writers for name, obj in writer.known.items()}

    async def listed(self) -> dict[str, str]:
        return {name: obj["data"]["n"] for name, obj in (await self.listed_objects()).items()}

    async def listed_objects(self) -> dict[str, Object]:
        found = await self.client.list(CONFIGMAPS, "default", label_selector=MINE)
        return {item["metadata"]["name"]: item for item in found["items"]}

    def take(self, objects: dict[str, Object]) -> None:
        """Go on with what writers before these have left."""
        for writer in self.writers:
            writer.known = {name: obj for name, obj in objects.items() if name in writer.names}

    def followed(self) -> dict[str, str]:
        return {name: obj["data"]["n"] for (_, name), obj in self.informer.store.items()}
