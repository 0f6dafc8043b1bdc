"""What proxies write to clients here is looked at, as everywhere."""

from __future__ import annotations

from tests.wire.watching import may_come_back, nothing_leaves_a_workspace

__all__ = ["may_come_back", "nothing_leaves_a_workspace"]
