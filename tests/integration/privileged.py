"""Asking a shard as the proxy asks it behind the gate: in the name of a user, past all that RBAC would say."""

from __future__ import annotations

from proxy.auth.identity import MASTERS


def privileged_as(user: str) -> dict[str, str]:
    """Headers; ``user``: as the shard knows them."""
    return {"Impersonate-User": user, "Impersonate-Group": MASTERS}
