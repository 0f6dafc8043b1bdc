"""Protobuf's wire format, as much as rewriting a message needs: https://protobuf.dev/programming-guides/encoding/.

A `Schema` names the fields that matter; everything else is carried over byte by byte.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import Any

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_DEPTH = 16
MAX_FIELDS = 200_000
"""Of one message; more than any object has, and few enough to be looked at in 0.2 s."""


class WireError(ValueError):
    """Not a well-formed message."""


@dataclass(frozen=True, slots=True)
class Field:
    """One field: text unless ``schema`` (a message) or ``map`` (from text) says otherwise."""

    name: str
    schema: Schema | None = None
    repeated: bool = False
    map: bool = False
    raw: bool = False
    """A map whose values are messages, carried over as they are; else they are text."""
    base64: bool = False
    """Bytes, which JSON writes so."""


Schema = dict[int, Field]


def varint(data: bytes, at: int) -> tuple[int, int]:
    """Value and position behind it."""
    value = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise WireError("bad varint")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            return value, at


def encode_varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def fields(data: bytes) -> list[tuple[int, int, bytes, bytes]]:
    """``(number, wire type, whole field, content)`` of each field; content is empty unless the type is BYTES."""
    found = []
    at = 0
    while at < len(data):
        start = at
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        content = b""
        if number == 0:
            raise WireError("field number 0")
        if kind == VARINT:
            _, at = varint(data, at)
        elif kind == BYTES:
            size, at = varint(data, at)
            content = data[at : at + size]
            at += size
        elif kind == FIXED64:
            at += 8
        elif kind == FIXED32:
            at += 4
        else:
            raise WireError(f"wire type {kind}")
        if at > len(data):
            raise WireError("truncated")
        found.append((number, kind, data[start:at], content))
        if len(found) > MAX_FIELDS:
            raise WireError("too many fields")
    return found


def field(number: int, content: bytes) -> bytes:
    """A field of type BYTES."""
    return encode_varint(number << 3 | BYTES) + encode_varint(len(content)) + content


def decode(data: bytes, schema: Schema, depth: int = 0) -> dict[str, Any]:
    """The fields that ``schema`` names, as JSON would have them. Raises WireError."""
    if depth > MAX_DEPTH:
        raise WireError("nested too deeply")
    out: dict[str, Any] = {}
    for number, kind, _, content in fields(data):
        spec = schema.get(number)
        if spec is None:
            continue
        if kind != BYTES:
            raise WireError(f"field {number} has wire type {kind}")
        if spec.map:
            key, entry = _entry(content, spec.raw)
            out.setdefault(spec.name, {})[key] = entry
            continue
        if spec.base64:
            value: Any = base64.b64encode(content).decode()
        else:
            value = _text(content) if spec.schema is None else decode(content, spec.schema, depth + 1)
        if spec.repeated:
            out.setdefault(spec.name, []).append(value)
        elif spec.name in out and spec.schema is not None:
            # Parsers merge a message that comes in pieces; a mapping that sees one piece at a time must not guess.
            raise WireError(f"field {number} is repeated")
        else:
            out[spec.name] = value
    return out


def encode(data: bytes, schema: Schema, values: dict[str, Any]) -> bytes:
    """``data`` with the fields of ``schema`` set to ``values``, which came from `decode` and may have been changed."""
    out = []
    originals: dict[int, list[bytes]] = {}
    for number, _, whole, content in fields(data):
        if number in schema:
            originals.setdefault(number, []).append(content)
        else:
            out.append(whole)
    for number, spec in schema.items():
        value = values.get(spec.name)
        if value is None:
            continue
        before = originals.get(number, [])
        if spec.map:
            out += [field(number, field(1, key.encode()) + _map_value(item)) for key, item in value.items()]
        elif spec.base64:
            out.append(field(number, base64.b64decode(value)))
        elif spec.schema is None:
            out += [field(number, item.encode()) for item in (value if spec.repeated else [value])]
        else:
            items = value if spec.repeated else [value]
            for index, item in enumerate(items):
                original = before[index] if index < len(before) else b""
                out.append(field(number, encode(original, spec.schema, item)))
    return b"".join(out)


def _entry(content: bytes, raw: bool) -> tuple[str, bytes | str]:
    """Key and value of a map's entry; a raw value is its whole field."""
    key: str = ""
    value: bytes | str = b"" if raw else ""
    for number, kind, whole, inner in fields(content):
        if number not in (1, 2) or kind != BYTES:
            raise WireError(f"field {number} in a map")
        if number == 1:
            key = _text(inner)
        else:
            value = whole if raw else _text(inner)
    return key, value


def _map_value(value: bytes | str) -> bytes:
    return field(2, value.encode()) if isinstance(value, str) else value


def _text(content: bytes) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise WireError("a string is not UTF-8") from error
