"""The removal of all that a workspace holds on its shard.

A deletion asks for what its own workspace may have, whatever types others have: the kinds of the shard itself, which
are read once for all deletions, its own CRDs, and those that it shares.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.shared import without_identities
from proxy.mapping.token import PREFIX_LENGTH
from proxy.tenancy.api import GROUP, NAMESPACES, WORKSPACES
from proxy.tenancy.content import BINDINGS, CRDS, own
from proxy.tenancy.kinds import NativeKinds, of_bindings, of_crds

APART = frozenset(
    {(NAMESPACES.group, NAMESPACES.plural), (CRDS.group, CRDS.plural),
     (GROUP, "workspaces"), (GROUP, "clusterworkspaces")}
)  # fmt: skip
"""What is deleted by itself: before all else, or before its parent's content."""


class Left(NamedTuple):
    """What is still there, in a few words each."""

    namespaces: list[str]
    others: list[str]

    @property
    def all(self) -> list[str]:
        return [*self.namespaces, *self.others]


async def remove(client: Client, token: str, native: NativeKinds) -> Left:
    """Ask for everything of the workspace with ``token`` to be deleted.

    To be called again until nothing is left. Child workspaces must be gone before: they are left alone here.
    """
    crds = await own(client, CRDS, token)
    for crd in crds:
        await end_conversion(client, crd)
    await _delete_each(client, CRDS, crds)
    left = [f"customresourcedefinitions: {len(crds)}"] if crds else []
    namespaces = await delete_namespaces(client, token)
    if namespaces:
        # They take their time, and what acts in them may need its ClusterRoles until they are gone. Most workspaces
        # have nothing else that has to be waited for, and are looked through once.
        return Left(namespaces, left)
    bindings = await own(client, BINDINGS, token)
    kinds = [*await native.all(), *of_crds(crds), *of_bindings(bindings)]
    cluster = [kind for kind in kinds if not kind.resource.namespaced and _place(kind.resource) not in APART]
    vacant = await asyncio.gather(*map(native.is_vacant, cluster))
    for kind, nobody_has_any in zip(cluster, vacant, strict=True):
        count = 0 if nobody_has_any else await _delete_all(client, kind.resource, token)
        left += [f"{kind.resource.plural}: {count}"] if count else []
    if bindings and not left:  # they say where objects stand, which may have finalizers for somebody to see to
        count = await _delete_all(client, BINDINGS, token)
        left += [f"typebindings: {count}"] if count else []
    return Left([], left)


def _place(resource: Resource) -> tuple[str, str]:
    return resource.group, resource.plural


async def _delete_all(client: Client, resource: Resource, token: str) -> int:
    """How many objects there were before this deletion."""
    try:
        found = await own(client, resource, token, accept=METADATA_LIST)
    except StatusError as error:
        if error.code in (404, 405):
            return 0
        raise
    await _delete_each(client, resource, found)
    return len(found)


async def _delete_each(client: Client, resource: Resource, found: list[Object]) -> None:
    for item in found:
        if not item["metadata"].get("deletionTimestamp"):
            await _delete(client, resource, item["metadata"]["name"])


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


async def delete_namespaces(client: Client, token: str) -> list[str]:
    """Ask for those of a workspace to be deleted; which there are, in a few words each."""
    left = []
    for item in await own(client, NAMESPACES, token):
        name = item["metadata"]["name"]
        if not item["metadata"].get("deletionTimestamp"):
            await _delete(client, NAMESPACES, name)
        waiting = [
            condition.get("message", "")
            for condition in (item.get("status") or {}).get("conditions") or ()
            if condition["status"] == "True"
        ]
        # Who made the workspace reads it, in another.
        why = without_identities(waiting[0].replace(f"{token}-", "").encode()).decode() if waiting else ""
        left.append(f"namespace {name[PREFIX_LENGTH:]}" + (f" ({why})" if why else ""))
    return left


async def _delete(client: Client, resource: Resource, name: str) -> None:
    try:
        await client.delete(resource, name)
    except StatusError as error:
        if error.code not in (404, 409):
            raise


async def delete_children(client: Client, token: str) -> int:
    """Ask for all workspaces in the workspace with ``token`` to be deleted; how many there still are."""
    return await _delete_all(client, WORKSPACES, token)
