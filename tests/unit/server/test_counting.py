"""What is not known of a shard is not taken for nothing."""

from __future__ import annotations

import pytest

from proxy.discovery import Discovery
from proxy.kube.client import Client
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.server.counting import Counter
from proxy.tenancy.index import Workspace

WORKSPACE = Workspace("root:a", "k2345abcd", "Universal", "Ready", "alice", "main")


async def test_nothing_is_counted_before_the_types_of_the_shard_are_known() -> None:
    async with Client(Connection("http://127.0.0.1:1")) as client:
        counter = Counter({"main": client}, Discovery({"main": client}))
        with pytest.raises(StatusError, match="its types are not known yet") as refused:
            await counter.objects(WORKSPACE)
    assert refused.value.code == 503
