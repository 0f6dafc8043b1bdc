"""Deletions of workspaces: what they ask a shard for, and what they leave there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from functools import partial
from typing import Any

import pytest
from multidict import CIMultiDict
from yarl import URL

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.registrations import STORED_GROUP
from proxy.mapping.token import LABEL, new_token
from proxy.tenancy.api import NAMESPACES
from proxy.tenancy.content import BINDINGS, CRDS, initialize
from proxy.tenancy.kinds import AGGREGATED, NativeKinds
from proxy.tenancy.namespaces import Namespaces
from proxy.tenancy.removal import remove
from proxy.tenancy.vacancies import Vacancies
from tests.integration.eventually import eventually
from tests.integration.test_namespaces import CONFIG_MAPS, widgets

HIDDEN = ("internal.kcp.dev", "logicalclusters")


class Recording(Client):
    """Remembers what it asked for."""

    def __init__(self, client: Client) -> None:
        super().__init__(client.connection)
        self.asked: list[str] = []
        self.asking = asyncio.Event()
        """Set from the first request on."""

    async def _send(self, method: str, url: URL, data: bytes | None, headers: CIMultiDict[str], timeout: float) -> Any:
        self.asked.append(f"{method} {url.path}")
        self.asking.set()
        return await super()._send(method, url, data, headers, timeout)


@pytest.fixture
async def native(admin: Client) -> AsyncIterator[NativeKinds]:
    """Known, with a controller that empties namespaces."""
    natives = NativeKinds.on_all({"shard": admin})
    running = asyncio.create_task(Namespaces({"shard": admin}, ["shard"], natives).run())
    await natives["shard"].all()
    yield natives["shard"]
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


async def fill(client: Client, token: str) -> None:
    """A workspace with something of many kinds."""
    await initialize(client, f"{token}-", "Team")
    await client.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, f"{token}-default")
    meta = {"name": f"{token}-a"}
    rbac, storage = "rbac.authorization.k8s.io", "storage.k8s.io"
    made = {"provisioner": "example.com/none"}
    for resource, fields in (
        (Resource(rbac, "v1", "clusterroles", False), {"rules": []}),
        (Resource(storage, "v1", "storageclasses", False), made),
        (Resource("scheduling.k8s.io", "v1", "priorityclasses", False), {"value": 1}),
        (Resource("networking.k8s.io", "v1", "ingressclasses", False), {"spec": {"controller": "example.com/none"}}),
    ):
        await client.create(resource, {"metadata": meta, **fields})
    own = Resource(f"{token}-example.com", "v1", "widgets", False)
    await make_type(client, own)
    await eventually(partial(client.create, own, thing(own, meta)), StatusError)


async def make_type(client: Client, resource: Resource) -> None:
    """One that its workspace alone has; cluster-scoped."""
    crd = widgets(resource.group)
    crd["spec"]["scope"] = "Cluster"
    await eventually(partial(client.create, CRDS, crd), StatusError)


def thing(resource: Resource, meta: Object) -> Object:
    return {"apiVersion": resource.api_version, "kind": "Widget", "metadata": meta}


async def discovered(client: Client) -> list[tuple[Resource, set[str]]]:
    """All that the shard serves, and the verbs of each."""
    found = []
    for root in ("/api", "/apis"):
        for group in (await client.request("GET", root, accept=AGGREGATED))["items"]:
            version = group["versions"][0]
            for entry in version.get("resources") or ():
                namespaced = entry["scope"] == "Namespaced"
                name = group["metadata"].get("name", "")
                resource = Resource(name, version["version"], entry["resource"], namespaced)
                found.append((resource, set(entry["verbs"])))
    return found


async def left(client: Client, token: str) -> list[str]:
    """What the whole shard has with a name of the workspace, or its label."""
    found = []
    for resource, verbs in await discovered(client):
        if "list" not in verbs:
            continue
        try:
            items = (await client.list(resource))["items"]
        except StatusError as error:
            if error.code not in (404, 405):
                raise
            continue
        for item in items:
            meta = item["metadata"]
            places = (meta["name"], meta.get("namespace", ""), resource.group)
            if any(place.startswith(f"{token}-") for place in places) or (meta.get("labels") or {}).get(LABEL) == token:
                found.append(f"{resource.plural} {meta['name']}")
    return found


async def take_away(client: Client, token: str, native: NativeKinds) -> set[str]:
    """What was asked for, with the token left out."""
    recording = Recording(client)

    async def gone() -> bool:
        return not (await remove(recording, token, native)).all

    async with recording:
        await eventually(gone)
    return {asked.replace(token, "TOKEN") for asked in recording.asked}


async def test_the_types_of_others_cost_nothing(admin: Client, native: NativeKinds) -> None:
    one, other = new_token(), new_token()
    await fill(admin, one)
    assert len(await left(admin, one)) >= 10
    asked = await take_away(admin, one, native)
    assert await left(admin, one) == []

    others = Resource(f"{new_token()}-example.com", "v1", "widgets", False)
    await make_type(admin, others)
    try:
        await fill(admin, other)
        again = await take_away(admin, other, native)
        assert await left(admin, other) == []
        assert again == asked
        assert not {"GET /api", "GET /apis"} & again, "which tell of the types of all workspaces"
    finally:
        await admin.delete(CRDS, f"widgets.{others.group}")


async def test_no_kind_of_a_shard_is_forgotten(admin: Client, native: NativeKinds) -> None:
    known = {(kind.resource.group, kind.resource.plural) for kind in await native.all() if not kind.resource.namespaced}
    for resource, verbs in await discovered(admin):
        of_workspaces = "-" in resource.group or (resource.group.startswith("0") and resource.group != STORED_GROUP)
        if not of_workspaces and not resource.namespaced and {"list", "delete"} <= verbs:
            place = (resource.group, resource.plural)
            assert place in known or place in {HIDDEN, (BINDINGS.group, BINDINGS.plural)}, place
    assert (NAMESPACES.group, NAMESPACES.plural) in known


CLASSES = Resource("storage.k8s.io", "v1", "storageclasses", False)
QUOTAS = Resource("", "v1", "resourcequotas")
ATTACHMENTS = Resource("storage.k8s.io", "v1", "volumeattachments", False)
TEMPLATES = Resource("", "v1", "podtemplates")
FLOW_SCHEMAS = Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", False)


@pytest.mark.parametrize("resource", [ATTACHMENTS, TEMPLATES, FLOW_SCHEMAS], ids=lambda resource: resource.plural)
async def test_whoever_asks_at_the_same_time_shares_a_look(admin: Client, resource: Resource) -> None:
    """Kinds of which no test on this shard makes any; flow schemas are there, of the shard itself."""
    recording = Recording(admin)
    async with recording:
        vacancies = Vacancies(recording)
        assert await asyncio.gather(*(vacancies.is_vacant(resource) for _ in range(20))) == [True] * 20
        assert len(recording.asked) == 1


@pytest.mark.parametrize("resource", [CLASSES, QUOTAS], ids=lambda resource: resource.plural)
async def test_a_look_that_began_before_does_not_count(admin: Client, native: NativeKinds, resource: Resource) -> None:
    token = new_token()
    namespace = f"{token}-default" if resource.namespaced else None
    await initialize(admin, f"{token}-", "Team")
    recording = Recording(admin)
    async with recording:
        vacancies = Vacancies(recording)
        before = asyncio.create_task(vacancies.is_vacant(resource))
        await recording.asking.wait()
        made = {"metadata": {"name": f"{token}-a"}, "provisioner": "example.com/none"}
        await admin.create(resource, made if namespace is None else {"metadata": {"name": "a"}}, namespace)
        assert not await vacancies.is_vacant(resource)
        await before  # which may have seen either
        looks = len(recording.asked)
        assert not await vacancies.is_vacant(resource)
        assert len(recording.asked) == looks <= 2, "a kind that is used is not looked at again at once"
    await take_away(admin, token, native)


async def test_what_stands_behind_many_of_the_shards_own_is_not_missed(admin: Client) -> None:
    """Names of the shard's own objects that begin as tokens do may be more than are looked at."""
    names = [f"kaaa-{number:03}" for number in range(60)]
    token = "kzzzzzzz7"
    for name in [*names, f"{token}-a"]:
        await admin.create(CLASSES, {"metadata": {"name": name}, "provisioner": "example.com/none"})
    try:
        assert not await Vacancies(admin).is_vacant(CLASSES)
        await admin.delete(CLASSES, f"{token}-a")
        assert not await Vacancies(admin).is_vacant(CLASSES), "that cannot be said"
        for name in names[30:]:
            await admin.delete(CLASSES, name)
        assert await Vacancies(admin).is_vacant(CLASSES)
    finally:
        for item in (await admin.list(CLASSES))["items"]:
            if item["metadata"]["name"] in [*names, f"{token}-a"]:
                await admin.delete(CLASSES, item["metadata"]["name"])


async def test_a_type_that_is_not_served_is_vacant(admin: Client) -> None:
    assert await Vacancies(admin).is_vacant(Resource("nothing.example.com", "v1", "nothings"))
