"""ResourceQuotas of workspaces: ``status.hard`` becomes what the spec says, ``status.used`` what there is.

kube-apiserver's admission raises what is used when something is made; somebody has to lower it when something goes. Of
Kubernetes that is its quota controller, which follows all types of a shard, and waits for each new one until it can be
listed: one workspace's broken conversion webhook delays the quotas of all. Here a quota costs a look at the types that
it names, in its namespace, and who has no quota costs nothing. Kubernetes' controller may work beside it: both find the
same.

What admission has raised for an object that was then not made is found when all is looked at again, as in Kubernetes;
nothing can be wrong with a quota whose status has not changed since then.
"""

from __future__ import annotations

import asyncio
import datetime
import math
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.turns import Turns
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.token import LABEL, token_of
from proxy.quota.evaluators import Type, facts, needs
from proxy.quota.quantity import NOTHING
from proxy.quota.status import changes
from proxy.tenancy.content import CRDS
from proxy.tenancy.following import Following
from proxy.tenancy.kinds import Kind
from proxy.tenancy.usage import Types, Usage, is_native, measure

QUOTAS = Resource("", "v1", "resourcequotas")
AT_ONCE = 8
"""Requests under way at one shard; workspaces take turns."""
WORKERS = 32
CONVERTED_AT_ONCE = 2
"""Quotas of one workspace that wait for its webhooks: nobody else waits for those."""
RESYNC = 300.0
"""Seconds after a change of a quota's status until all of it is looked at again, as Kubernetes has it."""
QUIET = 10.0
"""The same once nobody has changed it for so long: what admission has raised for something that was then not made is
found soon, and nothing that is being made just now is missed."""
SETTLES = 2.0
"""The same after a change by this controller: what admission had let in is written by then."""
RESTS, REST, LONGEST_REST = 4.0, 0.05, 2.0
"""A quota is left alone for so many times as long as it took, so many seconds at least and so many at most: many things
go together, and a busy shard makes nobody wait for long."""
LAST = 30.0
"""Seconds between two attempts, at most."""
AGAIN = 0.05
"""Seconds after which it is tried again where admission came first."""

Key = tuple[str, str]
"""Namespace and name."""


class Quotas:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = [_Shard(client) for client in shards.values()]

    async def run(self) -> None:
        """Follow and act until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard in self._shards:
                group.create_task(shard.run())


class _Quota:
    """What is known of one."""

    def __init__(self, spec: Object) -> None:
        self.spec = spec
        self.needs = {need.type: need for need in needs(spec)}
        self.due = set(self.needs)
        """Types to be looked at."""
        self.again: dict[Type, float] = {}
        """When they are to be looked at once more, by `time.monotonic`."""
        self.raised: set[Type] = set()
        """Types of which others have changed what is used."""
        self.quiet = math.inf
        """When those are to be looked at, if nothing changes until then, by the same."""
        self.rests = 0.0
        """Until when it is left alone, by the same."""


class _Shard:
    def __init__(self, shard: Client) -> None:
        self._shard = shard
        self._client = Identity.QUOTAS.on(shard)
        self._turns = Turns(AT_ONCE)
        self._types = Types(self._client)
        self._informer = Informer(
            self._client, QUOTAS, label_selector=LABEL, transform=_slim, reconnected=self._reconnected
        )
        self._informer.add_handler(self._event)
        self._quotas: dict[Key, _Quota] = {}
        self._in_namespace: defaultdict[str, set[Key]] = defaultdict(set)
        self._in_workspace: defaultdict[str, set[Key]] = defaultdict(set)
        self._facts: defaultdict[Resource, dict[str, object]] = defaultdict(dict)
        """Of objects that have changed, by uid."""
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="quotas", workers=WORKERS, max_delay=LAST)
        self._converted: dict[str, tuple[WorkQueue[tuple[Key, Type]], asyncio.Task[None]]] = {}
        """By token."""

    async def run(self) -> None:
        async with asyncio.TaskGroup() as self._group:
            self._following = Following(self._client, self._group, self._happened, self._begun)
            try:
                self._group.create_task(self._informer.run())
                await self._informer.wait_synced()
                await self._queue.run()
            finally:
                self._following.close()

    # What is heard

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        key = (new["metadata"]["namespace"], new["metadata"]["name"])
        known = self._quotas.get(key)
        if kind == "DELETED":
            self._set(key, None)
        elif known is None or known.spec != new["spec"]:
            self._set(key, _Quota(new["spec"]))
            self._queue.add(key)
        elif old is None or old["status"] != new["status"]:
            self._look_again(key, known, known.needs, RESYNC)
            known.raised |= _changed(known, old, new)
            known.quiet = time.monotonic() + QUIET
            self._queue.add_after(key, QUIET)

    def _set(self, key: Key, quota: _Quota | None) -> None:
        token = _token(key)
        before = self._quotas.pop(key, None)
        for index, place in ((self._in_namespace, key[0]), (self._in_workspace, token)):
            if quota is not None:
                index[place].add(key)
            else:
                index[place].discard(key)
                if not index[place]:
                    del index[place]
        if quota is not None:
            self._quotas[key] = quota
        if before is not None:
            self._leave(token, set(before.needs))

    def _leave(self, token: str, counted: set[Type]) -> None:
        """What no quota of that workspace names any more."""
        keys = self._in_workspace.get(token, ())
        named = {each for key in keys for each in self._quotas[key].needs}
        for each in counted - named:
            self._following.leave(each.group, each.plural, token)
        if all(map(is_native, named)):
            self._following.leave(CRDS.group, CRDS.plural, token)
        if not keys and token in self._converted:
            self._converted.pop(token)[1].cancel()

    def _reconnected(self) -> None:
        self._types.forget_all()
        self._queue.retry()

    def _look_again(self, key: Key, quota: _Quota, types: Iterable[Type], seconds: float) -> None:
        at = time.monotonic() + seconds
        quota.again |= {each: min(at, quota.again.get(each, at)) for each in types}
        self._queue.add_after(key, seconds)

    def _touch(self, keys: Iterable[Key], counted: Type) -> None:
        """Quotas that name that type have to look at it."""
        for key in keys:
            quota = self._quotas[key]
            if counted in quota.needs:
                quota.due.add(counted)
                self._queue.add(key)

    def _happened(self, resource: Resource, event: Object) -> None:
        kind, obj = event["type"], event["object"]
        meta = obj["metadata"]
        if resource == CRDS:
            plural, _, group = meta["name"].partition(".")
            counted, token = Type(group, plural), token_of(group)
            self._types.forget(counted)
            if token is not None:
                self._following.leave(group, plural, token)  # in another version, perhaps
                self._touch(self._in_workspace.get(token, ()), counted)
            return
        keys = self._in_namespace.get(meta["namespace"])
        if keys and (self._has_changed(resource, kind, obj) or kind == "DELETED"):
            self._touch(keys, Type(resource.group, resource.plural))

    def _has_changed(self, resource: Resource, kind: str, obj: Object) -> bool:
        """Whether it takes another amount than it did. Of what is new, admission has taken care."""
        uid = obj["metadata"]["uid"]
        if kind == "DELETED" or "spec" not in obj:
            self._facts[resource].pop(uid, None)
            return False
        now = facts(Type(resource.group, resource.plural), obj, datetime.datetime.now(datetime.UTC))
        before, self._facts[resource][uid] = self._facts[resource].get(uid), now
        return kind != "ADDED" and before != now

    def _begun(self, resource: Resource, tokens: Collection[str]) -> None:
        self._facts.pop(resource, None)
        for token in tokens:
            keys = self._in_workspace.get(token, ())
            if resource != CRDS:
                self._touch(keys, Type(resource.group, resource.plural))
                continue
            for counted in {each for key in keys for each in self._quotas[key].needs if not is_native(each)}:
                self._types.forget(counted)
                self._touch(keys, counted)

    # What is done

    async def _reconcile(self, key: Key) -> float | None:
        quota, found = self._quotas.get(key), self._informer.store.get(key)
        if quota is None or found is None:
            return None
        began = time.monotonic()
        if began < quota.rests:
            return quota.rests - began
        due, quota.due = quota.due | {each for each, at in quota.again.items() if at <= began}, set()
        if quota.quiet <= began:
            due |= quota.raised
            quota.raised, quota.quiet = set(), math.inf
        quota.again = {each: at for each, at in quota.again.items() if each not in due}
        client = Identity.QUOTAS.on(self._shard)
        client.turn = self._turns.of(_token(key))
        try:
            ready = await self._ready(client, key, quota, due)
            await self._keep(client, key, quota, found, ready)
        except StatusError as error:
            quota.due |= due
            if error.code != 409:
                raise
            return AGAIN
        ended = time.monotonic()
        quota.rests = ended + min(max(REST, RESTS * (ended - began)), LONGEST_REST)
        following = min([*quota.again.values(), quota.quiet])
        return max(following - ended, 0.0) if following < math.inf else None

    async def _ready(self, client: Client, key: Key, quota: _Quota, due: set[Type]) -> dict[Type, Kind | None]:
        """What is to be counted here and now. Its changes are told from now on, or everything once more when that has
        begun. Raises StatusError."""
        token = _token(key)
        told = all(map(is_native, quota.needs)) or self._following.follow(CRDS, token)
        found: dict[Type, Kind | None] = {}
        for counted in due & set(quota.needs):
            kind = await self._types.find(client, counted, token, keep=told)
            if kind is not None:
                self._following.follow(kind.resource, token, whole=quota.needs[counted].whole)
            if kind is not None and kind.converted:
                self._patiently(token).add((key, counted))
            else:
                found[counted] = kind
        return found

    def _patiently(self, token: str) -> WorkQueue[tuple[Key, Type]]:
        """For what that workspace's webhooks may keep waiting."""
        if token not in self._converted:
            queue: WorkQueue[tuple[Key, Type]] = WorkQueue(
                self._reconcile_converted, name="converted quotas", workers=CONVERTED_AT_ONCE, max_delay=LAST
            )
            self._converted[token] = queue, self._group.create_task(queue.run())
        return self._converted[token][0]

    async def _reconcile_converted(self, what: tuple[Key, Type]) -> float | None:
        key, counted = what
        quota, found = self._quotas.get(key), self._informer.store.get(key)
        if quota is None or found is None or counted not in quota.needs:
            return None
        kind = await self._types.find(self._client, counted, _token(key), keep=False)
        if kind is None:
            return None
        try:
            await self._keep(Identity.QUOTAS.on(self._shard), key, quota, found, {counted: kind})
        except StatusError as error:
            if error.code != 409:
                raise
            return AGAIN
        return None

    async def _keep(
        self, client: Client, key: Key, quota: _Quota, found: Object, kinds: Mapping[Type, Kind | None]
    ) -> None:
        """Bring the quota, as it was ``found`` before anything was counted, up to date. What cannot be counted keeps
        nothing else. Raises StatusError, 409 if admission came first."""
        counted = [
            measure(client, kind, key[0], quota.needs[each], quota.spec)
            for each, kind in kinds.items()
            if kind is not None
        ]
        usages = await asyncio.gather(*counted, return_exceptions=True)
        known = (found["status"].get("used") or {}) if None in kinds.values() else {}
        gone = (key for each, kind in kinds.items() if kind is None for key in quota.needs[each].keys)
        amounts = {key: NOTHING for key in gone if key in known}
        for usage in usages:
            if isinstance(usage, Usage):
                amounts |= usage.amounts
                if usage.until is not None:
                    left = usage.until - datetime.datetime.now(datetime.UTC)
                    self._look_again(key, quota, quota.needs, max(left.total_seconds(), 0.0) + 0.1)
        patch = changes(found, amounts)
        if patch is not None:
            try:
                self._informer.saw(await client.patch(QUOTAS, key[1], patch, key[0], subresource="status"))
            except StatusError as error:
                if error.code != 404:
                    raise
            self._look_again(key, quota, kinds, SETTLES)
        for usage in usages:
            if isinstance(usage, BaseException):
                raise usage


def _changed(quota: _Quota, old: Object | None, new: Object) -> set[Type]:
    """Types of which something else is used than was."""
    before, now = ((obj or {}).get("status", {}).get("used") or {} for obj in (old, new))
    keys = {key for key in {*before, *now} if before.get(key) != now.get(key)}
    return {each for each, need in quota.needs.items() if not keys.isdisjoint(need.keys)}


def _token(key: Key) -> str:
    token = token_of(key[0])
    assert token is not None, key
    return token


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = {key: meta[key] for key in ("namespace", "name", "uid", "resourceVersion")}
    return {"metadata": kept, "spec": obj.get("spec") or {}, "status": obj.get("status") or {}}
