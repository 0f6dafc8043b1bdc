"""What this folder's proxy writes is looked at: a leak that was put there is found."""

from __future__ import annotations

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from tests.clients.side import Sides
from tests.e2e.workspaces.installation import Installation
from tests.wire.monitor import Wire
from tests.wire.neighbour import PATH, finds_a_planted_leak, token_of


async def test_a_planted_leak_is_found(sides: Sides, installation: Installation, wire: Wire) -> None:
    async with Client(load_kubeconfig(sides.workspace.kubeconfig)) as client:
        await finds_a_planted_leak(wire, client, PATH, await token_of(installation.shard, PATH))
