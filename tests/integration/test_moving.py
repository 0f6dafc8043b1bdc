"""Workspaces that move from shard to shard while they are used."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

from proxy.cli.controlling import LEASE, LEASE_SECONDS, NAMESPACE
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.leadership import LEASES
from proxy.tenancy.api import CLUSTER_WORKSPACES, MOVES, WORKSPACES
from proxy.tenancy.controllers import run
from proxy.tenancy.index import ARRIVED, ARRIVING, COPYING, DEPARTED, FROZEN, LOGICAL_CLUSTERS
from proxy.tenancy.moves import name_of_move
from proxy.workload.api import BINDINGS, CLUSTERS, IMPORTS, NEGOTIATED
from tests.integration.eventually import eventually
from tests.integration.moving_load import Load
from tests.integration.test_shards import CONFIGMAPS, HERE
from tests.integration.two_shards import Shards, two_shards

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
WIDGETS = Resource("example.com", "v1", "widgets")
SECRETS = Resource("", "v1", "secrets")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
SERVICES = Resource("", "v1", "services")
JOBS = Resource("batch", "v1", "jobs")
SEED = int(os.environ.get("SEED", "7"))
STAGES = ("", COPYING, FROZEN, DEPARTED, ARRIVED)
QUOTAS = Resource("", "v1", "resourcequotas")
PODS = Resource("", "v1", "pods")
DEPLOYMENTS = Resource("apps", "v1", "deployments")


@pytest.fixture(scope="module")
async def shards(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Shards]:
    async with two_shards(tmp_path_factory.mktemp("moving"), "--workers", "2") as shards:
        yield shards


@contextlib.asynccontextmanager
async def under_load(shards: Shards, path: str, writers: int) -> AsyncIterator[Load]:
    """Clients of a workspace, the follower among them."""
    async with shards.kcp.client(path) as client:
        load = Load(client, writers)
        following = asyncio.create_task(load.informer.run())
        try:
            yield load
        finally:
            following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await following


async def nothing_is_lost(shards: Shards, load: Load, path: str, *, on: str, not_on: str, token: str) -> None:
    expected = load.expected()
    assert await load.listed() == expected

    async def followed() -> bool:
        return load.followed() == expected

    await eventually(followed)
    assert all(before < after for before, after in load.versions), "versions grow, from shard to shard too"
    assert await shards.token_of(path, on) == token
    assert await shards.left(not_on, token) == []
    details = await shards.details(path.rpartition(":")[2])
    assert details["status"]["location"] == {"current": on, "target": on}


async def test_nothing_is_lost_under_load(shards: Shards) -> None:
    path = f"{HERE}:busy"
    await shards.make_of(HERE, "busy", "Universal", "us")
    token = await shards.token_of(path, "us")
    async with under_load(shards, path, writers=6) as load:
        async with load.running():
            output = await shards.shard("move", path, "eu")
            assert output.splitlines()[-1] == "Completed"
            await asyncio.sleep(0.2)
        await nothing_is_lost(shards, load, path, on="eu", not_on="us", token=token)
        assert all(writer.writes > 10 for writer in load.writers)
        assert sum(writer.refused for writer in load.writers) > 0, "there was a freeze"
    moved = json.loads(await shards.shard("moves", "-o", "json"))["items"][0]
    assert 0 < moved["status"]["frozenSeconds"] < 25
    assert moved["status"]["from"] == "us"


CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                },
            }
        ],
    },
}


def named(api_version: str, kind: str, name: str, **fields: Any) -> Object:
    meta = {"name": name, **fields.pop("meta", {})}
    return {"apiVersion": api_version, "kind": kind, "metadata": meta, **fields}


async def fill(client: Client) -> dict[str, Object]:
    """Of each kind that needs care something, by name."""
    made: dict[str, Object] = {}

    async def make(resource: Resource, obj: Object) -> Object:
        created = await client.create(resource, obj, "default" if resource.namespaced else None)
        made[obj["metadata"]["name"]] = created
        return created

    await make(CRDS, CRD)

    async def served() -> bool:
        await client.list(WIDGETS, "default")
        return True

    await eventually(served, StatusError)
    widget = await make(
        WIDGETS, named("example.com/v1", "Widget", "w", spec={"size": 3, "at": {"resourceVersion": "7"}})
    )
    await client.patch(WIDGETS, "w", {"status": {"seen": True}}, "default", subresource="status")
    owner = {"apiVersion": "example.com/v1", "kind": "Widget", "name": "w", "uid": widget["metadata"]["uid"]}
    await make(CONFIGMAPS, named("v1", "ConfigMap", "owned", meta={"ownerReferences": [owner]}, data={"a": "b"}))
    await make(CONFIGMAPS, named("v1", "ConfigMap", "going", meta={"finalizers": ["example.com/hold"]}))
    await client.delete(CONFIGMAPS, "going", "default")
    applied = named("v1", "ConfigMap", "applied", data={"by": "apply"}, meta={"namespace": "default"})
    await client.apply(CONFIGMAPS, applied, manager="somebody")
    robot = await make(ACCOUNTS, named("v1", "ServiceAccount", "robot"))
    owner = {"apiVersion": "v1", "kind": "ServiceAccount", "name": "robot", "uid": robot["metadata"]["uid"]}
    await make(CONFIGMAPS, named("v1", "ConfigMap", "robots", meta={"ownerReferences": [owner]}))
    of_robot = {"annotations": {"kubernetes.io/service-account.name": "robot"}}
    await make(SECRETS, named("v1", "Secret", "robot", meta=of_robot, type="kubernetes.io/service-account-token"))
    await make(QUOTAS, named("v1", "ResourceQuota", "few", spec={"hard": {"configmaps": "6", "pods": "2"}}))
    container = {"name": "c", "image": "x"}
    await make(SERVICES, named("v1", "Service", "web", spec={"selector": {"a": "b"}, "ports": [{"port": 80}]}))
    template = {"spec": {"restartPolicy": "Never", "containers": [container]}}
    await make(JOBS, named("batch/v1", "Job", "work", spec={"template": template}))
    deployment = {
        "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}},
    }
    await make(DEPLOYMENTS, named("apps/v1", "Deployment", "d", spec=deployment))
    await client.patch(DEPLOYMENTS, "d", {"spec": {"replicas": 3}}, "default")
    seen = {"status": {"observedGeneration": 2, "replicas": 3}}
    await client.patch(DEPLOYMENTS, "d", seen, "default", subresource="status")
    await make(PODS, named("v1", "Pod", "p", spec={"containers": [container]}))
    await client.patch(PODS, "p", {"status": {"message": "said"}}, "default", subresource="status")
    return made


async def test_what_needs_care(shards: Shards) -> None:
    """Owners, status, finalizers, deletions under way, managers of fields, tokens, addresses, quotas."""
    path = f"{HERE}:full"
    await shards.make_of(HERE, "full", "Cluster", "us")
    async with shards.kcp.client(path) as client:
        made = await fill(client)
        secret = await eventually(lambda: filled(client))
        before = await client.get(CONFIGMAPS, "applied", "default")
        page = await client.request("GET", CONFIGMAPS.path("default"), params={"limit": 1})
        old_version, old_page = page["metadata"]["resourceVersion"], page["metadata"]["continue"]
        await shards.switch(path, "eu")

        widget = await client.get(WIDGETS, "w", "default")
        assert widget["spec"]["size"] == 3
        assert widget["status"] == {"seen": True}
        assert widget["metadata"]["uid"] != made["w"]["metadata"]["uid"]
        owned = await client.get(CONFIGMAPS, "owned", "default")
        assert [owner["uid"] for owner in owned["metadata"]["ownerReferences"]] == [widget["metadata"]["uid"]]
        going = await client.get(CONFIGMAPS, "going", "default")
        assert going["metadata"]["deletionTimestamp"]
        assert going["metadata"]["finalizers"] == ["example.com/hold"]
        after = await client.get(CONFIGMAPS, "applied", "default")
        assert after["metadata"]["managedFields"] == before["metadata"]["managedFields"]
        again = await eventually(lambda: filled(client))
        assert again is not None
        assert secret is not None
        assert again["data"]["token"] != secret["data"]["token"]
        service = await client.get(SERVICES, "web", "default")
        assert service["spec"]["clusterIP"] == made["web"]["spec"]["clusterIP"]
        job = await client.get(JOBS, "work", "default")
        assert job["spec"]["selector"]["matchLabels"]["batch.kubernetes.io/controller-uid"] == job["metadata"]["uid"]
        deployment = await client.get(DEPLOYMENTS, "d", "default")
        assert deployment["status"]["observedGeneration"] == deployment["metadata"]["generation"]
        assert (await client.get(PODS, "p", "default"))["status"]["message"] == "said"
        assert (await client.get(QUOTAS, "few", "default"))["spec"] == {"hard": {"configmaps": "6", "pods": "2"}}
        await eventually(lambda: counted(client))

        # What was learnt from the other shard is told from what comes of this one.
        with pytest.raises(StatusError) as expired:
            await client.request("GET", CONFIGMAPS.path("default"), params={"limit": 1, "continue": old_page})
        assert expired.value.code == 410
        with pytest.raises(StatusError) as expired:
            await anext(client.watch(CONFIGMAPS, "default", resource_version=old_version))
        assert expired.value.code == 410
        with pytest.raises(StatusError) as conflict:
            await client.replace(CONFIGMAPS, before | {"data": {"by": "an old reader"}})
        assert conflict.value.code == 409
        listed = await client.request(
            "GET",
            CONFIGMAPS.path("default"),
            params={"resourceVersion": old_version, "resourceVersionMatch": "NotOlderThan"},
        )
        assert int(listed["metadata"]["resourceVersion"]) > int(old_version)
        names = [item["metadata"]["name"] async for page in client.pages(CONFIGMAPS, limit=1) for item in page["items"]]
        assert {"applied", "going", "owned"} <= set(names)
        # And what is read here can be written here.
        await client.replace(CONFIGMAPS, after | {"data": {"by": "a reader"}})
        widget["spec"]["size"] = 4
        assert (await client.replace(WIDGETS, widget))["spec"] == {"size": 4, "at": widget["spec"]["at"]}
        test = [{"op": "test", "path": "/metadata/resourceVersion", "value": owned["metadata"]["resourceVersion"]}]
        await client.patch(CONFIGMAPS, "owned", test, "default", kind="json")
        # The shard's controllers take up the thread.
        await client.patch(CONFIGMAPS, "going", {"metadata": {"finalizers": None}}, "default")
        assert await client.find(CONFIGMAPS, "going", "default") is None
        await client.delete(ACCOUNTS, "robot", "default")

        async def collected() -> bool:
            return await client.find(CONFIGMAPS, "robots", "default") is None

        await eventually(collected)


async def test_types_that_are_shared(shards: Shards) -> None:
    """What a cluster has brought stays bound to the same type, and its objects with it."""
    path = f"{HERE}:works"
    await shards.make_of(HERE, "works", "Universal", "us")
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}
    async with shards.kcp.client(path) as client:
        cluster = await client.create(CLUSTERS, named("workload.kcp.dev/v1alpha1", "WorkloadCluster", "east", spec={}))
        owner = {"apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "name": "east"}
        spec = {
            "location": "east",
            "groupVersion": {"group": "example.com", "version": "v1"},
            "scope": "Namespaced",
            "plural": "widgets",
            "singular": "widget",
            "kind": "Widget",
            "listKind": "WidgetList",
            "openAPIV3Schema": schema,
            "subResources": [{"name": "status"}],
        }
        meta = {"ownerReferences": [owner | {"uid": cluster["metadata"]["uid"]}]}
        name = "widgets.east.v1.example.com"
        await client.create(IMPORTS, named(IMPORTS.api_version, "APIResourceImport", name, meta=meta, spec=spec))
        negotiated = await eventually(lambda: client.get(NEGOTIATED, "widgets.v1.example.com"), StatusError)
        await client.patch(NEGOTIATED, negotiated["metadata"]["name"], {"spec": {"publish": True}})
        made = named("example.com/v1", "Widget", "w", spec={"size": 3})
        await eventually(lambda: client.create(WIDGETS, made, "default"), StatusError)
        await shards.switch(path, "eu")
        assert (await client.get(WIDGETS, "w", "default"))["spec"] == {"size": 3}
        await client.create(WIDGETS, named("example.com/v1", "Widget", "v", spec={"size": 4}), "default")
        async with shards.below("eu") as eu:
            bound = [item["spec"] for item in (await eu.list(BINDINGS))["items"]]
            assert [spec["plural"] for spec in bound] == ["widgets"]
            shared = f"0kcp{bound[0]['identity']}.example.com"
            assert len((await eu.list(replace(WIDGETS, group=shared)))["items"]) == 2
        imported = await client.get(IMPORTS, name)
        east = await client.get(CLUSTERS, "east")
        assert [each["uid"] for each in imported["metadata"]["ownerReferences"]] == [east["metadata"]["uid"]]


async def test_called_off_while_it_cannot_go_on(shards: Shards) -> None:
    """The workspace stays where it is, and nothing is left of the copy; deleted meanwhile, it is gone everywhere."""
    for name in ("stays", "goes"):
        await shards.make_of(HERE, name, "Universal", "us")
    tokens = [await shards.token_of(f"{HERE}:{name}", "us") for name in ("stays", "goes")]
    for name in ("stays", "goes"):
        async with shards.kcp.client(f"{HERE}:{name}") as client:
            await client.create(CRDS, CRD)

            async def held(client: Client = client) -> bool:
                held = named("example.com/v1", "Widget", "held", meta={"finalizers": ["example.com/hold"]})
                return bool(await client.create(WIDGETS, held, "default"))

            await eventually(held, StatusError)
            await client.delete(CRDS, "widgets.example.com")
        await shards.shard("move", f"{HERE}:{name}", "eu", "--no-wait")
    async with shards.kcp.client("root") as root:

        async def waits() -> bool:
            found = (await root.list(MOVES))["items"]
            messages = [item["status"].get("message", "") for item in found if item.get("status")]
            return sum("is being deleted" in message for message in messages) == 2

        await eventually(waits)
        await root.delete(MOVES, name_of_move(f"{HERE}:stays"))
    async with shards.kcp.client(HERE) as parent:
        await parent.delete(WORKSPACES, "goes")

    async def called_off() -> bool:
        return await shards.left("eu", tokens[0]) == await shards.left("eu", tokens[1]) == []

    await eventually(called_off)
    async with shards.below("us") as us:  # no workspace that is being deleted takes writes
        for token in tokens:
            widgets = replace(WIDGETS, group=f"{token}-example.com")
            await us.patch(widgets, "held", {"metadata": {"finalizers": None}}, f"{token}-default")

    async def over() -> bool:
        return await shards.left("us", tokens[1]) == []

    await eventually(over)
    assert await shards.place("stays") == "us"
    async with shards.below("us") as us:
        assert "move" not in (await us.get(LOGICAL_CLUSTERS, tokens[0]))["spec"]
    async with shards.kcp.client(f"{HERE}:stays") as client:
        await client.create(CONFIGMAPS, named("v1", "ConfigMap", "written"), "default")


async def counted(client: Client) -> bool:
    used = (await client.get(QUOTAS, "few", "default")).get("status", {}).get("used") or {}
    number = len((await client.list(CONFIGMAPS, "default"))["items"])
    return set(used) == {"configmaps", "pods"} and used["configmaps"] == str(number)


async def filled(client: Client) -> Object | None:
    """The Secret, once it has a token."""
    secret = await client.find(SECRETS, "robot", "default")
    return secret if secret is not None and (secret.get("data") or {}).get("token") else None


async def test_child_workspaces_stay_with_their_parent(shards: Shards) -> None:
    path = f"{HERE}:house"
    await shards.make_of(HERE, "house", "Team", "us")
    await shards.make_of(path, "kid", "Universal", "us")
    async with shards.kcp.client(f"{path}:kid") as kid, shards.kcp.client(path) as house:
        await kid.create(CONFIGMAPS, named("v1", "ConfigMap", "toy"), "default")
        await shards.switch(path, "eu")
        token = await shards.token_of(f"{path}:kid", "us")
        async with shards.below("us") as us:
            parent_uid = (await us.get(LOGICAL_CLUSTERS, token))["spec"]["parentUID"]
        assert (await house.get(CLUSTER_WORKSPACES, "kid"))["metadata"]["uid"] == parent_uid
        assert await kid.get(CONFIGMAPS, "toy", "default")
        await house.delete(WORKSPACES, "kid")

        async def gone() -> bool:
            return await shards.left("us", token) == []

        await eventually(gone)


@contextlib.asynccontextmanager
async def controllers(shards: Shards) -> AsyncIterator[Callable[[], Awaitable[None]]]:
    """The controllers of kcp in this process, in place of its own; what is given kills and starts them anew."""
    async with shards.below("us") as us, shards.below("eu") as eu:
        lease = await us.get(LEASES, LEASE, NAMESPACE)
        taken = {"spec": {"holderIdentity": "test", "leaseDurationSeconds": 3600}}
        await us.patch(LEASES, LEASE, taken, NAMESPACE)
        # Who has lost it finds out when renewing it.
        await asyncio.sleep(LEASE_SECONDS / 3 + 1)
        work: asyncio.Task[None] | None = None

        async def begin() -> None:
            nonlocal work
            await end()
            clients = {"us": us, "eu": eu}
            work = asyncio.create_task(run(clients, external_url="https://127.0.0.1", root_shard="us"))

        async def end() -> None:
            if work is not None:
                work.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await work

        try:
            await begin()
            yield begin
        finally:
            await end()
            given_back = {"spec": {"holderIdentity": "", "leaseDurationSeconds": lease["spec"]["leaseDurationSeconds"]}}
            await us.patch(LEASES, LEASE, given_back, NAMESPACE)


async def stage_of(token: str, *shards: Client) -> str:
    """How far a move is; empty before and after."""
    for shard in shards:
        found = await shard.find(LOGICAL_CLUSTERS, token)
        now = str(((found or {}).get("spec", {}).get("move") or {}).get("stage", ""))
        if now not in ("", ARRIVING):
            return now
    return ""


async def test_killed_at_any_point(shards: Shards) -> None:
    """Back again."""
    path = f"{HERE}:busy"
    token = await shards.token_of(path, "eu")
    point = random.Random(SEED)
    stages = []
    async with (
        under_load(shards, path, writers=6) as load,
        shards.kcp.client("root") as root,
        controllers(shards) as again,
    ):

        async def completed() -> bool:
            status = (await root.get(MOVES, name_of_move(path))).get("status") or {}
            return status.get("phase") == "Completed"

        load.take(await load.listed_objects())
        await shards.shard("move", path, "us", "--no-wait")
        async with load.running(), shards.below("us") as us, shards.below("eu") as eu:

            async def reached(wanted: str) -> bool:
                return STAGES.index(await stage_of(token, us, eu)) >= STAGES.index(wanted) or await completed()

            for wanted in STAGES[1:]:
                await eventually(partial(reached, wanted), interval=0.01)
                await asyncio.sleep(point.uniform(0.0, 0.2))
                stages.append(await stage_of(token, us, eu))
                await again()
            await eventually(completed)
        assert FROZEN in stages or DEPARTED in stages, stages
        await nothing_is_lost(shards, load, path, on="us", not_on="eu", token=token)


async def test_kcp_is_killed(shards: Shards) -> None:
    """With all of its workers, where writes are stopped and where nobody serves the workspace any more."""
    path = f"{HERE}:busy"
    token = await shards.token_of(path, "us")
    killed = []
    async with under_load(shards, path, writers=6) as load:
        load.take(await load.listed_objects())
        await shards.shard("move", path, "eu", "--no-wait")
        async with shards.below("us") as us, shards.below("eu") as eu:
            for wanted in (FROZEN, DEPARTED):

                async def reached(wanted: str = wanted) -> bool:
                    return STAGES.index(await stage_of(token, us, eu)) >= STAGES.index(wanted)

                await eventually(reached, interval=0.002)
                await shards.kcp.kill()
                killed.append(await stage_of(token, us, eu))
                await shards.kcp.again()
        async with shards.kcp.client("root") as root:

            async def completed() -> bool:
                status = (await root.get(MOVES, name_of_move(path))).get("status") or {}
                return status.get("phase") == "Completed"

            await eventually(completed)
        assert set(killed) <= {FROZEN, DEPARTED, ARRIVED}, killed
        await nothing_is_lost(shards, load, path, on="eu", not_on="us", token=token)


async def test_a_shard_is_drained(shards: Shards) -> None:
    """Last of all: of what the tests before have left."""
    output = await shards.shard("drain", "eu")
    assert output.splitlines()[-1] == "shard/eu drained"
    async with shards.below("eu") as eu:
        assert (await eu.list(LOGICAL_CLUSTERS))["items"] == []
    await shards.make("late")
    assert await shards.place("late") == "us"
    assert await shards.shard("uncordon", "eu") == "shard/eu uncordoned\n"
