"""What the syncer tells the workspace about its cluster: that it lives, and what APIs it has."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence

from proxy.kube.client import METADATA_LIST, Client, Object
from proxy.kube.errors import StatusError
from syncer.apis import EVERYTHING, HASH, IMPORTS, Api, find_apis, import_of, served
from syncer.definitions import Definitions
from syncer.namespaces import CLUSTERS

log = logging.getLogger(__name__)

HEARTBEAT = 20.0
"""Seconds."""
SERVED_WITHIN = 5.0
"""Seconds that the first heartbeat waits for what the cluster has to be there: some of it may never be, for example
where another cluster has a type that it does not go with."""
SOON, LATER = 2.0, 10.0
"""Seconds until the next attempt: where something is away for a moment, and where somebody has to act first."""


class Report:
    """``apis_found`` is called with what both sides are to sync, whenever that was looked at; ``counted`` tells how
    many objects are synced, and how many cannot be; ``lag`` what `syncer.metrics.Metrics.slowest` does. ``held``:
    those of ``wanted`` whose objects are taken down; ``answered`` is told the version of each heartbeat."""

    def __init__(
        self,
        above: Client,
        below: Client,
        *,
        cluster: str,
        wanted: Sequence[str],
        held: Sequence[str],
        poll: float,
        apis_found: Callable[[list[Api]], None],
        counted: Callable[[], tuple[int, int]],
        lag: Callable[[], dict[str, float | None]],
        answered: Callable[[str], object] = lambda version: None,
    ) -> None:
        self._above = above
        self._below = below
        self._cluster = cluster
        self._wanted = sorted(set(wanted))
        self._may_hold = frozenset(held)
        self._poll = poll
        self._apis_found = apis_found
        self._counted = counted
        self._lag = lag
        self._answered = answered
        self._definitions = Definitions(below)
        self._missing: set[str] = set()
        self._synced: list[Api] | None = None
        self._imported = asyncio.Event()
        """Set when the imports have changed, so that the next heartbeat says so at once."""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(_repeat("API import", self._import_apis, asyncio.Event()))
            # The first heartbeat says that there is something to work with: who waits for the cluster to be Ready uses
            # its types at once.
            await self._imported.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SERVED_WITHIN), asyncio.TaskGroup() as waiting:
                    for api in self._synced or ():
                        waiting.create_task(served(self._above, api))
            group.create_task(_repeat("heartbeat", self._beat, self._imported))

    async def _beat(self) -> float:
        # A heartbeat promises that work is done: not before the cluster itself could be reached.
        with troubles(BELOW):
            await self._below.request("GET", "/version", timeout=10)
        now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        synced, failed = self._counted()
        objects = {"synced": synced, "failed": failed}
        apis = self._synced or ()
        lag = {key: None if value is None else round(value * 1000) for key, value in self._lag().items()}
        status = {
            "lastSyncerHeartbeatTime": now,
            "syncedResources": [api.name for api in apis],
            "heldResources": [api.name for api in apis if api.resource.namespaced and api.name in self._may_hold],
            "objects": objects,
            "lagMilliseconds": lag,  # in a merge patch None takes away
        }
        with troubles(ABOVE, self._cluster):
            found = await self._above.patch(CLUSTERS, self._cluster, {"status": status}, subresource="status")
            self._answered(found["metadata"]["resourceVersion"])
        return HEARTBEAT

    async def _import_apis(self) -> float:
        with troubles(BELOW):
            apis = await find_apis(self._below, self._wanted)
            await self._definitions.refresh()
            # Types of a group stand in one document.
            imports = [
                import_of(api, await self._definitions.of(api.resource, api.kind), self._cluster)
                for api in sorted(apis, key=lambda api: api.resource.group)
            ]
        missing = set(self._wanted) - {EVERYTHING, *(api.name for api in apis)}
        if missing - self._missing:
            log.warning("the cluster does not serve %s", ", ".join(sorted(missing)))
        self._missing = missing
        with troubles(ABOVE, self._cluster):
            await self._write_imports(imports)
        apis = [api for api in apis if api.synced]
        if apis != self._synced:
            self._synced = apis
            self._imported.set()
        self._apis_found(apis)
        return self._poll

    async def _write_imports(self, imports: list[Object]) -> None:
        cluster = await self._above.get(CLUSTERS, self._cluster)
        uid = cluster["metadata"]["uid"]
        owner = {"apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "name": self._cluster, "uid": uid}
        # Metadata is enough, and schemas are large.
        listed = await self._above.list(IMPORTS, accept=METADATA_LIST)
        ours = [obj["metadata"] for obj in listed["items"] if uid in _owners(obj["metadata"])]
        there = {meta["name"]: meta for meta in ours}
        for wanted in imports:
            wanted["metadata"]["ownerReferences"] = [owner]
            await self._write(there.pop(wanted["metadata"]["name"], None), wanted)
        for meta in there.values():
            await self._above.delete(IMPORTS, meta["name"], uid=meta["uid"])

    async def _write(self, current: Object | None, wanted: Object) -> None:
        """``current``: metadata of what is there."""
        if current is None:
            try:
                await self._above.create(IMPORTS, wanted)
            except StatusError as error:
                if error.code != 409:
                    raise
                # As a rule of an earlier cluster of the same name, and on its way out.
                name = wanted["metadata"]["name"]
                raise Trouble(f"APIResourceImport {name} is there and belongs to something else", SOON) from error
        elif (current.get("annotations") or {}).get(HASH) != wanted["metadata"]["annotations"][HASH]:
            wanted["metadata"]["resourceVersion"] = current["resourceVersion"]
            await self._above.replace(IMPORTS, wanted)


def _owners(meta: Object) -> set[str]:
    return {owner["uid"] for owner in meta.get("ownerReferences") or ()}


ABOVE, BELOW = "workspace", "cluster"


class Trouble(Exception):
    """Something that does not work for now, in one line for whoever reads the log. ``wait``: seconds to wait."""

    def __init__(self, message: str, wait: float) -> None:
        super().__init__(message)
        self.wait = wait


@contextlib.contextmanager
def troubles(side: str, cluster: str = "") -> Iterator[None]:
    """What goes wrong inside goes wrong on that ``side``. Raises Trouble."""
    try:
        yield
    except StatusError as error:
        raise Trouble(
            explain(error, side, f"WorkloadCluster {cluster}"), SOON if error.code >= 500 else LATER
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise Trouble(f"an answer of the {side} is not understood: {error!r}", LATER) from error


async def _repeat(what: str, step: Callable[[], Awaitable[float]], wake: asyncio.Event) -> None:
    """Do ``step`` for ever, as often as it says or ``wake`` is set; a trouble is told once, and tried again."""
    complained = ""
    while True:
        wake.clear()
        try:
            wait = await step()
            if complained:
                log.info("%s: works again", what)
            complained = ""
        except Trouble as trouble:
            if str(trouble) != complained:
                log.error("%s: %s", what, trouble)
                complained = str(trouble)
            wait = trouble.wait
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(wait):
                await wake.wait()


def explain(error: StatusError, side: str, what: str = "") -> str:
    """One line that names the cause; ``what`` is what was asked for in the workspace."""
    if side == BELOW:
        return f"the cluster that this syncer works for: {error}"
    if error.code == 401:
        return (
            "the workspace does not accept the token: it has expired (kubectl kcp workload sync makes a new one), "
            "or the workspace or its service account is gone"
        )
    if error.code == 403:
        return f"the workspace may not be entered any more, or the syncer lacks rights: {error}"
    if error.code == 404:
        return f"{what} does not exist in the workspace (or the workspace is gone)"
    return str(error)
