"""API import on a real shard: what clusters have becomes what their workspace serves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.shared import plain_group
from proxy.shard.control_plane import ControlPlane
from proxy.workload.api import BINDINGS, CLUSTERS, CRDS, IMPORTS, NEGOTIATED
from proxy.workload.events import EVENTS
from proxy.workload.imports import Negotiation
from tests.integration.eventually import eventually
from tests.integration.workload_workspace import WIDGET, Workspace, controllers, gone, reaches

WIDGETS = "widgets.v1.example.com"
"""NegotiatedAPIResource."""


@pytest.fixture
async def workspace(shard: ControlPlane) -> AsyncIterator[Workspace]:
    async with shard.client() as client, controllers(client):
        yield Workspace(client)


async def test_a_native_type_is_published(workspace: Workspace) -> None:
    cluster = await workspace.cluster("east")
    await workspace.imports(cluster, "deployments", "apps", WIDGET, kind="Deployment")
    await reaches(lambda: workspace.status(NEGOTIATED, "deployments.v1.apps", "Published"), "True")
    assert await workspace.status(NEGOTIATED, "deployments.v1.apps", "Submitted") == "True"
    assert await workspace.status(NEGOTIATED, "deployments.v1.apps", "Enforced") == "False"
    await reaches(lambda: workspace.status(IMPORTS, "deployments.east.v1.apps", "Compatible"), "True")
    await reaches(lambda: workspace.status(IMPORTS, "deployments.east.v1.apps", "Available"), "True")


@pytest.mark.parametrize(
    ("plural", "group"), [("clusterroles", "rbac.authorization.k8s.io"), ("namespaces", ""), ("unicorns", "apps")]
)
async def test_what_belongs_to_the_shard_is_not(workspace: Workspace, plural: str, group: str) -> None:
    cluster = await workspace.cluster("east")
    await workspace.imports(cluster, plural, group, WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, f"{plural}.v1.{group or 'core'}", "Published"), "False")


async def test_another_type_becomes_a_shared_crd(workspace: Workspace) -> None:
    cluster = await workspace.cluster("east")
    await workspace.imports(cluster, "widgets", "example.com", WIDGET, subResources=[{"name": "status"}])
    await reaches(lambda: workspace.status(NEGOTIATED, "widgets.v1.example.com", "Published"), "True")
    crd = await workspace.crd()
    assert plain_group(crd["spec"]["group"]) == "example.com"
    assert crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == WIDGET
    assert crd["spec"]["versions"][0]["subresources"] == {"status": {}}


async def test_a_crd_made_by_hand_is_kept(workspace: Workspace) -> None:
    group = f"{workspace.token}-example.com"
    await workspace.client.create(CRDS, by_hand(group, {"type": "object"}))
    cluster = await workspace.cluster("east")
    await workspace.imports(cluster, "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, "widgets.v1.example.com", "Enforced"), "True")
    kept = await workspace.client.get(CRDS, f"widgets.{group}")
    assert kept["spec"]["versions"][0]["schema"] == {"openAPIV3Schema": {"type": "object"}}


async def test_an_incompatible_schema_names_the_path(workspace: Workspace) -> None:
    east, west = await workspace.cluster("east"), await workspace.cluster("west")
    await workspace.imports(east, "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(IMPORTS, "widgets.east.v1.example.com", "Available"), "True")
    other = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "string"}}}}}
    await workspace.imports(west, "widgets", "example.com", other)
    await reaches(lambda: workspace.status(IMPORTS, "widgets.west.v1.example.com", "Compatible"), "False")
    condition = await workspace.condition(IMPORTS, "widgets.west.v1.example.com", "Compatible")
    assert condition is not None
    assert condition["reason"] == "IncompatibleSchema"
    assert ".spec.size" in condition["message"]
    assert await workspace.status(IMPORTS, "widgets.east.v1.example.com", "Compatible") == "True"


async def test_a_schema_that_cannot_be_served_is_told(workspace: Workspace) -> None:
    cluster = await workspace.cluster("east")
    broken = {"type": "object", "properties": {"spec": {"type": "no such type"}}}
    await workspace.imports(cluster, "widgets", "example.com", broken)
    await reaches(lambda: workspace.status(NEGOTIATED, "widgets.v1.example.com", "Published"), "False")
    condition = await workspace.condition(NEGOTIATED, "widgets.v1.example.com", "Published")
    assert condition is not None
    assert condition["reason"] == "InvalidSchema"
    assert "no such type" in condition["message"]
    assert workspace.token not in condition["message"]


async def test_a_type_goes_with_its_cluster_and_its_last_object(shard: ControlPlane) -> None:
    async with shard.client() as client, controllers(client), asyncio.TaskGroup() as group:
        task = group.create_task(Negotiation(client, auto_publish=True, look_again=0.3, settled=0.5).run())
        workspace = Workspace(client)
        cluster = await workspace.cluster("east")
        await workspace.imports(cluster, "widgets", "example.com", WIDGET)
        await reaches(lambda: workspace.status(NEGOTIATED, "widgets.v1.example.com", "Published"), "True")
        await workspace.namespace("one")
        resource = await workspace.shared()
        widget = {"apiVersion": resource.api_version, "kind": "Widget", "metadata": {"name": "w"}}
        await eventually(lambda: client.create(resource, widget, workspace.mapped("one")), StatusError, timeout=60)
        await client.delete(CLUSTERS, cluster["metadata"]["name"])
        await gone(client, IMPORTS, workspace.mapped("widgets.east.v1.example.com"))
        expected = ("True", "NotImported", "no cluster imports it any more: its objects can be read and deleted")
        await reaches(lambda: condition(workspace, NEGOTIATED, WIDGETS, "Published"), expected)
        await asyncio.sleep(1)
        assert await client.get(resource, "w", workspace.mapped("one")), "readable as long as there is one"
        await client.delete(resource, "w", workspace.mapped("one"))
        await gone(client, NEGOTIATED, workspace.mapped("widgets.v1.example.com"))
        await gone(client, BINDINGS, workspace.mapped("widgets.example.com"))
        task.cancel()


async def test_without_auto_publish_somebody_has_to_say_so(shard: ControlPlane) -> None:
    async with shard.client() as client, controllers(client, auto_publish=False):
        workspace = Workspace(client)
        cluster = await workspace.cluster("east")
        await workspace.imports(cluster, "deployments", "apps", WIDGET, kind="Deployment")
        await reaches(lambda: workspace.status(NEGOTIATED, "deployments.v1.apps", "Submitted"), "True")
        assert await workspace.status(NEGOTIATED, "deployments.v1.apps", "Published") == "False"
        await client.patch(NEGOTIATED, workspace.mapped("deployments.v1.apps"), {"spec": {"publish": True}})
        await reaches(lambda: workspace.status(NEGOTIATED, "deployments.v1.apps", "Published"), "True")


@pytest.mark.parametrize(
    "spec",
    [
        {"groupVersion": {"group": "", "version": "v1/secrets"}},
        {"groupVersion": {"group": "apps/../x", "version": "v1"}},
        {"plural": "../secrets"},
    ],
)
async def test_names_that_are_none_are_refused(workspace: Workspace, spec: Object) -> None:
    cluster = await workspace.cluster("east")
    with pytest.raises(StatusError) as refusal:
        await workspace.imports(cluster, "widgets", "example.com", WIDGET, **spec)
    assert refusal.value.code == 422


async def versions(workspace: Workspace) -> dict[str, bool]:
    """Of the workspace's CRD of widgets: name → served."""
    return {version["name"]: version["served"] for version in (await workspace.crd())["spec"]["versions"]}


async def condition(workspace: Workspace, resource: Resource, name: str, kind: str) -> tuple[str, str, str]:
    found = await workspace.condition(resource, name, kind) or {}
    return str(found.get("status")), str(found.get("reason")), str(found.get("message"))


def sized(kind: str, **more: Any) -> Object:
    spec = {"type": "object", "properties": {"size": {"type": kind}, **more}}
    return {"type": "object", "properties": {"spec": spec}}


async def test_the_lowest_common_denominator(shard: ControlPlane) -> None:
    """What one of two clusters lacks is not in it, as long as it is not published."""
    async with shard.client() as client, controllers(client, auto_publish=False):
        workspace = Workspace(client)
        east, west = await workspace.cluster("east"), await workspace.cluster("west")
        rich = sized("integer", colour={"type": "string"})
        await workspace.imports(east, "widgets", "example.com", rich, subResources=[{"name": "status"}])
        await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Submitted"), "True")
        await workspace.imports(west, "widgets", "example.com", WIDGET)

        async def agreed() -> tuple[Object, list[Object]]:
            spec = (await client.get(NEGOTIATED, workspace.mapped(WIDGETS)))["spec"]
            return spec["openAPIV3Schema"], spec["subResources"]

        await reaches(agreed, (WIDGET, []))
        for location in ("east", "west"):
            await reaches(
                partial(workspace.status, IMPORTS, f"widgets.{location}.v1.example.com", "Compatible"), "True"
            )
        # The poorer one goes: there is more again.
        await client.delete(CLUSTERS, workspace.mapped("west"))
        await reaches(agreed, (rich, [{"name": "status"}]))
        await client.patch(NEGOTIATED, workspace.mapped(WIDGETS), {"spec": {"publish": True}})
        await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")


@pytest.mark.parametrize(
    ("strategy", "accepted"), [("UpdateNever", False), ("UpdateUnpublished", False), ("UpdatePublished", True)]
)
async def test_strategies_on_what_is_published(workspace: Workspace, strategy: str, accepted: bool) -> None:
    east, west = await workspace.cluster("east"), await workspace.cluster("west")
    rich = sized("integer", colour={"type": "string"})
    await workspace.imports(east, "widgets", "example.com", rich)
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")
    await workspace.imports(west, "widgets", "example.com", WIDGET, schemaUpdateStrategy=strategy)
    name = "widgets.west.v1.example.com"
    await reaches(lambda: workspace.status(IMPORTS, name, "Compatible"), str(accepted))

    async def served() -> Object:
        crd = await workspace.crd()
        schema: Object = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        return schema

    await reaches(served, WIDGET if accepted else rich)
    if not accepted:
        message = f".spec.colour: it would narrow the schema in use, which {strategy} forbids"
        assert await condition(workspace, IMPORTS, name, "Compatible") == ("False", "IncompatibleSchema", message)


async def test_the_older_import_counts_and_the_younger_is_told(workspace: Workspace) -> None:
    """Whatever their names are; an Event says so as well."""
    await workspace.namespace("default")
    west, east = await workspace.cluster("west"), await workspace.cluster("east")
    await workspace.imports(west, "widgets", "example.com", sized("integer"), schemaUpdateStrategy="UpdatePublished")
    await reaches(lambda: workspace.status(IMPORTS, "widgets.west.v1.example.com", "Available"), "True")
    await asyncio.sleep(1)  # creation times are whole seconds
    await workspace.imports(east, "widgets", "example.com", sized("string"), schemaUpdateStrategy="UpdatePublished")
    await reaches(lambda: workspace.status(IMPORTS, "widgets.east.v1.example.com", "Compatible"), "False")
    assert await workspace.status(IMPORTS, "widgets.west.v1.example.com", "Compatible") == "True"
    negotiated = await workspace.client.get(NEGOTIATED, workspace.mapped(WIDGETS))
    assert negotiated["spec"]["openAPIV3Schema"] == sized("integer")

    async def events() -> dict[str, str]:
        listed = await workspace.client.list(EVENTS, workspace.mapped("default"))
        told = ("IncompatibleSchema", "Published")
        return {item["reason"]: item["message"] for item in listed["items"] if item["reason"] in told}

    expected = {
        "IncompatibleSchema": ".spec.size: type integer here, string there",
        "Published": "The workspace serves it.",
    }
    await reaches(events, expected)


async def test_an_incompatible_import_that_is_mended(workspace: Workspace) -> None:
    east, west = await workspace.cluster("east"), await workspace.cluster("west")
    await workspace.imports(east, "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")
    name = await workspace.imports(west, "widgets", "example.com", sized("string"))
    await reaches(lambda: workspace.status(IMPORTS, "widgets.west.v1.example.com", "Compatible"), "False")
    await workspace.client.patch(IMPORTS, name, {"spec": {"openAPIV3Schema": WIDGET}})
    patch = [{"op": "replace", "path": "/spec/openAPIV3Schema", "value": WIDGET}]
    await workspace.client.patch(IMPORTS, name, patch, kind="json")
    await reaches(lambda: workspace.status(IMPORTS, "widgets.west.v1.example.com", "Compatible"), "True")


async def test_two_versions_of_one_type(workspace: Workspace) -> None:
    """Each cluster has another one: both are served, of the same objects."""
    east, west = await workspace.cluster("east"), await workspace.cluster("west")
    await workspace.imports(east, "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")
    await workspace.imports(west, "widgets", "example.com", WIDGET, groupVersion=version("v2"))
    await reaches(lambda: workspace.status(NEGOTIATED, "widgets.v2.example.com", "Published"), "True")
    assert await versions(workspace) == {"v1": True, "v2": True}
    await workspace.namespace("one")
    old, new = await workspace.shared(version="v1"), await workspace.shared(version="v2")
    widget = {"apiVersion": new.api_version, "kind": "Widget", "metadata": {"name": "w"}, "spec": {"size": 3}}
    await eventually(lambda: workspace.client.create(new, widget, workspace.mapped("one")), StatusError, timeout=60)
    assert (await workspace.client.get(old, "w", workspace.mapped("one")))["spec"] == {"size": 3}
    # The cluster of the version in which objects are stored goes: they are still there in the other one.
    await workspace.client.delete(CLUSTERS, workspace.mapped("east"))
    await gone(workspace.client, NEGOTIATED, workspace.mapped(WIDGETS))
    assert (await workspace.client.get(new, "w", workspace.mapped("one")))["spec"] == {"size": 3}
    # And is back, the objects where they were.
    await workspace.imports(await workspace.cluster("east"), "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")
    assert await workspace.shared() == old


async def test_two_versions_that_do_not_fit(workspace: Workspace) -> None:
    east, west = await workspace.cluster("east"), await workspace.cluster("west")
    await workspace.imports(east, "widgets", "example.com", WIDGET)
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")
    await workspace.imports(west, "widgets", "example.com", sized("string"), groupVersion=version("v2"))
    name = "widgets.v2.example.com"
    await reaches(lambda: workspace.status(NEGOTIATED, name, "Published"), "False")
    expected = ("False", "VersionConflict", ".spec.size: type integer here, string there")
    await reaches(lambda: condition(workspace, NEGOTIATED, name, "Published"), expected)
    assert await versions(workspace) == {"v1": True}


async def test_a_crd_made_by_hand_is_the_measure_and_may_go(workspace: Workspace) -> None:
    group = f"{workspace.token}-example.com"
    await workspace.client.create(CRDS, by_hand(group, sized("string")))
    cluster = await workspace.cluster("east")
    changing = {"schemaUpdateStrategy": "UpdatePublished"}  # so it is a CRD of the workspace's own afterwards
    await workspace.imports(cluster, "widgets", "example.com", sized("integer"), **changing)
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Enforced"), "True")
    name = "widgets.east.v1.example.com"
    expected = ("False", "IncompatibleSchema", ".spec.size: type string here, integer there")
    await reaches(lambda: condition(workspace, IMPORTS, name, "Compatible"), expected)
    # It is deleted: what the cluster has is served instead.
    await workspace.client.delete(CRDS, f"widgets.{group}")
    await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Enforced"), "False")
    await reaches(lambda: workspace.status(IMPORTS, name, "Compatible"), "True")

    async def served() -> Object:
        crd = await workspace.client.get(CRDS, f"widgets.{group}")
        schema: Object = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        return schema

    await reaches(served, sized("integer"))
    # Ours is what clusters have, whoever changes it.
    patch = [{"op": "remove", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec"}]
    await workspace.client.patch(CRDS, f"widgets.{group}", patch, kind="json")
    await reaches(served, sized("integer"))


async def test_what_is_not_to_be_published_any_more(shard: ControlPlane) -> None:
    async with shard.client() as client, asyncio.TaskGroup() as group:
        task = group.create_task(Negotiation(client, auto_publish=True, look_again=0.3, settled=0.5).run())
        workspace = Workspace(client)
        await workspace.imports(await workspace.cluster("east"), "widgets", "example.com", WIDGET)
        await reaches(lambda: workspace.status(NEGOTIATED, WIDGETS, "Published"), "True")
        await workspace.namespace("one")
        resource = await workspace.shared()
        widget = {"apiVersion": resource.api_version, "kind": "Widget", "metadata": {"name": "w"}}
        await eventually(lambda: client.create(resource, widget, workspace.mapped("one")), StatusError, timeout=60)
        await client.patch(NEGOTIATED, workspace.mapped(WIDGETS), {"spec": {"publish": False}})

        async def reason() -> str:
            return (await condition(workspace, NEGOTIATED, WIDGETS, "Published"))[1]

        await reaches(reason, "InUse")
        assert await client.get(resource, "w", workspace.mapped("one"))
        await client.delete(resource, "w", workspace.mapped("one"))
        await reaches(reason, "NotPublished")
        await gone(client, BINDINGS, workspace.mapped("widgets.example.com"))
        task.cancel()


def version(name: str) -> Object:
    return {"group": "example.com", "version": name}


def by_hand(group: str, schema: Object) -> Object:
    names = {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"}
    only = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"widgets.{group}"},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [only]},
    }
