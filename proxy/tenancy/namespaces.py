"""The end of workspaces' namespaces: what is in them is deleted, and then they are.

Kubernetes' namespace controller looks at every type of a shard before a namespace is gone: the CRDs of one workspace
cost the namespaces of all others, and one that cannot be listed, as its conversion webhook fails, holds them up. Here a
namespace costs a look at the kinds of its own workspace. Kubernetes' controller keeps the shard's own namespaces, and
changes nothing in those of workspaces (``manifests/shard/namespaces.yaml``).

As ``k8s.io/kubernetes/pkg/controller/namespace/deletion``: pods first, then all else, and the namespace last. What is
on its way to etcd when a namespace begins to end is waited for before that: nobody could take it away once there is no
namespace, as the shard's policies want to see that.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Collection, Mapping
from weakref import WeakValueDictionary

from proxy.identities import Identity
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.tally import tally_for
from proxy.kube.turns import Turns
from proxy.mapping.token import token_of
from proxy.tenancy.api import NAMESPACES
from proxy.tenancy.emptying import Emptying
from proxy.tenancy.kinds import NativeKinds

log = logging.getLogger(__name__)

AT_ONCE = 16
"""Requests under way at one shard; workspaces take turns."""
CONVERTED_AT_ONCE = 4
"""Of one workspace, for what its webhooks may keep waiting: nobody else waits for those."""
SETTLES = 5.0
"""Seconds, as Kubernetes has it: until all API servers of a shard know that a namespace ends."""
SETTLES_ALONE = 1.0
"""The same for one that has no others. It has heard of it itself: for half a minute it asks etcd, and not its cache,
before it lets anything into that namespace (``k8s.io/apiserver/pkg/admission/plugin/namespace/lifecycle``). So what is
waited for has been let in, and is about to be written; webhooks that take longer are asked for nothing
(`proxy.admission.lifetime`)."""
FIRST, LAST, GROWTH = 0.1, 5.0, 1.5
"""Seconds from one look at what is left to the next, at first and at last, and how they grow."""


class Namespaces:
    """``shards``: a client for each, which may impersonate. ``alone``: which of them are one API server. ``native``:
    what each serves, which is forgotten here when one was away."""

    def __init__(self, shards: Mapping[str, Client], alone: Collection[str], native: Mapping[str, NativeKinds]) -> None:
        self._shards = [
            _Shard(client, SETTLES_ALONE if name in alone else SETTLES, native[name]) for name, client in shards.items()
        ]

    async def run(self) -> None:
        """Follow and act until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard in self._shards:
                group.create_task(shard.run())


class _Shard:
    """Namespaces of one shard."""

    def __init__(self, shard: Client, settles: float, native: NativeKinds) -> None:
        self._shard = shard
        self._client = Identity.NAMESPACES.on(shard)
        self._settles = settles
        self._turns = Turns(AT_ONCE)
        self._converted: WeakValueDictionary[str, Turns] = WeakValueDictionary()
        """By token."""
        self._native = native
        self._ending: dict[str, asyncio.Task[None]] = {}
        """By uid. Each has a task of its own: none waits for what keeps another."""
        self._tally = tally_for(self, "namespaces")
        self._informer = Informer(
            self._client,
            NAMESPACES,
            field_selector="status.phase=Terminating",
            transform=_slim,
            reconnected=native.forget,
        )
        self._informer.add_handler(self._event)

    def __len__(self) -> int:
        """Namespaces that end."""
        return len(self._ending)

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self._informer.run())

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        name, uid = new["metadata"]["name"], new["metadata"]["uid"]
        token = token_of(name)
        if kind == "DELETED" or token is None or uid in self._ending:
            return
        self._tally.added += 1
        self._ending[uid] = self._group.create_task(self._end(name, uid, token))

    async def _end(self, name: str, uid: str, token: str) -> None:
        client, patient = Identity.NAMESPACES.on(self._shard), Identity.NAMESPACES.on(self._shard)
        converted = self._converted.setdefault(token, Turns(CONVERTED_AT_ONCE))
        client.turn, patient.turn = self._turns.of(token), converted.of(token)
        namespace = Emptying(name, uid, client, patient, self._native)
        try:
            await asyncio.sleep(self._settles)
            await self._until_gone(namespace)
        finally:
            del self._ending[uid]

    async def _until_gone(self, namespace: Emptying) -> None:
        delay = FIRST
        while True:
            began = time.perf_counter()
            try:
                if await namespace.look():
                    return
            except StatusError as error:
                self._tally.retried += 1
                level = logging.DEBUG if error.code == 409 else logging.WARNING
                log.log(level, "namespace %s: %s", namespace.name, error)
            except Exception:
                self._tally.retried += 1
                log.exception("namespace %s", namespace.name)
            finally:
                self._tally.work.observe(time.perf_counter() - began)
            await asyncio.sleep(delay * random.uniform(0.75, 1.25))
            delay = min(delay * GROWTH, LAST)


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    return {"metadata": {"name": meta["name"], "uid": meta["uid"]}}
