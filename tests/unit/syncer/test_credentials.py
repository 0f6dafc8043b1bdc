"""Tokens are replaced in time, whatever the clock says."""

from __future__ import annotations

import asyncio
import base64
import json
import time

import pytest

from proxy.kube.client import Client
from proxy.kube.config import Connection
from syncer import credentials
from syncer.credentials import Credentials

LIFETIME = 1.0
HOUR = 3600.0


def token(end: float, number: int) -> str:
    claims = base64.urlsafe_b64encode(json.dumps({"exp": end, "jti": number}).encode()).rstrip(b"=").decode()
    return f"e30.{claims}.e30"


@pytest.mark.parametrize("wrong", [0.0, -HOUR, HOUR])
async def test_replaced_in_half_of_its_life(wrong: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """``wrong``: by how many seconds the clock here differs from the server's, which it began to do just now."""
    issued = 0
    monkeypatch.setattr(credentials, "AGAIN", 0.02)
    monkeypatch.setattr("syncer.credentials.time.time", lambda now=time.time: now() + wrong)

    async def issue() -> str:
        nonlocal issued
        issued += 1
        return token(time.time() - wrong + LIFETIME, issued)

    first = token(time.time() - wrong + LIFETIME, 0)
    began = time.monotonic()
    async with Client(Connection("https://127.0.0.1:1", token=first)) as client:
        kept = Credentials(client, client, namespace="", account="", secret=None, lifetime=LIFETIME, issue=issue)
        running = asyncio.create_task(kept.run())
        while issued < 3:
            assert time.monotonic() - began < 30
            await asyncio.sleep(0.01)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


async def test_one_that_is_refused_is_replaced_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may begin later, where a clock was wrong when it was made."""
    monkeypatch.setattr(credentials, "AGAIN", 0.05)
    issued: list[str] = []

    async def issue() -> str:
        issued.append(token(time.time() + HOUR, len(issued) + 1))
        return issued[-1]

    async with Client(Connection("https://127.0.0.1:1", token=token(time.time() + HOUR, 0))) as client:
        kept = Credentials(client, client, namespace="", account="", secret=None, lifetime=HOUR, issue=issue)
        running = asyncio.create_task(kept.run())
        await asyncio.sleep(0.1)
        assert not issued
        kept.answered(401)
        kept.answered(401)
        await asyncio.sleep(0.2)
        assert len(issued) == 1, "once for all that was sent with it"
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
