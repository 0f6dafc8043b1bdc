"""Tokens of the workspace for pods below: of each namespace's default service account, kept fresh in a Secret."""

from __future__ import annotations

import base64
import datetime
import logging
from asyncio import TaskGroup

from proxy.kube.claims import begins_later
from proxy.kube.client import Client, Object, Resource
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from syncer.names import TOKEN_SECRET
from syncer.namespaces import Namespaces

log = logging.getLogger(__name__)

SECRETS = Resource("", "v1", "secrets")
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
LABEL = "kcp.dev/pod-token"
"""Label of these Secrets; its value is the name of the WorkloadCluster."""
RENEW_AT = "kcp.dev/renew-at"
"""Annotation of these Secrets: when the token is to be replaced."""
LIFETIME = 24 * 3600
"""Seconds that a token is asked to be good for."""
RENEW = 0.5
"""Part of its life after which a token is replaced: kubelet takes a minute to show a new one to pods."""
SOON = 300.0
"""Seconds until one is replaced that begins later by our clock: that or the server's is wrong, and may be set."""
MANAGER = "syncer"


class Tokens:
    """Cares for the Secrets of the namespaces that want one. A pod starts as soon as its Secret is there."""

    def __init__(self, above: Client, below: Client, namespaces: Namespaces, *, cluster: str) -> None:
        self._above = above
        self._below = below
        self._namespaces = namespaces
        self._cluster = cluster
        self._wanted: set[str] = set()
        self._secrets = Informer(below, SECRETS, label_selector=f"{LABEL}={cluster}", metadata_only=True)
        self._secrets.add_handler(self._event)
        self._queue: WorkQueue[str] = WorkQueue(self._reconcile, name="pods' tokens", workers=2, dated=True)

    def want(self, namespace: str) -> None:
        """There are pods in the namespace (its name above)."""
        if namespace not in self._wanted:
            self._wanted.add(namespace)
            self._queue.add(namespace)

    async def run(self) -> None:
        """Until cancelled."""
        async with TaskGroup() as group:
            group.create_task(self._secrets.run())
            await self._secrets.wait_synced()
            await self._namespaces.wait_synced()
            group.create_task(self._queue.run())

    def _event(self, kind: str, old: Object | None, new: Object) -> None:
        namespace = self._namespaces.above(new["metadata"]["namespace"])
        if namespace in self._wanted:
            assert namespace is not None
            self._queue.add(namespace)

    async def _reconcile(self, namespace: str) -> float | None:
        if not self._namespaces.is_synced(namespace) and not await self._namespaces.runs_here(namespace):
            self._wanted.discard(namespace)
            return None
        secret = self._secrets.store.get((self._namespaces.below(namespace), TOKEN_SECRET))
        left = seconds_left(secret, datetime.datetime.now(datetime.UTC))
        if left > 0:
            return left
        await self._namespaces.ensure(namespace)
        return await self._renew(namespace)

    async def _renew(self, namespace: str) -> float:
        """Seconds until the next time."""
        request: Object = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": LIFETIME},
        }
        path = SERVICE_ACCOUNTS.path(namespace, "default", "token")
        now = datetime.datetime.now(datetime.UTC)
        status = (await self._above.request("POST", path, body=request))["status"]
        good_for = datetime.datetime.fromisoformat(status["expirationTimestamp"]) - now
        # A clock that differs from the server's by much would make this too short, or much too long.
        wait = min(max(good_for.total_seconds(), 600.0), LIFETIME) * RENEW
        if begins_later(status["token"], now.timestamp()):
            wait = SOON
        renew_at = (now + datetime.timedelta(seconds=wait)).strftime("%Y-%m-%dT%H:%M:%SZ")
        secret: Object = {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {
                "name": TOKEN_SECRET,
                "namespace": self._namespaces.below(namespace),
                "labels": {LABEL: self._cluster},
                "annotations": {RENEW_AT: renew_at},
            },
            "type": "Opaque",
            "data": {
                "token": base64.b64encode(status["token"].encode()).decode(),
                "namespace": base64.b64encode(namespace.encode()).decode(),
            },
        }
        await self._below.apply(SECRETS, secret, manager=MANAGER)
        return wait


def seconds_left(secret: Object | None, moment: datetime.datetime) -> float:
    """Until the token in the Secret is to be replaced; 0 if now, or if there is none."""
    at = ((secret or {}).get("metadata", {}).get("annotations") or {}).get(RENEW_AT)
    try:
        left = (datetime.datetime.fromisoformat(at) - moment).total_seconds() if at else 0.0
    except (ValueError, TypeError):
        return 0.0
    return left if 0.0 < left <= LIFETIME * RENEW else 0.0
