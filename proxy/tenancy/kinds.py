"""The kinds of which a workspace may have objects on its shard: native ones, its own CRDs', and those that it shares.

What others have costs nothing here, but for a look at the labels of the shard's CRDs, which its API server has in
memory.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from proxy.kube.client import Client, Object, Resource
from proxy.kube.readiness import ROLES_HOOK
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.registrations import STORED_GROUP
from proxy.mapping.shared import shared_group
from proxy.tenancy.content import AGGREGATED, BINDINGS, CRDS, own

NEEDED = frozenset({"list", "create", "update", "delete"})
SAME_AS_CORE = ("events.k8s.io", "events")


class Kind(NamedTuple):
    """A resource as the shard serves it."""

    resource: Resource
    has_status: bool
    converted: bool = False
    """Whether a webhook of its workspace may be asked before its objects can be read."""


async def kinds_of(client: Client, token: str) -> list[Kind]:
    """What objects of the workspace with ``token`` there may be on a shard."""
    # Discovery tells of a new CRD with some delay, in which there may be objects of it already.
    native, crds, bindings = await asyncio.gather(
        native_kinds(client), own(client, CRDS, token), own(client, BINDINGS, token)
    )
    for name in {crd_of(binding) for binding in bindings}:
        crd = await client.find(CRDS, name)
        crds += [crd] if crd is not None else []
    return [*native, Kind(BINDINGS, False), *_of_crds(crds)]


async def native_kinds(client: Client) -> list[Kind]:
    """Those that the shard serves itself: the same for all workspaces. What it reads grows with the CRDs of all."""
    documents = await asyncio.gather(
        client.request("GET", "/api", accept=AGGREGATED), client.request("GET", "/apis", accept=AGGREGATED)
    )
    found: dict[tuple[str, str], Kind] = {}
    for document in documents:
        for item in document.get("items") or ():
            group = item["metadata"].get("name", "")
            if group not in NATIVE_GROUPS and group != STORED_GROUP:
                continue
            for version in item["versions"]:
                for entry in version.get("resources") or ():
                    place = (group, entry["resource"])
                    if place == SAME_AS_CORE or not set(entry["verbs"]) >= NEEDED:
                        continue
                    resource = Resource(group, version["version"], place[1], entry["scope"] == "Namespaced")
                    subresources = {part["subresource"] for part in entry.get("subresources") or ()}
                    found.setdefault(place, Kind(resource, "status" in subresources))
    return list(found.values())


class NativeKinds:
    """Those in namespaces of one shard: read once, for all that ask, and again when the shard was away."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: list[Kind] | None = None
        self._reading = asyncio.Lock()

    async def read(self) -> list[Kind]:
        """Raises StatusError."""
        async with self._reading:
            if self._known is None:
                # A shard that starts does not tell of all that it has.
                await self._client.request("GET", "/readyz", params={"exclude": ROLES_HOOK})
                self._known = [kind for kind in await native_kinds(self._client) if kind.resource.namespaced]
            return self._known

    def forget(self) -> None:
        self._known = None


async def own_namespaced(client: Client, token: str) -> list[Kind]:
    """Those in namespaces that only the workspace with ``token`` has, or that it shares."""
    crds, bindings = await asyncio.gather(own(client, CRDS, token), own(client, BINDINGS, token))
    found = [kind for kind in _of_crds(crds) if kind.resource.namespaced]
    for spec in (binding["spec"] for binding in bindings):
        if spec.get("namespaced"):
            group = shared_group(spec["identity"], spec["group"])
            # A binding tells of versions as they are in its CRD, which never changes.
            found += [Kind(Resource(group, spec["versions"][0]["name"], spec["plural"]), False)]
    return found


def crd_of(binding: Object) -> str:
    """Name of the CRD that a TypeBinding binds to."""
    spec = binding["spec"]
    return f"{spec['plural']}.{shared_group(spec['identity'], spec['group'])}"


def _of_crds(crds: list[Object]) -> list[Kind]:
    return [kind for crd in crds if (kind := kind_of(crd)) is not None]


def kind_of(crd: Object) -> Kind | None:
    """None for one that is not served."""
    spec = crd["spec"]
    # In the version in which objects are stored, nothing need be converted.
    for version in sorted(spec["versions"], key=lambda version: not version["storage"]):
        if version["served"]:
            namespaced = spec["scope"] == "Namespaced"
            resource = Resource(spec["group"], version["name"], spec["names"]["plural"], namespaced)
            converted = (spec.get("conversion") or {}).get("strategy") == "Webhook"
            return Kind(resource, "status" in (version.get("subresources") or {}), converted)
    return None
