"""What a workspace holds on its shard: what it starts with, and the removal of all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.listing import make_token
from proxy.mapping.shared import without_identities
from proxy.mapping.token import LABEL, PREFIX_LENGTH
from proxy.tenancy.api import DEFAULT, GROUP, NAMESPACES, TYPES, TYPES_IN, WORKSPACES, complete

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
BINDINGS = Resource("internal.kcp.dev", "v1alpha1", "typebindings", namespaced=False)
PAIR = frozenset({"workspaces", "clusterworkspaces"})
OWN = 20
"""Objects that are read at once. Most workspaces have fewer of a kind, and then the rest was read for nothing."""


async def create_if_absent(client: Client, resource: Resource, obj: Object) -> None:
    try:
        await client.create(resource, obj)
    except StatusError as error:
        if error.code != 409:
            raise


async def apply_if_free(client: Client, resource: Resource, obj: Object) -> None:
    """The same for our own kinds, by PATCH: an API server sits 2 s on a POST for a CRD that is younger than that."""
    try:
        await client.apply(resource, complete(resource, obj), manager="kcp", force=False)
    except StatusError as error:
        if error.code != 409:
            raise


async def initialize(client: Client, prefix: str, workspace_type: str) -> None:
    """Make what a workspace of that type starts with; what is there already stays."""
    namespace: Object = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": prefix + DEFAULT}}
    types: list[Object] = [
        {
            "apiVersion": TYPES.api_version,
            "kind": "ClusterWorkspaceType",
            "metadata": {"name": prefix + name},
            "spec": {},
        }
        for name in TYPES_IN.get(workspace_type, ())
    ]
    await asyncio.gather(
        create_if_absent(client, NAMESPACES, namespace), *(apply_if_free(client, TYPES, item) for item in types)
    )


async def remove(client: Client, token: str) -> list[str]:
    """Ask for everything of the workspace with ``token`` to be deleted; what is still there, in a few words each.

    To be called again until the answer is empty. Child workspaces must be gone before: they are left alone here.
    """
    left: list[str] = []
    crds = await _delete_all(client, CRDS, token)
    left += [f"customresourcedefinitions: {crds}"] if crds else []
    namespaces, asked = await _delete_namespaces(client, token)
    left += namespaces
    if namespaces and not asked:
        return left  # they take their time; everything else was asked for when they were
    for resource in await cluster_resources(client):
        if resource in (NAMESPACES, CRDS, BINDINGS) or (resource.group == GROUP and resource.plural in PAIR):
            continue
        count = await _delete_all(client, resource, token)
        left += [f"{resource.plural}: {count}"] if count else []
    if not left:  # they say where objects stand, which may have finalizers for somebody to see to
        count = await _delete_all(client, BINDINGS, token)
        left += [f"typebindings: {count}"] if count else []
    return left


async def cluster_resources(client: Client) -> list[Resource]:
    """All cluster-scoped resources of a shard that can be listed and deleted, private ones too."""
    documents = await asyncio.gather(
        client.request("GET", "/api", accept=AGGREGATED), client.request("GET", "/apis", accept=AGGREGATED)
    )
    found = []
    for document in documents:
        for group in document.get("items") or ():
            found += _of_group(group["metadata"].get("name", ""), group["versions"])
    return found


def _of_group(group: str, versions: Iterable[dict[str, Any]]) -> list[Resource]:
    seen: dict[str, Resource] = {}
    for version in versions:
        for entry in version.get("resources") or ():
            if entry["scope"] == "Cluster" and {"list", "delete"} <= set(entry["verbs"]):
                seen.setdefault(entry["resource"], Resource(group, version["version"], entry["resource"], False))
    return list(seen.values())


async def own(client: Client, resource: Resource, token: str, *, accept: str | None = None) -> list[Object]:
    """The objects of a cluster-scoped resource that the workspace with ``token`` has.

    Their names begin with the token, so they are read from there on: what others have costs nothing. CRDs are the
    exception.
    """
    if resource == CRDS:
        return list((await client.list(CRDS, label_selector=f"{LABEL}={token}", accept=accept))["items"])
    prefix = f"{token}-"
    found: list[Object] = []
    async for page in client.pages(resource, start=make_token(prefix), limit=OWN, accept=accept):
        mine = [item for item in page["items"] if item["metadata"]["name"].startswith(prefix)]
        found += mine
        if len(mine) < len(page["items"]):
            break
    return found


async def _delete_all(client: Client, resource: Resource, token: str) -> int:
    """How many objects there were before this deletion."""
    try:
        found = await own(client, resource, token, accept=None if resource == CRDS else METADATA_LIST)
    except StatusError as error:
        if error.code in (404, 405):
            return 0
        raise
    for item in found:
        if resource == CRDS:
            await end_conversion(client, item)
        if not item["metadata"].get("deletionTimestamp"):
            await _delete(client, resource, item["metadata"]["name"])
    return len(found)


async def end_conversion(client: Client, crd: Object) -> None:
    """From here on, objects of a CRD can be read and deleted whatever its webhook says, or does not say."""
    if (crd["spec"].get("conversion") or {}).get("strategy") != "Webhook":
        return
    is_webhook = {"op": "test", "path": "/spec/conversion/strategy", "value": "Webhook"}
    none = {"op": "replace", "path": "/spec/conversion", "value": {"strategy": "None"}}
    try:
        await client.patch(CRDS, crd["metadata"]["name"], [is_webhook, none], kind="json")
    except StatusError as error:
        if error.code not in (404, 409, 422):
            raise


async def _delete_namespaces(client: Client, token: str) -> tuple[list[str], bool]:
    """Those that there are, in a few words each, and whether one of them was not asked to go before."""
    left = []
    asked = False
    for item in await own(client, NAMESPACES, token):
        name = item["metadata"]["name"]
        if not item["metadata"].get("deletionTimestamp"):
            await _delete(client, NAMESPACES, name)
            asked = True
        waiting = [
            condition.get("message", "")
            for condition in (item.get("status") or {}).get("conditions") or ()
            if condition["status"] == "True"
        ]
        # Who made the workspace reads it, in another.
        why = without_identities(waiting[0].replace(f"{token}-", "").encode()).decode() if waiting else ""
        left.append(f"namespace {name[PREFIX_LENGTH:]}" + (f" ({why})" if why else ""))
    return left, asked


async def _delete(client: Client, resource: Resource, name: str) -> None:
    try:
        await client.delete(resource, name)
    except StatusError as error:
        if error.code not in (404, 409):
            raise


async def delete_children(client: Client, token: str) -> int:
    """Ask for all workspaces in the workspace with ``token`` to be deleted; how many there still are."""
    return await _delete_all(client, WORKSPACES, token)
