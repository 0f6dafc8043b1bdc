"""Arithmetic, order, membership, size, optional values; cel-go's standard library and ``cel.OptionalTypes``."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from proxy.admission.cel.values import (
    NONE,
    CelError,
    Duration,
    Optional,
    Timestamp,
    Uint,
    checked,
    checked_uint,
    compare,
    duration,
    equal,
    is_zero,
    no_overload,
    timestamp,
    type_of,
)  # fmt: skip


def _quotient(left: int, right: int) -> int:
    if right == 0:
        raise CelError("division by zero")
    return checked(abs(left) // abs(right) * (1 if (left < 0) == (right < 0) else -1))


def _remainder(left: int, right: int) -> int:
    if right == 0:
        raise CelError("modulus by zero")
    return checked(int(math.copysign(1, left)) * (abs(left) % abs(right)))


def _unsigned(function: Callable[[int, int], int]) -> Callable[[int, int], Uint]:
    return lambda left, right: checked_uint(function(int(left), int(right)))


def _double_quotient(left: float, right: float) -> float:
    if right == 0:
        return math.nan if left == 0 or left != left else math.copysign(math.inf, left) * math.copysign(1, right)
    return left / right


def _order(accepts: Callable[[int], bool]) -> Callable[[Any, Any], bool]:
    return lambda left, right: accepts(compare(left, right))


def contains(item: Any, container: Any) -> bool:
    if type(container) is dict:
        if isinstance(item, list | dict):
            return False
        return item in container
    if type(container) is not list:
        raise no_overload()
    failed: CelError | None = None
    for other in container:
        try:
            if equal(item, other):
                return True
        except CelError as error:
            failed = error
    if failed is not None:
        raise failed
    return False


def _size(value: Any) -> int:
    if type(value) in (str, bytes, list, dict):
        return len(value)
    raise CelError("no such overload: size")


def _optional(function: Callable[[Optional], Any]) -> Callable[[Any], Any]:
    def call(value: Any) -> Any:
        if type(value) is not Optional:
            raise no_overload()
        return function(value)

    return call


def _value(optional: Optional) -> Any:
    if not optional.present:
        raise CelError("optional.none() dereference")
    return optional.value


def _unwrap(items: list[Any]) -> list[Any]:
    return [item.value for item in items if item.present]


FUNCTIONS: dict[str, Any] = {
    "_+_": {
        (int, int): lambda left, right: checked(left + right),
        (Uint, Uint): _unsigned(lambda left, right: left + right),
        (float, float): lambda left, right: left + right,
        (str, str): lambda left, right: left + right,
        (bytes, bytes): lambda left, right: left + right,
        (list, list): lambda left, right: left + right,
        (Duration, Duration): lambda left, right: duration(left.nanoseconds + right.nanoseconds),
        (Duration, Timestamp): lambda left, right: timestamp(left.nanoseconds + right.nanoseconds, right.offset),
        (Timestamp, Duration): lambda left, right: timestamp(left.nanoseconds + right.nanoseconds, left.offset),
    },
    "_-_": {
        (int, int): lambda left, right: checked(left - right),
        (Uint, Uint): _unsigned(lambda left, right: left - right),
        (float, float): lambda left, right: left - right,
        (Duration, Duration): lambda left, right: duration(left.nanoseconds - right.nanoseconds),
        (Timestamp, Duration): lambda left, right: timestamp(left.nanoseconds - right.nanoseconds, left.offset),
        (Timestamp, Timestamp): lambda left, right: duration(left.nanoseconds - right.nanoseconds),
    },
    "_*_": {
        (int, int): lambda left, right: checked(left * right),
        (Uint, Uint): _unsigned(lambda left, right: left * right),
        (float, float): lambda left, right: left * right,
    },
    "_/_": {(int, int): _quotient, (Uint, Uint): _unsigned(_quotient), (float, float): _double_quotient},
    "_%_": {(int, int): _remainder, (Uint, Uint): _unsigned(_remainder)},
    "-_": {
        (int,): lambda value: checked(-value),
        (float,): lambda value: -value,
        (Duration,): lambda value: duration(-value.nanoseconds),
    },
    "!_": {(bool,): lambda value: not value},
    "_<_": _order(lambda result: result < 0),
    "_<=_": _order(lambda result: result <= 0),
    "_>_": _order(lambda result: result > 0),
    "_>=_": _order(lambda result: result >= 0),
    "@in": contains,
    "size": _size,
    "dyn": lambda value: value,
    "type": type_of,
    "optional.of": lambda value: Optional(value, True),
    "optional.none": lambda: NONE,
    "optional.ofNonZeroValue": lambda value: NONE if is_zero(value) else Optional(value, True),
    "optional.unwrap": _unwrap,
    "unwrapOpt": _unwrap,
    "hasValue": _optional(lambda optional: optional.present),
    "value": _optional(_value),
}
