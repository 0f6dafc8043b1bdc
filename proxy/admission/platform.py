"""What a shard's question is known by: `proxy.shard.asking` makes the shard ask."""

from __future__ import annotations

from proxy.mapping.detours import ASKING

MUTATING, VALIDATING = ASKING, "validate.admission.kcp.dev"
"""Names of the two webhooks."""
TICKET = "ticket.kcp.dev"
"""Key of the user's extra in which a request that the shard is to ask about has its ticket."""
