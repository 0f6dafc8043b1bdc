"""Amounts of a resource as API servers write them: exact to a billionth, with the kind of suffix they were given with.

https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

NANO = 10**9
_DECIMAL = ("n", "u", "m", "", "k", "M", "G", "T", "P", "E")
"""Suffixes of 10⁻⁹, 10⁻⁶, …"""
_BINARY = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
"""Suffixes of 1024⁰, 1024¹, …"""
_UNITS = {suffix: 1000**power for power, suffix in enumerate(_DECIMAL)} | {
    suffix: NANO * 1024**power for power, suffix in enumerate(_BINARY) if suffix
}
"""In billionths."""
_FORM = re.compile(r"([+-]?)(\d*)\.?(\d*)([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3}|)", re.ASCII)


class Suffixes(Enum):
    DECIMAL = "1500m"
    BINARY = "2Gi"
    EXPONENT = "5e3"


@dataclass(frozen=True, slots=True)
class Quantity:
    nanos: int
    """In billionths."""
    suffixes: Suffixes = Suffixes.DECIMAL

    def __add__(self, other: Quantity) -> Quantity:
        # What is nothing has no say in how the sum is written.
        suffixes = self.suffixes if self.nanos else other.suffixes
        return Quantity(self.nanos + other.nanos, suffixes)

    def whole(self) -> Quantity:
        """Rounded up."""
        return Quantity(-(-self.nanos // NANO) * NANO, self.suffixes)

    def __str__(self) -> str:
        """As an API server writes it."""
        if not self.nanos:
            return "0"
        if self.suffixes is Suffixes.BINARY and abs(self.nanos) >= 1024 * NANO and self.nanos % NANO == 0:
            number, power = self.nanos // NANO, 0
            while number % 1024 == 0 and power + 1 < len(_BINARY):
                number, power = number // 1024, power + 1
            return f"{number}{_BINARY[power]}"
        number, power = self.nanos, 0
        while number % 1000 == 0 and power + 1 < len(_DECIMAL):
            number, power = number // 1000, power + 1
        if self.suffixes is Suffixes.EXPONENT:
            return f"{number}e{3 * power - 9}" if power != 3 else f"{number}"
        return f"{number}{_DECIMAL[power]}"


Amounts = Mapping[str, Quantity]
"""By the resource's name."""

NOTHING = Quantity(0)


def count(number: int) -> Quantity:
    return Quantity(number * NANO)


def parse(text: str | int | float) -> Quantity:
    """Raises ValueError. Finer than a billionth is rounded up."""
    found = _FORM.fullmatch(str(text))
    if found is None or not (found[2] or found[3]):
        raise ValueError(f"{text!r} is no quantity")
    digits, scale, suffix = int(found[2] + found[3]), 10 ** len(found[3]), found[4]
    suffixes = Suffixes.DECIMAL
    if suffix in _UNITS:
        unit = _UNITS[suffix]
        if suffix.endswith("i"):
            suffixes = Suffixes.BINARY
    else:
        suffixes = Suffixes.EXPONENT
        exponent = int(suffix[1:])
        unit, scale = (NANO * 10**exponent, scale) if exponent >= 0 else (NANO, scale * 10**-exponent)
    nanos = -(-digits * unit // scale)
    return Quantity(-nanos if found[1] == "-" else nanos, suffixes)


def amounts(given: Mapping[str, str] | None) -> dict[str, Quantity]:
    """Those of a field like ``requests``. Raises ValueError."""
    return {name: parse(value) for name, value in (given or {}).items()}


def total(parts: Iterable[Amounts]) -> dict[str, Quantity]:
    """The sum of each resource."""
    found: dict[str, Quantity] = {}
    for part in parts:
        for name, amount in part.items():
            found[name] = found[name] + amount if name in found else amount
    return found


def greatest(parts: Iterable[Amounts]) -> dict[str, Quantity]:
    """The most of each resource that one of them has; the first of those that have as much."""
    found: dict[str, Quantity] = {}
    for part in parts:
        for name, amount in part.items():
            if name not in found or amount.nanos > found[name].nanos:
                found[name] = amount
    return found
