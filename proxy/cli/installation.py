"""A kcp that was started on this machine, as its operator sees it: settings, shards, metrics, physical clusters."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.mapping.token import PREFIX_LENGTH, token_of
from proxy.metrics.workload import age_of, lag_of, state_of
from proxy.server.settings import ServerSettings
from proxy.tenancy.index import LOGICAL_CLUSTERS
from proxy.workload.api import CLUSTERS

TIMEOUT = 5.0
"""Seconds for anything that is asked."""

Sample = Mapping[tuple[str, tuple[tuple[str, str], ...]], float]
"""One scrape: name and sorted labels → value."""


class NotThere(Exception):
    """No kcp, or not the part of it that is needed; one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A physical cluster of a workspace."""

    name: str
    workspace: str
    shard: str
    state: str
    """ready, not-ready or unknown."""
    heartbeat: float | None
    """Seconds since the last one."""
    resources: int
    """API resources that it syncs."""
    synced: int
    """Objects that stand there as they are asked for."""
    failed: int
    """Objects that cannot."""
    lag: Mapping[str, float]
    """Seconds: ``down`` and ``up``, what the slowest change of late took, ``oldest``, for how long one waits already;
    what is known of them."""


class Installation:
    """``async with``. Raises NotThere where kcp was never started in ``root``."""

    def __init__(self, root: Path) -> None:
        self.root = root
        try:
            self.settings = ServerSettings.read(root / "server.json")
        except (OSError, ValueError, TypeError, KeyError) as error:
            why = getattr(error, "strerror", None) or str(error)
            raise NotThere(f"{root}/server.json: {why}; --root-directory names the folder of `kcp start`") from error
        self.shards = {
            shard.name: Client(load_kubeconfig(shard.kubeconfig), user_agent="kcp-operator")
            for shard in self.settings.shards
        }

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self.shards.values():
            await client.close()

    def metrics_url(self) -> str:
        """Where it is scraped. Raises NotThere."""
        try:
            return (self.root / "run" / "metrics").read_text().strip()
        except OSError as error:
            raise NotThere("kcp serves no metrics; is it running, and without --metrics-bind-address=off?") from error

    async def scrape(self, token: str | None = None) -> Sample:
        """All metrics now. Raises NotThere."""
        url = f"{self.metrics_url()}/metrics"
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            async with (
                aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
                session.get(url, headers=headers) as response,
            ):
                if response.status == 401:
                    raise NotThere(f"{url} wants a token: --metrics-token-file")
                response.raise_for_status()
                text = await response.text()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise NotThere(f"{url} does not answer ({error or 'no answer in time'}); is kcp running?") from error
        return {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    async def clusters(self) -> tuple[list[Cluster], list[str]]:
        """Physical clusters of all workspaces, by workspace and name; and a line for each shard that did not answer."""
        found: list[Cluster] = []
        silent: list[str] = []
        answers = await asyncio.gather(*(self._clusters(shard) for shard in self.shards), return_exceptions=True)
        for shard, answer in zip(self.shards, answers, strict=True):
            if isinstance(answer, StatusError):
                silent.append(f"shard {shard}: {answer.message}")
            elif isinstance(answer, BaseException):
                raise answer
            else:
                found += answer
        return sorted(found, key=lambda cluster: (cluster.workspace, cluster.name)), silent

    async def _clusters(self, shard: str) -> list[Cluster]:
        client = Identity.MONITORING.on(self.shards[shard])
        objects = (await client.list(CLUSTERS))["items"]
        if not objects:
            return []
        paths = {
            item["metadata"]["name"]: item["spec"]["path"] for item in (await client.list(LOGICAL_CLUSTERS))["items"]
        }
        return [_cluster(obj, shard, paths) for obj in objects]


def _cluster(obj: Object, shard: str, paths: Mapping[str, str]) -> Cluster:
    """``paths``: of the shard's workspaces by their tokens."""
    name, told = obj["metadata"]["name"], obj.get("status") or {}
    objects = told.get("objects") or {}
    return Cluster(
        name=name[PREFIX_LENGTH:],
        workspace=paths.get(token_of(name) or "", "?"),
        shard=shard,
        state=state_of(obj),
        heartbeat=age_of(obj, time.time()),
        resources=len(told.get("syncedResources") or ()),
        synced=objects.get("synced", 0),
        failed=objects.get("failed", 0),
        lag=lag_of(obj),
    )
