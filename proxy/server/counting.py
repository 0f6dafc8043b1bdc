"""How many objects a workspace has on its shard, at a cost that does not depend on how many these are.

Whoever reads one object of a list is told how many follow (``remainingItemCount``). Names of a workspace stand together
in their order, so what it has of a type is what follows its first possible name less what follows the last one, both
read at one version. Its own types have groups of their own, in which everything is its own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import NamedTuple
from urllib.parse import unquote

from proxy.discovery import Discovery
from proxy.identities import Identity
from proxy.kube.client import METADATA_LIST, Client, Resource
from proxy.kube.errors import StatusError
from proxy.kube.leadership import LEASES
from proxy.kube.turns import Turns
from proxy.mapping.listing import LATEST, make_token
from proxy.mapping.names import map_api_group
from proxy.mapping.scopes import CRDS
from proxy.server.replies import unavailable
from proxy.tenancy.index import Workspace
from proxy.tenancy.presence import NAMESPACE, WORKER

AT_ONCE = 4
"""Requests to one shard."""
RESTS = 3.0
"""How many times as long as a count took a shard is not asked for another one."""
SAME = frozenset({("events.k8s.io", "events")})
"""What is there under another name as well."""


class Kind(NamedTuple):
    """What is counted together."""

    name: str
    """As the workspace knows it."""
    resource: Resource
    """As the shard does."""
    private: bool
    """Whether all of them are the workspace's."""


class Counter:
    """Of one worker."""

    def __init__(self, shards: Mapping[str, Client], discovery: Discovery) -> None:
        self._shards = Identity.COUNTING.on_all(shards)
        self._discovery = discovery
        self._turns = {shard: Turns(AT_ONCE) for shard in shards}
        self._locks = {shard: asyncio.Lock() for shard in shards}
        self._next = dict.fromkeys(shards, 0.0)
        """When the next count may begin, by `time.monotonic`."""

    @asynccontextmanager
    async def turn(self, shard: str) -> AsyncIterator[None]:
        """Around a count: one at a time for each shard, with rests between them."""
        async with self._locks[shard]:
            await asyncio.sleep(max(0.0, self._next[shard] - time.monotonic()))
            began = time.monotonic()
            try:
                yield
            finally:
                ended = time.monotonic()
                self._next[shard] = ended + RESTS * (ended - began)

    async def objects(self, workspace: Workspace) -> int:
        """All that it has, of the types that it serves. Raises StatusError that names what could not be counted."""
        if workspace.shard in self._discovery.unsynced():
            raise StatusError(503, "its types are not known yet")
        shapes = self._discovery.view(workspace).shapes
        own = sum(not shape.shared_group for shape in shapes)
        return own + sum(await asyncio.gather(*(self._of(workspace, kind) for kind in self._kinds(workspace))))

    async def workers(self, shard: str) -> int:
        """Of all kcps before the shard. Raises StatusError."""
        params = {"labelSelector": WORKER}
        found = await self._shards[shard].request("GET", LEASES.path(NAMESPACE), params=params, accept=METADATA_LIST)
        return len(found.get("items") or ())

    async def holds(self, shard: str, target: bytes) -> bool:
        """Whether the object at ``target``, which has passed the gate, is there. Raises StatusError 503."""
        collection, _, name = target.partition(b"?")[0].decode().rpartition("/")
        params: dict[str, str | int | None] = {"fieldSelector": f"metadata.name={unquote(name)}"}
        try:
            found = await self._shards[shard].request("GET", collection, params=params, accept=METADATA_LIST)
        except StatusError as error:
            if error.code == 404:
                return True  # it is the shard that says so
            raise unavailable(shard, "it does not tell whether the object is there") from error
        return bool(found.get("items"))

    def _kinds(self, workspace: Workspace) -> Iterator[Kind]:
        view = self._discovery.view(workspace)
        seen = set(SAME | {CRDS})
        for group in view.groups:
            for version in group.versions:
                for entry in version.resources:
                    plural = entry["resource"]
                    if (group.name, plural) in seen or "list" not in entry["verbs"]:
                        continue
                    seen.add((group.name, plural))
                    shared = view.shared_groups.get((group.name, plural), "")
                    stored = shared or map_api_group(group.name, workspace.prefix)
                    private = stored.startswith(workspace.prefix)
                    name = f"{plural}.{group.name}" if group.name else plural
                    yield Kind(name, Resource(stored, version.name, plural), private)

    async def _of(self, workspace: Workspace, kind: Kind) -> int:
        shard = workspace.shard
        turn = self._turns[shard].of(workspace.token)
        try:
            async with turn():
                if kind.private:
                    return (await self._following(shard, kind.resource, None))[0]
                # A dash stands behind a workspace's token, and the dot follows the dash.
                here, version = await self._following(shard, kind.resource, make_token(f"{workspace.token}-"))
                if not here:
                    return 0
                behind = make_token(f"{workspace.token}.", version)
                return here - (await self._following(shard, kind.resource, behind))[0]
        except StatusError as error:
            if error.code in (404, 405):
                return 0  # it is not there any more
            raise StatusError(503, f"{kind.name} cannot be counted") from error

    async def _following(self, shard: str, resource: Resource, start: str | None) -> tuple[int, int]:
        """Objects of the shard from ``start`` on, and the version of which that is true."""
        params: dict[str, str | int | None] = {"limit": 1, "continue": start}
        page = await self._shards[shard].request("GET", resource.path(), params=params, accept=METADATA_LIST)
        meta = page["metadata"]
        count = len(page.get("items") or ()) + int(meta.get("remainingItemCount") or 0)
        return count, int(meta.get("resourceVersion") or LATEST)
