"""Which shard a new workspace goes to. Pure: a picture of the shards in, a choice or a reason out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from proxy.kube.selectors import selects

USUAL_CAPACITY = 10_000
"""Workspaces that a shard is taken for where its ``spec.maxWorkspaces`` is not set; only compared, it is no limit."""


@dataclass(frozen=True, slots=True)
class Shard:
    """A shard as it is now."""

    name: str
    labels: Mapping[str, str]
    workspaces: int
    """Those on it, and those that are being made there."""
    maximum: int | None = None
    cordoned: bool = False
    draining: bool = False
    """Its workspaces are moved away."""
    away: bool = False

    @property
    def load(self) -> float:
        """Share of its capacity that is taken."""
        return self.workspaces / max(1, self.maximum or USUAL_CAPACITY)


@dataclass(frozen=True, slots=True)
class Unschedulable:
    """No shard may take the workspace."""

    message: str
    """``0/3 shards are available: 1 is cordoned, 2 do not match the selector``."""


def choose(shards: Iterable[Shard], wanted: Mapping[str, Any] | None) -> str | Unschedulable:
    """Name of the least loaded shard that may take a workspace whose ``spec.shard`` is ``wanted``
    (``{name, selector}``, both optional)."""
    wanted = wanted or {}
    known = list(shards)
    name = wanted.get("name")
    if name and all(shard.name != name for shard in known):
        return Unschedulable(f'shard "{name}" not found')
    fit: list[Shard] = []
    against: Counter[str] = Counter()
    for shard in known:
        obstacle = _obstacle(shard, wanted)
        if obstacle:
            against[obstacle] += 1
        else:
            fit.append(shard)
    if fit:
        return min(fit, key=lambda shard: (shard.load, shard.name)).name
    reasons = ", ".join(f"{count} {reason}" for reason, count in sorted(against.items()))
    return Unschedulable(f"0/{len(known)} shards are available: {reasons or 'there are none'}")


def _obstacle(shard: Shard, wanted: Mapping[str, Any]) -> str:
    if wanted.get("name") and shard.name != wanted["name"]:
        return "not asked for"
    if not selects(wanted.get("selector"), shard.labels):
        return "not selected"
    if shard.cordoned:
        return "cordoned"
    if shard.maximum is not None and shard.workspaces >= shard.maximum:
        return "full"
    return "away" if shard.away else ""
