"""Comprehensions that the parser does not know: of two variables, and ``sortBy``."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from proxy.admission.cel import costs
from proxy.admission.cel.forms import decided, is_true
from proxy.admission.cel.frame import Evaluate, Frame
from proxy.admission.cel.functions import FUNCTIONS
from proxy.admission.cel.values import CelError, Uint, no_overload, shown


def values_of(value: Any) -> list[Any]:
    if type(value) is list:
        return value
    if type(value) is dict:
        return list(value)
    raise CelError(f"got 'types.{_GO_TYPES.get(type(value), 'Dynamic')}', expected iterable type")


def pairs_of(value: Any) -> Iterable[tuple[Any, Any]]:
    if type(value) is list:
        return enumerate(value)
    if type(value) is dict:
        return value.items()
    raise CelError(f"unsupported comprehension range type: types.{_GO_TYPES.get(type(value), 'Dynamic')}")


_GO_TYPES = {str: "String", bool: "Bool", int: "Int", Uint: "Uint", float: "Double", bytes: "Bytes", type(None): "Null"}


Macro = Callable[[Frame, Iterable[None], Any, list[str]], Any]


def _quantifier(decisive: bool) -> Callable[[Evaluate], Macro]:
    return lambda body: lambda frame, steps, *_: decided(decisive, (body for _step in steps), frame)


def _exists_one(body: Evaluate) -> Macro:
    return lambda frame, steps, *_: sum(is_true(body(frame)) for _step in steps) == 1


def _transform_list(*bodies: Evaluate) -> Macro:
    condition, made = bodies if len(bodies) == 2 else (lambda frame: True, bodies[0])
    return lambda frame, steps, *_: [made(frame) for _step in steps if is_true(condition(frame))]


def _transform_map(*bodies: Evaluate) -> Macro:
    condition, made = bodies if len(bodies) == 2 else (lambda frame: True, bodies[0])

    def evaluate(frame: Frame, steps: Iterable[None], _: Any, variables: list[str]) -> Any:
        result: dict[Any, Any] = {}
        for _step in steps:
            if is_true(condition(frame)):
                result[frame.names[variables[0]]] = made(frame)
        return result

    return evaluate


def _transform_entries(*bodies: Evaluate) -> Macro:
    condition, made = bodies if len(bodies) == 2 else (lambda frame: True, bodies[0])

    def evaluate(frame: Frame, steps: Iterable[None], *_: Any) -> Any:
        result: dict[Any, Any] = {}
        for _step in steps:
            if not is_true(condition(frame)):
                continue
            entries = made(frame)
            if type(entries) is not dict:
                raise no_overload()
            for key, value in entries.items():
                if key in result:
                    raise CelError(f"insert failed: key {shown(key)} already exists")
                result[key] = value
        return result

    return evaluate


def _sort_by(body: Evaluate) -> Macro:
    def evaluate(frame: Frame, steps: Iterable[None], value: Any, _: list[str]) -> Any:
        keys = [body(frame) for _step in steps]
        frame.charge(costs.sorting(keys))
        return FUNCTIONS["@sortByAssociatedKeys"](value, keys)  # type: ignore[operator]

    return evaluate


MACROS: dict[tuple[str, int], tuple[int, Any]] = {
    ("all", 3): (2, _quantifier(False)),
    ("exists", 3): (2, _quantifier(True)),
    ("existsOne", 3): (2, _exists_one),
    ("exists_one", 3): (2, _exists_one),
    ("transformList", 3): (2, _transform_list),
    ("transformList", 4): (2, _transform_list),
    ("transformMap", 3): (2, _transform_map),
    ("transformMap", 4): (2, _transform_map),
    ("transformMapEntry", 3): (2, _transform_entries),
    ("transformMapEntry", 4): (2, _transform_entries),
    ("sortBy", 2): (1, _sort_by),
}
"""By name and number of arguments: how many of these are names of variables, and what is made of the others."""
