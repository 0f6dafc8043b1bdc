"""What JSON web tokens say of themselves, unverified."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import orjson

DIFFERENT = 60.0
"""Seconds by which clocks may differ without being wrong."""


def claims_of(token: bytes | str) -> Mapping[str, Any]:
    """The claims of a JWT; nothing for any other token."""
    parts = (token.encode() if isinstance(token, str) else token).split(b".")
    if len(parts) != 3:
        return {}
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
    except ValueError:
        return {}
    return claims if isinstance(claims, dict) else {}


def begins_later(token: bytes | str, moment: float) -> bool:
    """Whether a token that was made by ``moment`` (seconds since 1970) is good only from a later one on: whoever has
    made it, or whoever asks, had a wrong clock."""
    begins = claims_of(token).get("nbf")
    return isinstance(begins, int | float) and begins > moment + DIFFERENT
