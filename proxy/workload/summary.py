"""One status of the statuses that an object has on several clusters. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Status = dict[str, Any]

WORSE_IF_TRUE = frozenset({"Degraded", "Failed", "FailureTarget", "ReplicaFailure", "Stalled", "Suspended"})
"""Conditions that are bad news where they are True; of all others it is bad news that they are not."""


def summary(statuses: Mapping[str, Status], generation: int) -> Status:
    """``statuses`` by cluster. Numbers are added up, what has been observed is what all have observed, a condition is
    as bad as the worst of them, lists are joined, and of anything else the first cluster's counts.

    ``generation``: of the object.
    """
    whole: Status = _joined([statuses[name] for name in sorted(statuses)])
    conditions = [
        (name, item) for name, status in sorted(statuses.items()) for item in _items(status.get("conditions"))
    ]
    if conditions:
        whole["conditions"] = _conditions(conditions, len(statuses))
    seen = [status["observedGeneration"] for status in statuses.values() if "observedGeneration" in status]
    if seen:
        whole["observedGeneration"] = min([*seen, generation])
    return whole


def _items(value: Any) -> list[Status]:
    return [item for item in value if isinstance(item, dict) and "type" in item] if isinstance(value, list) else []


def _joined(values: list[Any]) -> Any:
    first = values[0]
    if isinstance(first, dict):
        maps = [value for value in values if isinstance(value, dict)]
        keys = dict.fromkeys(key for value in maps for key in value)
        return {key: _joined([value[key] for value in maps if key in value]) for key in keys}
    if isinstance(first, list):
        joined: list[Any] = []
        for value in values:
            joined += [item for item in (value if isinstance(value, list) else ()) if item not in joined]
        return joined
    if isinstance(first, bool):
        return all(values)
    if isinstance(first, int):
        return sum(value for value in values if isinstance(value, int))
    return first


def _conditions(found: list[tuple[str, Status]], clusters: int) -> list[Status]:
    """Of each type the worst one; its message says where."""
    by_type: dict[str, list[tuple[str, Status]]] = {}
    for name, item in found:
        by_type.setdefault(str(item["type"]), []).append((name, item))
    worst: list[Status] = []
    for kind, items in by_type.items():
        bad = "True" if kind in WORSE_IF_TRUE else "False"
        order = {bad: 0, "Unknown": 1}
        name, item = min(items, key=lambda entry: (order.get(str(entry[1].get("status")), 2), entry[0]))
        chosen = dict(item)
        if clusters > 1 and item.get("message") and order.get(str(item.get("status")), 2) < 2:
            chosen["message"] = f"{name}: {item['message']}"
        worst.append(chosen)
    return worst
