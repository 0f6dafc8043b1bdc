"""Which workspaces have webhooks and policies, and which: followed in every worker, found by token for each write."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from proxy.admission.expressions import NotCompiled
from proxy.admission.rules import could_match
from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.mapping.registrations import STORED_GROUP, VERSION
from proxy.mapping.token import PREFIX_LENGTH, token_of

MUTATING = Resource(STORED_GROUP, VERSION, "mutatingwebhookconfigurations", namespaced=False)
VALIDATING = Resource(STORED_GROUP, VERSION, "validatingwebhookconfigurations", namespaced=False)
POLICIES = Resource(STORED_GROUP, VERSION, "validatingadmissionpolicies", namespaced=False)
BINDINGS = Resource(STORED_GROUP, VERSION, "validatingadmissionpolicybindings", namespaced=False)
MUTATING_POLICIES = Resource(STORED_GROUP, VERSION, "mutatingadmissionpolicies", namespaced=False)
MUTATING_BINDINGS = Resource(STORED_GROUP, VERSION, "mutatingadmissionpolicybindings", namespaced=False)
_PAIRS = {POLICIES: BINDINGS, MUTATING_POLICIES: MUTATING_BINDINGS}
KNOWN_WITHIN = 5.0
"""Seconds that a write waits for a worker that has just begun."""


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


T = TypeVar("T")


@dataclass(slots=True)
class Policy:
    """A validating or a mutating one, compiled when it is first needed."""

    name: str
    spec: Mapping[str, Any]
    _compiled: Any = None

    @property
    def ignores_failures(self) -> bool:
        return self.spec.get("failurePolicy") == "Ignore"

    def compiled(self, compile: Callable[[Mapping[str, Any]], T]) -> T:
        """``compile``: of a spec; always the same one. Raises NotCompiled."""
        if self._compiled is None:
            try:
                self._compiled = compile(self.spec)
            except NotCompiled as error:
                self._compiled = error
        if isinstance(self._compiled, NotCompiled):
            raise self._compiled
        made: T = self._compiled
        return made


@dataclass(frozen=True, slots=True)
class Binding:
    """Of a policy."""

    name: str
    spec: Mapping[str, Any]


Kept = tuple[Webhook, ...] | Policy | Binding
Bound = tuple[tuple[Policy, tuple[Binding, ...]], ...]


class Configured:
    """What one workspace has, by kind and then by the configuration's plain name."""

    __slots__ = ("_bound", "_by_kind", "_webhooks")

    def __init__(self) -> None:
        self._by_kind: dict[Resource, dict[str, Kept]] = {}
        self._webhooks: dict[Resource, tuple[Webhook, ...]] = {}
        self._bound: dict[Resource, Bound] = {}

    def put(self, kind: Resource, name: str, kept: Kept | None) -> None:
        known = self._by_kind.setdefault(kind, {})
        if kept is None:
            known.pop(name, None)
        else:
            known[name] = kept
        pair = next((pair for pair in _PAIRS.items() if kind in pair), None)
        if pair is not None:
            self._bound[pair[0]] = tuple(self._paired(*pair))
        else:
            all_of = [known[name] for name in sorted(known)]
            self._webhooks[kind] = tuple(hook for hooks in all_of if isinstance(hooks, tuple) for hook in hooks)

    def _paired(self, *pair: Resource) -> Iterable[tuple[Policy, tuple[Binding, ...]]]:
        policies, bindings = (self._by_kind.get(kind) or {} for kind in pair)
        by_policy: dict[str, list[Binding]] = {}
        for _, binding in sorted(bindings.items()):
            if isinstance(binding, Binding):
                by_policy.setdefault(binding.spec.get("policyName") or "", []).append(binding)
        for name, policy in sorted(policies.items()):
            if isinstance(policy, Policy) and name in by_policy:
                yield policy, tuple(by_policy[name])

    def webhooks(self, kind: Resource) -> tuple[Webhook, ...]:
        """In the order in which they are called."""
        return self._webhooks.get(kind, ())

    def bound(self, kind: Resource) -> Bound:
        """Policies of that kind that act, with their bindings, in the order in which they do."""
        return self._bound.get(kind, ())

    def empty(self) -> bool:
        return not any(self._by_kind.values())

    def concerns(self, resource: str) -> bool:
        """Whether one of them may be about a resource. Groups are left aside, as one resource may be in several."""
        return any(
            could_match(rule, resource)
            for webhooks in self._webhooks.values()
            for hook in webhooks
            for rule in hook.said.get("rules") or ()
        ) or any(_may_concern(policy, resource) for bound in self._bound.values() for policy, _ in bound)


def _may_concern(policy: Policy, resource: str) -> bool:
    rules = (policy.spec.get("matchConstraints") or {}).get("resourceRules")
    return not rules or any(could_match(rule, resource) for rule in rules)


class Configurations:
    """Of all shards that ask. ``shards``: a client for each of them, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._known: dict[str, dict[str, Configured]] = {shard: {} for shard in shards}
        """By shard and token; only workspaces that have some."""
        self._informers: dict[str, list[Informer]] = {shard: [] for shard in shards}
        for shard, client in Identity.ADMISSION.on_all(shards).items():
            for kind, read in _READ.items():
                informer = Informer(client, kind, transform=_slimming(read))
                informer.add_handler(self._follow(shard, kind))
                self._informers[shard].append(informer)

    async def run(self) -> None:
        """Until cancelled, whether there is anything to follow or not."""
        async with asyncio.TaskGroup() as group:
            group.create_task(asyncio.Event().wait())
            for informers in self._informers.values():
                for informer in informers:
                    group.create_task(informer.run())

    def knows(self, shard: str) -> bool:
        """Whether all that its workspaces have was read once; a shard that does not ask has nothing to be read."""
        return all(informer.synced for informer in self._informers.get(shard, ()))

    async def wait_known(self, shard: str) -> None:
        """Raises StatusError 503 where that takes long: what has to be asked must not go by."""
        try:
            async with asyncio.timeout(KNOWN_WITHIN):
                await asyncio.gather(*(informer.wait_synced() for informer in self._informers.get(shard, ())))
        except TimeoutError:
            why = f"shard {shard} is not available: what its workspaces say about writes is not known yet"
            raise StatusError(503, why, details={"retryAfterSeconds": 1}) from None

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


def _slimming(read: Callable[[str, Object], Kept]) -> Callable[[Object], Object]:
    def slim(obj: Object) -> Object:
        meta = obj["metadata"]
        return {
            "metadata": {"name": meta["name"], "resourceVersion": meta["resourceVersion"]},
            "kept": read(meta["name"][PREFIX_LENGTH:], obj),
        }

    return slim


def _webhooks(configuration: str, obj: Object) -> tuple[Webhook, ...]:
    return tuple(
        Webhook(f"{configuration}/{said['name']}/{index}", said["name"], said)
        for index, said in enumerate(obj.get("webhooks") or ())
    )


_READ: dict[Resource, Callable[[str, Object], Kept]] = {
    MUTATING: _webhooks,
    VALIDATING: _webhooks,
}
_READ |= {kind: lambda name, obj: Policy(name, obj.get("spec") or {}) for kind in _PAIRS}
_READ |= {kind: lambda name, obj: Binding(name, obj.get("spec") or {}) for kind in _PAIRS.values()}
