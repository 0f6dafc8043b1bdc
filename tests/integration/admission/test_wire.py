"""What this folder's proxies write is looked at: a leak that was put there is found."""

from __future__ import annotations

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from tests.integration.admission.side import Side
from tests.integration.kcp_process import Kcp
from tests.wire.monitor import Wire
from tests.wire.neighbour import PATH, finds_a_planted_leak, token_of


async def test_a_planted_leak_is_found(kcp: Kcp, workspace: Side, wire: Wire) -> None:
    async with Client(load_kubeconfig(kcp.root / "shard" / "admin.kubeconfig")) as shard:
        await finds_a_planted_leak(wire, workspace.client, PATH, await token_of(shard, PATH))
