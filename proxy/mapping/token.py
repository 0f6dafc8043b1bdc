"""A workspace's token: what the names of everything that is its own begin with on a shard."""

from __future__ import annotations

import re
import secrets

ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
TOKEN = r"k[a-z2-7]{8}"
_FRONT = re.compile(rf"({TOKEN})-")
_WHOLE = re.compile(TOKEN)

LENGTH = 9
PREFIX_LENGTH = LENGTH + 1
"""Characters by which every name grows."""

LABEL = "0.kcp.dev/w"
"""Label that the shard itself puts on every object of a workspace, its value the token. The key sorts first, so that
it can be taken out of a byte stream; clients never see it."""


def new_token() -> str:
    """A random token; 40 bits, so uniqueness is proved by creating the LogicalCluster of that name."""
    return "k" + "".join(secrets.choice(ALPHABET) for _ in range(LENGTH - 1))


def is_token(value: str) -> bool:
    return _WHOLE.fullmatch(value) is not None


def token_of(name: str) -> str | None:
    """The token at the front of a mapped name, None for a name that belongs to no workspace."""
    match = _FRONT.match(name)
    return match.group(1) if match else None
