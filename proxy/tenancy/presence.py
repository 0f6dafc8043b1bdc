"""How far each proxy worker has followed a shard, so that a workspace that moves is never served from two shards.

Each worker holds a Lease on every shard, and says there which stage of a move it has taken notice of. It is made before
the worker learns of the shard's workspaces, so who decides by all Leases knows of every worker. A worker that cannot
renew its Lease stops to act on what it knows of that shard before anybody takes it for gone, and begins anew with a
list. As with leader election, nobody's clock is believed: a Lease has ended when it was not seen to change for as long
as it is good for.

A shard may take no writes for hours (its etcd is full), and must be read all that time. So a Lease that is not renewed
is first taken away from its holder, which is a write as well, and ends only after that. Who cannot write, but reads
that its Lease is its own, has as much time as if it had renewed it.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.leadership import LEASES, process_identity
from proxy.kube.times import parse_time
from proxy.tenancy.index import DEPARTED, FROZEN, Workspace, WorkspaceIndex

log = logging.getLogger(__name__)

NAMESPACE = "kube-system"
WORKER = "internal.kcp.dev/worker"
"""Label of the Leases."""
SEEN = "internal.kcp.dev/seen"
"""Annotation: ``{token: generation}`` of workspaces that this worker treats as their LogicalClusters say."""
POLL = 0.02
LOOK_AGAIN = 0.5
HELD_UP = frozenset({FROZEN, DEPARTED})


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds."""

    duration: float = 30.0
    """That a Lease is good for."""
    trusted: float = 20.0
    """After a renewal was begun, in which the worker acts on what it knows."""
    renew: float = 8.0
    """Between renewals."""


class Requests(Protocol):
    """Those that a worker has under way."""

    async def settled(self, workspace: Workspace) -> None:
        """Until nothing is under way that ``workspace``, as it is now, does not allow; watches are ended."""
        ...

    def forsake(self, shard: str) -> None:
        """End watches of all workspaces of ``shard``, and writes without an answer."""
        ...


class Presence:
    """One worker's, on all shards: follows them for ``index``, in place of `WorkspaceIndex.run`.

    ``name``: of the Lease. The worker that had it before is known to have ended, so that nobody waits for that.
    """

    def __init__(
        self,
        shards: Mapping[str, Client],
        index: WorkspaceIndex,
        requests: Requests,
        name: str,
        timing: Timing = Timing(),
    ) -> None:
        self._shards = Identity.PRESENCE.on_all(shards)
        self._index = index
        self._requests = requests
        self._name = name
        self._timing = timing
        self._identity = process_identity()
        self._seen: dict[str, dict[str, int]] = {shard: {} for shard in shards}
        self._news: dict[str, asyncio.Event] = {shard: asyncio.Event() for shard in shards}
        self._settling: set[asyncio.Task[None]] = set()
        for shard in shards:
            index.trust(shard, 0.0)
        index.add_listener(self._changed)

    async def run(self) -> None:
        """Until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                for shard in self._shards:
                    group.create_task(self._be_present(shard))
        finally:
            for task in self._settling:
                task.cancel()
            await self._leave()

    async def _leave(self) -> None:
        """So that nobody waits for this one. Where nothing is written, the Lease stays for the next one."""

        async def give_up(client: Client) -> None:
            await client.patch(LEASES, self._name, {"spec": {"holderIdentity": None}}, NAMESPACE)
            await client.delete(LEASES, self._name, NAMESPACE)

        try:
            async with asyncio.timeout(1.0):
                await asyncio.gather(*map(give_up, self._shards.values()), return_exceptions=True)
        except TimeoutError:
            pass

    async def _be_present(self, shard: str) -> None:
        delay = 0.1
        while True:
            began = time.monotonic()
            try:
                await self._write_or_read(shard)
            except StatusError as error:
                log.debug("Lease on shard %s: %s", shard, error)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, 5.0)
                continue
            delay = 0.1
            self._index.trust(shard, began + self._timing.trusted)
            following = asyncio.create_task(self._index.follow(shard))
            try:
                await self._renew(shard, began, following)
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
            log.warning("shard %s: the Lease could not be renewed", shard)
            self._index.trust(shard, 0.0)
            self._requests.forsake(shard)

    async def _renew(self, shard: str, renewed: float, following: asyncio.Task[None]) -> None:
        """Returns when that could not be done in time."""
        while True:
            news = self._news[shard]
            left = renewed + self._timing.trusted - time.monotonic()
            if left <= 0:
                return
            try:
                async with asyncio.timeout(min(self._timing.renew, left)):
                    await news.wait()
            except TimeoutError:
                pass
            if following.done():
                following.result()
            news.clear()
            began = time.monotonic()
            left = renewed + self._timing.trusted - began
            written = False
            try:
                async with asyncio.timeout(max(left, 0)):
                    written = await self._write_or_read(shard)
                renewed = began
                self._index.trust(shard, began + self._timing.trusted)
            except (StatusError, TimeoutError) as error:
                log.debug("Lease on shard %s: %s", shard, error)
            if not written:
                news.set()
                await asyncio.sleep(min(0.5, self._timing.renew))

    async def _write_or_read(self, shard: str) -> bool:
        """Renew the Lease; where that cannot be, see that nobody has taken it away. A holder of before is this worker's
        predecessor, and what that one has said this one's list shows. Whether it was renewed. Raises StatusError."""
        try:
            await self._write(shard)
        except StatusError as error:
            lease = await self._shards[shard].get(LEASES, self._name, NAMESPACE)
            if not lease["spec"].get("holderIdentity"):
                raise
            log.debug("Lease on shard %s: %s; nobody has taken it", shard, error)
            return False
        return True

    async def _write(self, shard: str) -> None:
        renewed = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        seen = orjson.dumps(self._seen[shard]).decode()
        obj: Object = {
            "apiVersion": LEASES.api_version,
            "kind": "Lease",
            "metadata": {
                "name": self._name,
                "namespace": NAMESPACE,
                "labels": {WORKER: ""},
                "annotations": {SEEN: seen},
            },
            "spec": {
                "holderIdentity": self._identity,
                "leaseDurationSeconds": max(int(self._timing.duration), 1),
                "renewTime": renewed,
            },
        }
        await self._shards[shard].apply(LEASES, obj, manager="kcp")

    def _changed(self, workspace: Workspace, exists: bool) -> None:
        for shard, seen in self._seen.items():
            if workspace.token in seen and (not exists or workspace.shard != shard or workspace.stage not in HELD_UP):
                del seen[workspace.token]
        if exists and workspace.stage in HELD_UP:
            task = asyncio.create_task(self._settle(workspace))
            self._settling.add(task)
            task.add_done_callback(self._settling.discard)

    async def _settle(self, workspace: Workspace) -> None:
        """Say that ``workspace`` is treated as it is now, once that is so."""
        await self._requests.settled(workspace)
        if self._index.by_token(workspace.token) is workspace:
            self._seen[workspace.shard][workspace.token] = workspace.generation
            self._news[workspace.shard].set()


class Workers:
    """Of one shard, as they are seen from where a move is decided."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._seen: dict[str, tuple[str, float]] = {}
        """Version of each Lease, and since when it is that, by `time.monotonic`."""
        self._suspects: dict[str, str] = {}
        """Leases of workers that may have ended, with their versions."""

    async def present(self) -> None:
        """Until those that did not answer the last time have renewed their Leases, or their Leases have ended: nothing
        should be begun for which one of them would be waited for. Raises StatusError."""
        for lease in await self._leases():
            renewed = parse_time(lease["spec"].get("renewTime"))
            # Of another clock: good enough for a suspicion.
            if renewed is None or (datetime.datetime.now(datetime.UTC) - renewed).total_seconds() > _duration(lease):
                self._suspects[lease["metadata"]["name"]] = lease["metadata"]["resourceVersion"]
        while self._suspects:
            versions = {
                lease["metadata"]["name"]: lease["metadata"]["resourceVersion"] for lease in await self._leases()
            }
            self._suspects = {name: known for name, known in self._suspects.items() if versions.get(name) == known}
            if self._suspects:
                await asyncio.sleep(LOOK_AGAIN)

    async def follow(self, token: str, generation: int) -> None:
        """Until every worker treats the workspace with ``token`` as that generation of its LogicalCluster says, or is
        gone. Raises StatusError."""
        while True:
            behind = [lease["metadata"] for lease in await self._leases() if _seen_by(lease, token) < generation]
            self._suspects = {meta["name"]: meta["resourceVersion"] for meta in behind}
            if not behind:
                return
            await asyncio.sleep(POLL)

    async def _leases(self) -> list[Object]:
        """Those that have not ended; the others are taken from their holders, then removed. Raises StatusError, also
        where the shard takes no writes."""
        listed = await self._client.list(LEASES, NAMESPACE, label_selector=WORKER)
        asked = time.monotonic()
        good = []
        for lease in listed["items"]:
            meta = lease["metadata"]
            name, version = meta["name"], meta["resourceVersion"]
            if self._seen.get(name, ("", 0.0))[0] != version:
                self._seen[name] = version, asked
            unchanged = asked - self._seen[name][1]
            if lease["spec"].get("holderIdentity"):
                if unchanged >= _duration(lease) / 2:
                    await self._take(lease)
                good.append(lease)
                continue
            if unchanged < _duration(lease):
                good.append(lease)
                continue
            log.warning("a proxy worker was not heard of: its Lease %s has ended", name)
            options = {"preconditions": {"uid": meta["uid"], "resourceVersion": version}}
            try:
                await self._client.request("DELETE", LEASES.path(NAMESPACE, name), body=options)
            except StatusError as error:
                if error.code not in (404, 409):
                    raise
                if error.code == 409:  # renewed in this moment: its worker goes on
                    good.append(lease)
        return good

    async def _take(self, lease: Object) -> None:
        """From its holder, who takes it back with the next renewal."""
        meta = lease["metadata"]
        name, version = meta["name"], meta["resourceVersion"]
        body = {"metadata": {"resourceVersion": version}, "spec": {"holderIdentity": None}}
        try:
            taken = await self._client.patch(LEASES, name, body, NAMESPACE)
        except StatusError as error:
            if error.code not in (404, 409):  # it was renewed or given up in this moment
                raise
            return
        meta["resourceVersion"] = taken["metadata"]["resourceVersion"]
        if self._suspects.get(name) == version:
            self._suspects[name] = meta["resourceVersion"]


def _duration(lease: Object) -> float:
    return float(lease["spec"].get("leaseDurationSeconds") or Timing().duration)


def _seen_by(lease: Object, token: str) -> int:
    """The generation that the worker says it has seen."""
    seen = orjson.loads((lease["metadata"].get("annotations") or {}).get(SEEN) or "{}")
    return int(seen.get(token, 0))
