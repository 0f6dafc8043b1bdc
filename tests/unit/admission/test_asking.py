"""What a worker does not know yet it does not leave out: a write waits, or is refused."""

from __future__ import annotations

from collections.abc import Awaitable

import pytest

from proxy.admission import configurations
from proxy.admission.asking import Tickets
from proxy.admission.configurations import Configurations
from proxy.admission.tickets import Keys
from proxy.kube.client import Client
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.mapping.paths import RequestInfo
from proxy.tenancy.index import Workspace

WORKSPACE = Workspace("root:team", "kabcdefgh", "Universal", "Ready", "alice", "main")
WRITE = RequestInfo("create", "", "v1", "configmaps", is_resource=True)


def tickets(*shards: str) -> Tickets:
    clients = {shard: Client(Connection("https://unused")) for shard in shards}
    return Tickets(Configurations(clients), Keys(clients))


async def test_nothing_is_written_before_it_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(configurations, "KNOWN_WITHIN", 0.05)
    asked = tickets("main").needed(WORKSPACE, WRITE)
    assert isinstance(asked, Awaitable)
    with pytest.raises(StatusError, match="not known yet") as caught:
        await asked
    assert (caught.value.code, caught.value.details) == (503, {"retryAfterSeconds": 1})


async def test_who_reads_need_not_wait() -> None:
    made = tickets("main")
    assert made.needed(WORKSPACE, RequestInfo("get", "", "v1", "configmaps", is_resource=True)) is False
    review = RequestInfo("create", "authorization.k8s.io", "v1", "selfsubjectaccessreviews", is_resource=True)
    assert made.needed(WORKSPACE, review) is False


async def test_of_a_shard_that_does_not_ask_nothing_is_to_be_known() -> None:
    assert tickets("other").needed(WORKSPACE, WRITE) is False
