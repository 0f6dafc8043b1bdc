"""Timestamps and durations: read as Go's ``time`` does, and what calendars and clocks say of them."""

from __future__ import annotations

import datetime
import re
import zoneinfo
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from proxy.admission.cel.values import CelError, Duration, Timestamp, duration, timestamp

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "μs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_PART = re.compile(r"(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_RFC3339 = re.compile(r"(\d{4})-(\d\d)-(\d\d)T(\d\d):(\d\d):(\d\d)(?:[.,](\d+))?(?:Z|([+-])(\d\d):(\d\d))", re.ASCII)
_SECOND = 1_000_000_000


def parse_duration(text: str) -> Duration:
    """``1h15m30.5s``."""
    failed = CelError("type conversion error from 'string' to 'google.protobuf.Duration'")
    rest = text.removeprefix("-") if text.startswith("-") else text.removeprefix("+")
    total = 0
    if rest != "0":
        at = 0
        while at < len(rest):
            part = _PART.match(rest, at)
            if part is None or len(part[1]) > 60:
                raise failed
            total += int(Fraction(part[1].rstrip(".")) * _UNITS[part[2]])
            at = part.end()
        if not rest:
            raise failed
    try:
        return duration(-total if text.startswith("-") else total)
    except CelError:
        raise failed from None


def parse_timestamp(text: str) -> Timestamp:
    """RFC 3339."""
    failed = CelError("type conversion error from 'string' to 'google.protobuf.Timestamp'")
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise failed
    *numbers, fraction, sign, hours, minutes = found.groups()
    offset = (int(hours) * 60 + int(minutes)) * 60 if sign else 0
    if sign and (int(hours) > 24 or int(minutes) > 60):
        raise failed
    if int(numbers[0]) == 0:
        raise CelError("timestamp overflow")
    try:
        year, month, day, hour, minute, second = map(int, numbers)
        moment = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
    except ValueError:
        raise failed from None
    seconds = int((moment - datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)) // datetime.timedelta(seconds=1))
    offset = -offset if sign == "-" else offset
    return timestamp((seconds - offset) * _SECOND + int((fraction or "0")[:9].ljust(9, "0")), offset)


def _zone(name: str) -> datetime.tzinfo:
    if ":" in name:
        hours, _, minutes = name.partition(":")
        for number in (hours, minutes):
            if not re.fullmatch(r"[+-]?\d{1,6}", number, re.ASCII):
                raise CelError(f'strconv.Atoi: parsing "{number}": invalid syntax')
        offset = int(hours) * 60 + (-int(minutes) if name.startswith("-") else int(minutes))
        try:
            return datetime.timezone(datetime.timedelta(minutes=offset))
        except ValueError:
            raise CelError(f"unknown time zone {name}") from None
    if name in ("", "UTC"):
        return datetime.UTC
    try:
        return zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, LookupError):
        raise CelError(f"unknown time zone {name}") from None


Reading = Callable[[datetime.datetime], int]


def _reading(read: Reading, of_duration: Callable[[int], int] | None = None) -> dict[tuple[type, ...], Any]:
    def at(moment: Timestamp, zone: str) -> int:
        try:
            return read(moment.at(_zone(zone)))
        except OverflowError:
            raise CelError("timestamp overflow") from None

    overloads: dict[tuple[type, ...], Any] = {(Timestamp,): lambda moment: read(moment.at()), (Timestamp, str): at}
    if of_duration is not None:
        overloads[Duration,] = lambda value: of_duration(value.nanoseconds)
    return overloads


def _truncated(unit: int) -> Callable[[int], int]:
    return lambda nanoseconds: abs(nanoseconds) // unit * (1 if nanoseconds >= 0 else -1)


FUNCTIONS: dict[str, Any] = {
    "getFullYear": _reading(lambda moment: moment.year),
    "getMonth": _reading(lambda moment: moment.month - 1),
    "getDayOfYear": _reading(lambda moment: moment.timetuple().tm_yday - 1),
    "getDate": _reading(lambda moment: moment.day),
    "getDayOfMonth": _reading(lambda moment: moment.day - 1),
    "getDayOfWeek": _reading(lambda moment: moment.isoweekday() % 7),
    "getHours": _reading(lambda moment: moment.hour, _truncated(3600 * _SECOND)),
    "getMinutes": _reading(lambda moment: moment.minute, _truncated(60 * _SECOND)),
    "getSeconds": _reading(lambda moment: moment.second, _truncated(_SECOND)),
    "getMilliseconds": _reading(lambda moment: moment.microsecond // 1000, _truncated(_SECOND // 1000)),
}
