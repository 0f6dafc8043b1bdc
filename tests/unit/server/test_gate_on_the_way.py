"""Nothing reaches a shard but past the gate: were the mapping wrong in all that it does, requests would be refused.

The mapping is replaced by one that leads elsewhere; what decides who may ask is real, or says yes.
"""

from __future__ import annotations

import asyncio
import ssl
from types import SimpleNamespace
from typing import Any, cast
from unittest.mock import patch

import orjson
import pytest

from proxy.admission.converting import Detours
from proxy.auth.authorizer import Access
from proxy.auth.identity import User
from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing
from proxy.mapping.registrations import STORED_GROUP
from proxy.mapping.request import Attributes, MappedRequest
from proxy.server import gateway
from proxy.server.messages import Decision, Forward, Header, Produce, Reply, Request, Response
from proxy.server.pool import ShardEndpoint
from proxy.tenancy.index import Workspace
from proxy.tenancy.opening import Opener
from tests.unit.mapping.support import TOKEN, P
from tests.unit.mapping.test_gate import OTHER, begin

WORKSPACE = Workspace("root:team", TOKEN, "Universal", "Ready", "alice", "main")
ATTRIBUTES = Attributes("", "", "", "", "", "", True, "")
PRIVILEGED: Header = (b"impersonate-group", b"system:masters")


class Yes:
    """Every other part of the gateway, where it is asked: allowed, served, nothing missing."""

    left = False

    def __getattr__(self, name: str) -> Any:
        answers = {
            "get": WORKSPACE, "by_token": WORKSPACE, "authenticate": User("alice"), "enter": Access.ADMIN,
            "missing": None, "told": None, "find": None, "is_left": self.left, "kind_of": "",
            "resource_is_cluster_scoped": False,
        }  # fmt: skip
        return lambda *_: answers.get(name, True)


def decide(method: str, mapped: MappedRequest, *, left: bool = False, path: str = "", opener: Any = None) -> Decision:
    """What becomes of a request of a workspace, for which the mapping says ``mapped``."""
    yes = Yes()
    yes.left = left
    room = SimpleNamespace(enter=lambda request: None)
    endpoint = ShardEndpoint("main", "h", 1, cast(ssl.SSLContext, None))
    made = gateway.WorkspaceGateway(
        index=cast(Any, yes), authenticator=cast(Any, yes), authorizer=cast(Any, yes), discovery=cast(Any, yes),
        roles=cast(Any, yes), opener=opener or Opener({}),
        owner_roles=cast(Any, SimpleNamespace(missing=lambda parent: False)),
        classes=cast(Any, yes), admission=cast(Any, room),
        objects=cast(Any, SimpleNamespace(enter=lambda *_, **__: None)),
        tickets=cast(Any, SimpleNamespace(needed=lambda *_: False)), callback=cast(Any, yes),
        detours=Detours({}), conversions=cast(Any, yes),
        endpoints={"main": endpoint}, reach=cast(Any, yes), unready=lambda: None,
    )  # fmt: skip
    name = "" if method == "POST" or mapped.listing else "?watch=1" if b"watch=" in mapped.target else "/x"
    path = path or f"/api/v1/namespaces/default/configmaps{name}"
    request = Request(method.encode(), f"/clusters/root:team{path}".encode(), [])
    with patch.object(gateway, "map_request", lambda *_, **__: mapped):
        return cast(Decision, made.decide(request))


def mapped(target: str, listing: Listing | None = None) -> MappedRequest:
    return MappedRequest(target.encode(), [], b"", ATTRIBUTES, listing=listing)


def test_what_is_inside_goes_on_with_privileges() -> None:
    decision = decide("GET", mapped(f"/api/v1/namespaces/{P}default/configmaps/x"))
    assert isinstance(decision, Forward)
    assert PRIVILEGED in decision.headers


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize("target", [f"/api/v1/namespaces/{OTHER}default/configmaps/x", "/api/v1/nodes/x", "/metrics"])
def test_what_leads_elsewhere_is_refused(method: str, target: str) -> None:
    decision = decide(method, mapped(target))
    assert isinstance(decision, Reply)
    assert decision.status == 403
    assert b"not confined to the workspace" in decision.body


async def test_what_a_shard_says_to_kcp_is_not_for_clients() -> None:
    """While it starts, it refuses what kcp asks, and names who that is, and the workspace as it knows it."""

    async def opens() -> None:
        raise StatusError(
            503, f'https://10.1.2.3:6443 does not let system:kcp:opening work yet: "{TOKEN}" is forbidden'
        )

    target = mapped(f"/api/v1/namespaces/{P}default/configmaps/x")
    reply = await cast(Any, decide("GET", target, opener=SimpleNamespace(needed=lambda workspace: opens())))
    assert reply.status == 503
    assert (b"retry-after", b"1") in [(name.lower(), value) for name, value in reply.headers]
    assert b"shard main is not available" in reply.body
    assert not any(word in reply.body for word in (TOKEN.encode(), b"system:kcp", b"10.1.2.3"))


def test_a_list_that_begins_elsewhere_is_refused() -> None:
    decision = decide("GET", mapped("/api/v1/pods", Listing("/api/v1/pods", (), 0, begin(OTHER), TOKEN)))
    assert isinstance(decision, Reply)
    assert decision.status == 403


def test_a_page_of_a_list_that_would_be_elsewhere_is_not_fetched() -> None:
    """Were the shard to say that the list goes on there."""
    decision = decide("GET", mapped("/api/v1/pods", Listing("/api/v1/pods", (), 0, begin(P), TOKEN)))
    assert isinstance(decision, Produce)
    item = {"metadata": {"name": "x", "namespace": f"{P}x"}}
    body = {"kind": "PodList", "apiVersion": "v1", "metadata": {"continue": begin(OTHER)}, "items": [item]}
    fetched: list[Forward] = []

    async def fetch(forward: Forward) -> Response:
        fetched.append(forward)
        return Response(200, [], orjson.dumps(body))

    async def nothing(*_: object) -> None:
        pass

    exchange = SimpleNamespace(fetch=fetch, start=nothing, write=nothing, end=nothing)
    with pytest.raises(StatusError, match="not confined to the workspace"):
        asyncio.run(cast(Any, decision.run(cast(Any, exchange))))
    assert len(fetched) == 1
    assert PRIVILEGED in fetched[0].headers


def test_a_look_at_an_object_elsewhere_before_a_write_is_refused() -> None:
    """Were the write itself let through."""
    with patch.object(gateway, "gate_mapped", lambda *_: None):
        decision = decide("PUT", mapped(f"/api/v1/namespaces/{OTHER}default/configmaps/x"), left=True)
    assert isinstance(decision, Reply)
    assert decision.status == 403


def test_a_watch_that_is_shared_asks_for_nothing_elsewhere() -> None:
    """Whatever is made of the targets of those that share it."""
    mine = f"/api/v1/namespaces/{P}default/configmaps?watch=1"
    decision = decide("GET", mapped(mine))
    assert isinstance(decision, Forward)
    assert decision.share is not None
    assert decision.share.ask(mine.encode()).target == mine.encode()
    with pytest.raises(StatusError, match="not confined to the workspace"):
        decision.share.ask(mine.replace(P, OTHER).encode())


WEBHOOKS = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations"


@pytest.mark.parametrize(
    ("body", "made"),
    [
        (b"{", b"{}"),  # which the shard refuses
        (b"{}", orjson.dumps({"metadata": {"name": f"{OTHER}a"}})),
    ],
)
def test_each_step_of_the_write_of_a_configuration_is_confined(body: bytes, made: bytes) -> None:
    request = MappedRequest(
        f"/apis/{STORED_GROUP}/v1/validatingwebhookconfigurations?pretty=false".encode(),
        [(b"content-type", b"application/json"), (b"accept", b"application/json")], body, ATTRIBUTES,
    )  # fmt: skip
    decision = decide("POST", request, path=WEBHOOKS)
    assert isinstance(decision, Produce)
    fetched: list[Forward] = []

    async def fetch(forward: Forward) -> Response:
        fetched.append(forward)
        return Response(422 if body == b"{" else 201, [], made)

    async def nothing(*_: object) -> None:
        pass

    exchange = SimpleNamespace(fetch=fetch, start=nothing, write=nothing, end=nothing)
    if body == b"{":
        asyncio.run(cast(Any, decision.run(cast(Any, exchange))))
    else:
        with pytest.raises(StatusError, match="not confined to the workspace"):
            asyncio.run(cast(Any, decision.run(cast(Any, exchange))))
    assert len(fetched) == 1
    assert all(forward.target.startswith(f"{WEBHOOKS}?dryRun=All".encode()) for forward in fetched)
