"""Moments as the API writes them, and how long something has been so by a clock that nobody sets."""

from __future__ import annotations

import datetime
import time
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)


def parse_time(value: str | None) -> datetime.datetime | None:
    """A time as the API writes it (RFC 3339); None for no time, or for one in a spelling that nobody uses."""
    try:
        parsed = datetime.datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
    return parsed if parsed and parsed.tzinfo else None


class Since(Generic[Key]):
    """How long each of some things has been so, as far as it was seen from here.

    The date that an API server gave to something may be hours from now, before or after it, where a clock was wrong
    then or is now: whoever waited by it would wait for hours, or not at all.
    """

    def __init__(self) -> None:
        self._began: dict[Key, float] = {}

    def seconds(self, key: Key) -> float:
        """Since this was first asked."""
        now = time.monotonic()
        return now - self._began.setdefault(key, now)

    def forget(self, key: Key) -> None:
        self._began.pop(key, None)
