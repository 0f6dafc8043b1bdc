"""Tokens of the workspace for pods below: of each namespace's default service account, kept fresh in a Secret."""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections.abc import Callable

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from syncer.transform import TOKEN_SECRET

log = logging.getLogger(__name__)

SECRETS = Resource("", "v1", "secrets")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
LIFETIME = 24 * 3600
"""Seconds that a token is asked to be good for."""
RENEW = 0.5
"""Part of its life after which a token is replaced: kubelet takes a minute to show a new one to pods."""
MANAGER = "syncer"


class Tokens:
    """``below_name(namespace)`` gives the namespace below."""

    def __init__(self, above: Client, below: Client, below_name: Callable[[str], str]) -> None:
        self._above = above
        self._below = below
        self._below_name = below_name
        self._good_until: dict[str, float] = {}
        self._locks: dict[str, asyncio.Lock] = {}

    async def ensure(self, namespace: str) -> None:
        """Make sure that the Secret is there and good; without it pods lack API access, so failures are retried."""
        async with self._locks.setdefault(namespace, asyncio.Lock()):
            if self._good_until.get(namespace, 0.0) > time.time():
                return
            try:
                await self._renew(namespace)
            except StatusError as error:
                if error.code >= 500 or error.code == 409:
                    raise
                log.warning("no token for pods of namespace %s: %s", namespace, error)
                self._good_until[namespace] = time.time() + 30

    async def run(self) -> None:
        """Renew in time, until cancelled."""
        while True:
            await asyncio.sleep(60)
            for namespace in [name for name, until in self._good_until.items() if until < time.time()]:
                try:
                    await self.ensure(namespace)
                except StatusError as error:
                    log.warning("token for pods of namespace %s: %s", namespace, error)
                    if error.code == 404:
                        del self._good_until[namespace]

    async def _renew(self, namespace: str) -> None:
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": LIFETIME},
        }
        path = SERVICE_ACCOUNTS.path(namespace, "default", "token")
        answer = await self._above.request("POST", path, body=request)
        token = answer["status"]["token"]
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": TOKEN_SECRET, "namespace": self._below_name(namespace)},
            "type": "Opaque",
            "data": {
                "token": base64.b64encode(token.encode()).decode(),
                "namespace": base64.b64encode(namespace.encode()).decode(),
            },
        }
        await self._below.apply(SECRETS, secret, manager=MANAGER)
        self._good_until[namespace] = time.time() + LIFETIME * RENEW
