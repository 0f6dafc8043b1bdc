"""What syncers may change in a workspace, and who takes their finalizers away when their cluster is deleted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.token import LABEL
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy.kinds import NativeKinds
from proxy.tenancy.namespaces import Namespaces
from proxy.workload import pods, release
from proxy.workload.api import CLUSTERS, NAMESPACES
from proxy.workload.controllers import run
from proxy.workload.pods import PODS
from proxy.workload.release import FINALIZER, SHOWN, SYNCED
from syncer.names import CLUSTER_LABEL, finalizer
from syncer.role import STATUS
from tests.faults.clock import wrong_clock
from tests.integration.eventually import eventually
from tests.integration.privileged import privileged_as
from tests.integration.workload_workspace import CONFIGMAPS, Workspace

MINE, OTHER = finalizer("east"), "example.com/other"
ACCOUNTS = Resource("", "v1", "serviceaccounts")
DEPLOYMENTS = Resource("apps", "v1", "deployments")


@pytest.fixture
async def workspace(admin: Client) -> Workspace:
    made = Workspace(admin)
    await made.namespace("words")
    return made


@asynccontextmanager
async def controllers(client: Client) -> AsyncIterator[None]:
    shards = {"shard": client}
    parts = run(shards, auto_publish=True), Namespaces(shards, ["shard"], NativeKinds.on_all(shards)).run()
    task = asyncio.gather(*parts)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def gone(client: Client, resource: Resource, name: str, namespace: str | None = None) -> None:
    async def check() -> bool:
        try:
            await client.get(resource, name, namespace)
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(check, timeout=30)


async def test_a_deleted_cluster_holds_nothing(admin: Client, workspace: Workspace) -> None:
    async with controllers(admin):
        for name in ("east", "west"):
            await workspace.cluster(name)
        west = finalizer("west")
        held = {"metadata": {"finalizers": [MINE, west]}}
        for name in ("deleted", "kept"):
            await workspace.config_map("words", name)
            await admin.patch(CONFIGMAPS, name, held, workspace.mapped("words"))
        await admin.patch(CONFIGMAPS, "deleted", {"metadata": {"finalizers": [MINE]}}, workspace.mapped("words"))
        await admin.delete(CONFIGMAPS, "deleted", workspace.mapped("words"))
        await admin.delete(CLUSTERS, workspace.mapped("east"))
        # A syncer that has not heard of it yet holds one more.
        await asyncio.sleep(0.5)
        await workspace.config_map("words", "late")
        await admin.patch(CONFIGMAPS, "late", held, workspace.mapped("words"))
        await gone(admin, CLUSTERS, workspace.mapped("east"))
        await gone(admin, CONFIGMAPS, "deleted", workspace.mapped("words"))
        for name in ("kept", "late"):
            found = await admin.get(CONFIGMAPS, name, workspace.mapped("words"))
            assert found["metadata"]["finalizers"] == [west]


async def test_a_workspace_with_nothing_but_a_dead_syncer_goes(admin: Client, workspace: Workspace) -> None:
    """All of it is deleted at once, as the workspace's deletion does."""
    async with controllers(admin):
        assert FINALIZER in (await workspace.cluster("east"))["metadata"]["finalizers"]
        await workspace.config_map("words", "held")
        await admin.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": [MINE]}}, workspace.mapped("words"))
        await admin.delete(NAMESPACES, workspace.mapped("words"))
        await admin.delete(CLUSTERS, workspace.mapped("east"))
        await gone(admin, NAMESPACES, workspace.mapped("words"))
        await gone(admin, CLUSTERS, workspace.mapped("east"))


async def test_what_comes_after_the_end_of_a_cluster_is_released(
    admin: Client, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request of its syncer that was on its way for long."""
    monkeypatch.setattr(release, "LAST", 3.0)
    async with controllers(admin):
        await workspace.cluster("east")
        await workspace.config_map("words", "late")
        await admin.delete(CLUSTERS, workspace.mapped("east"))
        await gone(admin, CLUSTERS, workspace.mapped("east"))
        await admin.patch(CONFIGMAPS, "late", {"metadata": {"finalizers": [MINE]}}, workspace.mapped("words"))
        await admin.delete(CONFIGMAPS, "late", workspace.mapped("words"))
        await gone(admin, CONFIGMAPS, "late", workspace.mapped("words"))


async def test_a_namespace_that_waits_for_nobody_ends_when_kcp_starts(admin: Client, workspace: Workspace) -> None:
    """However it came to that: the cluster's end was not seen, say."""
    await workspace.config_map("words", "held")
    shards = {"shard": admin}
    namespaces = asyncio.create_task(Namespaces(shards, ["shard"], NativeKinds.on_all(shards)).run())
    await admin.patch(CONFIGMAPS, "held", {"metadata": {"finalizers": [MINE]}}, workspace.mapped("words"))
    await admin.delete(NAMESPACES, workspace.mapped("words"))

    async def told() -> bool:
        found = await admin.get(NAMESPACES, workspace.mapped("words"))
        return any(MINE in condition["message"] for condition in found["status"].get("conditions") or ())

    await eventually(told)
    namespaces.cancel()
    async with controllers(admin):
        await gone(admin, NAMESPACES, workspace.mapped("words"))


async def test_what_the_workspace_was_told_of_may_be_gone_before(admin: Client, workspace: Workspace) -> None:
    """A workspace's deletion takes imported types away while a syncer, which has not heard of it yet, still holds."""
    pod = {"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "a", "image": "a"}]}}
    deployment: Object = {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": "Deployment",
        "metadata": {"name": "held", "finalizers": [MINE], "labels": {LABEL: workspace.token}},
        "spec": {"selector": {"matchLabels": {"app": "a"}}, "template": pod},
    }
    async with controllers(admin):
        await workspace.cluster("east")
        await admin.create(DEPLOYMENTS, deployment, workspace.mapped("words"))
        await admin.delete(NAMESPACES, workspace.mapped("words"))
        await admin.delete(CLUSTERS, workspace.mapped("east"))
        await gone(admin, NAMESPACES, workspace.mapped("words"))


async def test_what_a_syncer_does_not_take_down_any_more_is_let_go(admin: Client, workspace: Workspace) -> None:
    async def takes(*resources: str, shown: Sequence[str] = ()) -> None:
        await admin.patch(
            CLUSTERS,
            workspace.mapped("east"),
            {"status": {"syncedResources": [*resources, *shown], "heldResources": resources}},
            subresource="status",
        )

    async def held(resource: Resource, name: str) -> list[str]:
        found = await admin.get(resource, name, workspace.mapped("words"))
        return found["metadata"].get("finalizers") or []

    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "kept"}}
    picture = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "shown", "labels": {SHOWN: "east"}},
        "spec": {"nodeName": "a", "containers": [{"name": "a", "image": "a"}]},
    }
    async with controllers(admin):
        await workspace.cluster("east")
        await takes("configmaps", "serviceaccounts", shown=["pods"])

        async def told() -> bool:
            found = await admin.get(CLUSTERS, workspace.mapped("east"))
            return (found["metadata"].get("annotations") or {}).get(SYNCED) == "configmaps,pods,serviceaccounts"

        await eventually(told, timeout=30)
        await workspace.label("words", "east")
        await workspace.labelled("east", "words")
        await workspace.config_map("words", "dropped")
        await admin.create(ACCOUNTS, account, workspace.mapped("words"))
        await admin.create(PODS, picture, workspace.mapped("words"))
        for resource, name in ((CONFIGMAPS, "dropped"), (ACCOUNTS, "kept")):
            await admin.patch(resource, name, {"metadata": {"finalizers": [OTHER, MINE]}}, workspace.mapped("words"))
    # Nobody of kcp's is there when the syncer begins anew with less.
    await takes("serviceaccounts")
    async with controllers(admin):

        async def let_go() -> bool:
            return await held(CONFIGMAPS, "dropped") == [OTHER]

        await eventually(let_go, timeout=30)
        assert await held(ACCOUNTS, "kept") == [OTHER, MINE]
        await gone(admin, PODS, "shown", workspace.mapped("words"))
        # It is the shard that does not give what is made now the finalizer again.
        await workspace.config_map("words", "late")
        assert await held(CONFIGMAPS, "late") == []


CHANGES: dict[str, Any] = {
    "finalizers": {"metadata": {"finalizers": [OTHER, MINE]}},
    "no finalizers": {"metadata": {"finalizers": [OTHER]}},
    "status": {"metadata": {"annotations": {STATUS + "east": "{}"}}},
}
REFUSED: dict[str, Any] = {
    "data": {"data": {"a": "2"}},
    "more data": {"binaryData": {"b": "Yg=="}},
    "less data": {"data": None},
    "immutable": {"immutable": True},
    "finalizers of others": {"metadata": {"finalizers": [MINE]}},
    "finalizers of another syncer": {"metadata": {"finalizers": [OTHER, finalizer("west")]}},
    "labels": {"metadata": {"labels": {"app": "other"}}},
    "no labels": {"metadata": {"labels": {"app": None}}},
    "annotations": {"metadata": {"annotations": {"a": "b"}}},
    "status of another": {"metadata": {"annotations": {STATUS + "west": "{}"}}},
    "owners": {
        "metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}]}
    },
}  # fmt: skip


@pytest.mark.parametrize("ahead", [0, 3600])
async def test_a_cluster_that_nobody_clears_goes_in_the_end(
    admin: Client, shard: ControlPlane, workspace: Workspace, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(release, "ABANDONED", 6.0)
    async with controllers(admin):
        made = await workspace.cluster("east")
        name = made["metadata"]["name"]
        finalizers = [*made["metadata"]["finalizers"], release.PUSHED]
        await admin.patch(CLUSTERS, name, {"metadata": {"finalizers": finalizers}})
        with wrong_clock(shard.processes["kube-apiserver"].pid, ahead):
            await admin.delete(CLUSTERS, name)

        async def released() -> bool:
            return bool((await admin.get(CLUSTERS, name))["metadata"]["finalizers"] == [release.PUSHED])

        await eventually(released, timeout=30)
        await gone(admin, CLUSTERS, name)


@pytest.mark.parametrize("ahead", [0, 3600])
async def test_a_pod_that_no_syncer_takes_on_goes_in_the_end(
    admin: Client, shard: ControlPlane, workspace: Workspace, ahead: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pods, "PATIENCE", 3.0)
    namespace = workspace.mapped("words")
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "words", "labels": {CLUSTER_LABEL: "east"}},
        "spec": {"nodeName": "one", "containers": [{"name": "words", "image": "words:1"}]},
    }
    async with controllers(admin):
        await eventually(lambda: admin.create(PODS, pod, namespace), StatusError, timeout=30)
        with wrong_clock(shard.processes["kube-apiserver"].pid, ahead):
            await admin.delete(PODS, "words", namespace, grace=1)
        began = time.monotonic()
        await gone(admin, PODS, "words", namespace)
        assert time.monotonic() - began > 2, "a syncer has a while"


async def test_a_syncer_changes_nothing_but_what_it_holds(shard: ControlPlane, workspace: Workspace) -> None:
    """Asked as the proxy asks: with the user's name and the rights of an administrator."""
    namespace = workspace.mapped("words")
    data: Object = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "settings", "labels": {"app": "words"}, "finalizers": [OTHER]},
        "data": {"a": "1"},
    }
    await workspace.client.create(CONFIGMAPS, data, namespace)

    def speaking(name: str) -> Client:
        return shard.client(headers=privileged_as(f"system:serviceaccount:{namespace}:{name}"))

    async with speaking("syncer-east") as syncer, speaking("someone") as other:

        async def refused() -> bool:
            """The policy may be known a moment after it is there."""
            try:
                await syncer.patch(CONFIGMAPS, "settings", {"metadata": {"labels": {"first": "x"}}}, namespace)
            except StatusError as error:
                return error.code == 403
            await syncer.patch(CONFIGMAPS, "settings", {"metadata": {"labels": {"first": None}}}, namespace)
            return False

        await eventually(refused, StatusError, timeout=60)
        for what, change in CHANGES.items():
            assert await syncer.patch(CONFIGMAPS, "settings", change, namespace), what
        for what, change in REFUSED.items():
            with pytest.raises(StatusError) as caught:
                await syncer.patch(CONFIGMAPS, "settings", change, namespace)
            assert (caught.value.code, "a syncer" in caught.value.message) == (403, True), what
        # The namespace's cluster label comes with whatever is written.
        await workspace.label("words", "east")
        await eventually(lambda: _labelled(syncer, namespace), StatusError, timeout=60)
        await other.patch(CONFIGMAPS, "settings", {"data": {"a": "2"}, "metadata": {"finalizers": None}}, namespace)


async def _labelled(syncer: Client, namespace: str) -> bool:
    done = await syncer.patch(CONFIGMAPS, "settings", {"metadata": {"finalizers": [OTHER, MINE]}}, namespace)
    labels: dict[str, str] = done["metadata"]["labels"]
    if labels.get(CLUSTER_LABEL) == "east":
        return True
    await syncer.patch(CONFIGMAPS, "settings", {"metadata": {"finalizers": [OTHER]}}, namespace)
    return False
