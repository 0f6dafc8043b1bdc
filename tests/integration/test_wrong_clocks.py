"""What was made while a shard's clock was wrong becomes good when it is right again."""

from __future__ import annotations

import asyncio
import base64
import time

import pytest

from proxy.kube.claims import begins_later
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.token import new_token
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy import account_tokens
from proxy.tenancy.account_tokens import SECRETS, TYPE, AccountTokens
from tests.faults.clock import why_not, wrong_clock
from tests.integration.eventually import eventually
from tests.integration.running import running

NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
pytestmark = pytest.mark.skipif(why_not() is not None, reason=str(why_not()))


async def test_the_token_in_a_secret_is_made_anew_once_it_can_be_good(
    admin: Client, shard: ControlPlane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that begins tomorrow opens nothing today. It is not made again and again while the clock stays wrong."""
    monkeypatch.setattr(account_tokens, "SOON", 2.0)
    namespace = f"{new_token()}-words"
    await admin.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}})
    about = {"name": "robot", "annotations": {"kubernetes.io/service-account.name": "default"}}
    secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": about, "type": TYPE}

    async def token() -> tuple[str, float]:
        """And the time that is now by the clock of this test."""
        found = await admin.get(SECRETS, "robot", namespace)
        return base64.b64decode((found.get("data") or {}).get("token", "")).decode(), time.time()

    async def early() -> bool:
        return begins_later(*await token())

    async def good() -> bool:
        made, now = await token()
        return bool(made) and not begins_later(made, now)

    async with running(AccountTokens({"shard": admin}).run()):
        with wrong_clock(shard.processes["kube-apiserver"].pid, 86400):
            await eventually(lambda: admin.create(SECRETS, secret, namespace), StatusError)
            await eventually(early)
            made = set()
            for _ in range(30):
                made.add((await token())[0])
                await asyncio.sleep(0.1)
            assert len(made) <= 3
        await eventually(good, timeout=20)
