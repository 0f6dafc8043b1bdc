"""What a workspace holds on its shard: what it starts with, and what is its own of a kind."""

from __future__ import annotations

import asyncio

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.listing import make_token
from proxy.mapping.token import LABEL
from proxy.tenancy.api import DEFAULT, NAMESPACES, TYPES, TYPES_IN, complete

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
BINDINGS = Resource("internal.kcp.dev", "v1alpha1", "typebindings", namespaced=False)
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
