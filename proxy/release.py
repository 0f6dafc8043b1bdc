"""Which release of kcp this is."""

from __future__ import annotations

import importlib.metadata


def own_version() -> str:
    try:
        return importlib.metadata.version("kcp")
    except importlib.metadata.PackageNotFoundError:
        return "unknown (not installed)"
