"""What a workspace's own classes say of objects that are written: default storage and ingress classes, priorities.

In a cluster, admission plugins look such classes up (DefaultStorageClass, DefaultIngressClass, Priority of
k8s.io/kubernetes/plugin/pkg/admission). On a shard they would find those of all workspaces, so they are switched off
there. What they would find is told to the shard with the request, as an extra of the user, and its policies
(``manifests/shard/classes.yaml``) act by it: only there it is known whether an object is created, in whatever encoding.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import orjson

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.mapping.natives import SYSTEM_CLASSES
from proxy.mapping.paths import RequestInfo
from proxy.mapping.protobuf import MAGIC, open_envelope
from proxy.mapping.token import PREFIX_LENGTH, token_of
from proxy.mapping.wire import Field, WireError, decode

STORAGE = Resource("storage.k8s.io", "v1", "storageclasses", namespaced=False)
INGRESS = Resource("networking.k8s.io", "v1", "ingressclasses", namespaced=False)
PRIORITY = Resource("scheduling.k8s.io", "v1", "priorityclasses", namespaced=False)
DEFAULT_OF = {
    STORAGE: ("storageclass.kubernetes.io/is-default-class", "storageclass.beta.kubernetes.io/is-default-class"),
    INGRESS: ("ingressclass.kubernetes.io/is-default-class",),
    PRIORITY: (),
}
"""Annotations that make a class the default one."""
NEEDED = {
    ("", "persistentvolumeclaims"): STORAGE,
    ("networking.k8s.io", "ingresses"): INGRESS,
    ("", "pods"): PRIORITY,
    ("scheduling.k8s.io", "priorityclasses"): PRIORITY,
}
"""Resource that is written → classes that have a say in it."""
WRITES = frozenset({"create", "patch", "update"})
EXTRA = b"classes.kcp.dev"
"""Key of the user's extra."""
NO_CLASS = (b"", b"0", b"PreemptLowerPriority")
"""Name, value and preemption policy of a pod's priority where there is no class."""
MISSING = b"missing"
"""Stands for the value of a class that does not exist."""
WITHIN = 5.0
"""Seconds until a worker has read the classes of a shard."""
_POD = {1: Field("metadata", {1: Field("name")}), 2: Field("spec", {24: Field("priorityClassName")})}


class Place(Protocol):
    """What is needed of a workspace."""

    @property
    def token(self) -> str: ...
    @property
    def shard(self) -> str: ...
    @property
    def prefix(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Class:
    """Of any of the three kinds; ``name`` plain."""

    name: str
    default: bool
    created: str
    value: int = 0
    policy: str = ""


class Classes:
    """Follows the classes of all shards. ``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.DISCOVERY.on_all(shards)
        self._known: dict[tuple[str, Resource], dict[str, dict[str, Class]]] = {}
        """By shard and kind, then token (``""``: the shard's own), then name on the shard."""
        self._informers: dict[tuple[str, Resource], Informer] = {}
        for shard, client in self._shards.items():
            for resource in DEFAULT_OF:
                self._known[shard, resource] = {}
                informer = self._informers[shard, resource] = Informer(client, resource, transform=_slim(resource))
                informer.add_handler(self._follow(shard, resource))

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run())

    def _follow(self, shard: str, resource: Resource) -> Callable[[str, Object | None, Object], None]:
        known = self._known[shard, resource]

        def event(kind: str, old: Object | None, new: Object) -> None:
            name = new["metadata"]["name"]
            token = token_of(name) or ""
            if kind != "DELETED":
                known.setdefault(token, {})[name] = new["kept"]
            elif token in known:
                known[token].pop(name, None)
                if not known[token]:
                    del known[token]

        return event

    def told(
        self, workspace: Place, info: RequestInfo, body: bytes
    ) -> tuple[bytes, ...] | Awaitable[tuple[bytes, ...]] | None:
        """What the shard is to be told with a mapped request; None for one in which no class has a say.

        Raises StatusError 403 for a pod of a class that does not exist.
        """
        kind = NEEDED.get((info.group, info.resource))
        if kind is None or info.verb not in WRITES or info.subresource:
            return None
        name, named = names_of_pod(body) if info.resource == "pods" else ("", "")
        informer = self._informers[workspace.shard, kind]
        if not informer.synced or (named and self._find(workspace, named) is None):
            return self._told_later(workspace, info, kind, name, named)
        return self._values(workspace, info, kind, name, named)

    async def _told_later(
        self, workspace: Place, info: RequestInfo, kind: Resource, name: str, named: str
    ) -> tuple[bytes, ...]:
        """After a look at the shard itself: a class may have been made a moment ago."""
        informer = self._informers[workspace.shard, kind]
        try:
            async with asyncio.timeout(WITHIN):
                await informer.wait_synced()
        except TimeoutError:
            raise StatusError(503, f"{kind.plural} are not known yet", details={"retryAfterSeconds": 1}) from None
        if named and self._find(workspace, named) is None:
            try:
                found = await self._shards[workspace.shard].get(PRIORITY, workspace.prefix + named)
            except StatusError as error:
                if error.code not in (400, 404):
                    raise
            else:
                return _priority(_class(PRIORITY, found), named=True)
        return self._values(workspace, info, kind, name, named)

    def _values(self, workspace: Place, info: RequestInfo, kind: Resource, name: str, named: str) -> tuple[bytes, ...]:
        classes = self._known[workspace.shard, kind].get(workspace.token, {})
        defaults = [item for item in classes.values() if item.default]
        if info.resource == "pods":
            if named:
                found = self._find(workspace, named)
                if found is not None:
                    return _priority(found, named=True)
                if info.verb == "create":
                    raise _no_class(name, named)
                return b"", MISSING, b""
            return _priority(min(defaults, key=lambda item: item.value), named=False) if defaults else NO_CLASS
        if kind is PRIORITY:
            chosen = min(defaults, key=lambda item: item.value, default=None)
            return ((workspace.prefix + chosen.name).encode() if chosen else b"",)
        return (newest(defaults).name.encode() if defaults else b"",)

    def _find(self, workspace: Place, named: str) -> Class | None:
        known = self._known[workspace.shard, PRIORITY]
        if named in SYSTEM_CLASSES:
            return known.get("", {}).get(named)
        return known.get(workspace.token, {}).get(workspace.prefix + named)


def newest(classes: list[Class]) -> Class:
    """Of several default classes."""
    latest = max(item.created for item in classes)
    return min((item for item in classes if item.created == latest), key=lambda item: item.name)


def names_of_pod(body: bytes) -> tuple[str, str]:
    """A pod's name and that of its priority class in a mapped body; ``""`` for what is not there."""
    try:
        pod = decode(open_envelope(body)[1], _POD) if body.startswith(MAGIC) else orjson.loads(body)
        name, named = (pod.get("metadata") or {}).get("name"), (pod.get("spec") or {}).get("priorityClassName")
    except (WireError, ValueError, AttributeError):
        return "", ""  # what cannot be read is for the shard to refuse
    return str(name or ""), named if isinstance(named, str) else ""


def _priority(found: Class, *, named: bool) -> tuple[bytes, ...]:
    return b"" if named else found.name.encode(), str(found.value).encode(), found.policy.encode()


def _no_class(pod: str, named: str) -> StatusError:
    return StatusError(
        403,
        f'pods "{pod}" is forbidden: no PriorityClass with name {named} was found',
        details={"kind": "pods", **({"name": pod} if pod else {})},
    )


def _slim(resource: Resource) -> Callable[[Object], Object]:
    def slim(obj: Object) -> Object:
        meta = obj["metadata"]
        return {"metadata": {"name": meta["name"]}, "kept": _class(resource, obj)}

    return slim


def _class(resource: Resource, obj: Object) -> Class:
    meta = obj["metadata"]
    annotations = meta.get("annotations") or {}
    name = meta["name"]
    return Class(
        name=name[PREFIX_LENGTH:] if token_of(name) else name,
        default=bool(obj.get("globalDefault")) or any(annotations.get(key) == "true" for key in DEFAULT_OF[resource]),
        created=meta.get("creationTimestamp") or "",
        value=int(obj.get("value") or 0),
        policy=obj.get("preemptionPolicy") or "",
    )
