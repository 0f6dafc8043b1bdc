"""Who may ask at an address that is for a few: those that know a token."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class TokenFile:
    """Holds one bearer token; read each time, so that it can be changed. Without a file everybody may ask."""

    path: Path | None

    def allows(self, authorization: str) -> bool:
        """``authorization``: the header of that name. Nobody may ask while the file is missing or empty."""
        if self.path is None:
            return True
        try:
            token = self.path.read_bytes().strip()
        except OSError:
            return False
        scheme, _, given = authorization.partition(" ")
        return bool(token) and scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode(), token)
