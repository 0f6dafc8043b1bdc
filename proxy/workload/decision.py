"""Which clusters a namespace is to run on. Pure."""

from __future__ import annotations

import datetime
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from proxy.kube.client import Object
from proxy.kube.selectors import selects
from proxy.kube.times import parse_time
from proxy.workload.api import READY, conditions_of, is_true

NOWHERE = "No clusters are available to schedule Namespaces to."
NOT_READY_SECONDS = 300
"""As Kubernetes' default toleration of nodes that are not ready."""
TOLD = 5
"""Clusters that a message names at most."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a Placement says; as it is, what holds where there is none: one cluster, the oldest."""

    name: str = ""
    """Plain; empty for none."""
    cluster_selector: Mapping[str, Any] = field(default_factory=dict)
    number: int = 1
    replicas: str = "Split"
    topology_key: str = ""
    even: bool = False
    """Whether clusters with the fewest namespaces come first."""
    not_ready: datetime.timedelta = datetime.timedelta(seconds=NOT_READY_SECONDS)


def rule_of(placement: Object, name: str) -> Rule:
    spec = placement.get("spec") or {}
    spread = spec.get("spread") or {}
    return Rule(
        name,
        spec.get("clusterSelector") or {},
        int(spec.get("numberOfClusters", 1)),
        spec.get("replicas", "Split"),
        spread.get("topologyKey", ""),
        bool(spread.get("namespaces")),
        datetime.timedelta(seconds=int(spec.get("notReadySeconds", NOT_READY_SECONDS))),
    )


@dataclass(frozen=True, slots=True)
class Decision:
    clusters: tuple[str, ...]
    """By name."""
    again: float | None = None
    """Seconds until it may be another one, though nothing else changes."""
    why: Mapping[str, str] = field(default_factory=dict)
    """Cluster → what is against it, of those that are not chosen or ought to be left."""
    short: bool = False
    """Whether there are fewer than asked for, or those that ought to be left."""

    def reasons(self) -> str:
        """A sentence, or nothing."""
        told = [f"{name} {reason}" for name, reason in sorted(self.why.items())]
        more = [f"and {len(told) - TOLD} more"] if len(told) > TOLD else []
        return f"{', '.join([*told[:TOLD], *more])}." if told else ""


def decide(
    rule: Rule,
    clusters: Mapping[str, Object],
    current: tuple[str, ...],
    moment: datetime.datetime,
    load: Callable[[str], int] = lambda name: 0,
) -> Decision:
    """Clusters (of ``clusters``, by plain name) for a namespace that runs on ``current``: those that it has, while
    they are good enough, then those that are Ready and schedulable, by age and name.

    ``load``: how many namespaces a cluster has. Where nothing is good enough, it stays where it is.
    """
    why = {name: against for name, obj in clusters.items() if (against := objection(rule, obj, moment))}
    kept = [name for name in current if name in clusters and name not in why][: rule.number]
    chosen = list(kept)
    fit = [name for name in clusters if name not in why and name not in chosen]
    for name in list(fit):
        if not is_true(clusters[name], READY):
            why[name] = "is not Ready"
            fit.remove(name)
        elif (clusters[name].get("spec") or {}).get("unschedulable"):
            why[name] = "is cordoned"
            fit.remove(name)
    values = Counter(_topology(rule, clusters[name]) for name in chosen)
    while fit and len(chosen) < rule.number:
        best = min(
            fit,
            key=lambda name: (
                values[_topology(rule, clusters[name])] if rule.topology_key else 0,
                load(name) if rule.even else 0,
                clusters[name]["metadata"].get("creationTimestamp", ""),
                name,
            ),
        )
        fit.remove(best)
        chosen.append(best)
        values[_topology(rule, clusters[best])] += 1
    if not chosen:
        # Better in a place that ought to be left than nowhere at all.
        chosen = [name for name in current if name in clusters and not _going(clusters[name])]
    waits = [wait for name in chosen if (wait := _good_for(rule, clusters[name], moment)) is not None]
    short = len(chosen) < rule.number or any(name in why for name in chosen)
    return Decision(tuple(sorted(chosen)), min(waits, default=None), why, short)


def objection(rule: Rule, cluster: Object, moment: datetime.datetime) -> str:
    """What is against a namespace's staying on the cluster; empty for nothing."""
    if _going(cluster):
        return "is being deleted"
    if not selects(rule.cluster_selector, cluster["metadata"].get("labels") or {}):
        return f"is not selected by Placement {rule.name}"
    if next_eviction(cluster, moment) == 0.0:
        return "is being drained"
    silent = not_ready_since(cluster)
    if silent is not None and moment - silent >= rule.not_ready:
        return f"is not Ready for {(moment - silent).total_seconds():.0f} seconds"
    return ""


def next_eviction(cluster: Object | None, moment: datetime.datetime) -> float | None:
    """Seconds until the cluster is to be emptied, 0 if that time has come, None if there is none."""
    at = parse_time(((cluster or {}).get("spec") or {}).get("evictAfter"))
    return max((at - moment).total_seconds(), 0.0) if at else None


def not_ready_since(cluster: Object) -> datetime.datetime | None:
    """None where it is Ready, or nobody knows yet."""
    for item in conditions_of(cluster):
        if item["type"] == READY and item["status"] != "True":
            return parse_time(item.get("lastTransitionTime"))
    return None


def _good_for(rule: Rule, cluster: Object, moment: datetime.datetime) -> float | None:
    """Seconds until there may be something against the cluster."""
    waits = [next_eviction(cluster, moment)]
    silent = not_ready_since(cluster)
    if silent is not None:
        waits.append((silent + rule.not_ready - moment).total_seconds())
    return min((wait + 0.1 for wait in waits if wait is not None and wait > 0), default=None)


def _going(cluster: Object) -> bool:
    return bool(cluster["metadata"].get("deletionTimestamp"))


def _topology(rule: Rule, cluster: Object) -> str:
    return str((cluster["metadata"].get("labels") or {}).get(rule.topology_key, ""))
