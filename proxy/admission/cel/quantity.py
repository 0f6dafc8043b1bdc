"""Kubernetes' quantities: ``resource.Quantity`` of k8s.io/apimachinery."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

from proxy.admission.cel.values import MAX_INT, MIN_INT, CelError, Opaque, Type

_PATTERN = "^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$"
_NUMBER = re.compile(r"([+-]?)([0-9]*)(?:\.([0-9]*))?", re.ASCII)
_SPLIT = re.compile(r"([+-]?[0-9.]*)(.*)", re.ASCII | re.DOTALL)
_POWERS = {"n": -9, "u": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}
_UNITS = {unit: Fraction(10) ** power for unit, power in _POWERS.items()} | {
    unit: Fraction(1024) ** (power + 1) for power, unit in enumerate(("Ki", "Mi", "Gi", "Ti", "Pi", "Ei"))
}
_EXPONENT = re.compile(r"[eE]([+-]?\d{1,10})", re.ASCII)
_FAR = 60
"""Powers of ten beyond which a number is the greatest or the smallest one anyway."""
_NANO = Fraction(1, 10**9)


@dataclass(frozen=True, slots=True)
class Quantity(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.Quantity")
    value: Fraction


def parse(text: str) -> Quantity:
    """Raises CelError."""
    wrong = CelError(f"quantities must match the regular expression '{_PATTERN}'")
    if not text or len(text) > 1000:
        raise wrong
    found = _SPLIT.fullmatch(text)
    number = _NUMBER.fullmatch(found[1]) if found else None
    if found is None or number is None or not (number[2] or number[3]):
        raise wrong if not found or "." not in found[1] else CelError("unable to parse numeric part of quantity")
    suffix = found[2]
    if not re.fullmatch(r"[eEinumkKMGTP]*[-+]?[0-9]*", suffix, re.ASCII):
        raise wrong
    scale = _UNITS.get(suffix)
    if scale is None:
        exponent = _EXPONENT.fullmatch(suffix)
        if exponent is None:
            raise CelError("unable to parse quantity's suffix")
        scale = Fraction(10) ** max(-_FAR - len(found[1]), min(int(exponent[1]), _FAR + len(found[1])))
    size = Fraction(int((number[2] or "0") + (number[3] or "")), 10 ** len(number[3] or "")) * scale
    size = min(-(-size // _NANO) * _NANO, Fraction(MAX_INT))  # rounded up; more is the most that there is
    return Quantity(-size if number[1] == "-" else size)


def _whole(quantity: Quantity) -> int:
    if not _is_whole(quantity):
        raise CelError("cannot convert value to integer")
    return int(quantity.value)


def _is_whole(quantity: Quantity) -> bool:
    return quantity.value.denominator == 1 and MIN_INT <= quantity.value <= MAX_INT


def _is_quantity(text: str) -> bool:
    try:
        parse(text)
    except CelError:
        return False
    return True


def _compare(left: Quantity, right: Quantity) -> int:
    return (left.value > right.value) - (left.value < right.value)


FUNCTIONS: dict[str, Any] = {
    "quantity": {(str,): parse},
    "isQuantity": {(str,): _is_quantity},
    "sign": {(Quantity,): lambda one: (one.value > 0) - (one.value < 0)},
    "isGreaterThan": {(Quantity, Quantity): lambda one, other: one.value > other.value},
    "isLessThan": {(Quantity, Quantity): lambda one, other: one.value < other.value},
    "compareTo": {(Quantity, Quantity): _compare},
    "asApproximateFloat": {(Quantity,): lambda one: float(one.value)},
    "asInteger": {(Quantity,): _whole},
    "isInteger": {(Quantity,): _is_whole},
    "add": {
        (Quantity, Quantity): lambda one, other: Quantity(one.value + other.value),
        (Quantity, int): lambda one, other: Quantity(one.value + other),
    },
    "sub": {
        (Quantity, Quantity): lambda one, other: Quantity(one.value - other.value),
        (Quantity, int): lambda one, other: Quantity(one.value - other),
    },
}
