"""A kcp of two shards, between which workspaces move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.mapping.token import LABEL
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.tenancy.api import MOVES
from proxy.tenancy.index import LOGICAL_CLUSTERS
from proxy.tenancy.kinds import NativeKinds, kinds_of
from proxy.tenancy.moves import name_of_move
from proxy.tenancy.moving import SWITCHED
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.integration.test_shards import Pair


class Shards(Pair):
    """Shards ``us`` (with root) and ``eu``, seen from below as well."""

    def __init__(self, kcp: Kcp, us: ControlPlane, eu: ControlPlane) -> None:
        super().__init__(kcp, eu)
        self.us = us

    def below(self, shard: str) -> Client:
        """The administrator's client of a shard itself."""
        return {"us": self.us, "eu": self.eu}[shard].client()

    async def make_of(self, parent: str, name: str, kind: str, shard: str) -> None:
        """A workspace, until it is Ready."""
        await self.kcp.make_workspace(parent, name, kind, shard=shard)

    async def token_of(self, path: str, shard: str) -> str:
        async with self.below(shard) as client:
            found = (await client.list(LOGICAL_CLUSTERS, field_selector=f"spec.path={path}"))["items"]
        assert len(found) == 1
        return str(found[0]["metadata"]["name"])

    async def switch(self, path: str, shard: str) -> None:
        """Move a workspace; what is left where it was is removed afterwards."""
        await self.shard("move", path, shard, "--no-wait")
        async with self.kcp.client("root") as client:

            async def switched() -> bool:
                status = (await client.get(MOVES, name_of_move(path))).get("status") or {}
                return status.get("phase") in SWITCHED

            await eventually(switched)

    async def left(self, shard: str, token: str) -> list[str]:
        """What a shard has of a workspace."""
        found = []
        async with self.below(shard) as client:
            for kind in await kinds_of(client, token, NativeKinds(client)):
                try:
                    listed = await client.list(kind.resource, label_selector=f"{LABEL}={token}")
                except StatusError as error:
                    if error.code != 404:
                        raise
                    continue  # a type that has just gone
                found += [f"{kind.resource.plural} {item['metadata']['name']}" for item in listed["items"]]
            if await client.find(LOGICAL_CLUSTERS, token) is not None:
                found.append("its LogicalCluster")
        return found


@asynccontextmanager
async def two_shards(folder: Path, *options: str, port: int | None = None) -> AsyncIterator[Shards]:
    """``options`` of `kcp start`."""
    async with (
        ControlPlane(ControlPlaneSettings(folder=folder / "us", durable=False)) as us,
        ControlPlane(ControlPlaneSettings(folder=folder / "eu", durable=False)) as eu,
    ):
        known = [
            option for name, shard in (("us", us), ("eu", eu)) for option in ("--shard", f"{name}={shard.kubeconfig}")
        ]
        async with Kcp(folder / "kcp", "--no-embedded", *known, *options, port=port) as kcp:
            yield Shards(kcp, us, eu)
