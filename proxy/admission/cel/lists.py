"""Lists and sets: Kubernetes' ``lists`` library, cel-go's ``ext.Lists`` (version 3) and ``ext.Sets``."""

from __future__ import annotations

from collections.abc import Callable
from functools import cmp_to_key
from itertools import pairwise
from typing import Any

from proxy.admission.cel.operators import FUNCTIONS as OPERATORS
from proxy.admission.cel.operators import contains
from proxy.admission.cel.values import NUMBERS, ORDERED, CelError, Duration, Uint, compare, equal, no_overload

_COMPARABLE = (*NUMBERS, *ORDERED)


def _is_sorted(items: list[Any]) -> bool:
    _ordered(items)
    return all(compare(left, right) <= 0 for left, right in pairwise(items))


def _ordered(items: list[Any]) -> None:
    if any(type(item) not in _COMPARABLE for item in items):
        raise no_overload()


def _extreme(name: str, sign: int) -> Any:
    def extreme(items: list[Any]) -> Any:
        _ordered(items)
        if not items:
            raise CelError(f"{name} called on empty list")
        result = items[0]
        for item in items[1:]:
            if compare(result, item) == sign:
                result = item
        return result

    return extreme


def _sum(items: list[Any]) -> Any:
    """Of nothing it is 0, whatever the type that the expression has."""
    if not items:
        return 0
    if type(items[0]) not in (int, Uint, float, Duration):
        raise no_overload()
    total = items[0]
    add = OPERATORS["_+_"]
    for item in items[1:]:
        function = add.get((type(total), type(item)))
        if function is None:
            raise no_overload()
        total = function(total, item)
    return total


def _index_of(items: list[Any], item: Any) -> int:
    return next((at for at, other in enumerate(items) if equal(other, item)), -1)


def _last_index_of(items: list[Any], item: Any) -> int:
    return next((at for at in range(len(items) - 1, -1, -1) if equal(items[at], item)), -1)


def _slice(items: list[Any], start: int, end: int) -> list[Any]:
    if start < 0 or end < 0:
        raise CelError(f"cannot slice({start}, {end}), negative indexes not supported")
    if start > end:
        raise CelError(f"cannot slice({start}, {end}), start index must be less than or equal to end index")
    if len(items) < end:
        raise CelError(f"cannot slice({start}, {end}), list is length {len(items)}")
    return items[start:end]


def _flatten(items: list[Any], depth: int = 1) -> list[Any]:
    if depth < 0:
        raise CelError("level must be non-negative")
    flat: list[Any] = []
    for item in items:
        flat.extend(_flatten(item, depth - 1) if depth and type(item) is list else [item])
    return flat


def _sort(items: Any, keys: Any = None) -> list[Any]:
    if keys is None:
        keys = items
    if type(items) is not list or type(keys) is not list:
        raise no_overload()
    if not items:
        return items
    if type(keys[0]) not in _COMPARABLE:
        raise CelError("list elements must be comparable")
    if any(type(key) is not type(keys[0]) for key in keys):
        raise CelError("list elements must have the same type")
    order = sorted(range(len(items)), key=cmp_to_key(_by(keys)))
    return [items[at] for at in order]


def _by(keys: list[Any]) -> Callable[[int, int], int]:
    return lambda one, other: compare(keys[one], keys[other])


def _distinct(items: list[Any]) -> list[Any]:
    unique: list[Any] = []
    for item in items:
        if not contains(item, unique):
            unique.append(item)
    return unique


def _contains_all(items: list[Any], wanted: list[Any]) -> bool:
    return all(contains(item, items) for item in wanted)


FUNCTIONS: dict[str, Any] = {
    "isSorted": {(list,): _is_sorted},
    "sum": {(list,): _sum},
    "max": {(list,): _extreme("max", -1)},
    "min": {(list,): _extreme("min", 1)},
    "indexOf": {(list, object): _index_of},
    "lastIndexOf": {(list, object): _last_index_of},
    "slice": {(list, int, int): _slice},
    "flatten": {(list,): _flatten, (list, int): _flatten},
    "sort": {(list,): _sort},
    "@sortByAssociatedKeys": _sort,
    "reverse": {(list,): lambda items: items[::-1]},
    "distinct": {(list,): _distinct},
    "lists.range": {(int,): lambda count: list(range(count))},
    "sets.contains": {(list, list): _contains_all},
    "sets.equivalent": {(list, list): lambda left, right: _contains_all(left, right) and _contains_all(right, left)},
    "sets.intersects": {(list, list): lambda left, right: any(contains(item, right) for item in left)},
}
