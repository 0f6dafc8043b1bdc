"""What calls cost; 1 for all that are not here.

Source: kube-apiserver ``pkg/cel/library/cost.go`` (CallCost), cel-go ``interpreter/runtimecost.go``, ``ext/lists.go``,
``ext/sets.go``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from proxy.admission.cel.messages import Message
from proxy.admission.cel.values import Opaque, size_of

LIST = 10
MAP = 30
MESSAGE = 40
"""Of making one."""
DEEP = 10_000_000
"""Of items in what is compared, so many are counted: they cost more than there is for one evaluation."""
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
    """By the smaller one. Finding out which that is takes no longer than comparing it."""
    if isinstance(left, Opaque) and not isinstance(left, Message):
        return 1
    most = 64
    while True:
        sizes = _deep(left, most), _deep(right, most)
        if min(sizes) < most:
            return math.ceil(min(sizes) * 0.1)
        most *= 8


def _deep(value: Any, most: int) -> int:
    """Size of all that is in a value, which comparing it has to look at; kube-apiserver counts the top level alone.
    Counted up to ``most``."""
    items = _items(value)
    if items is None:
        return size_of(value)
    size, waiting = 1, [iter(items)]
    while waiting:
        for item in waiting[-1]:
            inner = _items(item)
            size += 1 if inner is not None else max(1, size_of(item))
            if size >= most:
                return size
            if inner is not None:
                waiting.append(iter(inner))
                break
        else:
            waiting.pop()
    return size


def _items(value: Any) -> Iterable[Any] | None:
    if type(value) is list:
        return value
    if type(value) is dict:
        return value.values()
    return value.fields.values() if isinstance(value, Message) else None


def _membership(args: list[Any]) -> int:
    container = args[1]
    return len(container) * _weight(args[:1]) if type(container) is list else 1


def _weight(items: Any) -> int:
    """What comparing one of them costs at most. Finding that out takes no longer than what it makes a call cost."""
    deepest, left = 1, DEEP
    for item in items if type(items) is list else ():
        if _items(item) is not None:
            deep = _deep(item, left)
            deepest, left = max(deepest, deep), left - deep
            if left <= 0:
                return DEEP
    return math.ceil(deepest * 0.1)


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
    return 1 + size_of(args[0]) * size_of(args[1]) * _weight(args[0])


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
         "string", "timestamp", "duration", "int", "uint", "double", "jsonpatch.escapeKey"),
        _ONCE,
    ),
    **dict.fromkeys(("split", "ip.isCanonical"), _TWICE),
    **dict.fromkeys(("isSorted", "sum", "max", "min"), Cost(_list_traversal)),
    **dict.fromkeys(("indexOf", "lastIndexOf"), Cost(lambda args: _list_traversal(args) * _weight(args[-1:]))),
    **dict.fromkeys(("matches", "find", "findAll"), Cost(_regex)),
    **dict.fromkeys(("sets.contains", "sets.intersects", "sets.equivalent"), Cost(_sets)),
    **dict.fromkeys(("_<_", "_<=_", "_>_", "_>=_"), Cost(lambda args: comparison(*args))),
    "sort": Cost(lambda args: sorting(args[0])),
    "distinct": Cost(lambda args: sorting(args[0]) * _weight(args[0])),
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
