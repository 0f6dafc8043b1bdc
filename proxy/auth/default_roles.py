"""ClusterRoles that every cluster has from its start: ``cluster-admin``, ``admin``, ``edit``, ``view`` and their parts.

Each workspace has its own, so that they can be listed, changed, and extended by aggregation as anywhere. They are made
when RBAC of the workspace is first touched: most workspaces are used by their owner alone and never need them. What a
user has changed or added stays; what was deleted comes back some time, as it does when a kube-apiserver starts
(``k8s.io/kubernetes/pkg/registry/rbac/rest``, ``plugin/pkg/auth/authorizer/rbac/bootstrappolicy``).
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Mapping
from typing import Protocol

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.flights import Once
from proxy.mapping.objects import Context, map_object
from proxy.mapping.paths import RequestInfo
from proxy.mapping.rbac import AGGREGATE, BOOTSTRAPPING, GROUP, merge_rules
from proxy.mapping.scopes import NoCRDs

CLUSTER_ROLES = Resource(GROUP, "v1", "clusterroles", namespaced=False)
PARTS = {
    "view": ("system:aggregate-to-view",),
    "edit": ("system:aggregate-to-edit", "view"),
    "admin": ("edit", "system:aggregate-to-admin"),
}
"""What aggregation makes each role of, by name; in the order of dependence."""
FEEDS = {
    "view": "edit",
    "edit": "admin",
    "system:aggregate-to-view": "view",
    "system:aggregate-to-edit": "edit",
    "system:aggregate-to-admin": "admin",
}
"""Label ``aggregate-to-…`` of each role."""
SENTINEL = "cluster-admin"
"""Made last: where it is, all were."""
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
DEFAULTS: Object = {
    "annotations": {AUTOUPDATE: "true"},
    "labels": {BOOTSTRAPPING: "rbac-defaults"},
}
WORKSPACES = 65536
"""Workspaces that are remembered to have theirs."""


class Place(Protocol):
    """What is needed of a workspace."""

    @property
    def token(self) -> str: ...
    @property
    def shard(self) -> str: ...
    @property
    def prefix(self) -> str: ...


class DefaultRoles:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.OPENING.on_all(shards)
        self._made: Once[tuple[str, str]] = Once(WORKSPACES)
        """By shard and token."""

    def missing(self, workspace: Place) -> Awaitable[None] | None:
        """None where ``workspace`` has them as far as is known; else what makes them. Raises StatusError."""
        return self._made.needed((workspace.shard, workspace.token), lambda: self._make(workspace))

    async def _make(self, workspace: Place) -> None:
        client = self._shards[workspace.shard]
        wanted = await _plain_roles(client)
        last = wanted.pop(SENTINEL)
        await asyncio.gather(*(_ensure(client, workspace.prefix, role) for role in wanted.values()))
        await _ensure(client, workspace.prefix, last)


async def _plain_roles(client: Client) -> dict[str, Object]:
    """By name, as a workspace sees them; rules as the shard's version of Kubernetes has them."""
    names = [SENTINEL, *(name for name in FEEDS if name not in PARTS)]
    try:
        found = await asyncio.gather(*(client.get(CLUSTER_ROLES, name) for name in names))
    except StatusError as error:
        if error.code != 404:
            raise
        raise StatusError(
            503, "the default ClusterRoles are not there yet", details={"retryAfterSeconds": 1}
        ) from error
    rules: dict[str, list[Object]] = {name: role["rules"] for name, role in zip(names, found, strict=True)}
    for name, parts in PARTS.items():
        rules[name] = merge_rules(rules[part] for part in parts)
    return {name: _role(name, rules[name]) for name in rules}


def _role(name: str, rules: list[Object]) -> Object:
    labels = dict(DEFAULTS["labels"])
    if name in FEEDS:
        labels[AGGREGATE + FEEDS[name]] = "true"
    role: Object = {
        "apiVersion": CLUSTER_ROLES.api_version,
        "kind": "ClusterRole",
        "metadata": {"name": name, "annotations": dict(DEFAULTS["annotations"]), "labels": labels},
        "rules": rules,
    }
    if name in PARTS:
        role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {AGGREGATE + name: "true"}}]}
    return role


async def _ensure(client: Client, prefix: str, role: Object) -> None:
    """Make it where it is missing, and give it the rules that a newer Kubernetes has added."""
    info = RequestInfo("create", GROUP, "v1", "clusterroles", is_resource=True)
    name = role["metadata"]["name"]
    mapped = map_object(copy.deepcopy(role), Context(info, prefix, NoCRDs()))  # roles have rules in common
    try:
        found = await client.get(CLUSTER_ROLES, prefix + name)
    except StatusError as error:
        if error.code != 404:
            raise
        try:
            await client.create(CLUSTER_ROLES, mapped)
        except StatusError as conflict:
            if conflict.code != 409:  # another worker was quicker
                raise
        return
    kept = found.get("rules") or []
    if name not in PARTS and (found["metadata"].get("annotations") or {}).get(AUTOUPDATE) == "true":
        rules = merge_rules([kept, mapped["rules"]])
        if rules != kept:
            version = found["metadata"]["resourceVersion"]
            await client.patch(CLUSTER_ROLES, prefix + name, {"metadata": {"resourceVersion": version}, "rules": rules})
