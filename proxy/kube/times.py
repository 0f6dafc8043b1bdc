"""Moments as the API writes them."""

from __future__ import annotations

import datetime


def parse_time(value: str | None) -> datetime.datetime | None:
    """A time as the API writes it (RFC 3339); None for no time, or for one in a spelling that nobody uses."""
    try:
        parsed = datetime.datetime.fromisoformat(value) if value else None
    except ValueError:
        return None
    return parsed if parsed and parsed.tzinfo else None
