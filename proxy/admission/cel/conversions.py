"""From one type to another: ``int(x)``, ``string(x)`` and their kin, as cel-go's ``ConvertToType``."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any

from proxy.admission.cel.times import parse_duration, parse_timestamp
from proxy.admission.cel.values import (
    MAX_UINT,
    MIN_INT,
    CelError,
    Duration,
    Timestamp,
    Uint,
    checked,
    checked_uint,
    general_float,
    timestamp,
    type_of,
)  # fmt: skip

_FLOAT = re.compile(r"[+-]?(?:(?:\d+(?:_?\d)*)?\.?\d*(?:[eE][+-]?\d+)?|inf|infinity|nan)", re.IGNORECASE | re.ASCII)
_INTEGER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
_TRUE = frozenset(("1", "t", "T", "TRUE", "true", "True"))
_FALSE = frozenset(("0", "f", "F", "FALSE", "false", "False"))


def _failed(value: Any, kind: str) -> CelError:
    return CelError(f"type conversion error from '{type_of(value).name}' to '{kind}'")


def _int(text: str) -> int:
    if not _INTEGER.fullmatch(text) or not MIN_INT <= int(text) < -MIN_INT:
        raise _failed(text, "int")
    return int(text)


def _uint(text: str) -> Uint:
    if not text.isascii() or not text.isdigit() or len(text) > 40 or int(text) > MAX_UINT:
        raise _failed(text, "uint")
    return Uint(int(text))


def _whole(value: float) -> int:
    if math.isnan(value) or not -(2**63) < value < 2**63:
        raise CelError("integer overflow")
    return math.trunc(value)


def _unsigned(value: float) -> Uint:
    if math.isnan(value) or not 0 <= value < 2**64:
        raise CelError("unsigned integer overflow")
    return Uint(math.trunc(value))


def _double(text: str) -> float:
    if not text or not _FLOAT.fullmatch(text) or "_" in text or not any(map(str.isalnum, text)):
        raise _failed(text, "double")
    try:
        value = float(text)
    except ValueError:
        raise _failed(text, "double") from None
    if math.isinf(value) and "n" not in text.lower():
        raise _failed(text, "double")
    return value


def _bool(text: str) -> bool:
    if text not in _TRUE and text not in _FALSE:
        raise _failed(text, "bool")
    return text in _TRUE


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise CelError("invalid UTF-8 in bytes, cannot convert to string") from None


def _same(value: Any) -> Any:
    return value


STRING: dict[tuple[type, ...], Callable[..., Any]] = {
    (str,): _same,
    (bool,): lambda value: "true" if value else "false",
    (int,): str,
    (Uint,): str,
    (float,): general_float,
    (bytes,): _text,
    (Timestamp,): str,
    (Duration,): str,
}

FUNCTIONS: dict[str, Any] = {
    "int": {
        (int,): _same,
        (Uint,): lambda value: checked(int(value)),
        (float,): _whole,
        (str,): _int,
        (Timestamp,): lambda value: value.nanoseconds // 1_000_000_000,
        (Duration,): lambda value: value.nanoseconds,
    },
    "uint": {(Uint,): _same, (int,): checked_uint, (float,): _unsigned, (str,): _uint},
    "double": {(float,): _same, (int,): float, (Uint,): float, (str,): _double},
    "bool": {(bool,): _same, (str,): _bool},
    "string": STRING,
    "bytes": {(bytes,): _same, (str,): str.encode},
    "timestamp": {
        (Timestamp,): _same,
        (str,): parse_timestamp,
        (int,): lambda value: timestamp(value * 1_000_000_000),
    },
    "duration": {(Duration,): _same, (str,): parse_duration, (int,): Duration},
}
