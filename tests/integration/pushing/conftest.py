"""One kcp with one `kcp syncer`, two physical clusters, and teams with a workspace each."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import yaml

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.shard.commands import SHARD_CONTROLLERS
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.workload.api import CLUSTERS, conditions_of
from syncer.names import physical_namespace
from syncer.namespaces import NAMESPACES
from tests.e2e.workspaces.installation import Installation, Outcome
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.integration.pushing.syncer_process import SETTINGS, SyncerProcess

CONFIGMAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
SECRETS = Resource("", "v1", "secrets")
NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Team:
    """A workspace, and a physical cluster of its own choice."""

    kcp: Installation
    path: str
    above: Client
    physical: ControlPlane
    below: Client
    name: str
    """Of the WorkloadCluster."""

    async def sync(self, *options: str, file: Path | None = None) -> Outcome:
        """kubectl kcp workload sync NAME --push FILE"""
        command = ["kubectl-kcp", "workload", "sync", self.name, "--push", str(file or self.physical.kubeconfig)]
        return await self.kcp.run(*command, *options, kubeconfig=self.kcp.kubeconfig(self.path))

    async def cluster(self) -> Object:
        return await self.above.get(CLUSTERS, self.name)

    async def condition(self, kind: str) -> Object:
        return next((each for each in conditions_of(await self.cluster()) if each["type"] == kind), {})

    async def becomes(self, reason: str) -> Object:
        """Condition Connected, when it says so."""

        async def look() -> Object | None:
            found = await self.condition("Connected")
            return found if found.get("reason", "") == reason and found else None

        return (await eventually(look, timeout=60)) or {}

    async def write(self, name: str, value: str, namespace: str = "default") -> None:
        obj = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": namespace}}
        await self.above.apply(CONFIGMAPS, {**obj, "data": {"value": value}}, manager="test")

    async def arrives(self, name: str, value: str, namespace: str = "default", below: Client | None = None) -> Object:
        async def look() -> Object | None:
            found = await (below or self.below).get(CONFIGMAPS, name, physical_namespace(self.path, namespace))
            return found if found["data"]["value"] == value else None

        return (await eventually(look, StatusError, timeout=60)) or {}

    async def namespaces_below(self) -> set[str]:
        return {item["metadata"]["name"] for item in (await self.below.list(NAMESPACES))["items"]}

    async def secret(self, text: str | None, **changes: Any) -> None:
        """Put what is to be the kubeconfig into the workspace by hand."""
        data = {} if text is None else {"stringData": {"kubeconfig": text}}
        meta = {"name": f"{self.name}-kubeconfig", "namespace": "default"}
        obj = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "workload.kcp.dev/kubeconfig", **data}
        await self.above.apply(SECRETS, {**obj, **changes}, manager="test")

    def config(self) -> dict[str, Any]:
        """The administrator's kubeconfig of the physical cluster, to be changed."""
        config: dict[str, Any] = yaml.safe_load(self.physical.kubeconfig.read_text())
        return config


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp_process(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    async with Kcp(tmp_path_factory.mktemp("pushing") / ".kcp", "--workers", "1", "-v", "3") as process:
        yield process


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def kcp(kcp_process: Kcp, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Installation]:
    installation = Installation(kcp_process.root, tmp_path_factory.mktemp("clients"))
    await installation.create("root", "pushers", "Organization")
    yield installation
    await installation.close()


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def syncer(kcp_process: Kcp) -> AsyncIterator[SyncerProcess]:
    async with SyncerProcess(kcp_process.root, *SETTINGS) as process:
        yield process


@pytest_asyncio.fixture(scope="package", loop_scope="session")
async def physical(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ControlPlane, ControlPlane]]:
    def settings() -> ControlPlaneSettings:
        controllers = (*SHARD_CONTROLLERS, "resourcequota-controller", "serviceaccount-token-controller")
        folder = tmp_path_factory.mktemp("physical")
        return ControlPlaneSettings(folder=folder, durable=False, admission_off=(), controllers=controllers)

    async with ControlPlane(settings()) as first, ControlPlane(settings()) as second:
        yield first, second


@pytest_asyncio.fixture(loop_scope="session")
async def teams(
    kcp: Installation, syncer: SyncerProcess, physical: tuple[ControlPlane, ControlPlane]
) -> AsyncIterator[tuple[Team, Team]]:
    """With workspaces of their own, of which no cluster is known yet."""

    async def make(plane: ControlPlane) -> Team:
        number = next(NUMBERS)
        path = await kcp.create("root:pushers", f"team-{number}")
        return Team(kcp, path, kcp.client(path), plane, plane.client(), f"east-{number}")

    made = await asyncio.gather(*map(make, physical))
    yield made[0], made[1]
    for team in made:
        await team.below.close()


@pytest.fixture
def team(teams: tuple[Team, Team]) -> Team:
    return teams[0]
