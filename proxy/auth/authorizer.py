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
from typing import Any, Protocol

from cachetools import LRUCache

from proxy.auth.identity import User, mapped_identity
from proxy.auth.rules import Rules
from proxy.kube.client import Client, Resource
from proxy.kube.events import follow
from proxy.mapping.request import Attributes
from proxy.mapping.token import token_of
from proxy.tenancy.index import Workspace

log = logging.getLogger(__name__)

RULES_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews", namespaced=False)
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False)
RBAC = tuple(
    Resource("rbac.authorization.k8s.io", "v1", plural, plural.startswith("role"))
    for plural in ("roles", "rolebindings", "clusterroles", "clusterrolebindings")
)
TENANCY = "tenancy.kcp.dev"

GOOD_FOR = 60.0
"""Seconds that fetched rules count; changes drop them at once, this is for what no watch can tell."""
UNWATCHED = 2.0
"""The same while the watch of a shard's RBAC objects is broken."""
SETTLING = 1.0
"""Seconds after a change in which the shard's own RBAC caches may not have seen it yet: rules fetched then are
fetched again soon."""
SETTLING_GOOD_FOR = 0.2
CACHED = 16384


class Access(enum.IntEnum):
    """How far a user may go into a workspace."""

    NONE = 0
    ACCESS = 1
    """May enter; the workspace's own RBAC decides the rest."""
    ADMIN = 2
    """May do everything inside."""


class Index(Protocol):
    def get(self, path: str) -> Workspace | None: ...


Key = tuple[User, str, str, int]


class Authorizer:
    """``shards``: a client with full rights for each shard; rules are asked for by impersonating the mapped user."""

    def __init__(self, index: Index, shards: Mapping[str, Client]) -> None:
        self._index = index
        self._shards = shards
        self._rules: LRUCache[Key, tuple[Rules, float]] = LRUCache(CACHED)
        self._pending: dict[Key, asyncio.Task[Rules]] = {}
        self._generation: dict[str, int] = {}
        self._changed: LRUCache[str, float] = LRUCache(CACHED)
        self._epoch = 0
        self._watching: dict[str, int] = dict.fromkeys(shards, 0)

    def enter(self, user: User, workspace: Workspace) -> Access | Awaitable[Access]:
        """How far ``user`` may go into ``workspace``: RBAC of the parent says, of root itself for root."""
        if user.workspace_token is not None:
            return Access.ACCESS if user.workspace_token == workspace.token else Access.NONE
        if user.masters:
            return Access.ADMIN
        parent = self._index.get(workspace.parent) if workspace.parent else workspace
        if parent is None:
            return Access.NONE
        rules = self._at(user, parent, "")
        if isinstance(rules, Rules):
            return _access(rules, parent, workspace)
        return self._enter_later(rules, parent, workspace)

    async def _enter_later(self, rules: Awaitable[Rules], parent: Workspace, workspace: Workspace) -> Access:
        return _access(await rules, parent, workspace)

    def allowed(
        self, user: User, access: Access, workspace: Workspace, attributes: Attributes
    ) -> bool | Awaitable[bool]:
        """Whether ``user``, who has entered with ``access``, may do what the mapped ``attributes`` say."""
        if access is Access.ADMIN:
            return True
        rules = self._at(user, workspace, attributes.namespace)
        if isinstance(rules, Rules):
            return rules.allow(attributes)
        return self._allowed_later(rules, attributes)

    async def _allowed_later(self, rules: Awaitable[Rules], attributes: Attributes) -> bool:
        return (await rules).allow(attributes)

    def _at(self, user: User, workspace: Workspace, namespace: str) -> Rules | Awaitable[Rules]:
        """Rules in the mapped ``namespace`` (``""``: cluster scope) of ``workspace``."""
        token = workspace.token
        key = (user, token, namespace, self._generation.get(token, 0) + self._epoch)
        cached = self._rules.get(key)
        if cached is not None and cached[1] > time.monotonic():
            return cached[0]
        pending = self._pending.get(key)
        if pending is None:
            pending = asyncio.get_running_loop().create_task(self._fetch(key, workspace))
            self._pending[key] = pending
            pending.add_done_callback(lambda _: self._pending.pop(key, None))
        return asyncio.shield(pending)

    async def _fetch(self, key: Key, workspace: Workspace) -> Rules:
        user, token, namespace, _ = key
        name, groups = mapped_identity(user, workspace.prefix)
        headers = [("Impersonate-User", name), *(("Impersonate-Group", group) for group in groups)]
        # No namespace can have this name, so a review there tells the rules of cluster scope alone.
        body: dict[str, Any] = {
            "apiVersion": RULES_REVIEWS.api_version,
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace or f"{workspace.prefix}-"},
        }
        review = await self._shards[workspace.shard].request("POST", RULES_REVIEWS.path(), body=body, headers=headers)
        status = review.get("status") or {}
        if status.get("incomplete"):
            log.warning("rules of a user in %s are incomplete: %s", workspace.path, status.get("evaluationError"))
        rules = Rules(status.get("resourceRules") or (), status.get("nonResourceRules") or ())
        now = time.monotonic()
        good_for = GOOD_FOR
        if self._watching[workspace.shard] < len(RBAC):
            good_for = UNWATCHED
        if now - self._changed.get(token, -SETTLING) < SETTLING:
            good_for = SETTLING_GOOD_FOR
        self._rules[key] = (rules, now + good_for)
        return rules

    async def run(self) -> None:
        """Follow the RBAC objects of all shards until cancelled."""
        async with asyncio.TaskGroup() as group:
            for shard, client in self._shards.items():
                for resource in RBAC:
                    group.create_task(self._follow(shard, client, resource))

    async def _follow(self, shard: str, client: Client, resource: Resource) -> None:
        def connected(up: bool) -> None:
            self._watching[shard] += 1 if up else -1
            # Whatever happened while nobody watched is not known: everything is asked for again.
            self._epoch += 1_000_000

        await follow(client, resource, self._changed_object, connected)

    def _changed_object(self, namespace: str, name: str) -> None:
        token = token_of(namespace or name)
        if token is not None:
            self.invalidate(token)

    def invalidate(self, token: str) -> None:
        """Forget the rules of all users in the workspace with ``token``."""
        self._generation[token] = self._generation.get(token, 0) + 1
        self._changed[token] = time.monotonic()


def _access(rules: Rules, parent: Workspace, workspace: Workspace) -> Access:
    for verb, access in (("admin", Access.ADMIN), ("access", Access.ACCESS)):
        for resource in ("clusterworkspaces", "workspaces"):
            wanted = Attributes(verb, TENANCY, resource, "content", "", parent.prefix + workspace.name, True, "")
            if rules.allow(wanted):
                return access
    return Access.NONE


async def access_review(client: Client, user: User, workspace: Workspace, attributes: Attributes) -> bool:
    """What the shard itself says; the local decision must never differ from it."""
    name, groups = mapped_identity(user, workspace.prefix)
    body: dict[str, Any] = {
        "apiVersion": ACCESS_REVIEWS.api_version,
        "kind": "SubjectAccessReview",
        "spec": {
            "user": name,
            "groups": list(groups),
            "resourceAttributes": {
                "verb": attributes.verb,
                "group": attributes.group,
                "resource": attributes.resource,
                "subresource": attributes.subresource,
                "namespace": attributes.namespace,
                "name": attributes.name,
            },
        },
    }
    review = await client.create(ACCESS_REVIEWS, body)
    return bool((review.get("status") or {}).get("allowed"))
