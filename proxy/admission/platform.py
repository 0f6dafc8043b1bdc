"""Names of the two webhooks by which a shard asks; `proxy.shard.asking` makes them."""

from __future__ import annotations

MUTATING, VALIDATING = "mutate.admission.kcp.dev", "validate.admission.kcp.dev"
