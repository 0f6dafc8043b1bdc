"""How much of a quota is used: the objects of its namespace, looked at on the shard now."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import NamedTuple

from proxy.kube.client import METADATA_LIST, Client, Object
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.shared import plain_group
from proxy.quota.evaluators import EVALUATORS, Need, Type, expires, numbered, used
from proxy.quota.quantity import Quantity
from proxy.tenancy.content import CRDS
from proxy.tenancy.kinds import Kind, NativeKinds, kind_of


class Usage(NamedTuple):
    amounts: Mapping[str, Quantity]
    """By key of the quota."""
    until: datetime.datetime | None = None
    """When it is less although nothing happens."""


async def measure(client: Client, kind: Kind, namespace: str, need: Need, spec: Object) -> Usage:
    """Raises StatusError."""
    now = datetime.datetime.now(datetime.UTC)
    if need.whole:
        objects = (await client.list(kind.resource, namespace))["items"] if need.type in EVALUATORS else []
        ends = [end for obj in objects if (end := expires(need.type, obj)) is not None and end >= now]
        return Usage(used(need, spec, objects, now), min(ends, default=None))
    # Whoever reads one object is told how many follow.
    page = await client.request("GET", kind.resource.path(namespace), params={"limit": 1}, accept=METADATA_LIST)
    number = len(page.get("items") or ()) + int(page["metadata"].get("remainingItemCount") or 0)
    return Usage(numbered(need, number))


def is_native(counted: Type) -> bool:
    return counted.group in NATIVE_GROUPS


class Types:
    """Which resource of the shard a type is; for workspaces' own, what was read once, until that is forgotten."""

    def __init__(self, client: Client) -> None:
        self._native = NativeKinds(client)
        self._own: dict[Type, Kind | None] = {}

    async def find(self, client: Client, counted: Type, token: str, *, keep: bool) -> Kind | None:
        """None where the workspace with ``token`` has no such type. ``keep``: somebody will say when its CRD changes.
        Raises StatusError."""
        if is_native(counted):
            native = await self._native.namespaced()
            return next((kind for kind in native if (kind.resource.group, kind.resource.plural) == counted), None)
        if not counted.group.startswith(f"{token}-") and plain_group(counted.group) is None:
            return None
        if counted in self._own:
            return self._own[counted]
        crd = await client.find(CRDS, f"{counted.plural}.{counted.group}")
        kind = kind_of(crd) if crd is not None else None
        if kind is not None and not kind.resource.namespaced:
            kind = None
        if keep or (kind is not None and plain_group(counted.group) is not None):  # shared ones do not change
            self._own[counted] = kind
        return kind

    def forget(self, counted: Type) -> None:
        self._own.pop(counted, None)

    def forget_all(self) -> None:
        """The shard was away."""
        self._own.clear()
        self._native.forget()
