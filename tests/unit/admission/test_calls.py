"""Calls of webhooks: what is connected to, and what is taken from there."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.admission import calls
from proxy.admission.calls import Caller, CallError
from proxy.kube.networks import Networks
from proxy.shard.addresses import free_port
from tests.integration.admission.webhook_server import WebhookServer, webhook_server

QUESTION = b'{"request":{"uid":"1"},"apiVersion":"admission.k8s.io/v1"}'


@pytest_asyncio.fixture(loop_scope="session")
async def server(tmp_path: Path) -> AsyncIterator[WebhookServer]:
    async with webhook_server(tmp_path) as server:
        yield server


@pytest_asyncio.fixture(loop_scope="session")
async def caller() -> AsyncIterator[Caller]:
    caller = Caller(Networks(allowed=["127.0.0.0/8"]))
    yield caller
    await caller.close()


async def test_an_answer(caller: Caller, server: WebhookServer) -> None:
    answer = await caller.post("k", server.config("allow"), QUESTION, 2.5)
    assert answer["response"] == {"uid": "1", "allowed": True}
    assert server.asked["allow"][0]["_query"] == "timeout=3s"


OWN = ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "169.254.169.254"]  # noqa: S104


@pytest.mark.parametrize("host", OWN)
async def test_addresses_of_this_machine_are_not_connected_to(server: WebhookServer, host: str) -> None:
    caller = Caller(Networks())
    url = f"https://{host}:{server.port}/allow"
    with pytest.raises(CallError, match="an address that webhooks of a workspace may not have"):
        await caller.post("k", {**server.config("allow"), "url": url}, QUESTION, 5)
    await caller.close()
    assert server.asked == {}


async def test_addresses_of_shards_are_not_connected_to() -> None:
    caller = Caller(Networks(own=["192.0.2.7"]))
    with pytest.raises(CallError, match="may not have"):
        await caller.post("k", {"url": "https://192.0.2.7:6443/apis"}, QUESTION, 5)
    await caller.close()


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("redirect", "the server responded with the status code 302 but did not return more information"),
        ("error", 'an error on the server ("out of order") has prevented the request from succeeding'),
        ("missing", "the server could not find the requested resource"),
    ],
)
async def test_what_is_no_answer(caller: Caller, server: WebhookServer, way: str, words: str) -> None:
    with pytest.raises(CallError) as caught:
        await caller.post("k", server.config(way), QUESTION, 5)
    assert str(caught.value) == words
    assert "allow" not in server.asked


async def test_strangers(caller: Caller, server: WebhookServer) -> None:
    with pytest.raises(CallError, match="x509: certificate signed by unknown authority"):
        await caller.post("k", {"url": server.config("allow")["url"]}, QUESTION, 5)
    with pytest.raises(CallError, match="connect: connection refused"):
        await caller.post("k", {**server.config(""), "url": f"https://127.0.0.1:{free_port()}/"}, QUESTION, 5)
    with pytest.raises(CallError, match="no such host"):
        await caller.post("k", {**server.config(""), "url": "https://nowhere.invalid/"}, QUESTION, 5)


async def test_who_takes_too_long(caller: Caller, server: WebhookServer) -> None:
    began = time.monotonic()
    with pytest.raises(CallError) as caught:
        await caller.post("k", server.config("slow"), QUESTION, 0.2)
    assert time.monotonic() - began < 10
    assert str(caught.value) == f'Post "https://127.0.0.1:{server.port}/slow?timeout=1s": context deadline exceeded'


async def test_who_answers_without_end(caller: Caller, server: WebhookServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "LARGEST", 20)
    with pytest.raises(CallError, match="the answer is larger than"):
        await caller.post("k", server.config("allow"), QUESTION, 5)
