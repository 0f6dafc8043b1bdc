"""CEL's values in Python, what is equal, what comes first, and what a value is as text.

===================  ==========================================
CEL                  Python
===================  ==========================================
int, double, bool    int, float, bool
uint                 `Uint`
string, bytes, null  str, bytes, None
list, map            list, dict (as JSON has them)
timestamp, duration  `Timestamp`, `Duration` (nanoseconds both)
optional, type       `Optional`, `Type`
all others           a class with an attribute ``cel_type``
===================  ==========================================

Texts of errors are cel-go's (github.com/google/cel-go, ``common/types``).
"""

from __future__ import annotations

import datetime
import math
from dataclasses import dataclass, field
from typing import Any, ClassVar, NamedTuple


class CelError(ValueError):
    """An expression that cannot be compiled, or has no value for what it is given."""


def missing(what: str, error: ImportError) -> CelError:
    """A library that expressions need is not there."""
    return CelError(f"expressions need {what} ({error.name}): pip install 'kcp[cel]'")


class OutOfBudget(CelError):
    """It costs more than it may; unlike other errors not undone by ``||`` or ``&&``."""


def no_overload(_: Any = None) -> CelError:
    return CelError("no such overload")


class Uint(int):
    """An unsigned integer."""

    __slots__ = ()


class Type(NamedTuple):
    name: str


class Duration(NamedTuple):
    nanoseconds: int

    def __str__(self) -> str:
        return f"{plain_float(self.nanoseconds / 1e9)}s"


@dataclass(frozen=True, slots=True, order=True)
class Timestamp:
    nanoseconds: int
    """Since 1970."""
    offset: int = field(default=0, compare=False)
    """Seconds east of UTC, where it was written so; only its text knows."""

    def at(self, zone: datetime.tzinfo = datetime.UTC) -> datetime.datetime:
        """To the microsecond."""
        epoch = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
        return (epoch + datetime.timedelta(microseconds=self.nanoseconds // 1000)).astimezone(zone)

    def __str__(self) -> str:
        fraction = f"{self.nanoseconds % 1_000_000_000:09d}".rstrip("0")
        text = self.at(datetime.timezone(datetime.timedelta(seconds=self.offset))).isoformat()[:19]
        minutes = abs(self.offset) // 60
        sign = "-" if self.offset < 0 else "+"
        zone = f"{sign}{minutes // 60:02d}:{minutes % 60:02d}" if self.offset else "Z"
        return f"{text}.{fraction}{zone}" if fraction else f"{text}{zone}"


class Optional(NamedTuple):
    value: Any
    present: bool


NONE = Optional(None, False)

MIN_INT, MAX_INT, MAX_UINT = -(1 << 63), (1 << 63) - 1, (1 << 64) - 1
MIN_SECONDS, MAX_SECONDS = -62135596800, 253402300799
"""Of timestamps: the years 1 to 9999."""

NULL, BOOL, INT, UINT, DOUBLE, STRING, BYTES, LIST, MAP, TYPE = map(
    Type, ("null_type", "bool", "int", "uint", "double", "string", "bytes", "list", "map", "type")
)
TIMESTAMP, DURATION, OPTIONAL = map(Type, ("google.protobuf.Timestamp", "google.protobuf.Duration", "optional_type"))
TYPES = {
    type(None): NULL, bool: BOOL, int: INT, Uint: UINT, float: DOUBLE, str: STRING, bytes: BYTES, list: LIST,
    dict: MAP, Type: TYPE, Timestamp: TIMESTAMP, Duration: DURATION, Optional: OPTIONAL,
}  # fmt: skip

NUMBERS = (int, Uint, float)
"""Exact types: bool is none of them."""


class Opaque:
    """What Kubernetes adds to the language."""

    cel_type: ClassVar[Type]
    __slots__ = ()

    def equals(self, other: Any) -> bool:
        """Raises CelError for a value of another type."""
        if type(other) is not type(self):
            raise no_overload()
        return bool(self == other)

    def size(self) -> int:
        """What traversing it costs."""
        return 1

    def is_zero(self) -> bool:
        return False


def type_of(value: Any) -> Type:
    found = TYPES.get(type(value))
    return found if found is not None else value.cel_type


def equal(left: Any, right: Any) -> bool:
    if left is None or right is None:
        return left is right
    kind, other = type(left), type(right)
    if kind in NUMBERS:
        return other in NUMBERS and bool(_number(left, other) == _number(right, kind))
    if isinstance(left, Opaque):
        return left.equals(right)
    if kind is not other:
        return False
    if kind is list:
        return len(left) == len(right) and all(map(equal, left, right))
    if kind is dict:
        return len(left) == len(right) and all(key in right and equal(left[key], right[key]) for key in left)
    if kind is Optional:
        return left.present == right.present and (not left.present or equal(left.value, right.value))
    return bool(left == right)


def _number(value: Any, other: type) -> Any:
    """Integers are compared with doubles as doubles."""
    return float(value) if other is float else value


ORDERED = (bool, str, bytes, Timestamp, Duration)


def compare(left: Any, right: Any) -> int:
    """-1, 0 or 1. Raises CelError."""
    kind, other = type(left), type(right)
    if kind in NUMBERS and other in NUMBERS:
        left, right = _number(left, other), _number(right, kind)
        if left != left or right != right:
            raise CelError("NaN values cannot be ordered")
    elif kind is not other or kind not in ORDERED:
        raise no_overload()  # text is ordered by code points, as its UTF-8 is
    return int(left > right) - int(left < right)


def size_of(value: Any) -> int:
    """What traversing ``value`` costs."""
    if isinstance(value, str | list | dict | bytes):
        return len(value)
    return value.size() if isinstance(value, Opaque) else 1


def is_zero(value: Any) -> bool:
    """Whether ``optional.ofNonZeroValue`` has no use for it."""
    if isinstance(value, Opaque):
        return value.is_zero()
    if isinstance(value, Type | Timestamp):
        return False
    if isinstance(value, Optional):
        return not value.present or is_zero(value.value)
    return value == Duration(0) if isinstance(value, Duration) else not value


def checked(value: int) -> int:
    if not MIN_INT <= value <= MAX_INT:
        raise CelError("integer overflow")
    return value


def checked_uint(value: int) -> Uint:
    if not 0 <= value <= MAX_UINT:
        raise CelError("unsigned integer overflow")
    return Uint(value)


def duration(nanoseconds: int) -> Duration:
    if not MIN_INT <= nanoseconds <= MAX_INT:
        raise CelError("duration overflow")
    return Duration(nanoseconds)


def timestamp(nanoseconds: int, offset: int = 0) -> Timestamp:
    if not MIN_SECONDS <= nanoseconds // 1_000_000_000 <= MAX_SECONDS:
        raise CelError("timestamp overflow")
    return Timestamp(nanoseconds, offset)


def plain_float(value: float) -> str:
    """As Go's ``strconv.FormatFloat(value, 'f', -1, 64)``."""
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    text = repr(value)
    if "e" in text:
        from decimal import Decimal

        text = format(Decimal(text), "f")
    return text.removesuffix(".0")


def general_float(value: float) -> str:
    """As Go's ``%g``: the shortest digits, an exponent below 1e-4 and from 1e6 on."""
    if math.isnan(value) or math.isinf(value):
        return plain_float(value)
    size = abs(value)
    if size == 0 or 1e-4 <= size < 1e6:
        return plain_float(value)
    mantissa, _, exponent = f"{value!r}".partition("e")
    if not exponent:
        from decimal import Decimal

        sign, digits, power = Decimal(repr(value)).as_tuple()
        power = int(power) + len(digits) - 1
        text = "".join(map(str, digits)).rstrip("0") or "0"
        mantissa = ("-" if sign else "") + text[0] + (f".{text[1:]}" if len(text) > 1 else "")
        exponent = str(power)
    number = int(exponent)
    return f"{mantissa.removesuffix('.0')}e{'-' if number < 0 else '+'}{abs(number):02d}"


def shown(value: Any) -> str:
    """As Go's ``%v`` of a value in an error text."""
    if value is True or value is False:
        return "true" if value else "false"
    if value is None:
        return "null"
    if type(value) is float:
        return general_float(value)
    if isinstance(value, Type):
        return value.name
    if type(value) is list:
        return f"[{', '.join(map(shown, value))}]"
    return str(value)
