"""Semantic versions, strict (https://semver.org) or made so; errors as github.com/blang/semver has them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, ClassVar

from proxy.admission.cel.goquote import quoted
from proxy.admission.cel.values import MAX_UINT, CelError, Opaque, Type

_WORD = re.compile(r"[0-9A-Za-z-]+", re.ASCII)
_DIGITS = re.compile(r"[0-9]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Semver(Opaque):
    cel_type: ClassVar[Type] = Type("kubernetes.Semver")
    numbers: tuple[int, int, int]
    pre: tuple[int | str, ...]
    build: tuple[str, ...]

    def equals(self, other: Any) -> bool:
        return Opaque.equals(self, other) if type(other) is not Semver else _compare(self, other) == 0


def _number(text: str, name: str) -> int:
    if not _DIGITS.fullmatch(text):
        raise CelError(f"Invalid character(s) found in {name.lower()} number {quoted(text)}")
    if len(text) > 1 and text.startswith("0"):
        raise CelError(f"{name} number must not contain leading zeroes {quoted(text)}")
    if len(text) > 20 or int(text) > MAX_UINT:
        raise CelError(f"strconv.ParseUint: parsing {quoted(text)}: value out of range")
    return int(text)


def _pre(text: str) -> int | str:
    if not text:
        raise CelError("Prerelease is empty")
    if _DIGITS.fullmatch(text):
        if len(text) > 1 and text.startswith("0"):
            raise CelError(f"Numeric PreRelease version must not contain leading zeroes {quoted(text)}")
        return int(text[:40])
    if not _WORD.fullmatch(text):
        raise CelError(f"Invalid character(s) found in prerelease {quoted(text)}")
    return text


def _build(text: str) -> str:
    if not text:
        raise CelError("Build meta data is empty")
    if not _WORD.fullmatch(text):
        raise CelError(f"Invalid character(s) found in build meta data {quoted(text)}")
    return text


def parse(text: str, normalize: bool = False) -> Semver:
    """Raises CelError."""
    if normalize:
        text = _normalized(text)
    if not text:
        raise CelError("Version string empty")
    parts = text.split(".", 2)
    if len(parts) != 3:
        raise CelError("No Major.Minor.Patch elements found")
    major, minor = _number(parts[0], "Major"), _number(parts[1], "Minor")
    rest, has_build, build = parts[2].partition("+")
    patch, has_pre, pre = rest.partition("-")
    number = _number(patch, "Patch")
    return Semver(
        (major, minor, number),
        tuple(map(_pre, pre.split("."))) if has_pre else (),
        tuple(map(_build, build.split("."))) if has_build else (),
    )


def _normalized(text: str) -> str:
    parts = text.removeprefix("v").split(".", 2)
    for at, part in enumerate(parts):
        if len(part) > 1:
            part = part.lstrip("0")
            parts[at] = part if part and part[0] in "0123456789" else "0" + part
    if len(parts) < 3 and any(mark in parts[-1] for mark in "+-"):
        raise CelError("short version cannot contain PreRelease/Build meta data")
    return ".".join([*parts, *["0"] * (3 - len(parts))])


def _rank(version: Semver) -> tuple[Any, ...]:
    """Numbers come before words, and what has no pre-release after what has one."""
    pre = tuple((0, part, "") if isinstance(part, int) else (1, 0, part) for part in version.pre)
    return version.numbers, not version.pre, pre


def _compare(left: Semver, right: Semver) -> int:
    return (_rank(left) > _rank(right)) - (_rank(left) < _rank(right))


def _is_semver(text: str, normalize: bool = False) -> bool:
    try:
        parse(text, normalize)
    except CelError:
        return False
    return True


FUNCTIONS: dict[str, Any] = {
    "semver": {(str,): parse, (str, bool): parse},
    "isSemver": {(str,): _is_semver, (str, bool): _is_semver},
    "major": {(Semver,): lambda version: version.numbers[0]},
    "minor": {(Semver,): lambda version: version.numbers[1]},
    "patch": {(Semver,): lambda version: version.numbers[2]},
    "isGreaterThan": {(Semver, Semver): lambda left, right: _compare(left, right) > 0},
    "isLessThan": {(Semver, Semver): lambda left, right: _compare(left, right) < 0},
    "compareTo": {(Semver, Semver): _compare},
}
