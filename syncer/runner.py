"""Puts a syncer together: reports, namespaces, and one sync for each API resource that both sides have."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.kube.client import Client, Object
from proxy.kube.config import SERVICE_ACCOUNT, Connection
from proxy.kube.errors import StatusError
from syncer.apis import Api
from syncer.arrivals import Arrivals
from syncer.namespaces import NAMESPACES, Namespaces
from syncer.report import Report
from syncer.sync import KindSync
from syncer.tokens import Tokens

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """One syncer: one workspace, one cluster."""

    workspace: str
    """Path, e.g. ``root:telcops:team-a``."""
    cluster: str
    """Name of the WorkloadCluster."""
    above: Connection
    """The workspace."""
    below: Connection
    """The physical cluster."""
    resources: Sequence[str]
    """``plural[.group]`` each."""
    poll: float = 60.0
    """Seconds between looks at the cluster's API resources."""
    delete_on_removal: bool = False
    """Whether what was synced goes with the syncer's own namespace on the cluster."""


class Syncer:
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._known: set[str] = set()
        self._kinds: list[KindSync] = []
        self._found: asyncio.Queue[list[Api]] = asyncio.Queue()

    async def run(self) -> None:
        """Sync until cancelled."""
        settings = self._settings
        async with (
            Client(settings.above, user_agent="kcp-syncer") as above,
            Client(settings.below, user_agent="kcp-syncer") as below,
        ):
            owner = await own_namespace(below) if settings.delete_on_removal else None
            namespaces = Namespaces(above, below, workspace=settings.workspace, cluster=settings.cluster, owner=owner)
            tokens = Tokens(above, below, namespaces, cluster=settings.cluster)
            report = Report(
                above,
                below,
                cluster=settings.cluster,
                wanted=settings.resources,
                poll=settings.poll,
                apis_found=self._found.put_nowait,
            )
            arrivals = Arrivals(above, cluster=settings.cluster, namespaces=namespaces, kinds=self._kinds)
            async with asyncio.TaskGroup() as group:
                group.create_task(report.run())
                group.create_task(namespaces.run())
                group.create_task(tokens.run())
                while True:
                    for api in await self._found.get():
                        if api.name in self._known:
                            continue
                        self._known.add(api.name)
                        if not api.resource.namespaced:
                            log.warning("%s are not in namespaces: the workspace knows them, none is synced", api.name)
                            continue
                        kind = KindSync(
                            api, above, below, cluster=settings.cluster, namespaces=namespaces, tokens=tokens
                        )
                        self._kinds.append(kind)
                        group.create_task(_sync(kind, above))
                    if not arrivals.started:
                        arrivals.started = True
                        group.create_task(arrivals.run())


async def _sync(kind: KindSync, above: Client) -> None:
    await served(above, kind.api)
    log.info("syncing %s", kind.api.name)
    await kind.run()


async def served(above: Client, api: Api) -> None:
    """Wait until the workspace serves the resource."""
    resource = api.resource
    path = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    delay = 0.1
    while True:
        try:
            listed = await above.request("GET", path)
            if any(entry["name"] == resource.plural for entry in listed.get("resources") or ()):
                return
        except (StatusError, AttributeError) as error:
            log.debug("%s: %s", path, error)
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, 5.0)


async def own_namespace(below: Client) -> Object | None:
    """Owner reference to the namespace that this syncer runs in: what it owns goes when it goes."""
    file = Path(SERVICE_ACCOUNT / "namespace")
    if not file.exists():
        log.warning("--on-removal=delete works only where the syncer runs as a pod")
        return None
    name = file.read_text().strip()
    while True:
        try:
            found = await below.get(NAMESPACES, name)
            return {"apiVersion": "v1", "kind": "Namespace", "name": name, "uid": found["metadata"]["uid"]}
        except StatusError as error:
            log.warning("namespace %s: %s", name, error)
            await asyncio.sleep(2)
