"""Resource versions of a workspace that has moved from shard to shard."""

from __future__ import annotations

STEP = 10**15
"""By so much all versions of a workspace are greater after each of its moves: more than an etcd has in thirty years of
a million writes a second."""
