"""What this folder's proxies write is looked at: a leak that was put there is found."""

from __future__ import annotations

from tests.e2e.workspaces.installation import Installation
from tests.wire.monitor import Wire
from tests.wire.neighbour import PATH, finds_a_planted_leak, token_of


async def test_a_planted_leak_is_found(kcp: Installation, wire: Wire) -> None:
    await finds_a_planted_leak(wire, kcp.client(await kcp.fresh()), PATH, await token_of(kcp.shard, PATH))
