"""Messages that mutations make (``Object{...}``, ``Object.spec{...}``, ``JSONPatch{...}``), and what they are as JSON.

Follows k8s.io/apiserver/pkg/cel/mutation (``jsonpatch.go``, ``dynamic/objects.go``), words included.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.admission.cel.frame import Fields
from proxy.admission.cel.goquote import quoted
from proxy.admission.cel.values import CelError, Duration, Opaque, Timestamp, Type, equal, type_of

OBJECT, PATCH = "Object", "JSONPatch"
PATCH_FIELDS = ("op", "path", "from", "value")
LARGEST = 16 * 2**20
"""Bytes, about, of what an expression makes; an object has 3 MiB at most."""
LARGEST_NUMBER = (1 << 53) - 1
"""Beyond it, an integer is a string in the JSON of a patch, as protobuf has it."""


@dataclass(frozen=True, slots=True, eq=False)
class Message(Fields, Opaque):
    name: str
    fields: Mapping[str, Any]

    @property
    def cel_type(self) -> Type:  # type: ignore[override]
        return Type(self.name)

    def field(self, name: str) -> Any:
        if self.name == PATCH:
            return self.fields.get(name, "" if name != "value" else None)
        value = self.fields.get(name)
        return dict(value.fields) if isinstance(value, Message) else value

    def has(self, name: str) -> bool:
        return name in self.fields and (self.name != PATCH or name == "value" or bool(self.fields[name]))

    def equals(self, other: Any) -> bool:
        if not isinstance(other, Message) or other.name != self.name or other.fields.keys() != self.fields.keys():
            return False
        return all(type_of(value) == type_of(other.fields[name]) and equal(value, other.fields[name])
                   for name, value in self.fields.items())  # fmt: skip

    def is_zero(self) -> bool:
        return self.name != PATCH and not self.fields


def maker(name: str) -> Callable[[dict[str, Any]], Message]:
    """What makes messages of that name. Raises CelError where there are none."""
    name = name.removeprefix(".")
    if name == PATCH:
        return _patch
    if name == OBJECT or name.startswith(f"{OBJECT}."):
        return lambda fields: Message(name, fields)
    raise CelError(f"undeclared reference to '{name}' (in container '')")


def _patch(fields: dict[str, Any]) -> Message:
    for name, value in fields.items():
        if name not in PATCH_FIELDS:
            raise CelError(f"unexpected JSONPatchType field: {name}")
        if name != "value" and not isinstance(value, str):
            raise CelError(f"unexpected type {type_of(value).name} for JSONPatchType '{name}' field")
    return Message(PATCH, fields)


class Room:
    """What may be made of messages: an expression names a value for next to nothing, as often as it likes."""

    __slots__ = ("left",)

    def __init__(self, left: int = LARGEST) -> None:
        self.left = left

    def take(self, value: Any) -> None:
        """Raises CelError."""
        self.left -= 16 + len(value) if isinstance(value, str | bytes) else 16
        if self.left < 0:
            raise CelError(f"an expression makes more than {LARGEST} bytes")


def plain(value: Any, room: Room) -> Any:
    """As an apply configuration has it: messages are objects. Raises CelError for what no object holds."""
    return _made(value, room, _plain_scalar)


def json_of(value: Any, room: Room) -> Any:
    """As a JSON patch has it. Raises CelError."""
    return _made(value, room, _json_scalar)


def _made(value: Any, room: Room, scalar: Callable[[Any], Any]) -> Any:
    room.take(value)
    if isinstance(value, Message):
        return {name: _made(field, room, scalar) for name, field in value.fields.items()}
    if type(value) is list:
        return [_made(item, room, scalar) for item in value]
    if type(value) is dict:
        return {_key(key): _made(item, room, scalar) for key, item in value.items()}
    return scalar(value)


def _plain_scalar(value: Any) -> Any:
    if value is None or isinstance(value, str | bool | int | float):
        return int(value) if isinstance(value, int) and type(value) is not bool else value
    raise CelError(f"a value of type {type_of(value).name} is nothing that an object may hold")


def _json_scalar(value: Any) -> Any:
    if type(value) is float:
        if not math.isfinite(value):
            raise _no_json(f"google.protobuf.Value cannot have {value}")
        return int(value) if value.is_integer() and abs(value) < 1e21 else value
    if isinstance(value, int) and type(value) is not bool:
        return int(value) if abs(value) <= LARGEST_NUMBER else str(int(value))
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, Timestamp | Duration):
        return str(value)
    raise _no_json(f"type conversion error from '{type_of(value).name}' to 'google.protobuf.Value'")


def operations(patch: Sequence[Message]) -> list[dict[str, Any]]:
    """A JSON patch. Raises CelError."""
    made = []
    room = Room()
    for message in patch:
        operation = {"op": message.field("op"), "path": message.field("path")}
        if message.field("from"):
            operation["from"] = message.field("from")
        if "value" in message.fields:
            value = message.fields["value"]
            operation["value"] = json_of(value, room)
            if isinstance(value, Message):
                check_names(value)
        made.append(operation)
    return made


def check_names(message: Message) -> None:
    """Raises CelError unless each message in it is named after where it stands."""
    faults = list(_misnamed(message, message.name))
    if faults:
        raise CelError("type mismatch: " + "\n".join(faults))


def _misnamed(value: Any, path: str) -> Iterator[str]:
    if isinstance(value, Message):
        if value.name != path:
            yield (
                f"unexpected type name {quoted(value.name)}, expected {quoted(path)}, which matches field name path "
                "from root Object type"
            )
        for name, field in value.fields.items():
            yield from _misnamed(field, f"{path}.{name}")
    elif type(value) in (list, dict):
        for item in value if type(value) is list else value.values():
            yield from _misnamed(item, path)


def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise CelError(f"map key {quoted(str(key))} is of type {type_of(key).name}, not string")
    return key


def _no_json(why: str) -> CelError:
    return CelError(f"JSONPath valueExpression evaluated to a type that could not marshal to JSON: {why}")


def _escape_key(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


FUNCTIONS: dict[str, Any] = {"jsonpatch.escapeKey": {(str,): _escape_key}}
"""Known to mutations alone."""
