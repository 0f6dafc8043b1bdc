"""OpenAPI version 2 in its protobuf form, the only one that client-go's ``OpenAPISchema`` asks for.

Field numbers are those of gnostic's ``OpenAPIv2.proto`` (github.com/google/gnostic-models), limited to what a
kube-apiserver's document has. Whatever has no field of its own is a vendor extension, its value as YAML (of which JSON
is a part).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from operator import itemgetter
from typing import Any

import orjson

Encoder = Callable[[Any], bytes]
"""The content of one field's value, without tag."""


def encode_document(document: dict[str, Any]) -> bytes:
    """An ``openapi.v2.Document`` from the document's JSON."""
    return _DOCUMENT(document)


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def _delimited(number: int, content: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(content)) + content


def _text(value: Any) -> bytes:
    return str(value).encode()


def _any(value: Any) -> bytes:
    return _delimited(2, orjson.dumps(value) + b"\n")


def _bool(number: int, value: Any) -> bytes:
    return varint(number << 3) + b"\x01" if value else b""


def _int(number: int, value: Any) -> bytes:
    return varint(number << 3) + varint(int(value)) if value else b""


def _double(number: int, value: Any) -> bytes:
    return varint(number << 3 | 1) + struct.pack("<d", value) if value else b""


class _Message:
    """A message: ``fields`` by JSON name, each with its number and how it is written; in the order of numbers."""

    def __init__(self, extensions: int) -> None:
        self.fields: dict[str, tuple[int, Callable[[Any], bytes]]] = {}
        self._extensions = extensions

    def one(self, number: int, encode: Encoder, *names: str) -> _Message:
        """A single message or string; consecutive numbers for several names."""
        for at, name in enumerate(names, number):
            self.fields[name] = (at, partial(_write_one, at, encode))
        return self

    def many(self, number: int, encode: Encoder, *names: str) -> _Message:
        for at, name in enumerate(names, number):
            self.fields[name] = (at, partial(_write_many, at, encode))
        return self

    def scalar(self, number: int, write: Callable[[int, Any], bytes], name: str) -> _Message:
        self.fields[name] = (number, partial(write, number))
        return self

    def __call__(self, value: dict[str, Any]) -> bytes:
        out = []
        for name, item in value.items():
            field = self.fields.get(name)
            if field is not None:
                out.append((field[0], field[1](item)))
            elif name.startswith("x-"):
                out.append((self._extensions, _delimited(self._extensions, _named(name, _any(item)))))
        out.sort(key=itemgetter(0))
        return b"".join(map(itemgetter(1), out))


def _write_one(number: int, encode: Encoder, value: Any) -> bytes:
    return _delimited(number, encode(value))


def _write_many(number: int, encode: Encoder, value: Any) -> bytes:
    return b"".join(_delimited(number, encode(item)) for item in value)


def _named(name: str, content: bytes) -> bytes:
    return _delimited(1, name.encode()) + _delimited(2, content)


def _table(number: int, encode: Encoder) -> Encoder:
    """A message that is a map: repeated pairs of name and value."""
    return lambda value: b"".join(_delimited(number, _named(name, encode(item))) for name, item in value.items())


def _schema(value: dict[str, Any]) -> bytes:
    return _SCHEMA(value)


def _additional(value: Any) -> bytes:
    return _bool(2, value) if isinstance(value, bool) else _delimited(1, _schema(value))


def _strings(value: Any) -> bytes:
    return b"".join(_delimited(1, _text(item)) for item in (value if isinstance(value, list) else [value]))


def _items(value: Any) -> bytes:
    return b"".join(_delimited(1, _schema(item)) for item in (value if isinstance(value, list) else [value]))


def _validation(message: _Message, number: int) -> _Message:
    """``maximum`` to ``unique_items``, which stand together in several messages."""
    message.scalar(number, _double, "maximum").scalar(number + 1, _bool, "exclusiveMaximum")
    message.scalar(number + 2, _double, "minimum").scalar(number + 3, _bool, "exclusiveMinimum")
    message.scalar(number + 4, _int, "maxLength").scalar(number + 5, _int, "minLength")
    message.one(number + 6, _text, "pattern")
    message.scalar(number + 7, _int, "maxItems").scalar(number + 8, _int, "minItems")
    return message.scalar(number + 9, _bool, "uniqueItems")


_SCHEMA = (
    _validation(_Message(extensions=31), 7)
    .one(1, _text, "$ref", "format", "title", "description")
    .one(5, _any, "default")
    .scalar(6, _double, "multipleOf")
    .scalar(17, _int, "maxProperties")
    .scalar(18, _int, "minProperties")
    .many(19, _text, "required")
    .many(20, _any, "enum")
    .one(21, _additional, "additionalProperties")
    .one(22, _strings, "type")
    .one(23, _items, "items")
    .many(24, _schema, "allOf")
    .one(25, _table(1, _schema), "properties")
    .one(26, _text, "discriminator")
    .scalar(27, _bool, "readOnly")
    .one(30, _any, "example")
)
_BODY = (
    _Message(extensions=6)
    .one(1, _text, "description", "name", "in")
    .scalar(4, _bool, "required")
    .one(5, _schema, "schema")
)
_QUERY = (
    _validation(_Message(extensions=23), 11)
    .scalar(1, _bool, "required")
    .one(2, _text, "in", "description", "name")
    .one(6, _text, "type", "format")
    .many(21, _any, "enum")
)
_PATH = (
    _validation(_Message(extensions=22), 10)
    .scalar(1, _bool, "required")
    .one(2, _text, "in", "description", "name", "type", "format")
    .many(20, _any, "enum")
)


def _parameter(value: dict[str, Any]) -> bytes:
    """``ParametersItem``: a parameter, which is one of the body or one of several others."""
    if value.get("in") == "body":
        parameter = _delimited(1, _BODY(value))
    else:
        number, message = (4, _PATH) if value.get("in") == "path" else (3, _QUERY)
        parameter = _delimited(2, _delimited(number, message(value)))
    return _delimited(1, parameter)


_RESPONSE = (
    _Message(extensions=5).one(1, _text, "description").one(2, lambda value: _delimited(1, _schema(value)), "schema")
)
_OPERATION = (
    _Message(extensions=13)
    .many(1, _text, "tags")
    .one(2, _text, "summary", "description")
    .one(5, _text, "operationId")
    .many(6, _text, "produces", "consumes")
    .many(8, _parameter, "parameters")
    .one(9, _table(1, lambda value: _delimited(1, _RESPONSE(value))), "responses")
    .many(10, _text, "schemes")
    .scalar(11, _bool, "deprecated")
)
_PATH_ITEM = (
    _Message(extensions=10)
    .one(2, _OPERATION, "get", "put", "post", "delete", "options", "head", "patch")
    .many(9, _parameter, "parameters")
)
_API_KEY = _Message(extensions=5).one(1, _text, "type", "name", "in", "description")
_DOCUMENT = (
    _Message(extensions=16)
    .one(1, _text, "swagger")
    .one(2, _Message(extensions=7).one(1, _text, "title", "version", "description"), "info")
    .one(8, _table(2, _PATH_ITEM), "paths")
    .one(9, _table(1, _schema), "definitions")
    .many(12, _table(1, _strings), "security")
    .one(13, _table(1, lambda value: _delimited(2, _API_KEY(value))), "securityDefinitions")
)
