"""Types that workspaces share, on a real shard: which CRD a workspace is bound to, when that changes, when it goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.token import new_token
from proxy.shard.control_plane import ControlPlane
from proxy.workload.api import BINDINGS, CRDS, IMPORTS, NEGOTIATED
from proxy.workload.imports import Negotiation
from proxy.workload.shared import DIGEST
from tests.integration.eventually import eventually
from tests.integration.workload_workspace import Workspace, gone, reaches

WIDGETS = "widgets.v1.example.com"
WIDE = "UpdatePublished"


def unique() -> Object:
    """A schema that no other test has, so that its CRD is this test's."""
    spec = {"type": "object", "properties": {"size": {"type": "integer"}}, "description": new_token()}
    return {"type": "object", "properties": {"spec": spec}}


@asynccontextmanager
async def negotiation(client: Client, *, look_again: float = 0.3) -> AsyncIterator[None]:
    task = asyncio.create_task(Negotiation(client, auto_publish=True, look_again=look_again, settled=0.5).run())
    try:
        yield
        assert not task.done(), "it has ended"
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def importing(client: Client, schema: Object, **spec: Any) -> Workspace:
    """A workspace that has imported and published widgets."""
    workspace = Workspace(client)
    await workspace.imports(await workspace.cluster("east"), "widgets", "example.com", schema, **spec)
    await published(workspace)
    await workspace.namespace("one")
    return workspace


async def unimport(workspace: Workspace, location: str = "east") -> None:
    await workspace.client.delete(IMPORTS, workspace.mapped(f"widgets.{location}.v1.example.com"))


async def published(workspace: Workspace) -> None:
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")


async def make(workspace: Workspace, resource: Resource, name: str = "w") -> None:
    widget = {"apiVersion": resource.api_version, "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1}}
    await eventually(lambda: workspace.client.create(resource, widget, workspace.mapped("one")), StatusError)


async def reason(workspace: Workspace) -> str:
    return str((await workspace.condition(NEGOTIATED, WIDGETS, "Published") or {}).get("reason", ""))


async def test_the_crd_stays_for_the_last_workspace_and_its_objects(shard: ControlPlane) -> None:
    async with shard.client() as client, negotiation(client):
        schema = unique()
        one, other = await importing(client, schema), await importing(client, schema)
        resource = await one.shared()
        assert await other.shared() == resource
        assert (await one.crd())["metadata"].get("labels", {}).get("0.kcp.dev/w") is None, "nobody's"
        await make(one, resource)
        await make(other, resource)
        crd = f"widgets.{resource.group}"
        uid = (await client.get(CRDS, crd))["metadata"]["uid"]
        # One goes, its objects first.
        await unimport(one)
        await reaches(lambda: reason(one), "NotImported")
        await client.delete(resource, "w", one.mapped("one"))
        await gone(client, BINDINGS, one.mapped("widgets.example.com"))
        await asyncio.sleep(1)
        assert (await client.get(CRDS, crd))["metadata"]["uid"] == uid
        assert await client.get(resource, "w", other.mapped("one"))
        # And comes back: to the same one.
        await one.imports(await one.cluster("west"), "widgets", "example.com", schema)
        await reaches(one.shared, resource)
        # Both go.
        for workspace, cluster in ((one, "west"), (other, "east")):
            await unimport(workspace, cluster)
        await gone(client, BINDINGS, one.mapped("widgets.example.com"))
        await asyncio.sleep(1)
        assert (await client.get(CRDS, crd))["metadata"]["uid"] == uid, "there is an object"
        await client.delete(resource, "w", other.mapped("one"))
        await gone(client, CRDS, crd)


async def test_one_that_holds_objects_stays_though_no_workspace_has_it(shard: ControlPlane) -> None:
    async with shard.client() as client, negotiation(client):
        workspace = await importing(client, unique())
        resource = await workspace.shared()
        await make(workspace, resource)
        crd = f"widgets.{resource.group}"
        await client.delete(NEGOTIATED, workspace.mapped(WIDGETS))  # made again at once
        await published(workspace)
        assert await workspace.shared() == resource
        identity = (await client.get(BINDINGS, workspace.mapped("widgets.example.com")))["spec"]["identity"]
        assert crd == f"widgets.0kcp{identity}.example.com"
        await asyncio.sleep(1)
        assert await client.get(resource, "w", workspace.mapped("one"))


async def test_a_schema_changes_when_there_are_no_objects(shard: ControlPlane) -> None:
    async with shard.client() as client, negotiation(client):
        schema = unique()
        workspace, other = await importing(client, schema), await importing(client, schema)
        before = await workspace.shared()
        await make(workspace, before)
        west = await workspace.cluster("west")
        less: Object = {"type": "object", "properties": {"spec": {"type": "object", "properties": {}}}}
        await workspace.imports(west, "widgets", "example.com", less, schemaUpdateStrategy=WIDE)
        await reaches(lambda: reason(workspace), "SchemaInUse")
        assert await workspace.status(NEGOTIATED, WIDGETS, "Published") == "True"
        assert await workspace.shared() == before
        assert await client.get(before, "w", workspace.mapped("one")), "nothing is lost"
        await client.delete(before, "w", workspace.mapped("one"))

        async def moved() -> bool:
            return await workspace.shared() != before

        await eventually(moved)
        await reaches(lambda: reason(workspace), "")
        properties = (await workspace.crd())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
        assert "size" not in properties["spec"].get("properties", {})
        assert await other.shared() == before, "nobody else's affair"


async def test_what_may_change_in_use_is_not_shared(shard: ControlPlane) -> None:
    """It changes in place, and its objects stay what they are."""
    async with shard.client() as client, negotiation(client):
        workspace = await importing(client, unique(), schemaUpdateStrategy=WIDE)
        crd = await client.get(CRDS, f"widgets.{workspace.token}-example.com")
        resource = Resource(crd["spec"]["group"], "v1", "widgets")
        await make(workspace, resource)
        uid = (await client.get(resource, "w", workspace.mapped("one")))["metadata"]["uid"]
        west = await workspace.cluster("west")
        less: Object = {"type": "object", "properties": {"spec": {"type": "object", "properties": {}}}}
        await workspace.imports(west, "widgets", "example.com", less, schemaUpdateStrategy=WIDE)

        async def narrowed() -> bool:
            schema = (await workspace.crd())["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            return "size" not in schema["properties"]["spec"].get("properties", {})

        await eventually(narrowed)
        assert (await client.get(resource, "w", workspace.mapped("one")))["metadata"]["uid"] == uid


async def test_who_goes_on_after_a_crash_ends_what_was_begun(shard: ControlPlane) -> None:
    """A binding was closed, and then nobody was there."""
    async with shard.client() as client:
        async with negotiation(client):
            schema = unique()
            stays, goes = await importing(client, schema), await importing(client, schema)
            kept = await stays.shared()
        for workspace in (stays, goes):
            await client.patch(BINDINGS, workspace.mapped("widgets.example.com"), {"spec": {"closed": True}})
        await unimport(goes)
        await client.delete(NEGOTIATED, goes.mapped(WIDGETS))
        async with negotiation(client):
            await gone(client, BINDINGS, goes.mapped("widgets.example.com"))

            async def is_open() -> bool:
                return not (await client.get(BINDINGS, stays.mapped("widgets.example.com")))["spec"].get("closed")

            await eventually(is_open)
            assert await stays.shared() == kept


async def test_a_shared_crd_that_somebody_deletes_is_made_again(shard: ControlPlane) -> None:
    async with shard.client() as client, negotiation(client):
        workspace = await importing(client, unique())
        before = await workspace.crd()
        await client.delete(CRDS, before["metadata"]["name"])

        async def again() -> bool:
            return bool((await workspace.crd())["metadata"]["uid"] != before["metadata"]["uid"])

        await eventually(again, StatusError)


async def test_quotas_count_where_objects_stand(shard: ControlPlane) -> None:
    quotas = Resource("", "v1", "resourcequotas")
    async with shard.client() as client, negotiation(client):
        workspace = Workspace(client)
        await workspace.namespace("one")
        own = f"count/widgets.{workspace.token}-example.com"
        quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": {own: "1"}}}
        await client.create(quotas, quota, workspace.mapped("one"))
        await workspace.imports(await workspace.cluster("east"), "widgets", "example.com", unique())
        await published(workspace)
        group = (await workspace.shared()).group

        async def hard() -> Object:
            found: Object = (await client.get(quotas, "q", workspace.mapped("one")))["spec"]["hard"]
            return found

        await reaches(hard, {f"count/widgets.{group}": "1"})
        await unimport(workspace)
        await reaches(hard, {own: "1"})


async def test_another_schema_of_the_same_identity(shard: ControlPlane) -> None:
    """Digests are long and identities short: whoever finds such a pair gains nothing by it."""
    async with shard.client() as client:
        schema = unique()
        async with negotiation(client):
            crd = await (await importing(client, schema)).crd()
        await client.patch(CRDS, crd["metadata"]["name"], {"metadata": {"annotations": {DIGEST: "another"}}})
        async with negotiation(client):
            workspace = await importing(client, schema)
            assert (await workspace.crd())["metadata"]["name"] == f"widgets.{workspace.token}-example.com"
