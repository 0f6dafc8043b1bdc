"""How many objects a workspace may have, with two workers before a real shard."""

from __future__ import annotations

import asyncio
import itertools
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.limits.room import AT_ONCE
from proxy.server.objects import AGAIN
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.integration.limited import ROLES, USERS, administers, limited_kcp, metric, with_users
from tests.integration.test_shards import HERE
from tests.integration.two_shards import Shards, two_shards

LIMIT = 120
UNDER_WAY = 4
"""Requests at once."""
CONFIGMAPS, SECRETS, EVENTS, RANGES, ACCOUNTS = (
    Resource("", "v1", plural) for plural in ("configmaps", "secrets", "events", "limitranges", "serviceaccounts")
)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
WIDGETS = Resource("example.com", "v1", "widgets")
TIMEOUT = 60


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("objects")
    async with limited_kcp(folder, f"--workspace-objects={LIMIT}", "--workers=2") as kcp:
        yield kcp


def tenant(kcp: Kcp, name: str, parent: str = "root:telcops") -> Client:
    connection = kcp.client(f"{parent}:{name}").connection
    return Client(replace(connection, token=USERS[name]))


async def objects(client: Client) -> int:
    """All that the workspace lists."""
    documents = [await client.request("GET", "/api/v1")]
    for group in (await client.request("GET", "/apis"))["groups"]:
        documents.append(await client.request("GET", f"/apis/{group['preferredVersion']['groupVersion']}"))
    count = 0
    for document in documents:
        if document["groupVersion"].startswith("events."):
            continue
        root = "/api/v1" if document["groupVersion"] == "v1" else f"/apis/{document['groupVersion']}"
        for entry in document["resources"]:
            if "list" in entry["verbs"] and "/" not in entry["name"]:
                found = await client.request("GET", f"{root}/{entry['name']}", accept=METADATA_LIST)
                count += len(found["items"] or ())
    return count


async def refusal(client: Client, method: str, path: str, body: Object, kind: str = "application/json") -> StatusError:
    params = {"fieldManager": "test"} if method == "PATCH" else None
    with pytest.raises(StatusError) as error:
        await client.request(method, path, body=body, params=params, content_type=kind)
    return error.value


def named(resource: Resource, kind: str, name: str, **rest: Any) -> Object:
    return {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": name}, **rest}


async def fill(client: Client, name: str) -> int:
    """Make objects of several types, in several ways, until one is refused; how many were made."""
    made = 0

    async def one(number: int) -> None:
        nonlocal made
        called = f"{name}-{number}"
        if number % 6 == 0:
            await client.create(CONFIGMAPS, named(CONFIGMAPS, "ConfigMap", called), "default")
        elif number % 6 == 1:
            await client.create(SECRETS, named(SECRETS, "Secret", called), "default")
        elif number % 6 == 2:
            obj = named(CONFIGMAPS, "ConfigMap", called)
            obj["metadata"]["namespace"] = "default"
            await client.apply(CONFIGMAPS, obj, manager="test")
        elif number % 6 == 3:
            await client.request(
                "PUT", RANGES.path("default", called), body=named(RANGES, "LimitRange", called, spec={})
            )
        elif number % 6 == 4:
            about = {"kind": "Namespace", "name": "default", "namespace": "default"}
            event = named(EVENTS, "Event", called, involvedObject=about, reason="x", message="x")
            await client.create(EVENTS, event, "default")
        else:
            await client.create(WIDGETS, named(WIDGETS, "Widget", called), "default")
        made += 1

    numbers = iter(range(10 * LIMIT))

    async def some() -> None:
        for number in numbers:
            await one(number)

    results = await asyncio.gather(*(some() for _ in range(UNDER_WAY)), return_exceptions=True)
    assert all(isinstance(result, StatusError) and result.code == 403 for result in results), results
    return made


async def may_make(client: Client, name: str, timeout: float) -> None:
    """One more object, as soon as there is room for it."""
    obj = named(CONFIGMAPS, "ConfigMap", name)
    await eventually(partial(client.create, CONFIGMAPS, obj, "default"), StatusError, timeout=timeout)


def widgets() -> Object:
    names = {"plural": "widgets", "kind": "Widget", "singular": "widget", "listKind": "WidgetList"}
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "example.com", "names": names, "scope": "Namespaced", "versions": [version]}
    return named(CRDS, "CustomResourceDefinition", "widgets.example.com", spec=spec)


async def test_a_workspace_that_is_full(kcp: Kcp) -> None:
    async with tenant(kcp, "noisy") as client, tenant(kcp, "quiet") as other:
        for one in (client, other):
            await one.list(ROLES)  # each workspace gets its own: kcp makes them, which shows in the next count
            await one.create(CRDS, widgets())
        await client.create(NAMESPACES, named(NAMESPACES, "Namespace", "more"))
        await client.create(LEASES, named(LEASES, "Lease", "mine", spec={}), "default")

        async def complete() -> bool:
            """The type is served, and the namespace has what comes with it."""
            try:
                await client.list(WIDGETS)
                await client.get(CONFIGMAPS, "kube-root-ca.crt", "more")
                await client.get(ACCOUNTS, "default", "more")
            except StatusError:
                return False
            return True

        await eventually(complete, timeout=TIMEOUT)
        before = await objects(client)
        made = await fill(client, "a")
        assert LIMIT - 1 <= before + made <= LIMIT + UNDER_WAY
        assert await objects(client) == before + made

        path = CONFIGMAPS.path("default")
        told = await refusal(client, "POST", path, named(CONFIGMAPS, "ConfigMap", "further"))
        assert (told.code, told.reason) == (403, "Forbidden")
        assert told.message in {
            'configmaps "further" is forbidden: exceeded quota of workspace root:telcops:noisy, '
            f"used: objects={used}, limited: objects={LIMIT}"
            for used in (LIMIT, before + made)
        }
        assert told.details == {"name": "further", "kind": "configmaps"}
        apply = "application/apply-patch+yaml"
        told = await refusal(client, "PATCH", f"{path}/new", named(CONFIGMAPS, "ConfigMap", "new"), apply)
        assert told.message.startswith('configmaps "new" is forbidden: exceeded quota')
        told = await refusal(client, "PUT", RANGES.path("default", "new"), named(RANGES, "LimitRange", "new", spec={}))
        assert told.message.startswith('limitranges "new" is forbidden: exceeded quota')
        told = await refusal(client, "POST", WIDGETS.path("more"), named(WIDGETS, "Widget", "further"))
        assert told.details == {"name": "further", "group": "example.com", "kind": "widgets"}
        assert await metric(kcp, 'kcp_proxy_limited_requests_total{reason="objects"}') >= UNDER_WAY
        assert await metric(kcp, 'kcp_workspace_objects{workspace="root:telcops:noisy"}') >= LIMIT

        # What is there is read, changed and deleted as ever.
        obj = named(CONFIGMAPS, "ConfigMap", "a-0", data={"k": "v"})
        await client.request("PUT", f"{path}/a-0", body=obj)
        obj["metadata"]["namespace"] = "default"
        assert (await client.apply(CONFIGMAPS, obj, manager="test"))["data"] == {"k": "v"}
        await client.patch(WIDGETS, "a-5", {"spec": {"k": "v"}}, "default")
        await client.create(
            Resource("authorization.k8s.io", "v1", "selfsubjectaccessreviews", namespaced=False),
            {"spec": {"resourceAttributes": {"verb": "get", "resource": "pods"}}},
        )
        # A neighbour and who runs kcp are not touched.
        await other.create(CONFIGMAPS, named(CONFIGMAPS, "ConfigMap", "beside"), "default")
        async with kcp.client("root:telcops:noisy") as boss:
            await boss.create(CONFIGMAPS, named(CONFIGMAPS, "ConfigMap", "boss"), "default")
            await boss.delete(CONFIGMAPS, "boss", "default")

        for number in range(0, 60, 6):
            await client.delete(CONFIGMAPS, f"a-{number}", "default")

        await asyncio.sleep(AGAIN)  # for so long each worker believes that there is no room
        await may_make(client, "again", timeout=5)
        again = await fill(client, "b")
        assert LIMIT - 1 <= await objects(client) <= LIMIT + UNDER_WAY
        assert again >= 10 - 1 - UNDER_WAY - 1


async def test_a_file_gives_more(kcp: Kcp) -> None:
    async with tenant(kcp, "quiet") as client:
        await fill(client, "a")
        file = kcp.root.parent / "limits.yaml"
        file.write_text(f"workspaces:\n- {{paths: ['root:telcops:quiet'], objects: {LIMIT + 20}}}\n")

        await may_make(client, "more", timeout=TIMEOUT)
        await fill(client, "b")
        assert LIMIT + 19 <= await objects(client) <= LIMIT + 20 + UNDER_WAY


async def test_a_full_workspace_is_full_after_a_start(kcp: Kcp) -> None:
    """Nothing is kept of what was known: it is counted."""
    async with tenant(kcp, "noisy") as client:
        await fill(client, "c")
        before = await objects(client)
    await kcp.end(signal.SIGTERM)
    await kcp.again()
    async with tenant(kcp, "noisy") as client:
        assert await fill(client, "d") == 0
        assert await objects(client) == before


@pytest.mark.parametrize("at_one_pace", [True, False], ids=["at-one-pace", "one-then-the-other"])
async def test_several_kcps_divide_what_is_left(tmp_path: Path, at_one_pace: bool) -> None:
    """They do not know what the others make, but how many there are: what one has counted before another has made
    anything stands for little."""
    async with ControlPlane(ControlPlaneSettings(folder=tmp_path / "shard", durable=False)) as shard:
        options = ["--no-embedded", "--shard", f"eu={shard.kubeconfig}", "--workers=1", with_users(tmp_path)]
        options += [f"--workspace-objects={LIMIT}"]
        async with Kcp(tmp_path / "a", *options) as one, Kcp(tmp_path / "b", *options) as other:
            await one.make_workspace("root", "telcops", "Organization", timeout=90)
            await one.make_workspace("root:telcops", "noisy")
            async with one.client("root:telcops") as parent:
                await administers(parent, "noisy")
            async with tenant(one, "noisy") as here, tenant(other, "noisy") as there:

                async def entered() -> bool:
                    await there.list(ROLES)
                    return True

                await eventually(entered, StatusError, timeout=TIMEOUT)

                async def refused(client: Client, name: str) -> bool:
                    """Where it could not be counted in time what there is, clients ask again."""
                    obj = named(CONFIGMAPS, "ConfigMap", name)
                    while True:
                        try:
                            await client.create(CONFIGMAPS, obj, "default")
                        except StatusError as error:
                            if error.code == 403:
                                return True
                            if error.code != 503:
                                raise
                            await asyncio.sleep(error.details["retryAfterSeconds"])
                        else:
                            return False

                clients = {"here": here, "there": there}
                async with asyncio.timeout(TIMEOUT):
                    for number in range(2):
                        for name, client in clients.items():
                            assert not await refused(client, f"{name}-{number}")
                    for number in itertools.count(2):
                        chosen = list(clients) if at_one_pace else list(clients)[:1]
                        for name in chosen:
                            if await refused(clients[name], f"{name}-{number}"):
                                del clients[name]
                        if not clients:
                            break
                most = LIMIT + 3 if at_one_pace else LIMIT + AT_ONCE
                assert LIMIT - 1 <= await objects(here) <= most


async def complete_in(shards: Shards, shard: str, token: str) -> None:
    """Until the shard itself has made what it makes in namespace ``default``."""
    async with shards.below(shard) as client:
        namespace = f"{token}-default"
        await eventually(partial(client.get, CONFIGMAPS, "kube-root-ca.crt", namespace), StatusError, timeout=TIMEOUT)
        await eventually(partial(client.get, ACCOUNTS, "default", namespace), StatusError, timeout=TIMEOUT)


async def test_a_workspace_moves_with_its_limit(tmp_path: Path) -> None:
    """Its move makes as many objects on another shard, for which nobody needs room; nothing is counted twice, and what
    is full stays full."""
    options = ["--workers=2", f"--workspace-objects={LIMIT}", with_users(tmp_path)]
    async with two_shards(tmp_path, *options) as shards:
        path = f"{HERE}:noisy"
        await shards.make_of(HERE, "noisy", "Universal", "us")
        token = await shards.token_of(path, "us")
        async with shards.kcp.client(HERE) as parent:
            await administers(parent, "noisy")
        async with tenant(shards.kcp, "noisy", HERE) as client:
            await client.list(ROLES)
            await client.create(CRDS, widgets())
            await eventually(partial(client.list, WIDGETS), StatusError, timeout=TIMEOUT)
            await complete_in(shards, "us", token)
            await fill(client, "a")
            full = await objects(client)
            assert LIMIT - 1 <= full <= LIMIT + UNDER_WAY

            for number, shard in enumerate(("eu", "us")):  # there and back, with what was known of it before
                assert (await shards.shard("move", path, shard)).splitlines()[-1] == "Completed"
                assert await objects(client) == full
                made = await fill(client, f"full-{number}")
                assert made <= max(LIMIT - full, 0)
                full += made
                path_of_one = RANGES.path("default", "a-3")
                await client.request("PUT", path_of_one, body=named(RANGES, "LimitRange", "a-3", spec={}))

            for number in range(UNDER_WAY + 1):  # so many more than its limit it may have
                await client.delete(SECRETS, f"a-{6 * number + 1}", "default")
            await shards.shard("move", path, "eu")
            await may_make(client, "again", timeout=TIMEOUT)
            assert LIMIT - 1 <= await objects(client) + await fill(client, "b") <= LIMIT + UNDER_WAY
