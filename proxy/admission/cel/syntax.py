"""From text to a syntax tree: parsed by the C++ implementation, read from the message that it serializes.

The message is ``cel.expr.ParsedExpr`` in an Any:
https://github.com/google/cel-spec/blob/master/proto/cel/expr/syntax.proto
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, NamedTuple

from proxy.admission.cel.values import CelError, Uint, missing
from proxy.mapping.wire import BYTES, FIXED64, VARINT, varint

MAX_LENGTH = 8192
"""Characters of an expression: parsing one lets nothing else happen for 20 microseconds each."""
MAX_DEPTH = 100
"""Of calls in calls: Python's stack is the limit, an expression that people write has less than ten."""


class Constant(NamedTuple):
    value: Any


class Ident(NamedTuple):
    name: str


class Select(NamedTuple):
    operand: Node
    field: str
    test: bool
    """``has(operand.field)``"""


class Call(NamedTuple):
    function: str
    target: Node | None
    args: tuple[Node, ...]


class Elements(NamedTuple):
    """A list; ``optional`` are the places with a question mark."""

    elements: tuple[Node, ...]
    optional: frozenset[int]


class Entries(NamedTuple):
    """A map: key, value, whether there is a question mark."""

    entries: tuple[tuple[Node, Node, bool], ...]


class Creation(NamedTuple):
    """Of a message: field, value, whether there is a question mark."""

    name: str
    entries: tuple[tuple[str, Node, bool], ...]


class Comprehension(NamedTuple):
    variable: str
    range: Node
    accumulator: str
    initial: Node
    condition: Node
    step: Node
    result: Node


Node = Constant | Ident | Select | Call | Elements | Entries | Creation | Comprehension


def parse(text: str) -> Node:
    """Raises CelError."""
    if len(text) > MAX_LENGTH:
        raise CelError(f"expression has more than {MAX_LENGTH} characters")
    try:
        data = _environment().compile(text, disable_check=True).serialize()
    except RuntimeError as error:
        raise CelError(_first_line(error)) from error
    any_value = dict(_fields(data))[2]
    return _node(dict(_fields(any_value))[2], 0)


@cache
def _environment() -> Any:
    try:
        from cel_expr_python import cel
        from cel_expr_python.ext import ext_optional
    except ImportError as error:
        raise missing("CEL", error) from error
    return cel.NewEnv(variables={}, extensions=[ext_optional.ExtOptional()])


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0].removeprefix("INVALID_ARGUMENT: ").removeprefix("ERROR: <input>:")


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Number and value of each field: int, or bytes of a message, text or double."""
    at = 0
    while at < len(data):
        tag, at = varint(data, at)
        kind = tag & 7
        if kind == VARINT:
            value, at = varint(data, at)
            yield tag >> 3, value
        elif kind == FIXED64:
            yield tag >> 3, data[at : at + 8]
            at += 8
        elif kind == BYTES:
            length, at = varint(data, at)
            yield tag >> 3, data[at : at + length]
            at += length
        else:
            raise CelError("unknown field in a parsed expression")


def _node(data: bytes, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise CelError(f"expression is nested more than {MAX_DEPTH} deep")
    for number, value in _fields(data):
        read = _KINDS.get(number)
        if read is not None:
            return read(value, depth + 1)
        if number != 2:  # its id
            break
    raise CelError("unknown kind of expression")


def _constant(data: bytes, _: int) -> Constant:
    for number, value in _fields(data):
        match number:
            case 1:
                return Constant(None)
            case 2:
                return Constant(bool(value))
            case 3:
                return Constant(value - (1 << 64) if value >> 63 else value)
            case 4:
                return Constant(Uint(value))
            case 5:
                return Constant(struct.unpack("<d", value)[0])
            case 6:
                return Constant(value.decode())
            case 7:
                return Constant(value)
    return Constant(None)


def _ident(data: bytes, _: int) -> Ident:
    return Ident(dict(_fields(data))[1].decode())


def _select(data: bytes, depth: int) -> Select:
    found = dict(_fields(data))
    return Select(_node(found[1], depth), found[2].decode(), bool(found.get(3)))


def _call(data: bytes, depth: int) -> Call:
    target, function, args = None, "", []
    for number, value in _fields(data):
        if number == 1:
            target = _node(value, depth)
        elif number == 2:
            function = value.decode()
        else:
            args.append(_node(value, depth))
    return Call(function, target, tuple(args))


def _elements(data: bytes, depth: int) -> Elements:
    elements: list[Node] = []
    optional: set[int] = set()
    for number, value in _fields(data):
        if number == 1:
            elements.append(_node(value, depth))
        else:
            optional.update(_packed(value))
    return Elements(tuple(elements), frozenset(optional))


def _packed(value: Any) -> Iterator[int]:
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = varint(value, at)
        yield number


def _entries(data: bytes, depth: int) -> Entries | Creation:
    name, entries = "", []
    for number, value in _fields(data):
        if number == 1:
            name = value.decode()
        else:
            entries.append(dict(_fields(value)))
    if name:
        return Creation(
            name,
            tuple((found[2].decode(), _node(found[4], depth), bool(found.get(5))) for found in entries),
        )
    return Entries(tuple((_node(found[3], depth), _node(found[4], depth), bool(found.get(5))) for found in entries))


def _comprehension(data: bytes, depth: int) -> Comprehension:
    found = dict(_fields(data))
    initial, condition, step, result = (_node(found[number], depth) for number in (4, 5, 6, 7))
    return Comprehension(found[1].decode(), _node(found[2], depth), found[3].decode(), initial, condition, step, result)


_KINDS: dict[int, Callable[[bytes, int], Node]] = {
    3: _constant, 4: _ident, 5: _select, 6: _call, 7: _elements, 8: _entries, 9: _comprehension
}  # fmt: skip
