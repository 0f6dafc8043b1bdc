"""What calls cost; 1 for all that are not here.

Source: kube-apiserver ``pkg/cel/library/cost.go`` (CallCost), cel-go ``interpreter/runtimecost.go``, ``ext/lists.go``,
``ext/sets.go``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from proxy.admission.cel.values import Opaque, size_of

LIST = 10
MAP = 30
"""Of making one."""
CHECK = 350_000
"""Of asking the authorizer: two for each expression."""


class Cost(NamedTuple):
    before: Callable[[list[Any]], int]
    """Of the arguments."""
    after: Callable[[Any], int] | None = None
    """Of the result, where that may be greater."""


def _traversal(factor: float = 0.1, at: int = 0) -> Cost:
    return Cost(lambda args: math.ceil(size_of(args[at]) * factor))


def _regex(args: list[Any]) -> int:
    return math.ceil((1 + size_of(args[0])) * 0.1) * math.ceil(size_of(args[1]) * 0.25)


def comparison(left: Any, right: Any) -> int:
    if isinstance(left, Opaque):
        return 1
    return math.ceil(min(_deep(left), _deep(right)) * 0.1)


def _deep(value: Any) -> int:
    """Size of all that is in a value, which comparing it has to look at; kube-apiserver counts the top level alone."""
    if type(value) is list:
        return 1 + sum(map(_deep, value))
    if type(value) is dict:
        return 1 + sum(map(_deep, value.values()))
    return size_of(value)


def _membership(args: list[Any]) -> int:
    container = args[1]
    return len(container) if type(container) is list else 1


def _sum(args: list[Any]) -> int:
    left, right = args
    if type(left) in (str, bytes) and type(right) in (str, bytes):
        return math.ceil((len(left) + len(right)) * 0.1)
    # kube-apiserver charges 1 for lists, which are not copied there.
    return 1 + (len(left) + len(right)) // 10 if type(left) is list and type(right) is list else 1


def _list_traversal(args: list[Any]) -> int:
    items = args[0]
    if type(items) is list:
        return sum(math.ceil(size_of(item) * 0.1) for item in items)
    return math.ceil(size_of(items) * 0.1)


def _joining(args: list[Any]) -> int:
    """Charged before it is made, unlike there."""
    items, between = args[0], size_of(args[1]) if len(args) > 1 else 0
    return 2 * _list_traversal(args) + math.ceil(size_of(items) * between * 0.2)


def _replacing(args: list[Any]) -> int:
    """The result is counted too, unlike there."""
    cost = math.ceil(size_of(args[0]) * 0.2)
    if all(type(arg) is str for arg in args[:3]):
        cost += args[0].count(args[1]) * len(args[2]) // 10
    return cost


def sorting(items: Any) -> int:
    """Quadratic, as cel-go has it."""
    if type(items) is not list:
        return 1
    factor = 2.1 if items and type(items[0]) in (str, bytes) else 2
    return int(len(items) ** 2 * factor) + 1 + LIST


def _sets(args: list[Any]) -> int:
    return 1 + size_of(args[0]) * size_of(args[1])


def _format(args: list[Any]) -> int:
    return math.ceil(size_of(args[0]) * 0.1)


def _result(value: Any) -> int:
    return math.ceil(size_of(value) * 0.1)


def _listed(value: Any) -> int:
    return size_of(value) + 1 + LIST


def _range(args: list[Any]) -> int:
    return 1 + LIST + (max(args[0], 0) if isinstance(args[0], int) else 0)


def _validation(args: list[Any]) -> int:
    return math.ceil((1 + size_of(args[-1])) * 0.1) * 15


_CHECKED = Cost(lambda _: CHECK)
_LISTED = Cost(lambda args: size_of(args[0]) + 1 + LIST)
_TWICE = _traversal(0.2)
_ONCE = _traversal()

CALLS: dict[str, Cost] = {
    **dict.fromkeys(
        ("url", "lowerAscii", "upperAscii", "substring", "trim", "cidr", "isIP", "isCIDR", "ip", "quantity",
         "isQuantity", "semver", "isSemver", "startsWith", "endsWith", "bytes", "strings.quote", "isURL", "charAt",
         "string", "timestamp", "duration", "int", "uint", "double"),
        _ONCE,
    ),
    **dict.fromkeys(("split", "ip.isCanonical"), _TWICE),
    **dict.fromkeys(("isSorted", "sum", "max", "min", "indexOf", "lastIndexOf"), Cost(_list_traversal)),
    **dict.fromkeys(("matches", "find", "findAll"), Cost(_regex)),
    **dict.fromkeys(("sets.contains", "sets.intersects", "sets.equivalent"), Cost(_sets)),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), Cost(lambda args: comparison(*args))),
    **dict.fromkeys(("sort", "distinct"), Cost(lambda args: sorting(args[0]))),
    **dict.fromkeys(("slice", "reverse"), _LISTED),
    "replace": Cost(_replacing),
    "join": Cost(_joining),
    "contains": Cost(lambda args: math.ceil(size_of(args[0]) * 0.1) * max(1, math.ceil(size_of(args[-1]) * 0.1))),
    "format": Cost(_format, _result),
    "flatten": Cost(lambda args: size_of(args[0]) + 1 + LIST, _listed),
    "lists.range": Cost(_range),
    "@in": Cost(_membership),
    "_+_": Cost(_sum),
    "validate": Cost(_validation),
    "check": _CHECKED,
}  # fmt: skip
