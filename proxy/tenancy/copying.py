"""Makes what a workspace has on one shard the same on another: object by object, through the API, so that it goes with
any shard.

A pass lists both sides and writes what differs; passes are repeated until there is nothing to write. What was written
is remembered by the versions of both sides, so that a pass after the first costs little more than its lists; who begins
anew after a crash writes everything once more, which changes nothing where it is the same already.

The shard gives each copy a uid, a version and a time of creation of its own. uids by which objects of the workspace
refer to each other (owners, claims, involved objects) are replaced by those of the copies.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson

from proxy.kube.client import METADATA_LIST, Client, Object, Resource
from proxy.kube.errors import StatusError, ignoring
from proxy.mapping.detours import Converter
from proxy.mapping.names import KCP_GROUPS, MOVED_UIDS
from proxy.mapping.token import LABEL
from proxy.tenancy.asked import read_detour
from proxy.tenancy.content import BINDINGS, CRDS
from proxy.tenancy.kinds import Kind, NativeKinds, crd_of, kind_of, kinds_of
from proxy.tenancy.removal import end_conversion, remove

AT_ONCE = 8
"""Requests under way at one shard."""
REMEMBERED = 8
"""uids that a service account keeps of those that it had on other shards: tokens do not live for so many moves."""
ESTABLISHED_WITHIN = 20.0
"""Seconds until a copied CRD is served."""
ROOT_CA = ("configmaps", "kube-root-ca.crt")
"""A shard's own, in every namespace."""
LIMITS = frozenset({"limitranges", "resourcequotas"})
"""Copied last, when nothing else changes: what was there before them need not fit."""
OWN_STATUS = frozenset({"namespaces", "resourcequotas", "customresourcedefinitions"})
"""The shard's own controllers know it."""
PLAIN_DATA = ("data", "binaryData", "immutable")
"""Of ConfigMaps and Secrets: whatever stands there is no reference."""
ACCOUNT_TOKEN = "kubernetes.io/service-account-token"
_OF_SHARD = frozenset({"token", "ca.crt"})
_UID = re.compile(rb'"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})"')
_GIVEN = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "managedFields",
          "deletionTimestamp", "deletionGracePeriodSeconds")  # fmt: skip
"""Fields of metadata that the shard sets, or that are written afterwards."""
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")

T = TypeVar("T")


Place = tuple[str, str]
"""Namespace (empty for what is cluster-scoped) and name."""


@dataclass(slots=True)
class _Copied:
    """uid and version on both sides when they were the same; no copy where the shard has let it go at once."""

    source: tuple[str, str]
    target: tuple[str, str] | None


class Copier:
    """Of the workspace with ``token``."""

    def __init__(self, source: Client, target: Client, token: str, native: NativeKinds) -> None:
        """``native``: kinds of the source."""
        self._source = source
        self._target = target
        self._token = token
        self._native = native
        self._selector = f"{LABEL}={token}"
        self._copied: dict[tuple[Resource, Place], _Copied] = {}
        self._uids: dict[str, str] = {}
        self._sources: set[str] = set()
        self._changes = 0
        self.objects = 0
        """How many there were at the last pass."""

    async def run(self, *, last: bool) -> int:
        """One pass; how much it had to change. ``last``: nobody writes to the source any more. Raises StatusError."""
        self._changes = 0
        kinds = sorted(await kinds_of(self._source, self._token, self._native), key=_rank)
        await self._share_types()
        sources = await _each(kinds, lambda kind: self._list(self._source, kind.resource))
        targets = await _each(kinds, lambda kind: self._list(self._target, kind.resource, metadata=True))
        self.objects = sum(map(len, sources))
        self._sources = {obj["metadata"]["uid"] for found in sources for obj in found.values()}
        self._uids = {
            obj["metadata"]["uid"]: there[place]["metadata"]["uid"]
            for found, there in zip(sources, targets, strict=True)
            for place, obj in found.items()
            if place in there
        }
        rows = list(zip(kinds, sources, targets, strict=True))
        for kind, found, there in rows:
            if _rank(kind) == 7 and not last:
                continue
            await self._copy_kind(kind, found, there)
        for kind, found, there in reversed(rows):
            # Limits stand in the way of what is still to be copied.
            kept = {} if _rank(kind) == 7 and not last else found
            gone = [obj for place, obj in there.items() if place not in kept]
            await _each(gone, lambda obj, kind=kind: self._delete(kind.resource, obj))  # type: ignore[misc]
        if last:
            await self._end_namespaces(rows)
        return self._changes

    async def _list(self, client: Client, resource: Resource, *, metadata: bool = False) -> dict[Place, Object]:
        accept = METADATA_LIST if metadata else None
        try:
            listed = await client.list(resource, label_selector=self._selector, accept=accept)
        except StatusError as error:
            # A type that is not served, here not yet or there not at all, has no objects that anybody could make.
            if error.code == 404:
                return {}
            raise
        found = {place_of(item): item for item in listed["items"]}
        return {place: item for place, item in found.items() if (resource.plural, place[1]) != ROOT_CA}

    async def _share_types(self) -> None:
        """CRDs that the workspace shares with others have to be there before it is bound to them."""
        listed = await self._source.list(BINDINGS, label_selector=self._selector)
        for name in sorted({crd_of(binding) for binding in listed["items"]}):
            if await self._target.find(CRDS, name) is None:
                crd = await self._source.get(CRDS, name)
                crd["metadata"] = {
                    key: crd["metadata"][key] for key in ("name", "labels", "annotations") if key in crd["metadata"]
                }
                crd.pop("status", None)
                await ignoring(409, self._target.create(CRDS, crd))
                self._changes += 1
                await self._served(name)

    async def _copy_kind(self, kind: Kind, found: dict[Place, Object], there: dict[Place, Object]) -> None:
        different = [
            (place, obj) for place, obj in found.items() if not self._is_same(kind.resource, place, obj, there)
        ]
        if kind.resource == CRDS:
            for _, crd in different:
                if crd["metadata"].get("deletionTimestamp"):
                    raise StatusError(409, f"{_said(kind.resource, crd)} is being deleted")
        # Owners of the same kind first: those that name none.
        different.sort(key=lambda item: len(item[1]["metadata"].get("ownerReferences") or ()))
        await _each(different, lambda item: self._write(kind, item[0], item[1], there.get(item[0])))
        if kind.resource == CRDS:
            await _each(different, lambda item: self._served(item[0][1]))

    def _is_same(self, resource: Resource, place: Place, obj: Object, there: dict[Place, Object]) -> bool:
        copied = self._copied.get((resource, place))
        target = there.get(place)
        return (
            copied is not None
            and copied.source == _version(obj)
            and copied.target == (_version(target) if target is not None else None)
        )

    async def _write(self, kind: Kind, place: Place, obj: Object, target: Object | None) -> None:
        resource = kind.resource
        body, complete = self._body(resource, obj)
        if resource == CRDS:
            await self._on_target(body)
        before = target["metadata"]["resourceVersion"] if target is not None else ""
        try:
            written = await self._create(resource, body) if target is None else None
            if written is None:
                current = await self._target.find(resource, place[1], place[0] or None)
                if current is None:
                    self._changes += 1
                    return
                written = await self._replace(resource, body, current)
            if written is None:
                self._changes += 1
                return
            self._uids[obj["metadata"]["uid"]] = written["metadata"]["uid"]
            written = await self._finish(kind, obj, written)
        except StatusError as error:
            raise StatusError(
                error.code, f"{_said(resource, obj)}: {error.message}", reason=error.reason, details=error.details
            ) from error
        there = _version(written) if written is not None else None
        if there is None or there[1] != before or not complete:
            self._changes += 1
        if complete:
            self._copied[resource, place] = _Copied(_version(obj), there)

    async def _on_target(self, crd: Object) -> None:
        """Its conversion webhook, if it has one, as the target reaches it. Raises StatusError 409 where it cannot."""
        converter = Converter.of(crd)
        if converter is None:
            return
        detour = await read_detour(self._target)
        if detour is None:
            why = "it has a conversion webhook, and that shard does not know where kcp is (kcp start --admission-url)"
            raise StatusError(409, why)
        wanted = converter.on(detour)
        crd["spec"]["conversion"]["webhook"]["clientConfig"] = {"url": wanted.url, "caBundle": wanted.bundle}

    def _body(self, resource: Resource, obj: Object) -> tuple[Object, bool]:
        """What is written, and whether all that it refers to has been copied already."""
        meta = {key: value for key, value in obj["metadata"].items() if key not in _GIVEN}
        if not resource.group and resource.plural == "serviceaccounts":
            annotations = meta.get("annotations") or {}
            before = [uid for uid in annotations.get(MOVED_UIDS, "").split(",") if uid]
            meta["annotations"] = {**annotations, MOVED_UIDS: ",".join([*before, obj["metadata"]["uid"]][-REMEMBERED:])}
        has_data = not resource.group and resource.plural in ("configmaps", "secrets")
        plain = {key: obj[key] for key in PLAIN_DATA if key in obj} if has_data else {}
        missing = False

        def mapped(match: re.Match[bytes]) -> bytes:
            nonlocal missing
            uid = match[1].decode()
            if uid in self._uids:
                return b'"%b"' % self._uids[uid].encode()
            missing = missing or (uid in self._sources and uid != obj["metadata"]["uid"])
            return match[0]

        owners = meta.pop("ownerReferences", None) or []
        known = [owner for owner in owners if owner["uid"] in self._uids or owner["uid"] not in self._sources]
        if known:
            meta["ownerReferences"] = known
        rest = {key: value for key, value in obj.items() if key not in (*plain, "metadata")}
        body: Object = orjson.loads(_UID.sub(mapped, orjson.dumps({**rest, "metadata": meta})))
        body |= plain
        if has_data and obj.get("type") == ACCOUNT_TOKEN:
            # It names uids of the source's, and the source's authority; the other shard's are written by a controller.
            body["data"] = {key: value for key, value in (body.get("data") or {}).items() if key not in _OF_SHARD}
        return body, not missing and len(known) == len(owners)

    async def _create(self, resource: Resource, body: Object) -> Object | None:
        """None where it is there already."""
        if resource.plural == "jobs" and resource.group == "batch":
            _without_selector(body)
        try:
            return await self._target.create(resource, body)
        except StatusError as error:
            if error.code == 409 and error.reason == "AlreadyExists":
                return None
            if error.code != 422 or resource.plural != "services" or "already allocated" not in error.message:
                raise
        # Another workspace of that shard has its address or port.
        for key in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
            body["spec"].pop(key, None)
        for port in body["spec"].get("ports") or ():
            port.pop("nodePort", None)
        return await self._target.create(resource, body)

    async def _replace(self, resource: Resource, body: Object, current: Object) -> Object | None:
        """None where that cannot be: it was made anew, and what cannot change is another. It is removed then."""
        meta = current["metadata"]
        body["metadata"] |= {"resourceVersion": meta["resourceVersion"], "uid": meta["uid"]}
        if resource.plural == "services":
            _adopt_addresses(body, current)
        elif resource.plural == "jobs" and resource.group == "batch":
            body["spec"]["selector"] = current["spec"]["selector"]
            body["spec"]["template"] = current["spec"]["template"]
        elif body.get("type") == ACCOUNT_TOKEN and resource.plural == "secrets":
            written = {key: value for key, value in (current.get("data") or {}).items() if key in _OF_SHARD}
            body["data"] = (body.get("data") or {}) | written
        try:
            return await self._target.replace(resource, body)
        except StatusError as error:
            if error.code != 422:
                raise
        await self._delete(resource, current)
        return None

    async def _finish(self, kind: Kind, obj: Object, written: Object) -> Object | None:
        """Status, who manages which fields, and the deletion that is under way; the copy, None where that was its
        end."""
        resource, meta = kind.resource, obj["metadata"]
        name, namespace = meta["name"], meta.get("namespace")
        if kind.has_status and resource.plural not in OWN_STATUS and "status" in obj:
            status = self._body(resource, {"metadata": meta, "status": obj["status"]})[0]["status"]
            _as_observed(status, meta.get("generation"), written["metadata"].get("generation"))
            if written.get("status") != status:
                written = await self._target.replace(resource, written | {"status": status}, "status")
        managed = meta.get("managedFields")
        if managed and managed != written["metadata"].get("managedFields"):
            patch = {"metadata": {"managedFields": managed}}
            written = await self._target.patch(resource, name, patch, namespace)
        deleting = meta.get("deletionTimestamp") and not written["metadata"].get("deletionTimestamp")
        if not deleting or resource.plural == "namespaces":
            return written
        grace = meta.get("deletionGracePeriodSeconds")
        await self._target.delete(resource, name, namespace, grace=grace, uid=written["metadata"]["uid"])
        return await self._target.find(resource, name, namespace)

    async def _delete(self, resource: Resource, obj: Object) -> None:
        self._changes += 1
        await strip_and_delete(self._target, resource, obj)

    async def _end_namespaces(self, rows: list[tuple[Kind, dict[Place, Object], dict[Place, Object]]]) -> None:
        """Those that are being deleted take nothing new, so that begins when all that is left in them is there."""
        if self._changes:
            return
        for kind, found, there in rows:
            if _rank(kind) != 4:
                continue
            for place, obj in found.items():
                other = there.get(place)
                ends = obj["metadata"].get("deletionTimestamp") and other is not None
                if ends and other is not None and not other["metadata"].get("deletionTimestamp"):
                    await ignoring(404, self._target.delete(kind.resource, place[1]))
                    self._changes += 1

    async def _served(self, name: str) -> None:
        """Until a CRD is."""
        kind = kind_of(await self._target.get(CRDS, name))
        if kind is None:
            return
        resource = kind.resource
        try:
            async with asyncio.timeout(ESTABLISHED_WITHIN):
                while True:
                    try:
                        await self._target.request("GET", resource.path(), params={"limit": 1}, accept=METADATA_LIST)
                        return
                    except StatusError as error:
                        if error.code not in (404, 503):
                            raise
                    await asyncio.sleep(0.05)
        except TimeoutError as error:
            raise StatusError(504, f"customresourcedefinition {name} does not come to be served") from error


async def purge(client: Client, token: str, native: NativeKinds) -> list[str]:
    """Remove a copy of the workspace with ``token`` that nobody is served from, whatever its finalizers wait for: that
    is done where it is served. To be called until the answer is empty."""
    selector = f"{LABEL}={token}"

    async def strip(kind: Kind) -> None:
        try:
            await strip_served(kind)
        except StatusError as error:
            if error.code != 404:
                raise

    async def strip_served(kind: Kind) -> None:
        async for page in client.pages(kind.resource, label_selector=selector, accept=METADATA_LIST):
            paired = kind.resource.group == "tenancy.kcp.dev"
            await _each(
                [item for item in page["items"] if paired or item["metadata"].get("finalizers")],
                lambda item: strip_and_delete(client, kind.resource, item),
            )

    for crd in (await client.list(CRDS, label_selector=selector))["items"]:
        await end_conversion(client, crd)
    await _each([kind for kind in await kinds_of(client, token, native) if kind.resource != CRDS], strip)
    return (await remove(client, token, native)).all


async def strip_and_delete(client: Client, resource: Resource, obj: Object) -> None:
    meta = obj["metadata"]
    name, namespace = meta["name"], meta.get("namespace")
    none = {"metadata": {"finalizers": None}}
    if meta.get("finalizers"):
        await ignoring(404, client.patch(resource, name, none, namespace))
    if not meta.get("deletionTimestamp") or resource.plural == "pods":
        grace = 0 if resource.plural == "pods" else None
        left = await ignoring(404, client.delete(resource, name, namespace, grace=grace, uid=meta["uid"]))
        # What syncers hold gets their finalizers back until it is being deleted: manifests/workload/cluster-label.yaml.
        if left is not None and (left.get("metadata") or {}).get("finalizers"):
            await ignoring(404, client.patch(resource, name, none, namespace))


def _rank(kind: Kind) -> int:
    """In which order kinds are copied: what others need or name comes first."""
    group, plural = kind.resource.group, kind.resource.plural
    if kind.resource == CRDS:
        return 0
    if kind.resource == BINDINGS:
        return 1
    if not kind.resource.namespaced and plural != "namespaces":
        return 2 if group in KCP_GROUPS else 3
    if plural in LIMITS and not group:
        return 7
    return {"namespaces": 4, "serviceaccounts": 5}.get(plural, 6) if not group else 6


def place_of(obj: Object) -> Place:
    meta = obj["metadata"]
    return meta.get("namespace") or "", meta["name"]


def _version(obj: Object) -> tuple[str, str]:
    return obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]


def _said(resource: Resource, obj: Object) -> str:
    namespace, name = place_of(obj)
    return f"{resource.plural} {namespace}/{name}" if namespace else f"{resource.plural} {name}"


def _as_observed(status: Any, source: int | None, target: int | None) -> None:
    """Who had seen the last generation of the original has seen that of the copy, and nobody has seen a later one."""
    if not isinstance(status, dict) or source is None or target is None:
        return
    conditions = status.get("conditions")
    for part in (status, *(conditions if isinstance(conditions, list) else ())):
        if isinstance(part, dict) and isinstance(part.get("observedGeneration"), int):
            part["observedGeneration"] = target if part["observedGeneration"] == source else target - 1


def _without_selector(job: Object) -> None:
    """The shard makes selector and labels of a Job out of its uid."""
    spec = job["spec"]
    if spec.get("manualSelector"):
        return
    spec.pop("selector", None)
    labels = (spec["template"].get("metadata") or {}).get("labels") or {}
    for of in (labels, job["metadata"].get("labels") or {}):
        for key in _JOB_LABELS:
            of.pop(key, None)


def _adopt_addresses(body: Object, current: Object) -> None:
    """Those that the shard has given to a Service stay."""
    for key in ("clusterIP", "clusterIPs", "healthCheckNodePort"):
        if key in current["spec"] and body["spec"].get("clusterIP") != "None":
            body["spec"][key] = current["spec"][key]
    given = {(port.get("name"), port["port"]): port.get("nodePort") for port in current["spec"].get("ports") or ()}
    for port in body["spec"].get("ports") or ():
        node_port = given.get((port.get("name"), port["port"]))
        if node_port and "nodePort" in port:
            port["nodePort"] = node_port


async def _each(items: Iterable[T], do: Callable[[T], Awaitable[object]]) -> list:  # type: ignore[type-arg]
    """All of them, some at once; the first failure is raised when all have ended."""
    turn = asyncio.Semaphore(AT_ONCE)

    async def one(item: T) -> object:
        async with turn:
            return await do(item)

    results = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
    return results
