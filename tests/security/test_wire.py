"""What this folder's proxies write is looked at: a leak that was put there is found."""

from __future__ import annotations

from tests.security.ground import Ground
from tests.wire.monitor import Wire
from tests.wire.neighbour import PATH, finds_a_planted_leak, token_of


async def test_a_planted_leak_is_found(laid: Ground, wire: Wire) -> None:
    """By the attacker, in his own workspace."""
    await finds_a_planted_leak(wire, laid.den, PATH, await token_of(laid.kcp.shard, PATH))
