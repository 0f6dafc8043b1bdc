"""The kinds of which a workspace may have objects on its shard: native ones, its own CRDs', and those that it shares.

What others have costs nothing here, but for a look at the labels of the shard's CRDs, which its API server has in
memory, and for a document that is read once for all (`NativeKinds`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import NamedTuple

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.readiness import ROLES_HOOK
from proxy.mapping.names import KCP_GROUPS, NATIVE_GROUPS
from proxy.mapping.registrations import STORED_GROUP
from proxy.mapping.shared import shared_group
from proxy.tenancy.content import BINDINGS, CRDS, own
from proxy.tenancy.vacancies import Vacancies

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
KEPT = 60.0
"""Seconds for which what a shard serves itself is believed. It changes with its version, and with kcp's."""
NEEDED = frozenset({"list", "create", "update", "delete"})
SAME_AS_CORE = ("events.k8s.io", "events")


class Kind(NamedTuple):
    """A resource as the shard serves it."""

    resource: Resource
    has_status: bool
    converted: bool = False
    """Whether a webhook of its workspace may be asked before its objects can be read."""
    native: bool = False
    """Whether the shard serves it by itself, for all workspaces."""


class NativeKinds:
    """Those that one shard serves itself: read once, for all that ask, and again when the shard was away."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: list[Kind] | None = None
        self._read = 0.0
        """When that was, by `time.monotonic`."""
        self._reading = asyncio.Lock()
        self._vacancies = Vacancies(client)

    @classmethod
    def on_all(cls, shards: Mapping[str, Client]) -> dict[str, NativeKinds]:
        """Of clients that may impersonate."""
        return {name: cls(client) for name, client in Identity.NAMESPACES.on_all(shards).items()}

    async def all(self) -> list[Kind]:
        """Raises StatusError."""
        async with self._reading:
            if self._known is None or time.monotonic() - self._read > KEPT:
                # A shard that starts does not tell of all that it has.
                await self._client.request("GET", "/readyz", params={"exclude": ROLES_HOOK})
                found = await native_kinds(self._client)
                if not {kind.resource.group for kind in found} >= KCP_GROUPS:
                    return found  # nor does one whose types were made a moment ago
                self._known, self._read = found, time.monotonic()
            return self._known

    async def namespaced(self) -> list[Kind]:
        """Those of them in namespaces. Raises StatusError."""
        return [kind for kind in await self.all() if kind.resource.namespaced]

    async def is_vacant(self, kind: Kind) -> bool:
        """Whether no workspace of the shard had any at a moment after this was asked; False where that cannot be said.
        Raises StatusError."""
        return kind.native and await self._vacancies.is_vacant(kind.resource)

    def forget(self) -> None:
        self._known = None


async def kinds_of(client: Client, token: str, native: NativeKinds) -> list[Kind]:
    """What objects of the workspace with ``token`` there may be on a shard."""
    # Discovery tells of a new CRD with some delay, in which there may be objects of it already.
    known, crds, bindings = await asyncio.gather(native.all(), own(client, CRDS, token), own(client, BINDINGS, token))
    for name in {crd_of(binding) for binding in bindings}:
        crd = await client.find(CRDS, name)
        crds += [crd] if crd is not None else []
    return [*known, Kind(BINDINGS, False), *of_crds(crds)]


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
                    found.setdefault(place, Kind(resource, "status" in subresources, native=True))
    return list(found.values())


async def own_namespaced(client: Client, token: str) -> list[Kind]:
    """Those in namespaces that only the workspace with ``token`` has, or that it shares."""
    crds, bindings = await asyncio.gather(own(client, CRDS, token), own(client, BINDINGS, token))
    return [kind for kind in (*of_crds(crds), *of_bindings(bindings)) if kind.resource.namespaced]


def crd_of(binding: Object) -> str:
    """Name of the CRD that a TypeBinding binds to."""
    spec = binding["spec"]
    return f"{spec['plural']}.{shared_group(spec['identity'], spec['group'])}"


def of_crds(crds: list[Object]) -> list[Kind]:
    return [kind for crd in crds if (kind := kind_of(crd)) is not None]


def of_bindings(bindings: list[Object]) -> list[Kind]:
    """As far as can be told of a type without its CRD."""
    found = []
    for spec in (binding["spec"] for binding in bindings):
        group = shared_group(spec["identity"], spec["group"])
        # A binding tells of versions as they are in its CRD, which never changes.
        resource = Resource(group, spec["versions"][0]["name"], spec["plural"], bool(spec.get("namespaced")))
        found.append(Kind(resource, False))
    return found


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
