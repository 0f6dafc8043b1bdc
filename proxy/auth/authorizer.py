"""May they enter, and what may they do there.

The shard's RBAC is the authority, but it is not asked for each request: its cost grows with all bindings of all
workspaces. A user's rules at one place are fetched once (SelfSubjectRulesReview as the mapped user), matched here, and
dropped at any change of the workspace's RBAC objects.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import time
from collections.abc import Awaitable, Mapping
from functools import lru_cache
from typing import NamedTuple, Protocol
from weakref import WeakValueDictionary

import orjson
from cachetools import LRUCache

from proxy.auth.asking import ask
from proxy.auth.followed import RBAC, FollowedShard
from proxy.auth.identity import AUTHENTICATED, User, mapped_identity
from proxy.auth.leases import FOR_GOOD, Epoch, Lease, both
from proxy.auth.rules import Rules
from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.events import follow
from proxy.kube.flights import Flights
from proxy.kube.reviews import ACCESS_REVIEWS, RULES_REVIEWS
from proxy.mapping.request import Attributes
from proxy.mapping.token import token_of
from proxy.tenancy.index import Workspace

log = logging.getLogger(__name__)

TENANCY = "tenancy.kcp.dev"
KINDS = ("clusterworkspaces", "workspaces")
"""Of a workspace, in its parent."""
OWNERS_VERBS = ("get", "delete")
"""What an owner may do with them."""

CACHED = 16384
"""Answers kept: a few hundred bytes each, for rules that are alike are kept once."""
WORKSPACES = 65536
"""Workspaces of which the last change is kept."""


class Access(enum.IntEnum):
    """How far a user may go into a workspace."""

    NONE = 0
    ACCESS = 1
    """May enter; the workspace's own RBAC decides the rest."""
    ADMIN = 2
    """May do everything inside."""


class Index(Protocol):
    def get(self, path: str) -> Workspace | None: ...


Who = tuple[str, tuple[str, ...]]
"""User name and groups: all that RBAC looks at."""


class _Epoch(Epoch):
    """The time between two changes of a workspace's RBAC: what was learnt in another one is not known."""

    __slots__ = ("answers", "began", "rules", "shard")

    def __init__(self, shard: str, began: float) -> None:
        super().__init__()
        self.shard = shard
        self.began = began
        self.rules: Flights[tuple[str, Who, str], _Known] = Flights()
        self.answers: Flights[tuple[str, Who, Attributes], bool] = Flights()


class _Epochs(LRUCache[str, _Epoch]):
    """By token; one that leaves, for a new one or for want of room, is over."""

    def __setitem__(self, token: str, epoch: _Epoch) -> None:
        if token in self:
            self[token].over = True
        super().__setitem__(token, epoch)

    def __delitem__(self, token: str) -> None:
        self[token].over = True
        super().__delitem__(token)


class _Known(NamedTuple):
    """Rules at one place, good in one epoch and until a moment (monotonic seconds)."""

    rules: Rules
    complete: bool
    """Whether what they do not allow is forbidden; else the shard has more to say."""
    epoch: _Epoch
    until: float
    access: dict[str, Access]
    """How far the user may go into workspaces of which this one is the parent, by name."""


class _Answer(NamedTuple):
    """Of the shard, to one question."""

    allowed: bool
    epoch: _Epoch
    until: float


def _is_current(learnt: _Known | _Answer) -> bool:
    return not learnt.epoch.over and learnt.until > time.monotonic()


class Authorizer:
    """``shards``: a client for each; rules are asked for by impersonating the mapped user."""

    def __init__(self, index: Index, shards: Mapping[str, Client]) -> None:
        self._index = index
        self._shards = {name: FollowedShard(name, client) for name, client in Identity.ACCESS.on_all(shards).items()}
        self._known: LRUCache[tuple[str, Who, str], _Known] = LRUCache(CACHED)
        self._answers: LRUCache[tuple[str, Who, Attributes], _Answer] = LRUCache(CACHED)
        self._epochs = _Epochs(WORKSPACES)
        self._alike: WeakValueDictionary[bytes, Rules] = WeakValueDictionary()

    def enter(self, user: User, workspace: Workspace) -> Access | Awaitable[Access]:
        """How far ``user`` may go into ``workspace``: RBAC of the parent says, of root itself for root. An owner whose
        rights are implied (`proxy.tenancy.owner_roles`) may do everything.

        A user who exists in one workspace only (a service account, an impersonated user) may enter that one.
        """
        if user.workspace_token is not None:
            return Access.ACCESS if user.workspace_token == workspace.token else Access.NONE
        if user.masters or _owns(user, workspace):
            return Access.ADMIN
        parent = self._index.get(workspace.parent) if workspace.parent else workspace
        if parent is None:
            return Access.NONE
        known = self._current(user, parent, "")
        access = known.access.get(workspace.name) if known is not None else None
        return access if access is not None else self._enter_later(user, parent, workspace)

    async def _enter_later(self, user: User, parent: Workspace, workspace: Workspace) -> Access:
        known = await self._rules(user, parent, "")
        access = Access.NONE
        for attributes, level in _content(parent.prefix, workspace.name):
            if await self._decide(user, parent, attributes):
                access = level
                break
        known.access[workspace.name] = access
        return access

    def allowed(
        self, user: User, access: Access, workspace: Workspace, attributes: Attributes
    ) -> bool | Awaitable[bool]:
        """Whether ``user``, who has entered with ``access``, may do what the mapped ``attributes`` say."""
        if access is Access.ADMIN or self._may_as_owner(user, workspace, attributes):
            return True
        decided = self._decided(user, workspace, attributes)
        return decided if decided is not None else self._decide(user, workspace, attributes)

    def _may_as_owner(self, user: User, workspace: Workspace, attributes: Attributes) -> bool:
        """Whether it is implied, as the rule of an owner's role would say (`proxy.tenancy.owners`)."""
        if attributes.group != TENANCY or attributes.verb not in OWNERS_VERBS or attributes.subresource:
            return False
        if attributes.resource not in KINDS or not attributes.name:
            return False
        child = self._index.get(f"{workspace.path}:{attributes.name.removeprefix(workspace.prefix)}")
        return child is not None and child.parent == workspace.path and _owns(user, child)

    def _decided(self, user: User, workspace: Workspace, attributes: Attributes) -> bool | None:
        """The decision as far as it follows from what is known, None where the shard must be asked."""
        complete = False
        # Rules of the cluster scope hold in every namespace: who has them needs no review for each.
        for namespace in ("", attributes.namespace) if attributes.namespace else ("",):
            known = self._current(user, workspace, namespace)
            if known is None:
                return None
            if known.rules.allow(attributes):
                return True
            complete = known.complete
        if complete:
            return False
        answer = self._answers.get((workspace.token, (user.name, user.groups), attributes))
        return answer.allowed if answer is not None and _is_current(answer) else None

    def lease(
        self, user: User, workspace: Workspace, attributes: Attributes, *, any_name: bool = False
    ) -> Lease | None:
        """How long it is good that ``user`` may enter ``workspace`` and there do what ``attributes`` say (``any_name``:
        to every object of the kind), as `enter` and `allowed` answer without waiting, and as long as the index has the
        same ``workspace`` and the same parent; None if they would not."""
        access = self.enter(user, workspace)
        if not isinstance(access, Access) or access is Access.NONE:
            return None
        leases = [FOR_GOOD]
        if user.workspace_token is None and not user.masters and not _owns(user, workspace):
            parent = self._index.get(workspace.parent) if workspace.parent else workspace
            entry = self._current(user, parent, "") if parent is not None else None
            if entry is None:
                return None
            leases.append(Lease(entry.until, (entry.epoch,)))
        if access is Access.ADMIN:
            return both(leases)
        for namespace in ("", attributes.namespace) if attributes.namespace else ("",):
            known = self._current(user, workspace, namespace)
            if known is None:
                return None
            leases.append(Lease(known.until, (known.epoch,)))
            if known.rules.allow(attributes, any_name=any_name):
                return both(leases)
        if any_name:
            return None  # the shard was asked about one
        answer = self._answers.get((workspace.token, (user.name, user.groups), attributes))
        if answer is None or not answer.allowed or not _is_current(answer):
            return None
        return both([*leases, Lease(answer.until, (answer.epoch,))])

    def _current(self, user: User, workspace: Workspace, namespace: str) -> _Known | None:
        """Rules at the mapped ``namespace`` (``""``: the cluster scope) of ``workspace``, if they are known."""
        known = self._known.get((workspace.token, (user.name, user.groups), namespace))
        return known if known is not None and _is_current(known) else None

    async def _decide(self, user: User, workspace: Workspace, attributes: Attributes) -> bool:
        known = await self._rules(user, workspace, "")
        if not known.rules.allow(attributes) and attributes.namespace:
            known = await self._rules(user, workspace, attributes.namespace)
        if known.rules.allow(attributes):
            return True
        return not known.complete and await self._answer(user, workspace, attributes)

    async def _rules(self, user: User, workspace: Workspace, namespace: str) -> _Known:
        known = self._current(user, workspace, namespace)
        if known is not None:
            return known
        epoch = self._epoch(workspace.token, workspace.shard)
        key = (workspace.token, (user.name, user.groups), namespace)
        return await epoch.rules.once(key, lambda: self._fetch_rules(key, epoch, user, workspace, namespace))

    async def _fetch_rules(
        self, key: tuple[str, Who, str], epoch: _Epoch, user: User, workspace: Workspace, namespace: str
    ) -> _Known:
        shard = self._shards[workspace.shard]
        await shard.wait_loaded()
        name, groups = mapped_identity(user, workspace.prefix)
        asked = time.monotonic()
        # No namespace can have this name, so a review there tells the rules of the cluster scope alone.
        spec: Object = {"namespace": namespace or f"{workspace.prefix}-"}
        status = await ask(shard.client.acting_as(name, groups), shard.name, RULES_REVIEWS, spec)
        rules = self._compile(status.get("resourceRules") or [], status.get("nonResourceRules") or [])
        # A binding to a role that is missing makes rules incomplete, an authorizer beside RBAC (kind's node one) too.
        known = _Known(rules, not status.get("incomplete"), epoch, shard.until(asked, epoch.began), {})
        self._known[key] = known
        return known

    def _compile(self, resource_rules: list[Object], non_resource_rules: list[Object]) -> Rules:
        key = orjson.dumps((resource_rules, non_resource_rules))
        rules = self._alike.get(key)
        if rules is None:
            rules = self._alike[key] = Rules(resource_rules, non_resource_rules)
        return rules

    async def _answer(self, user: User, workspace: Workspace, attributes: Attributes) -> bool:
        """What the shard itself says."""
        key = (workspace.token, (user.name, user.groups), attributes)
        answer = self._answers.get(key)
        if answer is not None and _is_current(answer):
            return answer.allowed
        epoch = self._epoch(workspace.token, workspace.shard)

        async def fetch() -> bool:
            shard = self._shards[workspace.shard]
            await shard.wait_loaded()
            asked = time.monotonic()
            status = await ask(shard.client, shard.name, ACCESS_REVIEWS, access_review(user, workspace, attributes))
            allowed = status.get("allowed") is True
            self._answers[key] = _Answer(allowed, epoch, shard.until(asked, epoch.began))
            return allowed

        return await epoch.answers.once(key, fetch)

    def _epoch(self, token: str, shard: str) -> _Epoch:
        epoch = self._epochs.get(token)
        if epoch is None or epoch.shard != shard:  # it may have moved
            epoch = self._epochs[token] = _Epoch(shard, self._shards[shard].since)
        return epoch

    async def run(self) -> None:
        """Follow the RBAC objects of all shards until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard in self._shards.values():
                for resource in RBAC:
                    group.create_task(self._follow(shard, resource))

    async def _follow(self, shard: FollowedShard, resource: Resource) -> None:
        def changed(namespace: str, name: str) -> None:
            # What has no token is the shard's own (its shared roles): its administrator's changes count in GOOD_FOR.
            token = token_of(namespace or name)
            if token is not None:
                self._epochs[token] = _Epoch(shard.name, time.monotonic())

        def connected(up: bool) -> None:
            shard.connected(up)
            # Whatever happened while nobody watched is not known: everything is asked for again.
            for token in [token for token, epoch in self._epochs.items() if epoch.shard == shard.name]:
                del self._epochs[token]

        await follow(shard.client, resource, changed, connected)


def _owns(user: User, workspace: Workspace) -> bool:
    """Whether ``user`` has an owner's rights without a role."""
    return workspace.implied and workspace.owner == user.name


@lru_cache(maxsize=WORKSPACES)
def _content(prefix: str, name: str) -> tuple[tuple[Attributes, Access], ...]:
    """What opens the workspace ``name`` of the parent with ``prefix``, the most first."""
    return tuple(
        (Attributes(verb, TENANCY, resource, "content", "", prefix + name, True, ""), access)
        for verb, access in (("admin", Access.ADMIN), ("access", Access.ACCESS))
        for resource in KINDS
    )


def access_review(user: User, workspace: Workspace, attributes: Attributes) -> Object:
    """Spec of the SubjectAccessReview that asks the same of the shard; no local decision may differ from it."""
    name, groups = mapped_identity(user, workspace.prefix)
    # The shard adds this group to whomever the proxy names (and to whom it impersonates), but not in reviews.
    spec: Object = {"user": name, "groups": [*groups, AUTHENTICATED]}
    if not attributes.is_resource:
        return {**spec, "nonResourceAttributes": {"verb": attributes.verb, "path": attributes.path}}
    wanted = ("verb", "group", "resource", "subresource", "namespace", "name")
    return {**spec, "resourceAttributes": {key: getattr(attributes, key) for key in wanted}}
