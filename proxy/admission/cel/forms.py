"""Fields, elements, and calls that do not evaluate all that they are given, or know more than values."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from proxy.admission.cel import costs
from proxy.admission.cel.frame import Evaluate, Fields, Frame
from proxy.admission.cel.values import (
    NONE,
    CelError,
    Optional,
    OutOfBudget,
    equal,
    no_overload,
    shown,
    type_of,
)  # fmt: skip

MISSING = object()


def field_of(value: Any, field: str) -> Any:
    if isinstance(value, Fields):
        try:
            return value.field(field)
        except KeyError:
            raise CelError(f"no such key: {field}") from None
    if type(value) is dict:
        if field in value:
            return value[field]
    elif type(value) is Optional:
        return _select_optional(value, field)
    elif type(value) is list:
        raise CelError("unsupported index type 'string' in list")
    raise CelError(f"no such key: {field}")


def has_field(value: Any, field: str) -> bool:
    if type(value) is Optional:
        return value.present and has_field(value.value, field)
    if type(value) is list:
        raise CelError("unsupported index type 'string' in list")
    if isinstance(value, Fields):
        return value.has(field)
    return type(value) is dict and field in value


def key_of(value: Any) -> Any:
    if type(value) in (str, bool) or isinstance(value, int) or (type(value) is float and value.is_integer()):
        return value
    raise CelError(f"unsupported key type: {type_of(value).name}")


def _find(value: Any, index: Any) -> Any:
    """The element, or `MISSING` if there is none. Raises CelError."""
    if type(value) is dict:
        if isinstance(index, list | dict):
            return MISSING
        found = value.get(index, MISSING)
        if type(index) is not str and found is not MISSING:
            numbers = type(index) is not bool
            if not any(key == index and (type(key) is not bool) is numbers for key in value):
                return MISSING  # true is 1 in Python
        return found
    if type(value) is list:
        if type(index) is float and not index.is_integer():
            raise CelError(f"unsupported index value {shown(index)} in list")
        if type(index) is bool or not isinstance(index, int | float):
            raise CelError(f"unsupported index type '{type_of(index).name}' in list")
        return value[int(index)] if 0 <= index < len(value) else MISSING
    return MISSING


def _index(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(frame: Frame) -> Any:
        value, index = left(frame), right(frame)
        frame.cost += 1
        if type(value) is Optional:
            return _select_optional(value, index)
        if isinstance(value, Fields) and isinstance(index, str):
            return field_of(value, index)
        found = _find(value, index)
        if found is MISSING:
            if type(value) is list:
                raise CelError(f"index out of bounds: {shown(index)}")
            raise CelError(f"no such key: {shown(index)}")
        return found

    return evaluate


def _select_optional(value: Any, index: Any) -> Optional:
    if type(value) is Optional:
        if not value.present:
            return NONE
        value = value.value
    if isinstance(value, Fields):
        return Optional(value.field(index), True) if value.has(index) else NONE
    found = _find(value, index)
    return NONE if found is MISSING else Optional(found, True)


def optional_index(left: Evaluate, right: Evaluate) -> Evaluate:
    def evaluate(frame: Frame) -> Any:
        frame.cost += 1
        return _select_optional(left(frame), right(frame))

    return evaluate


def is_true(value: Any) -> bool:
    if value is not True and value is not False:
        raise no_overload()
    return bool(value)


def decided(decisive: bool, sides: Iterable[Evaluate], frame: Frame) -> bool:
    """Whether one of them is ``decisive``, whatever error others have."""
    failed: CelError | None = None
    for side in sides:
        try:
            if is_true(side(frame)) is decisive:
                return decisive
        except OutOfBudget:
            raise
        except CelError as error:
            failed = failed or error
    if failed is not None:
        raise failed
    return not decisive


def _logical(decisive: bool) -> Callable[[Evaluate, Evaluate], Evaluate]:
    """`&&` is decided by false, `||` by true."""
    return lambda left, right: lambda frame: decided(decisive, (left, right), frame)


def _conditional(test: Evaluate, left: Evaluate, right: Evaluate) -> Evaluate:
    return lambda frame: left(frame) if is_true(test(frame)) else right(frame)


def _not_strictly_false(inner: Evaluate) -> Evaluate:
    def evaluate(frame: Frame) -> Any:
        try:
            return inner(frame) is not False
        except OutOfBudget:
            raise
        except CelError:
            return True

    return evaluate


def _equality(wanted: bool) -> Callable[[Evaluate, Evaluate], Evaluate]:
    def build(left: Evaluate, right: Evaluate) -> Evaluate:
        def evaluate(frame: Frame) -> Any:
            one, other = left(frame), right(frame)
            frame.charge(costs.comparison(one, other))
            return equal(one, other) is wanted

        return evaluate

    return build


def _or(taken: Callable[[Optional], Any]) -> Callable[[Evaluate, Evaluate], Evaluate]:
    """What is ``taken`` of an optional value that is there, else the other side."""

    def build(left: Evaluate, right: Evaluate) -> Evaluate:
        def evaluate(frame: Frame) -> Any:
            value = left(frame)
            if type(value) is not Optional:
                raise no_overload()
            return taken(value) if value.present else right(frame)

        return evaluate

    return build


SPECIAL: dict[tuple[str, int], Callable[..., Evaluate]] = {
    ("_&&_", 2): _logical(False),
    ("_||_", 2): _logical(True),
    ("_?_:_", 3): _conditional,
    ("@not_strictly_false", 1): _not_strictly_false,
    ("__not_strictly_false__", 1): _not_strictly_false,
    ("_==_", 2): _equality(True),
    ("_!=_", 2): _equality(False),
    ("_[_]", 2): _index,
    ("or", 2): _or(lambda value: value),
    ("orValue", 2): _or(lambda value: value.value),
}
"""Calls that do not evaluate all that they are given, or know more than values; by function and number of arguments."""
