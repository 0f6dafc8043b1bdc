"""Which workspaces have webhooks, and which: followed in every worker, looked up by token for each write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.admission.rules import could_match
from proxy.kube.client import Client, Object, Resource
from proxy.kube.informer import Informer
from proxy.mapping.registrations import STORED_GROUP, VERSION
from proxy.mapping.token import PREFIX_LENGTH, token_of

MUTATING = Resource(STORED_GROUP, VERSION, "mutatingwebhookconfigurations", namespaced=False)
VALIDATING = Resource(STORED_GROUP, VERSION, "validatingwebhookconfigurations", namespaced=False)


@dataclass(frozen=True, slots=True)
class Webhook:
    """One of a configuration's."""

    uid: str
    """Names it among all of its workspace."""
    name: str
    said: Mapping[str, Any]
    """A MutatingWebhook or ValidatingWebhook, with defaults."""

    @property
    def ignores_failures(self) -> bool:
        return self.said.get("failurePolicy") == "Ignore"


class Configured:
    """What one workspace has, by kind and then by the configuration's plain name."""

    __slots__ = ("_by_kind", "_in_order")

    def __init__(self) -> None:
        self._by_kind: dict[Resource, dict[str, tuple[Webhook, ...]]] = {}
        self._in_order: dict[Resource, tuple[Webhook, ...]] = {}

    def put(self, kind: Resource, name: str, webhooks: tuple[Webhook, ...] | None) -> None:
        known = self._by_kind.setdefault(kind, {})
        if webhooks is None:
            known.pop(name, None)
        else:
            known[name] = webhooks
        self._in_order[kind] = tuple(hook for name in sorted(known) for hook in known[name])

    def webhooks(self, kind: Resource) -> tuple[Webhook, ...]:
        """In the order in which they are called."""
        return self._in_order.get(kind, ())

    def empty(self) -> bool:
        return not any(self._by_kind.values())

    def concerns(self, resource: str, also: Iterable[str] = ()) -> bool:
        """Whether one of them may be about a resource. Groups are left aside, as one resource may be in several."""
        return any(
            could_match(rule, resource, also)
            for webhooks in self._in_order.values()
            for hook in webhooks
            for rule in hook.said.get("rules") or ()
        )


class Configurations:
    """Of all shards that ask. ``shards``: a client with full rights for each of them."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._known: dict[str, dict[str, Configured]] = {shard: {} for shard in shards}
        """By shard and token; only workspaces that have some."""
        self._informers: list[Informer] = []
        for shard, client in shards.items():
            for kind in (MUTATING, VALIDATING):
                informer = Informer(client, kind, transform=_slim)
                informer.add_handler(self._follow(shard, kind))
                self._informers.append(informer)

    async def run(self) -> None:
        """Until cancelled, whether there is anything to follow or not."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())
            for informer in self._informers:
                group.create_task(informer.run())

    def of(self, shard: str, token: str) -> Configured | None:
        known = self._known.get(shard)
        return known.get(token) if known else None

    def _follow(self, shard: str, kind: Resource) -> Callable[[str, Object | None, Object], None]:
        known = self._known[shard]

        def event(event: str, old: Object | None, new: Object) -> None:
            name = new["metadata"]["name"]
            token = token_of(name)
            if token is None:
                return
            configured = known.get(token) or Configured()
            configured.put(kind, name[PREFIX_LENGTH:], None if event == "DELETED" else new["kept"])
            if configured.empty():
                known.pop(token, None)
            else:
                known[token] = configured

        return event


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    return {
        "metadata": {"name": meta["name"], "resourceVersion": meta["resourceVersion"]},
        "kept": tuple(_webhooks(meta["name"][PREFIX_LENGTH:], obj.get("webhooks") or ())),
    }


def _webhooks(configuration: str, webhooks: Iterable[Object]) -> Iterable[Webhook]:
    for index, said in enumerate(webhooks):
        yield Webhook(f"{configuration}/{said['name']}/{index}", said["name"], said)
