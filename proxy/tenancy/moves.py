"""WorkspaceMoves: what they are called, and when they are over."""

from __future__ import annotations

import hashlib

PENDING, COMPLETED, FAILED = "Pending", "Completed", "Failed"
"""Phases beside the stages of a move (`proxy.tenancy.index`)."""
OVER = frozenset({COMPLETED, FAILED})


def name_of_move(path: str) -> str:
    """Of the WorkspaceMove that moves the workspace at ``path``."""
    name = path.replace(":", ".")
    return name if len(name) <= 200 else hashlib.sha256(path.encode()).hexdigest()
