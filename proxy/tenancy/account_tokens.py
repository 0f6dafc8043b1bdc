"""Secrets of type ``kubernetes.io/service-account-token``: filled with a token, as an ordinary cluster does.

The tokens controller of Kubernetes would write one that the shard itself takes. This one asks the shard for a token of
the workspace's audience that is bound to the Secret: it opens the workspace alone, and is worth nothing once the Secret
or the account is gone. For the rest as k8s.io/kubernetes/pkg/controller/serviceaccount/tokens_controller.go: a Secret
of an account that is not there is deleted, what is missing in one is filled in, what is there stays.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import time
from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Any

from proxy.identities import Identity
from proxy.kube.claims import begins_later, claims_of
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.events import follow
from proxy.kube.informer import Informer
from proxy.kube.workqueue import WorkQueue
from proxy.mapping.names import DEFAULT_AUDIENCE
from proxy.mapping.token import token_of

log = logging.getLogger(__name__)

SECRETS = Resource("", "v1", "secrets")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
CONFIGMAPS = Resource("", "v1", "configmaps")
TYPE = "kubernetes.io/service-account-token"
NAME, UID = "kubernetes.io/service-account.name", "kubernetes.io/service-account.uid"
ROOT_CA = "kube-root-ca.crt"
LIFETIME = 2**32
"""Seconds, the most that a TokenRequest may ask for: tokens of such Secrets are meant to stay."""
LOOK_AGAIN = 900.0
"""Seconds: the authority of the endpoint may have changed, or a token may be about to end."""
SOON = 60.0
"""Seconds until a token is made anew that begins later by our clock: that or the shard's is wrong, and may be set."""
RENEW_BEFORE = 1800.0
"""Seconds before its end that a token is made anew, where a shard gives them less than was asked for: an hour, if it
gives the least (``--service-account-max-token-expiration``)."""

Key = tuple[str, str, str]
"""Shard, namespace, name."""


class AccountTokens:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.ACCOUNT_TOKENS.on_all(shards)
        self._queue: WorkQueue[Key] = WorkQueue(self._reconcile, name="account tokens", workers=2, dated=True)
        self._informers: dict[str, Informer] = {}
        self._of_account: defaultdict[tuple[str, str, str], set[str]] = defaultdict(set)
        """Names of Secrets by shard, namespace and account."""
        self._early: dict[Key, float] = {}
        """Secrets whose tokens begin later, and when these were made, by `time.monotonic`."""
        for shard, client in self._shards.items():
            informer = Informer(client, SECRETS, field_selector=f"type={TYPE}", transform=_slim)
            informer.add_handler(partial(self._secret, shard))
            self._informers[shard] = informer

    async def run(self) -> None:
        """Follow and act until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run())
            for shard, client in self._shards.items():
                group.create_task(self._informers[shard].run())
                group.create_task(
                    follow(client, ACCOUNTS, partial(self._account, shard), partial(self._accounts, shard))
                )

    def _secret(self, shard: str, kind: str, old: Object | None, new: Object) -> None:
        meta = new["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        if token_of(namespace) is None:
            return
        for obj in (old, new):
            if obj is not None:
                self._of_account[shard, namespace, _account_of(obj)].discard(name)
        if kind == "DELETED":
            self._early.pop((shard, namespace, name), None)
            return
        self._of_account[shard, namespace, _account_of(new)].add(name)
        self._queue.add((shard, namespace, name))

    def _account(self, shard: str, namespace: str, name: str) -> None:
        for secret in self._of_account.get((shard, namespace, name), ()):
            self._queue.add((shard, namespace, secret))

    def _accounts(self, shard: str, connected: bool) -> None:
        """When a watch of them begins: some may have gone while nobody looked."""
        for namespace, name in self._informers[shard].store:
            if token_of(namespace) is not None:
                self._queue.add((shard, namespace, name))

    async def _reconcile(self, key: Key) -> float | None:
        shard, namespace, name = key
        client = self._shards[shard]
        if (namespace, name) not in self._informers[shard].store:
            return None
        secret = await _found(client, SECRETS, namespace, name)
        if secret is None or secret.get("type") != TYPE or secret["metadata"].get("deletionTimestamp"):
            return None
        account = await _found(client, ACCOUNTS, namespace, _account_of(secret))
        wanted = (secret["metadata"].get("annotations") or {}).get(UID)
        if account is None or (wanted and wanted != account["metadata"]["uid"]):
            await _delete(client, secret)
            return None
        made = self._early.get(key)
        rests = made is not None and time.monotonic() - made < SOON
        if not await _fill(client, secret, account, rests=rests):
            self._early.pop(key, None)
            return LOOK_AGAIN
        if not rests:
            self._early[key] = time.monotonic()
        return SOON


def _account_of(secret: Object) -> str:
    return str((secret["metadata"].get("annotations") or {}).get(NAME, ""))


def _slim(obj: Object) -> Object:
    meta = obj["metadata"]
    kept = {"namespace": meta["namespace"], "name": meta["name"], "annotations": {NAME: _account_of(obj)}}
    return {"metadata": kept}


async def _found(client: Client, resource: Resource, namespace: str, name: str) -> Object | None:
    return await client.find(resource, name, namespace) if name else None


async def _delete(client: Client, secret: Object) -> None:
    meta = secret["metadata"]
    try:
        await client.delete(SECRETS, meta["name"], meta["namespace"], uid=meta["uid"])
    except StatusError as error:
        if error.code not in (404, 409):
            raise


async def _fill(client: Client, secret: Object, account: Object, *, rests: bool) -> bool:
    """Whether the token begins later. ``rests``: then it stays as it is for now."""
    meta, data = secret["metadata"], secret.get("data") or {}
    namespace: str = meta["namespace"]
    token = token_of(namespace)
    assert token is not None
    prefix = f"{token}-"
    missing: dict[str, str] = {}
    authority = await _found(client, CONFIGMAPS, namespace, ROOT_CA)
    ca = _encoded(((authority or {}).get("data") or {}).get("ca.crt", ""))
    if ca and data.get("ca.crt") != ca:
        missing["ca.crt"] = ca
    if not data.get("namespace"):
        missing["namespace"] = _encoded(namespace.removeprefix(prefix))
    audience = prefix + DEFAULT_AUDIENCE
    ends_soon, later = _times(data.get("token") or "", audience)
    if not data.get("token") or ends_soon or (later and not rests):
        made = await _new_token(client, secret, account, audience)
        missing["token"] = _encoded(made)
        later = begins_later(made, time.time())
    if not missing:
        return later
    annotations = {NAME: account["metadata"]["name"], UID: account["metadata"]["uid"]}
    # Not made again, and nobody's change undone: what has changed since is looked at once more.
    versions = {"uid": meta["uid"], "resourceVersion": meta["resourceVersion"]}
    patch = {"metadata": versions | {"annotations": annotations}, "data": missing}
    try:
        await client.patch(SECRETS, meta["name"], patch, namespace)
    except StatusError as error:
        # One that was marked immutable before it was filled stays empty, here as there.
        if error.code not in (404, 409, 422):
            raise
    return later


async def _new_token(client: Client, secret: Object, account: Object, audience: str) -> str:
    meta = secret["metadata"]
    bound = {"kind": "Secret", "apiVersion": "v1", "name": meta["name"], "uid": meta["uid"]}
    spec: dict[str, Any] = {"audiences": [audience], "expirationSeconds": LIFETIME, "boundObjectRef": bound}
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    path = ACCOUNTS.path(meta["namespace"], account["metadata"]["name"], "token")
    answer = await client.request("POST", path, body=request)
    return str(answer["status"]["token"])


def _times(encoded: str, audience: str) -> tuple[bool, bool]:
    """Whether it is a token of ours that is about to end, and one that begins later; whatever else somebody has written
    stays."""
    try:
        token = base64.b64decode(encoded)
        claims = claims_of(token)
        if claims["aud"] != [audience]:
            return False, False
        return float(claims["exp"]) < time.time() + RENEW_BEFORE, begins_later(token, time.time())
    except (ValueError, KeyError, TypeError):
        return False, False


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
