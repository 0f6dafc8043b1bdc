"""Tokens of service accounts from before their workspace moved: they are good until they end.

The shard that has signed them knows nothing of the account any more, and the one that has the account now has not
signed them. So the signature is checked with the keys of all shards, and the account by the uids that its originals
had, which the copy remembers (`MOVED_UIDS`; manifests/shard/moved-accounts.yaml keeps it from those who use the
workspace). As on Kubernetes such a token ends with its account. One that is bound to a Secret or a pod names a uid of
an object that has another one now, and is refused.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import jwt

from proxy.identities import Identity
from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.names import MOVED_UIDS, SERVICE_ACCOUNT
from proxy.tenancy.index import Workspace

log = logging.getLogger(__name__)

ACCOUNTS = Resource("", "v1", "serviceaccounts")
KEYS_EVERY = 10.0
"""Seconds at the least between two looks at the shards' keys, whatever tokens are sent."""
ALGORITHMS = ["RS256", "ES256", "ES384", "ES512"]
"""That kube-apiservers sign with."""
JWKS = "application/jwk-set+json"
BINDINGS = ("node", "pod", "secret")


class MovedTokens:
    """``shards``: a client for each, which may impersonate."""

    def __init__(self, shards: Mapping[str, Client]) -> None:
        self._shards = Identity.ACCESS.on_all(shards)
        self._keys: dict[str, dict[str, jwt.PyJWK]] = {}
        """Of each shard, by their names."""
        self._looked = float("-inf")
        self._lock = asyncio.Lock()

    async def review(self, token: bytes, workspace: Workspace, audience: str) -> Object | None:
        """What a TokenReview says of the user, with the account's uid of today; None for a token that is not good.
        Raises StatusError, 503 where the workspace's shard does not answer."""
        claims = await self._claims(token, audience)
        if claims is None:
            return None
        about = claims.get("kubernetes.io")
        account = about.get("serviceaccount") if isinstance(about, dict) else None
        if not isinstance(about, dict) or not isinstance(account, dict) or any(key in about for key in BINDINGS):
            return None
        namespace, name, uid = str(about.get("namespace")), str(account.get("name")), str(account.get("uid"))
        username = f"{SERVICE_ACCOUNT}{namespace}:{name}"
        if claims["sub"] != username or not namespace.startswith(workspace.prefix):
            return None
        try:
            found = await self._shards[workspace.shard].find(ACCOUNTS, name, namespace)
        except StatusError as error:
            log.warning("shard %s: %s", workspace.shard, error)
            raise StatusError(503, f"shard {workspace.shard} is not available: it does not answer") from error
        meta = found["metadata"] if found is not None else {}
        if uid not in (meta.get("annotations") or {}).get(MOVED_UIDS, "").split(",") or meta.get("deletionTimestamp"):
            return None
        extra = {"authentication.kubernetes.io/credential-id": [f"JTI={claims['jti']}"]} if "jti" in claims else {}
        return {"username": username, "uid": meta["uid"], "extra": extra}

    async def _claims(self, token: bytes, audience: str) -> Mapping[str, Any] | None:
        """Of a token that one of the shards has signed."""
        try:
            key = await self._key(str(jwt.get_unverified_header(token).get("kid", "")))
            if key is None:
                return None
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=ALGORITHMS,
                audience=audience,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            log.info("a token from before a move is refused: %s", error)
            return None
        return claims

    async def _key(self, name: str) -> jwt.PyJWK | None:
        if not name:
            return None
        found = self._known(name)
        if found is None:
            async with self._lock:
                if self._known(name) is None and time.monotonic() - self._looked > KEYS_EVERY:
                    await asyncio.gather(*map(self._fetch, self._shards))
                    self._looked = time.monotonic()
            found = self._known(name)
        return found

    def _known(self, name: str) -> jwt.PyJWK | None:
        return next((keys[name] for keys in self._keys.values() if name in keys), None)

    async def _fetch(self, shard: str) -> None:
        """A shard that is away keeps the keys that are known of it."""
        try:
            document = await self._shards[shard].request("GET", "/openid/v1/jwks", accept=JWKS, timeout=5)
            keys = jwt.PyJWKSet.from_dict(document).keys
        except (StatusError, jwt.PyJWTError, AttributeError) as error:
            log.warning("shard %s: keys of its service accounts: %s", shard, error)
            return
        self._keys[shard] = {key.key_id: key for key in keys if key.key_id}
