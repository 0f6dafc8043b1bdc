"""cel-go's ``ext.Strings``, version 2, as kube-apiserver has it."""

from __future__ import annotations

import math
import re
from typing import Any

from proxy.admission.cel.conversions import STRING
from proxy.admission.cel.values import CelError, Duration, Timestamp, Type, Uint, type_of  # fmt: skip

_SPACE = "\t\n\v\f\r \x85\xa0\u1680\u2028\u2029\u202f\u205f\u3000" + "".join(map(chr, range(0x2000, 0x200B)))
"""Go's ``unicode.IsSpace``."""
_UPPER = {code: code - 32 for code in range(ord("a"), ord("z") + 1)}
_LOWER = {upper: code for code, upper in _UPPER.items()}
_ESCAPES = str.maketrans(
    {
        "\a": "\\a",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
        "\v": "\\v",
        "\\": "\\\\",
        '"': '\\"',
    }
)
MAX_PRECISION = 1000
"""Digits behind the point that a clause may ask for."""


def _char_at(text: str, at: int) -> str:
    if not 0 <= at <= len(text):
        raise CelError(f"index out of range: {at}")
    return text[at : at + 1]


def _index_of(text: str, part: str, offset: int = 0) -> int:
    if not part:
        return offset
    if offset < 0:
        raise CelError(f"index out of range: {offset}")
    return text.find(part, offset)


def _last_index_of(text: str, part: str, offset: int | None = None) -> int:
    if not part:
        return len(text) if offset is None else offset
    if offset is None:
        return text.rfind(part)
    if offset < 0:
        raise CelError(f"index out of range: {offset}")
    return -1 if offset >= len(text) else text.rfind(part, 0, offset + len(part))


def _replace(text: str, old: str, new: str, count: int = -1) -> str:
    return text.replace(old, new, count if count >= 0 else -1)


def _split(text: str, separator: str, count: int = -1) -> list[str]:
    if count == 0:
        return []
    if separator:
        return text.split(separator, count - 1 if count > 0 else -1)
    if 0 < count < len(text):
        return [*text[: count - 1], text[count - 1 :]]
    return list(text)


def _substring(text: str, start: int, end: int | None = None) -> str:
    if end is not None and start > end:
        raise CelError(f"invalid substring range. start: {start}, end: {end}")
    for at in (start,) if end is None else (start, end):
        if not 0 <= at <= len(text):
            raise CelError(f"index out of range: {at}")
    return text[start:end]


def _join(items: list[Any], separator: str = "") -> str:
    for item in items:
        if type(item) is not str:
            raise CelError("no such overload: join(list, string)" if separator else "no such overload: join(list)")
    return separator.join(items)


def _printed(value: Any) -> str:
    """``%s``."""
    if type(value) is list:
        return f"[{', '.join(map(_element, value))}]"
    if type(value) is dict:
        return "{" + ", ".join(f"{_map_key(key)}:{_element(value[key])}" for key in _sorted(value)) + "}"
    if value is None:
        return "null"
    if isinstance(value, Type):
        return value.name
    convert = STRING.get((type(value),))
    if convert is None:
        raise CelError(
            "error during formatting: string clause can only be used on strings, bools, bytes, ints, doubles, maps, "
            f"lists, types, durations, and timestamps, was given {type_of(value).name}"
        )
    return str(convert(value))


def _sorted(value: dict[Any, Any]) -> list[Any]:
    return sorted(value, key=_map_key)


def _map_key(key: Any) -> str:
    return _element(key)


def _element(value: Any) -> str:
    """In a list or map."""
    if type(value) is str:
        return _quoted(value)
    if type(value) is float:
        return f"{value:.6f}" if math.isfinite(value) else f'"{_unusual(value)}"'
    if isinstance(value, Timestamp):
        return f'timestamp("{value}")'
    if isinstance(value, Duration):
        return f'duration("{value}")'
    return _printed(value)


def _quoted(text: str) -> str:
    """Go's ``%q``, nearly: what cannot be printed is escaped in fewer cases."""
    return f'"{text.translate(_ESCAPES)}"'


def _unusual(value: float) -> str:
    return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"


def _float(value: Any, clause: str) -> float:
    if value in ("NaN", "Infinity", "-Infinity") and type(value) is str:
        return float(value)
    if type(value) is not float:
        raise CelError(
            f"error during formatting: {clause} clause can only be used on doubles, was given {type_of(value).name}"
        )
    return value


def _decimal(value: Any) -> str:
    if type(value) in (int, Uint):
        return str(value)
    if type(value) is str and value in ("NaN", "Infinity", "-Infinity"):
        return _local(float(value), "")
    raise CelError(
        f"error during formatting: decimal clause can only be used on integers, was given {type_of(value).name}"
    )


def _local(value: float, text: str) -> str:
    if math.isnan(value):
        return "NaN"
    return text if math.isfinite(value) else "∞" if value > 0 else "-∞"


def _fixed(value: Any, precision: int) -> str:
    number = _float(value, "fixed-point")
    return _local(number, f"{number:.{precision}f}" if math.isfinite(number) else "")


def _scientific(value: Any, precision: int) -> str:
    """Six digits, always: what is meant to be their number is taken for the width."""
    number = _float(value, "scientific")
    if not math.isfinite(number):
        return _local(number, "").rjust(precision)
    mantissa, _, exponent = f"{number:e}".partition("e")
    power = exponent.removeprefix("+").translate(_RAISED)
    return f"{mantissa}×10{power}".rjust(precision)


_RAISED = str.maketrans("0123456789-+", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺")


def _binary(value: Any) -> str:
    if type(value) is bool:
        return "1" if value else "0"
    if type(value) in (int, Uint):
        return f"{value:b}"
    raise CelError(
        f"error during formatting: only integers and bools can be formatted as binary, was given {type_of(value).name}"
    )


def _hex(value: Any, upper: bool) -> str:
    if type(value) in (int, Uint):
        text = f"{value:x}"
    elif type(value) in (str, bytes):
        text = (value if type(value) is bytes else value.encode()).hex()
    else:
        raise CelError(
            "error during formatting: only integers, byte buffers, and strings can be formatted as hex, was given "
            f"{type_of(value).name}"
        )
    return text.upper() if upper else text


def _octal(value: Any) -> str:
    if type(value) in (int, Uint):
        return f"{value:o}"
    raise CelError(
        f"error during formatting: octal clause can only be used on integers, was given {type_of(value).name}"
    )


_CLAUSE = re.compile(r"%(?:%|(\.\d*)?(.)?)", re.DOTALL | re.ASCII)


def _format(text: str, args: list[Any]) -> str:
    rest = iter(enumerate(args))
    index = -1

    def clause(found: re.Match[str]) -> str:
        nonlocal index
        if found[0] == "%%":
            return "%"
        index += 1
        position, value = next(rest, (-1, None))
        if position < 0:
            raise CelError(f"index {index} out of range")
        if found[2] is None:
            raise CelError("could not find end of precision specifier" if found[1] else "unexpected end of string")
        precision = 6
        if found[1] is not None:
            digits = found[1][1:]
            if not digits:
                raise CelError(
                    "error while parsing precision: error while converting precision to integer: strconv.Atoi: "
                    'parsing "": invalid syntax'
                )
            if len(digits) > 9 or int(digits) > MAX_PRECISION:
                raise CelError(f"error while parsing precision: more than {MAX_PRECISION} digits")
            precision = int(digits)
        match found[2]:
            case "s":
                return _printed(value)
            case "d":
                return _decimal(value)
            case "f":
                return _fixed(value, precision)
            case "e":
                return _scientific(value, precision)
            case "b":
                return _binary(value)
            case "x" | "X":
                return _hex(value, found[2] == "X")
            case "o":
                return _octal(value)
        raise CelError(f'could not parse formatting clause: unrecognized formatting clause "{found[2]}"')

    return _CLAUSE.sub(clause, text)


FUNCTIONS: dict[str, Any] = {
    "contains": {(str, str): lambda text, part: part in text},
    "startsWith": {(str, str): str.startswith},
    "endsWith": {(str, str): str.endswith},
    "charAt": {(str, int): _char_at},
    "indexOf": {(str, str): _index_of, (str, str, int): _index_of},
    "lastIndexOf": {(str, str): _last_index_of, (str, str, int): _last_index_of},
    "lowerAscii": {(str,): lambda text: text.translate(_LOWER)},
    "upperAscii": {(str,): lambda text: text.translate(_UPPER)},
    "replace": {(str, str, str): _replace, (str, str, str, int): _replace},
    "split": {(str, str): _split, (str, str, int): _split},
    "substring": {(str, int): _substring, (str, int, int): _substring},
    "trim": {(str,): lambda text: text.strip(_SPACE)},
    "join": {(list,): _join, (list, str): _join},
    "format": {(str, list): _format},
    "strings.quote": {(str,): _quoted},
}
