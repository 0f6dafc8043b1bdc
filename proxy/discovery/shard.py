"""What one shard tells: its native resources, the CRDs and the imports of all workspaces on it."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from proxy.discovery.catalog import Group, GroupVersionResource, groups_of
from proxy.discovery.catalog import Resource as GroupResource
from proxy.discovery.crds import Shape, Shapes, groups_of_crds
from proxy.discovery.view import AGGREGATED, AGGREGATED_BETA, View
from proxy.kube.client import METADATA, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.readiness import ROLES_HOOK
from proxy.mapping.detours import Converter
from proxy.mapping.names import KCP_GROUPS, NATIVE_GROUPS
from proxy.mapping.natives import importable
from proxy.mapping.registrations import GROUP as REGISTRATIONS
from proxy.mapping.shared import shared_group
from proxy.mapping.token import token_of

log = logging.getLogger(__name__)

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
NEGOTIATED = Resource("apiresource.kcp.dev", "v1alpha1", "negotiatedapiresources", namespaced=False)
BINDINGS = Resource("internal.kcp.dev", "v1alpha1", "typebindings", namespaced=False)
NOT_NATIVE = KCP_GROUPS
"""Groups of CRDs of ours."""
BUILT_IN_EVERY = 60.0
"""Seconds between looks at the resources that are built into the shard: they change when it is upgraded."""
SETTLED_AFTER = 5.0
"""Seconds after which a shard's OpenAPI says what its CRDs say; 1 as a rule."""
NOT_IMPORTED = "NotImported"
"""Reason of condition Published, of a type whose last import is gone while there are objects of it."""
CATCH_UP = 0.5
"""Seconds that a watch gets to bring what a direct look has seen."""


class Import(NamedTuple):
    """A type that a workspace has published."""

    type: GroupVersionResource
    left: bool
    """Whether no cluster imports it any more: what there is of it can be read and deleted."""


class Binding(NamedTuple):
    """In which of the shard's CRDs a type stands that a workspace shares with others."""

    crd: str
    group: str
    plural: str
    closed: bool
    """Whether it is not served at the moment."""


class Holding:
    """What one workspace has beyond its type."""

    __slots__ = ("bindings", "crds", "crds_changed", "imports", "shapes", "view")

    def __init__(self) -> None:
        self.crds: dict[str, Shape] = {}
        """By the CRD's name on the shard."""
        self.crds_changed = time.monotonic()
        self.imports: dict[str, Import] = {}
        """Published ones, by the NegotiatedAPIResource's name on the shard."""
        self.bindings: dict[str, Binding] = {}
        """By the TypeBinding's name."""
        self.shapes: frozenset[Shape] | None = None
        """All that CRDs give it, shared ones too; None after each change."""
        self.view: tuple[frozenset[GroupResource], View] | None = None
        """What its type gives, and all that it serves; None after each change."""

    def forget(self) -> None:
        """What was made of it does not hold any more."""
        self.shapes = self.view = None


class ShardCatalog:
    """Follows one shard. ``native_changed()`` is called when the shard's own resources have changed."""

    def __init__(
        self, name: str, client: Client, native_changed: Callable[[], None], *, admission: bool = False
    ) -> None:
        """``admission``: whether the shard asks this proxy about writes, so that workspaces may have configurations."""
        self._without = NOT_NATIVE if admission else NOT_NATIVE | {REGISTRATIONS}
        self.name = name
        self.client = client
        self.native: tuple[Group, ...] = ()
        """What is built into the shard, and what its own CRDs add to that."""
        self.version: Object = {}
        """The shard's ``/version``."""
        self.holdings: dict[str, Holding] = {}
        """By token; only workspaces that have CRDs or imports."""
        self._native_changed = native_changed
        self._built_in: tuple[Group, ...] = ()
        self._native_ready = asyncio.Event()
        self._moved = asyncio.Event()
        self._shapes = Shapes()
        self._own_crds = Holding()
        """The shard's own CRDs (kcp's groups), which are native to workspaces."""
        self.converters: dict[str, Converter] = {}
        """Conversion webhooks of workspaces, by the CRD's name."""
        self._shared: dict[str, tuple[Shape, float]] = {}
        """By the CRD's name, with the time of its last change: types that workspaces share."""
        self._bindings = Informer(client, BINDINGS, transform=_slim_binding)
        self._bindings.add_handler(self._binding_event)
        self._crds = Informer(client, CRDS, transform=self._slim_crd)
        self._crds.add_handler(self._crd_event)
        self._imports = Informer(client, NEGOTIATED, transform=_slim_import)
        self._imports.add_handler(self._import_event)

    async def run(self) -> None:
        """Follow the shard until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow_built_in())
            group.create_task(self._crds.run())
            group.create_task(self._imports.run())
            group.create_task(self._bindings.run())

    @property
    def synced(self) -> bool:
        """Whether everything was read once."""
        known = self._native_ready.is_set() and self._crds.synced
        return known and (not self._has_imports or (self._imports.synced and self._bindings.synced))

    async def wait_synced(self) -> None:
        await self._native_ready.wait()
        await self._crds.wait_synced()
        if self._has_imports:
            await self._imports.wait_synced()
            await self._bindings.wait_synced()

    @property
    def _has_imports(self) -> bool:
        return any(group.name == NEGOTIATED.group for group in self.native)

    def could_import(self, group: str, version: str, resource: str) -> bool:
        """Whether the shard has it natively, of a kind that an import may show."""
        return importable(group, resource) and any(
            entry["resource"] == resource
            for found in self.native
            if found.name == group
            for known in found.versions
            if known.name == version
            for entry in known.resources
        )

    def crd_digests(self, token: str, group: str | None = None) -> tuple[str, ...]:
        """Names all that CRDs say of a group: a workspace's own, or with a native ``group`` or None the shard's."""
        own = group is None or group in NATIVE_GROUPS
        holding = self._own_crds if own else self.holdings.get(token, self._own_crds)
        return tuple(sorted(shape.digest for shape in self.shapes_of(holding) if group in (None, shape.group)))

    def shapes_of(self, holding: Holding) -> frozenset[Shape]:
        """What CRDs give a workspace: its own, and of those that it shares the versions that it has published. One of
        its own wins."""
        if holding.shapes is None:
            shapes = list(holding.crds.values())
            own = {(shape.group, shape.plural) for shape in shapes}
            published = {imported.type for imported in holding.imports.values()}
            for binding in holding.bindings.values():
                known = self._shared.get(binding.crd)
                if known is None or binding.closed or binding[1:3] in own:
                    continue
                versions = {version for group, version, plural in published if (group, plural) == binding[1:3]}
                shape = known[0].only(versions)
                if shape is not None:
                    shapes.append(shape)
            holding.shapes = frozenset(shapes)
        return holding.shapes

    def settled(self, token: str, group: str) -> bool:
        """Whether the group's CRDs are old enough for the shard's OpenAPI to say the same as they do."""
        holding = self._own_crds if group in NATIVE_GROUPS else self.holdings.get(token, self._own_crds)
        before = time.monotonic() - SETTLED_AFTER
        if holding.crds and holding.crds_changed >= before:
            return False
        bound = [self._shared.get(binding.crd) for binding in holding.bindings.values() if binding.group == group]
        return all(known is None or known[1] < before for known in bound)

    async def catch_up(self, resource: Resource, name: str) -> None:
        """Wait until the watch of CRDs or imports has brought the object of that name as it is at this moment.

        Returns after `CATCH_UP` seconds at the latest. The watch alone decides what is known, so an answer that is
        overtaken by an event does no harm.
        """
        informer = {CRDS: self._crds, NEGOTIATED: self._imports, BINDINGS: self._bindings}[resource]
        try:
            async with asyncio.timeout(CATCH_UP):
                found = await self.client.request("GET", resource.path(name=name), accept=METADATA)
                while _version(informer, name) < int(found["metadata"]["resourceVersion"]):
                    await self._moved.wait()
        except (TimeoutError, StatusError) as error:
            log.debug("shard %s: look at %s %s: %s", self.name, resource.plural, name, error)

    async def _follow_built_in(self) -> None:
        failures = 0
        while True:
            try:
                await self._read_built_in()
                failures = 0
                await asyncio.sleep(BUILT_IN_EVERY)
            except (StatusError, KeyError, TypeError, AttributeError) as error:
                log.debug("discovery of shard %s: %s", self.name, error)
                failures += 1
                # Slowly more: a shard that starts is wanted by everybody.
                await asyncio.sleep(min(0.05 * 1.25 ** min(failures, 50), 10.0) * random.uniform(0.5, 1.0))

    async def _read_built_in(self) -> None:
        """Raises StatusError, also while the shard starts: what it lists then is not all that it has."""
        await self.client.request("GET", "/readyz", params={"exclude": ROLES_HOOK})
        accept = f"{AGGREGATED},{AGGREGATED_BETA}"
        core, others, version = await asyncio.gather(
            self.client.request("GET", "/api", accept=accept),
            self.client.request("GET", "/apis", accept=accept),
            self.client.request("GET", "/version"),
        )
        found = tuple(group for group in groups_of((core, others)) if group.name in NATIVE_GROUPS - self._without)
        if not found:
            raise KeyError("no native groups")
        if found != self._built_in or version != self.version:
            self._built_in, self.version = found, version
            self._native_is_new()
        self._native_ready.set()

    def _native_is_new(self) -> None:
        self.native = (*self._built_in, *groups_of_crds(self._own_crds.crds.values()))
        self._native_changed()

    def _slim_crd(self, obj: Object) -> Object:
        return _slim(obj, (*self._shapes.of(obj), Converter.of(obj)))

    def _crd_event(self, kind: str, old: Object | None, new: Object) -> None:
        token, shape, converter = new["kept"]
        if converter is None or kind == "DELETED":
            self.converters.pop(new["metadata"]["name"], None)
        else:
            self.converters[new["metadata"]["name"]] = converter
        if token is not None:
            self._put(token, new, "crds", None if kind == "DELETED" else shape)
        elif shape.shared_group:
            self._shared_event(new["metadata"]["name"], None if kind == "DELETED" else shape)
        elif shape.group in NATIVE_GROUPS:
            _set(self._own_crds, "crds", new["metadata"]["name"], None if kind == "DELETED" else shape)
            self._native_is_new()
        self._tell()

    def _import_event(self, kind: str, old: Object | None, new: Object) -> None:
        token = token_of(new["metadata"]["name"])
        if token is not None:
            self._put(token, new, "imports", None if kind == "DELETED" else new["kept"])
        self._tell()

    def _shared_event(self, name: str, shape: Shape | None) -> None:
        known = self._shared.get(name)
        if known is not None and known[0] == shape:
            return
        if shape is None:
            self._shared.pop(name, None)
        else:
            self._shared[name] = shape, time.monotonic()
        # Such a CRD changes as it is made, and hardly again: this costs less than to know all the time who has it.
        for holding in self.holdings.values():
            if any(binding.crd == name for binding in holding.bindings.values()):
                holding.forget()

    def _binding_event(self, kind: str, old: Object | None, new: Object) -> None:
        token = token_of(new["metadata"]["name"])
        if token is not None:
            self._put(token, new, "bindings", None if kind == "DELETED" else new["kept"])
        self._tell()

    async def look_at_type(self, token: str, group: str, version: str, resource: str) -> None:
        """`catch_up` with all that could make a type appear that is not the shard's own; ``group`` plain."""
        binding = f"{token}-{resource}.{group}"
        await asyncio.gather(
            self.catch_up(CRDS, f"{resource}.{token}-{group}"),
            self.catch_up(BINDINGS, binding),
            self.catch_up(NEGOTIATED, f"{token}-{resource}.{version}.{group}"),
        )
        holding = self.holdings.get(token)
        bound = holding.bindings.get(binding) if holding is not None else None
        if bound is not None and bound.crd not in self._shared:
            await self.catch_up(CRDS, bound.crd)

    def _put(self, token: str, obj: Object, table: str, value: Any) -> None:
        """Set or, with None, take out one thing that a workspace has."""
        holding = self.holdings.get(token)
        if holding is None:
            if value is None:
                return
            holding = self.holdings[token] = Holding()
        _set(holding, table, obj["metadata"]["name"], value)
        if not holding.crds and not holding.imports and not holding.bindings:
            del self.holdings[token]

    def _tell(self) -> None:
        self._moved.set()
        self._moved = asyncio.Event()


def _set(holding: Holding, table: str, name: str, value: Any) -> None:
    known: dict[str, Any] = getattr(holding, table)
    if known.get(name) == value:
        return
    if value is None:
        del known[name]
    else:
        known[name] = value
    if table == "crds":
        holding.crds_changed = time.monotonic()
    holding.forget()


def _version(informer: Informer, name: str) -> int:
    stored = informer.store.get(("", name))
    return int(stored["metadata"]["resourceVersion"]) if stored else -1


def _slim(obj: Object, kept: Any) -> Object:
    meta = obj["metadata"]
    return {"metadata": {"name": meta["name"], "resourceVersion": meta["resourceVersion"]}, "kept": kept}


def _slim_binding(obj: Object) -> Object:
    spec = obj["spec"]
    crd = f"{spec['plural']}.{shared_group(spec['identity'], spec['group'])}"
    return _slim(obj, Binding(crd, spec["group"], spec["plural"], bool(spec.get("closed"))))


def _slim_import(obj: Object) -> Object:
    spec: dict[str, Any] = obj.get("spec") or {}
    version = spec.get("groupVersion") or {}
    conditions = {item["type"]: item for item in (obj.get("status") or {}).get("conditions") or ()}
    published = None
    if conditions.get("Published", {}).get("status") == "True":
        kind = (version.get("group", ""), version.get("version", ""), spec.get("plural", ""))
        published = Import(kind, conditions["Published"].get("reason") == NOT_IMPORTED)
    return _slim(obj, published)
