"""The last import of a type goes: what there is of it can be read and deleted, nothing else."""

from __future__ import annotations

from typing import Any

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from proxy.workload.api import CLUSTERS
from tests.e2e.workspaces.importing import GROUP, Importer
from tests.e2e.workspaces.installation import Installation
from tests.integration.eventually import eventually

STARS = Resource(GROUP, "v1", "stars")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
READS = ["delete", "deletecollection", "get", "list", "watch"]


async def verbs(importer: Importer, resource: Resource) -> list[str]:
    found = await importer.client.request("GET", f"/apis/{resource.group}/{resource.version}")
    return next((sorted(item["verbs"]) for item in found["resources"] if item["name"] == resource.plural), [])


async def test_objects_stay_readable_and_deletable(kcp: Installation) -> None:
    importer = await Importer.fresh(kcp)
    client = importer.client
    await importer.cluster()
    await importer.imports(STARS, "Star")
    await importer.imports(DEPLOYMENTS, "Deployment")
    await importer.served(STARS)
    await importer.served(DEPLOYMENTS)
    held = {"finalizers": ["example.com/held"]}
    for name in ("one", "two"):
        await importer.make(STARS, "Star", name, spec={"size": 1})
    await importer.make(STARS, "Star", "held", metadata=held)
    pod: dict[str, Any] = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    template = {"selector": {"matchLabels": {"a": "b"}}, "template": pod}
    await importer.make(DEPLOYMENTS, "Deployment", "web", spec=template)

    await client.delete(CLUSTERS, "east")

    async def left(resource: Resource) -> bool:
        return await verbs(importer, resource) == READS

    for resource, kind in ((STARS, "Star"), (DEPLOYMENTS, "Deployment")):
        await eventually(lambda resource=resource: left(resource), StatusError, timeout=60)  # type: ignore[misc]
        path = resource.path("default")
        body = {"apiVersion": resource.api_version, "kind": kind, "metadata": {"name": "new"}, "spec": {}}
        refusal = await importer.refused(405, "POST", path, body)
        name = f"{resource.plural}.{resource.group}"
        assert refusal.message == (
            f'create is not supported on resources of kind "{name}": no cluster imports it any more, its objects can '
            "be read and deleted"
        )
        assert refusal.reason == "MethodNotAllowed"
        apply = {"content_type": "application/apply-patch+yaml", "params": {"fieldManager": "test"}}
        await importer.refused(405, "PATCH", f"{path}/new", body, **apply)
    one = await client.get(STARS, "one", "default")
    await importer.refused(405, "PUT", STARS.path("default", "one"), one)
    patch = {"status": {"seen": 1}}
    merge = {"content_type": "application/merge-patch+json"}
    await importer.refused(405, "PATCH", STARS.path("default", "one", "status"), patch, **merge)
    assert [item["metadata"]["name"] for item in (await client.list(STARS))["items"]] == ["held", "one", "two"]
    listed = await kcp.kubectl(importer.path, "get", "stars,deployments", "-o", "name")
    assert listed.out.split() == [
        f"star.{GROUP}/held", f"star.{GROUP}/one", f"star.{GROUP}/two", "deployment.apps/web"
    ]  # fmt: skip

    await client.delete(STARS, "one", namespace="default")
    await client.delete(STARS, "held", namespace="default")
    assert [item["metadata"]["name"] for item in (await client.list(STARS))["items"]] == ["held", "two"]
    # What is being deleted may be changed, or its finalizers would hold it for ever.
    await client.patch(STARS, "held", {"metadata": {"finalizers": None}}, "default")
    assert [item["metadata"]["name"] for item in (await client.list(STARS))["items"]] == ["two"]
    await client.delete(DEPLOYMENTS, "web", namespace="default")
    assert (await client.list(DEPLOYMENTS))["items"] == []

    # A cluster that imports it is there again: so is all the rest.
    await importer.cluster("west")
    await importer.imports(STARS, "Star", at="west")

    async def whole() -> bool:
        return "create" in await verbs(importer, STARS)

    await eventually(whole, StatusError, timeout=60)
    await client.patch(STARS, "two", {"spec": {"size": 2}}, "default")
    await importer.make(STARS, "Star", "new")
