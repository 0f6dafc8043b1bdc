"""Namespaces of workspaces end by kcp's controller, with all that is in them, and whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.shared import shared_group
from proxy.mapping.token import new_token
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy.content import BINDINGS, CRDS
from proxy.tenancy.kinds import NativeKinds
from proxy.tenancy.namespaces import Namespaces
from tests.integration.admission.side import VALIDATING
from tests.integration.admission.webhook_server import webhook_server
from tests.integration.eventually import eventually
from tests.integration.running import running

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CONFIG_MAPS, PODS, SERVICES = (Resource("", "v1", plural) for plural in ("configmaps", "pods", "services"))
HELD = "example.com/held"
LATE: Object = {"metadata": {"generateName": "late"}}
KUBERNETES = "system:serviceaccount:kube-system:namespace-controller"


def controller(client: Client, *alone: str) -> AbstractAsyncContextManager[None]:
    return running(Namespaces({"shard": client}, alone, NativeKinds.on_all({"shard": client})).run())


@pytest.fixture
async def ending(admin: Client) -> AsyncIterator[None]:
    async with controller(admin, "shard"):
        yield


@pytest.fixture
def place() -> str:
    return f"{new_token()}-place"


async def make(client: Client, name: str) -> None:
    """A namespace with what comes by itself."""
    await client.create(NAMESPACES, {"metadata": {"name": name}})

    async def filled() -> bool:
        return await client.find(CONFIG_MAPS, "kube-root-ca.crt", name) is not None

    await eventually(filled)


def config_map(name: str, **meta: Any) -> Object:
    return {"metadata": {"name": name, **meta}}


async def gone(client: Client, name: str) -> bool:
    return await client.find(NAMESPACES, name) is None


async def conditions(client: Client, name: str) -> dict[str, Object]:
    found = await client.get(NAMESPACES, name)
    return {item["type"]: item for item in found["status"].get("conditions") or ()}


async def left_in(client: Client, resource: Resource, name: str) -> list[str]:
    return [item["metadata"]["name"] for item in (await client.list(resource, name))["items"]]


async def remains(client: Client, name: str, words: str) -> bool:
    found = (await conditions(client, name)).get("NamespaceContentRemaining", {})
    return words in found.get("message", "")


async def test_all_goes_at_once(admin: Client, ending: None, place: str) -> None:
    """Native kinds, the workspace's own, those that it shares."""
    token = place.partition("-")[0]
    own, shared = f"{token}-example.com", shared_group(token[1:] + "aaaa", "example.com")
    kinds = [Resource(group, "v1", "widgets") for group in (own, shared)]
    for kind in kinds:
        await eventually(partial(admin.create, CRDS, widgets(kind.group)), StatusError)
    spec = {"group": "example.com", "plural": "widgets", "identity": token[1:] + "aaaa", "namespaced": True}
    binding = {"metadata": {"name": f"{token}-widgets.example.com"}, "spec": spec}
    spec["versions"] = [{"name": "v1", "digest": "x"}]
    await eventually(partial(admin.create, BINDINGS, complete(BINDINGS, "TypeBinding", binding)), StatusError)
    try:
        await make(admin, place)
        await admin.create(CONFIG_MAPS, config_map("a"), place)
        for kind in kinds:
            widget = complete(kind, "Widget", config_map("w"))
            await eventually(partial(admin.create, kind, widget, place), StatusError)
        began = time.monotonic()
        await admin.delete(NAMESPACES, place)
        await eventually(partial(gone, admin, place), interval=0.02)
        assert time.monotonic() - began < 3, "Kubernetes' controller waits for 5 s"
        for kind in (CONFIG_MAPS, *kinds):
            assert await left_in(admin, kind, place) == []
    finally:
        await admin.delete(BINDINGS, f"{token}-widgets.example.com")
        for kind in kinds:
            await admin.delete(CRDS, f"widgets.{kind.group}")


def complete(resource: Resource, kind: str, obj: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": kind, **obj}


def widgets(group: str) -> Object:
    schema = {"openAPIV3Schema": {"type": "object"}}
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    versions = [{"name": "v1", "served": True, "storage": True, "schema": schema}]
    spec = {"group": group, "scope": "Namespaced", "names": names, "versions": versions}
    return complete(CRDS, "CustomResourceDefinition", {"metadata": {"name": f"widgets.{group}"}, "spec": spec})


async def test_pods_go_first(admin: Client, ending: None, place: str) -> None:
    await make(admin, place)
    await admin.create(CONFIG_MAPS, config_map("a"), place)
    pod = {"containers": [{"name": "c", "image": "i"}]}
    await admin.create(PODS, {"metadata": {"name": "p", "finalizers": [HELD]}, "spec": pod}, place)
    await admin.delete(NAMESPACES, place)
    await eventually(partial(remains, admin, place, "remaining: pods. has 1 resource instances"))
    assert "a" in await left_in(admin, CONFIG_MAPS, place)
    await admin.patch(PODS, "p", {"metadata": {"finalizers": None}}, place)
    await eventually(partial(gone, admin, place))


async def test_others_finalizers_of_the_namespace_are_waited_for(admin: Client, ending: None, place: str) -> None:
    await make(admin, place)
    await admin.patch(NAMESPACES, place, {"metadata": {"finalizers": [HELD]}})
    await admin.delete(NAMESPACES, place)

    async def emptied() -> bool:
        return not (await admin.get(NAMESPACES, place))["spec"].get("finalizers")

    await eventually(emptied)
    assert {item["status"] for item in (await conditions(admin, place)).values()} == {"False"}
    await admin.patch(NAMESPACES, place, {"metadata": {"finalizers": None}})
    await eventually(partial(gone, admin, place))


async def test_kubernetes_controller_changes_nothing_in_workspaces(admin: Client, place: str) -> None:
    """It goes on with what is the shard's own, and keeps away here, though it looks."""
    kubernetes = admin.acting_as(KUBERNETES, ["system:serviceaccounts", "system:authenticated"])
    await admin.create(NAMESPACES, config_map("not-of-a-workspace"))
    await admin.delete(NAMESPACES, "not-of-a-workspace")
    await make(admin, place)
    await admin.create(CONFIG_MAPS, config_map("a"), place)
    await admin.delete(NAMESPACES, place)
    await eventually(partial(gone, admin, "not-of-a-workspace"))
    found = await admin.get(NAMESPACES, place)
    for change in (
        kubernetes.delete(CONFIG_MAPS, "a", place),
        kubernetes.delete_collection(CONFIG_MAPS, place),
        kubernetes.replace(NAMESPACES, found, "status"),
        kubernetes.replace(NAMESPACES, found | {"spec": {}}, "finalize"),
    ):
        with pytest.raises(StatusError, match="namespaces of workspaces are ended by kcp"):
            await change
    await asyncio.sleep(6)
    assert "a" in await left_in(admin, CONFIG_MAPS, place)
    assert "conditions" not in (await admin.get(NAMESPACES, place))["status"]
    async with controller(admin, "shard"):  # which goes on with what began before it
        await eventually(partial(gone, admin, place))


@asynccontextmanager
async def slow(admin: Client, config: Object) -> AsyncIterator[None]:
    """Each ConfigMap has to wait on its way."""
    webhook = {
        "name": "late.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": config,
        "rules": [{"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]}],
        "matchConditions": [{"name": "late", "expression": "has(object.metadata.generateName)"}],
    }  # fmt: skip
    body = {"metadata": {"name": "late.example.com"}, "webhooks": [webhook]}
    await admin.create(VALIDATING, complete(VALIDATING, "ValidatingWebhookConfiguration", body))
    try:
        await asyncio.sleep(2)
        yield
    finally:
        await admin.delete(VALIDATING, "late.example.com")


async def test_what_is_on_its_way_is_waited_for(admin: Client, ending: None, tmp_path: Path, place: str) -> None:
    await make(admin, place)
    async with webhook_server(tmp_path) as server, slow(admin, server.config("wait/0.6")):
        late = [asyncio.create_task(admin.create(CONFIG_MAPS, LATE, place)) for _ in range(5)]

        async def asked() -> bool:
            return len(server.asked.get("wait/0.6", ())) == len(late)

        await eventually(asked, interval=0.01)
        await admin.delete(NAMESPACES, place)
        await asyncio.gather(*late)  # they were let in before
        await eventually(partial(gone, admin, place))
        assert await left_in(admin, CONFIG_MAPS, place) == []


async def test_nothing_written_meanwhile_is_left(admin: Client, ending: None) -> None:
    """Writers do not stop for the end of their namespaces: of all that was let in, nothing stays."""
    token = new_token()
    names = [f"{token}-n{number}" for number in range(12)]
    for name in names:
        await make(admin, name)
    stop = asyncio.Event()
    written = [0]

    async def write(name: str) -> None:
        while not stop.is_set():
            with suppress(StatusError):
                await admin.create(CONFIG_MAPS, LATE, name)
                written[0] += 1

    writers = [asyncio.create_task(write(name)) for name in names]
    await asyncio.sleep(1)
    for name in names:
        await admin.delete(NAMESPACES, name)
    for name in names:
        await eventually(partial(gone, admin, name))
    stop.set()
    await asyncio.gather(*writers)
    assert written[0] > 36
    left = [item["metadata"]["namespace"] for item in (await admin.list(CONFIG_MAPS))["items"]]
    assert set(left) & set(names) == set()


async def test_where_there_may_be_several_api_servers_it_waits(admin: Client, place: str) -> None:
    async with controller(admin):
        await make(admin, place)
        began = time.monotonic()
        await admin.delete(NAMESPACES, place)
        await eventually(partial(gone, admin, place))
        assert 5 < time.monotonic() - began < 10


async def test_a_shard_that_starts_again(shard: ControlPlane, admin: Client, ending: None, place: str) -> None:
    await make(admin, place)
    await admin.create(CONFIG_MAPS, config_map("a", finalizers=[HELD]), place)
    await admin.delete(NAMESPACES, place)
    await eventually(partial(remains, admin, place, "configmaps. has 1"))
    pid = shard.processes["kube-apiserver"].pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await eventually(partial(admin.patch, CONFIG_MAPS, "a", {"metadata": {"finalizers": None}}, place), StatusError)
    await eventually(partial(gone, admin, place), StatusError)
