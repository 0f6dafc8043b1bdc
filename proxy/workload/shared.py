"""Types that many workspaces import in the same form: one CRD of the shard for all of them.

A TypeBinding says which one a workspace has (manifests/shard/typebindings.yaml). The CRD's identity is a digest of all
that it is, so it never changes: a type that changes moves to another CRD. Objects cannot be moved (they would get other
uids, and with them what they own would be lost), so that waits until the workspace has none; what is to change while
there are objects (``UpdatePublished``) is published as a CRD of the workspace's own from the beginning.

Before a binding moves or goes it is closed for a while: no proxy serves the type then, and what was under way has come
to its end when it is looked once more whether there are objects. All that is state stands in the binding, so whoever
goes on after a crash closes again and waits again.

Bindings are written here alone, in the one process that runs the controllers; so is the end of a CRD that no binding
names any more, under the same lock as its beginning.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any
from weakref import WeakValueDictionary

import orjson

from proxy.identities import Identity
from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.mapping.shared import LENGTH, digest_of, identity_of, shared_group, without_identities
from proxy.mapping.token import LABEL, token_of
from proxy.workload.api import BINDINGS, CRDS, NEGOTIATED, is_true, not_there
from proxy.workload.definition import crd_of
from proxy.workload.outcome import SERVED, Outcome
from proxy.workload.quotas import recount
from proxy.workload.schema import Incompatible, common
from proxy.workload.typekey import TypeKey

log = logging.getLogger(__name__)

IDENTITY = "internal.kcp.dev/identity"
"""Label of shared CRDs and of the bindings that name them."""
SETTLED = 3.0
"""Seconds after which nothing is under way any more for a type that is closed."""
LOOK_AGAIN = 60.0
"""Seconds between looks for CRDs that nobody needs, and whether a type that is to change has objects still."""
DIGEST = "internal.kcp.dev/digest"
"""Annotation of a shared CRD: of all that it is."""
MAX_COUNTED = 63
"""Bytes that a quota's key has for a type and its group."""
IN_USE = "its schema changes when there are no objects of it any more"


class Taken(Exception):
    """Somebody has found another type with the same identity, and was first."""


class SharedTypes:
    """Those of one shard."""

    def __init__(self, client: Client, *, settled: float = SETTLED, look_again: float = LOOK_AGAIN) -> None:
        self._client = client
        self._objects = Identity.OBJECTS.on(client)
        self._settled = settled
        self._look_again = look_again
        self.bindings = Informer(client, BINDINGS)
        self.crds = Informer(client, CRDS, label_selector=IDENTITY, metadata_only=True)
        self._closed: dict[str, tuple[float, TypeKey]] = {}
        """Binding → when it was closed, by `time.monotonic`, and for which of its versions."""
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """Of bindings and of CRDs, by name; those that somebody holds."""

    async def run(self) -> None:
        """Follow bindings, and remove CRDs that nobody needs, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.bindings.run())
            group.create_task(self.crds.run())
            await self.bindings.wait_synced()
            await self.crds.wait_synced()
            while True:
                await asyncio.sleep(self._look_again)
                await self._clean()

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    async def binding(self, key: TypeKey) -> Object | None:
        return await self._client.find(BINDINGS, name_of(key))

    async def publish(self, key: TypeKey, spec: Object) -> Outcome:
        """Bind the workspace to the CRD of its type as ``spec`` of the NegotiatedAPIResource has it.

        Raises Incompatible for a version that does not fit those that there are, StatusError 422 for no schema, Taken
        where it cannot be shared.
        """
        async with self._lock(name_of(key)):
            binding = await self.binding(key)
            if binding is not None and _entry(key, spec) in binding["spec"]["versions"]:
                await self._open_for(key, binding)
                name = crd_name_of(binding)
                if ("", name) in self.crds.store or await self._client.find(CRDS, name) is not None:
                    return SERVED
                await self._bind(key, *await self._crd(key, spec, binding), binding)
                return SERVED
            crd, entries = await self._crd(key, spec, binding)
            if binding is None:
                await self._bind(key, crd, entries, None)
                return SERVED
            known = any(version["name"] == key.version for version in binding["spec"]["versions"])
            if await self._close(key, binding):
                await self._bind(key, crd, entries, binding)
                return SERVED
            waiting = name_of(key) in self._closed
            again = self._settled if waiting else self._look_again
            return Outcome(known, "SchemaChanging" if waiting else "SchemaInUse", IN_USE, again=again)

    async def withdraw(self, key: TypeKey) -> float | None:
        """The workspace is not to have the type any more; if that is not done yet, in how many seconds to go on."""
        async with self._lock(name_of(key)):
            binding = await self.binding(key)
            if binding is None:
                return None
            if await self._other_versions(key, binding):
                await self._open_for(key, binding)
                return None
            if not await self._close(key, binding):
                return self._settled if name_of(key) in self._closed else self._look_again
            with not_there():
                await self._client.delete(BINDINGS, name_of(key), uid=binding["metadata"]["uid"])
            self._closed.pop(name_of(key), None)
            await recount(self._client, key, group_of(binding), key.resource.group)
            return None

    async def resource(self, key: TypeKey) -> Resource | None:
        """Where objects of the type stand, if it is shared."""
        binding = await self.binding(key)
        return Resource(group_of(binding), key.version, key.plural) if binding is not None else None

    async def is_kept(self, key: TypeKey) -> bool:
        """Whether objects of a shared type stay in reach without this version of it."""
        binding = await self.binding(key)
        return binding is not None and await self._other_versions(key, binding)

    async def _other_versions(self, key: TypeKey, binding: Object) -> bool:
        return bool(await self._others(key, binding))

    async def _others(self, key: TypeKey, binding: Object) -> list[tuple[TypeKey, Object]]:
        """The type's other versions that the workspace has published, with their specs."""
        found = []
        for version in binding["spec"]["versions"]:
            other = key._replace(version=version["name"])
            negotiated = await self._client.find(NEGOTIATED, other.name) if other != key else None
            if negotiated is not None and is_true(negotiated, "Published"):
                found.append((other, negotiated["spec"]))
        return found

    async def _crd(self, key: TypeKey, spec: Object, binding: Object | None) -> tuple[Object, list[dict[str, str]]]:
        """The CRD for all versions that the workspace has, and this one, its identity in its label; and what a binding
        says of them."""
        parts = [*(await self._others(key, binding) if binding is not None else ()), (key, spec)]
        order = [version["name"] for version in binding["spec"]["versions"]] if binding is not None else []
        parts.sort(key=lambda part: order.index(part[0].version) if part[0].version in order else len(order))
        crds = [crd_of(each, each_spec) for each, each_spec in parts]
        stored = crds[0]["spec"]
        for other in crds[1:]:
            _fit(stored, other["spec"])
        versions = [crd["spec"]["versions"][0] for crd in crds]
        stored["versions"] = [{**version, "storage": version is versions[0]} for version in versions]
        digest = digest_of(orjson.dumps([key.plural, key.group, stored], option=orjson.OPT_SORT_KEYS))
        identity = identity_of(digest)
        stored["group"] = shared_group(identity, key.group)
        name = f"{key.plural}.{stored['group']}"
        entries = [_entry(each, each_spec) for each, each_spec in parts]
        annotations = {**crds[0]["metadata"]["annotations"], DIGEST: digest}
        meta = {"name": name, "labels": {IDENTITY: identity}, "annotations": annotations}
        return {**crds[0], "metadata": meta}, entries

    async def _bind(self, key: TypeKey, crd: Object, entries: list[dict[str, str]], before: Object | None) -> None:
        identity = crd["metadata"]["labels"][IDENTITY]
        spec: Object = {"group": key.group, "plural": key.plural, "identity": identity, "versions": entries}
        spec["namespaced"] = crd["spec"]["scope"] == "Namespaced"
        meta: Object = {"name": name_of(key), "labels": {IDENTITY: identity, LABEL: key.token}}
        async with self._lock(crd["metadata"]["name"]):
            await self._make_crd(crd)
            if before is None:
                await self._client.create(BINDINGS, _binding(meta, spec))
            else:
                meta["resourceVersion"] = before["metadata"]["resourceVersion"]
                await self._client.replace(BINDINGS, _binding(meta, spec))
        self._closed.pop(name_of(key), None)
        await recount(self._client, key, group_of(before) if before else key.resource.group, crd["spec"]["group"])

    async def _make_crd(self, crd: Object) -> None:
        """Raises StatusError 409 while one of the name is going, Taken for another one of the same identity."""
        there = await self._client.find(CRDS, crd["metadata"]["name"])
        if there is None:
            await self._client.create(CRDS, crd)
        elif there["metadata"].get("deletionTimestamp"):
            raise StatusError(409, f"{crd['metadata']['name']} is being deleted")
        elif there["metadata"].get("annotations", {}).get(DIGEST) != crd["metadata"]["annotations"][DIGEST]:
            raise Taken(crd["metadata"]["name"])

    async def _close(self, key: TypeKey, binding: Object) -> bool:
        """Whether the binding is closed for long enough, and there are no objects."""
        name = name_of(key)
        if await self.has_objects(Resource(group_of(binding), binding["spec"]["versions"][0]["name"], key.plural), key):
            self._closed.pop(name, None)
            if binding["spec"].get("closed"):
                await self._open(binding)
            return False
        if not binding["spec"].get("closed"):
            await self._client.patch(BINDINGS, name, {"spec": {"closed": True}})
            self._closed.pop(name, None)
        since, _ = self._closed.setdefault(name, (time.monotonic(), key))
        return time.monotonic() - since >= self._settled

    async def _open_for(self, key: TypeKey, binding: Object) -> None:
        """It need not be closed as far as this version goes. Another may have closed it, and is at it."""
        _, by = self._closed.get(name_of(key), (0.0, key))
        if binding["spec"].get("closed") and by == key:
            await self._open(binding)

    async def _open(self, binding: Object) -> None:
        self._closed.pop(binding["metadata"]["name"], None)
        await self._client.patch(BINDINGS, binding["metadata"]["name"], {"spec": {"closed": None}})

    async def has_objects(self, resource: Resource, key: TypeKey) -> bool:
        """Whether the workspace has any of them."""
        return await self._any(resource, f"{LABEL}={key.token}")

    async def _clean(self) -> None:
        """Remove CRDs that no workspace has and that hold nothing."""
        named = {binding["spec"]["identity"] for binding in self.bindings.store.values()}
        for crd in list(self.crds.store.values()):
            meta = crd["metadata"]
            if meta["labels"][IDENTITY] not in named and not meta.get("deletionTimestamp"):
                try:
                    await self._remove(meta)
                except StatusError as error:
                    log.warning("CRD %s, which no workspace has any more: %s", meta["name"], error)

    async def _remove(self, meta: Object) -> None:
        async with self._lock(meta["name"]):
            # Asked once more: what we follow may lag behind what we wrote.
            if await self._any(BINDINGS, f"{IDENTITY}={meta['labels'][IDENTITY]}"):
                return
            crd = await self._client.find(CRDS, meta["name"])
            if crd is None:
                return
            plural, _, group = meta["name"].partition(".")
            if not await self._any(Resource(group, crd["spec"]["versions"][0]["name"], plural), None):
                with not_there():
                    await self._client.delete(CRDS, meta["name"], uid=meta["uid"])

    async def _any(self, resource: Resource, selector: str | None) -> bool:
        params: dict[str, str | int | None] = {"labelSelector": selector, "limit": 1}
        try:
            listed = await self._objects.request("GET", resource.path(), params=params, accept=METADATA_LIST)
        except StatusError as error:
            if error.code != 404:
                raise
            return False
        return bool(listed.get("items"))


def name_of(key: TypeKey) -> str:
    """Of the binding."""
    return f"{key.token}-{key.plural}.{key.group}"


def group_of(binding: Object) -> str:
    """On the shard."""
    return shared_group(binding["spec"]["identity"], binding["spec"]["group"])


def crd_name_of(binding: Object) -> str:
    return f"{binding['spec']['plural']}.{group_of(binding)}"


def keys_of(binding: Object) -> list[TypeKey]:
    """The types of a binding, one for each version."""
    token, spec = token_of(binding["metadata"]["name"]), binding["spec"]
    if token is None:
        return []
    return [TypeKey(token, spec["plural"], version["name"], spec["group"]) for version in spec["versions"]]


def can_be_shared(key: TypeKey) -> bool:
    """Whether its name, with an identity in it, is not too long for a quota."""
    return len(key.plural) + 1 + LENGTH + len(key.group) <= MAX_COUNTED


def plain(message: str, token: str) -> str:
    """What a workspace is told of an error."""
    return without_identities(message.replace(f"{token}-", "").encode()).decode()


def _entry(key: TypeKey, spec: Object) -> dict[str, str]:
    """What a binding says of a version."""
    content = orjson.dumps(crd_of(key, spec)["spec"], option=orjson.OPT_SORT_KEYS)
    return {"name": key.version, "digest": digest_of(content)}


def _binding(meta: Object, spec: Object) -> Object:
    return {"apiVersion": BINDINGS.api_version, "kind": "TypeBinding", "metadata": meta, "spec": spec}


def _fit(stored: Object, other: Object) -> None:
    """Objects are stored once, in the first version, and served in all as they are. Raises Incompatible where that
    cannot be."""
    name, version = stored["versions"][0], other["versions"][0]
    pairs: tuple[tuple[str, Any, Any], ...] = (
        ("scope", stored["scope"], other["scope"]),
        ("kind", stored["names"]["kind"], other["names"]["kind"]),
    )
    for part, here, there in pairs:
        if here != there:
            raise Incompatible(part, f"{here} in version {name['name']}, {there} in {version['name']}")
    common(name["schema"]["openAPIV3Schema"], version["schema"]["openAPIV3Schema"])
