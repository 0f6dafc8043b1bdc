"""Which objects the keys of a quota are about, and what these take of it.

After ``k8s.io/apiserver/pkg/quota/v1``: pods, services and both kinds of claims have ways of their own to be counted;
of everything else there is a number, ``count/<resource>.<group>``, for some with a second name from before.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from proxy.quota import claims, pods, services
from proxy.quota.quantity import NOTHING, Amounts, Quantity, count, total
from proxy.quota.scopes import Object, Requirement, Within, requirements

COUNT = "count/"


class Type(NamedTuple):
    group: str
    plural: str


@dataclass(frozen=True, slots=True)
class Evaluator:
    matches: Callable[[str], bool]
    """Whether a key is about it."""
    usage: Callable[[Object, datetime.datetime], Amounts]
    numbers: frozenset[str]
    """Keys that say how many there are, whatever they look like."""
    within: Within | None = None
    """None where no scope is about it."""


EVALUATORS: Mapping[Type, Evaluator] = {
    Type("", "pods"): Evaluator(pods.matches, pods.usage, frozenset({pods.NUMBER}), pods.within),
    Type("", "services"): Evaluator(services.matches, services.usage, services.COUNTS),
    Type("", "persistentvolumeclaims"): Evaluator(
        claims.matches_volumes, claims.volume_usage, claims.VOLUMES, claims.volume_within
    ),
    Type("resource.k8s.io", "resourceclaims"): Evaluator(
        claims.matches_devices, claims.device_usage, frozenset({claims.DEVICE_CLAIMS})
    ),
}
ALIASES = frozenset({"configmaps", "replicationcontrollers", "resourcequotas", "secrets"})
"""Keys that mean the number of a core type as well."""
UNCOUNTED = frozenset({Type("", "events"), Type("events.k8s.io", "events")})


class Need(NamedTuple):
    """What has to be known of a type for a quota."""

    type: Type
    keys: frozenset[str]
    whole: bool
    """Whether its objects have to be looked at; otherwise their number says all."""


def needs(spec: Object) -> list[Need]:
    """Of a quota's spec: each key is in one of them, or nobody keeps it."""
    keys = set(spec.get("hard") or ())
    scoped = bool(requirements(spec))
    found = []
    for kind, evaluator in EVALUATORS.items():
        own = frozenset(filter(evaluator.matches, keys))
        if own:
            keys -= own
            found.append(Need(kind, own, scoped or not own <= evaluator.numbers))
    plain: dict[Type, set[str]] = {}
    for key in keys:
        counted = _counted(key)
        if counted is not None and counted not in UNCOUNTED:
            plain.setdefault(counted, set()).add(key)
    return found + [Need(kind, frozenset(own), scoped) for kind, own in plain.items()]


def _counted(key: str) -> Type | None:
    if key in ALIASES:
        return Type("", key)
    if not key.startswith(COUNT):
        return None
    plural, _, group = key.removeprefix(COUNT).partition(".")
    return Type(group, plural)


def numbered(need: Need, number: int) -> dict[str, Quantity]:
    """What is used where the number of objects says all."""
    return dict.fromkeys(need.keys, count(number))


def used(need: Need, spec: Object, objects: Iterable[Object], now: datetime.datetime) -> dict[str, Quantity]:
    """What is used by the objects of a namespace. Raises ValueError where an amount of them is none."""
    evaluator = EVALUATORS.get(need.type)
    within = evaluator.within if evaluator is not None else None
    found = dict.fromkeys(need.keys, NOTHING)
    if evaluator is None:
        return found  # of a quota with scopes, which are about others
    scopes = requirements(spec)
    inside = (obj for obj in objects if _inside(obj, scopes, within))
    sums = total(evaluator.usage(obj, now) for obj in inside)
    return found | {key: sums[key] for key in need.keys if key in sums}


def _inside(obj: Object, scopes: Collection[Requirement], within: Within | None) -> bool:
    return all(within is not None and within(scope, obj) for scope in scopes)


def facts(kind: Type, obj: Object, now: datetime.datetime) -> object:
    """All that quotas may see of an object; the same again where a change is nothing to them."""
    evaluator = EVALUATORS.get(kind)
    if evaluator is None:
        return None
    usage = tuple(sorted((key, amount.nanos) for key, amount in evaluator.usage(obj, now).items()))
    if kind.plural == "pods":
        return usage, pods.facts(obj)
    if kind.plural == "persistentvolumeclaims":
        return usage, claims.classes(obj)
    return usage


def expires(kind: Type, obj: Object) -> datetime.datetime | None:
    """When the object takes less although nothing happens to it."""
    return pods.ends(obj) if kind == Type("", "pods") else None
