"""One syncer on a cluster for several workspaces: each is a Secret beside it."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proxy.kube.client import Client, Object
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane
from syncer.metrics import Registry
from syncer.names import SHARED
from syncer.namespaces import CLUSTERS, NAMESPACES
from syncer.shared import Shared
from tests.integration.eventually import eventually
from tests.integration.syncer_pair import CONFIGMAPS, SECRETS, Pair, namespace

HERE = "kcp-syncer"


@asynccontextmanager
async def running(below: Connection) -> AsyncIterator[Shared]:
    registry = Registry()
    shared = Shared(below, namespace=HERE, registry=registry)
    task = asyncio.create_task(shared.run())
    try:
        yield shared
        assert not task.done(), "the syncer has ended"
    finally:
        task.cancel()
        results = await asyncio.gather(task, return_exceptions=True)
        assert isinstance(results[0], asyncio.CancelledError), results[0]
        assert not registry.pairs


def kubeconfig(connection: Connection) -> dict[str, Any]:
    authority = base64.b64encode(connection.ca_data or b"").decode()
    cluster = {"server": connection.server, "certificate-authority-data": authority}
    return {
        "current-context": "it",
        "contexts": [{"name": "it", "context": {"cluster": "it", "user": "it"}}],
        "clusters": [{"name": "it", "cluster": cluster}],
        "users": [{"name": "it", "user": {"token": connection.token}}],
    }


async def put(pair: Pair, **changes: Any) -> None:
    said = {"workspace": pair.workspace, "cluster": pair.cluster, "resources": ["configmaps"], **changes}
    secret: Object = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": pair.cluster, "namespace": HERE, "labels": {SHARED: ""}},
        "stringData": {"settings": json.dumps(said), "kubeconfig": json.dumps(kubeconfig(pair.above.connection))},
    }
    await pair.below.apply(SECRETS, secret, manager="test")


async def heart_beats(pair: Pair) -> bool:
    return bool(((await pair.above.get(CLUSTERS, pair.cluster)).get("status") or {}).get("lastSyncerHeartbeatTime"))


async def test_workspaces_come_and_change_and_go(shard: ControlPlane, plane: ControlPlane, pair: Pair) -> None:
    async with shard.client() as above, plane.client() as below:
        other = Pair(above, below)
        await other.prepare()
        await _make_namespace(below)
        await put(pair)
        async with running(below.connection) as shared:
            await pair.make(CONFIGMAPS, "first", data={"of": "pair"})
            await pair.arrives(CONFIGMAPS, "first")
            assert shared.checks() == {"workspaces-known": True}

            # One more, without a restart of the others; with one beside it that makes no sense.
            broken: Object = {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "broken", "namespace": HERE, "labels": {SHARED: ""}},
                "stringData": {"settings": "{", "kubeconfig": "{}"},
            }
            await below.apply(SECRETS, broken, manager="test")
            before = (await pair.above.get(CLUSTERS, pair.cluster))["status"]
            await put(other)
            await other.make(CONFIGMAPS, "first", data={"of": "other"})
            assert (await other.arrives(CONFIGMAPS, "first"))["data"] == {"of": "other"}
            await eventually(lambda: heart_beats(other))
            assert before["lastSyncerHeartbeatTime"]
            assert other.physical != pair.physical

            # It is to sync Secrets as well, from now on.
            await put(other, resources=["configmaps", "secrets"])
            await other.make(SECRETS, "second", stringData={"a": "b"})
            await other.arrives(SECRETS, "second")

            # What is taken away is not synced any more, and stays as it stands.
            await below.delete(SECRETS, other.cluster, HERE)
            await pair.make(CONFIGMAPS, "third")
            await pair.arrives(CONFIGMAPS, "third")
            await other.make(CONFIGMAPS, "third")
            await asyncio.sleep(2)
            assert "third" not in await _names(below, other)
            assert "first" in await _names(below, other)


async def _make_namespace(below: Client) -> None:
    try:
        await below.create(NAMESPACES, namespace(HERE))
    except StatusError as error:
        if error.code != 409:
            raise


async def _names(below: Client, pair: Pair) -> set[str]:
    return {item["metadata"]["name"] for item in (await below.list(CONFIGMAPS, pair.physical))["items"]}
