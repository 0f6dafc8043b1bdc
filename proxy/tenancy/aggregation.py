"""ClusterRoles with an aggregationRule: filled with the rules of the workspace's own roles that it selects.

What Kubernetes' ``clusterroleaggregation`` controller does for a cluster, which looks at all roles when one changes;
here a change costs a look at the roles of its own workspace, and nothing is kept in memory. Selectors and labels are
those stored on the shard: the mapping has confined both to the workspace.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.identities import Identity
from proxy.kube.client import METADATA_LIST, PAGE, Client, Object
from proxy.kube.errors import StatusError
from proxy.kube.events import follow
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.listing import make_token
from proxy.mapping.rbac import merge_rules
from proxy.mapping.token import token_of
from proxy.tenancy.api import CLUSTER_ROLES

log = logging.getLogger(__name__)

MANAGER = "clusterrole-aggregation-controller"
"""Field manager, as Kubernetes' controller calls itself."""
Key = tuple[str, str]
"""Shard, and the token of a workspace of it."""
RESTS = 10.0
"""Times as long as it took to read a workspace's roles they are not read again: each workspace that is made in another
brings a role there, and ten thousand would else be read ten thousand times."""


class Aggregation:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.ROLES.on_all(shards)
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="aggregated roles", workers=2)
        self._resting: dict[Key, float] = {}
        """Until when, by the event loop's clock."""

    async def run(self) -> None:
        """Follow and act until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            for shard, client in self._shards.items():
                lost = asyncio.Event()
                group.create_task(follow(client, CLUSTER_ROLES, partial(self._changed, shard), partial(_lost, lost)))
                group.create_task(self._catch_up(shard, client, lost))

    def _changed(self, shard: str, namespace: str, name: str) -> None:
        token = token_of(name)
        if token is not None:
            self._queue.add((shard, token))

    async def _catch_up(self, shard: str, client: Client, lost: asyncio.Event) -> None:
        """Whatever may have changed while nobody looked is looked at."""
        while True:
            await lost.wait()
            lost.clear()
            try:
                async for page in client.pages(CLUSTER_ROLES, accept=METADATA_LIST):
                    for item in page["items"]:
                        self._changed(shard, "", item["metadata"]["name"])
            except StatusError as error:
                log.warning("ClusterRoles of shard %s: %s", shard, error)
                await asyncio.sleep(1)
                lost.set()

    async def _reconcile(self, key: Key) -> float | None:
        loop = asyncio.get_running_loop()
        if key in self._resting:
            return max(self._resting[key] - loop.time(), 0.001)
        shard, token = key
        client = self._shards[shard]
        began = loop.time()
        roles = {role["metadata"]["name"]: role for role in await roles_of(client, f"{token}-")}
        rest = RESTS * (loop.time() - began)
        self._resting[key] = loop.time() + rest
        loop.call_later(rest, self._resting.pop, key, None)
        for name, rules in aggregated(roles).items():
            wanted: Object = {
                "apiVersion": CLUSTER_ROLES.api_version,
                "kind": "ClusterRole",
                "metadata": {"name": name},
            }
            # Not made again by this, should it be gone by now.
            wanted["metadata"]["uid"] = roles[name]["metadata"]["uid"]
            try:
                await client.apply(CLUSTER_ROLES, wanted | {"rules": rules}, manager=MANAGER)
            except StatusError as error:
                if error.code not in (404, 409):
                    raise
        return None


def _lost(lost: asyncio.Event, up: bool) -> None:
    if up:
        lost.set()


async def roles_of(client: Client, prefix: str) -> list[Object]:
    """All ClusterRoles whose names begin with ``prefix``, by name; read from there on, whatever else there is."""
    found: list[Object] = []
    going_on: str = make_token(prefix)
    limit = 20
    while going_on:
        params: dict[str, str | int | None] = {"limit": limit, "continue": going_on}
        page = await client.request("GET", CLUSTER_ROLES.path(), params=params)
        items = page.get("items") or []
        own = [item for item in items if item["metadata"]["name"].startswith(prefix)]
        found += own
        going_on = page["metadata"].get("continue") or "" if len(own) == len(items) else ""
        limit = PAGE
    return found


def aggregated(roles: Mapping[str, Object]) -> dict[str, list[Object]]:
    """The rules that are to change, by the name of the role. ``roles`` by name, in the order of names."""
    now: dict[str, list[Object]] = {name: role.get("rules") or [] for name, role in roles.items()}
    aggregating = {name: _selectors(role) for name, role in roles.items() if role.get("aggregationRule")}
    for _ in range(len(aggregating) + 1):  # one may feed another; a circle ends here
        before = dict(now)
        for name, selectors in aggregating.items():
            now[name] = merge_rules(
                now[other]
                for selector in selectors
                for other, role in roles.items()
                if other != name and matches(selector, role["metadata"].get("labels") or {})
            )
        if now == before:
            break
    return {name: now[name] for name in aggregating if now[name] != (roles[name].get("rules") or [])}


def _selectors(role: Object) -> list[Object]:
    return (role.get("aggregationRule") or {}).get("clusterRoleSelectors") or []


def matches(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a LabelSelector (meta/v1) takes ``labels``."""
    if any(labels.get(key) != value for key, value in (selector.get("matchLabels") or {}).items()):
        return False
    return all(_meets(expression, labels) for expression in selector.get("matchExpressions") or ())


def _meets(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    value = labels.get(expression["key"])
    match expression["operator"]:
        case "In":
            return value in (expression.get("values") or ())
        case "NotIn":
            return value not in (expression.get("values") or ())
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
    return False
