"""Who asks: static tokens, client certificates, ID tokens, service-account tokens of workspaces, anonymous.

What is cached answers at once; a service-account token not seen lately costs a TokenReview at the shard, an ID token
the verification of its signature.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Mapping
from typing import Any, Protocol

import orjson
from cachetools import TTLCache
from cryptography import x509
from cryptography.x509.oid import NameOID

from proxy.auth.identity import ANONYMOUS, AUTHENTICATED, User, authenticated
from proxy.auth.oidc import Oidc
from proxy.auth.tokenfile import TokenFiles, digest
from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.names import DEFAULT_AUDIENCE
from proxy.tenancy.index import Workspace

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
SERVICE_ACCOUNT = "system:serviceaccount:"

GOOD_FOR = 10.0
"""Seconds that a reviewed token counts without asking again: the time a deleted account's token may still work
(kube-apiserver's own default for webhook and service-account tokens is the same)."""
BAD_FOR = 2.0
"""Seconds that a refused token is refused without asking again."""
CACHED = 8192


class Asking(Protocol):
    """What is needed of a request."""

    peer_cert: bytes | None

    def header(self, name: bytes) -> bytes: ...


class Unauthorized(StatusError):
    def __init__(self) -> None:
        super().__init__(401, "Unauthorized")


class Authenticator:
    """``shards``: a client with full rights for each shard, for TokenReviews."""

    def __init__(self, tokens: TokenFiles, shards: Mapping[str, Client], oidc: Oidc | None = None) -> None:
        self._tokens = tokens
        self._oidc = oidc
        self._shards = shards
        self._good: TTLCache[tuple[str, bytes], User] = TTLCache(CACHED, GOOD_FOR)
        self._bad: TTLCache[tuple[str, bytes], bool] = TTLCache(CACHED, BAD_FOR)
        self._certificates: TTLCache[bytes, User] = TTLCache(1024, 300)
        self._pending: dict[tuple[str, bytes], asyncio.Task[User]] = {}

    def authenticate(self, request: Asking, workspace: Workspace | None) -> User | Awaitable[User]:
        """The user who asks ``workspace``. Raises Unauthorized (or gives an awaitable that does) for a bad token.

        As with kube-apiserver a bearer token that is sent must be good; without one the client certificate counts,
        without both the user is anonymous.
        """
        header = request.header(b"authorization")
        if header:
            scheme, _, token = header.partition(b" ")
            token = token.strip()
            if scheme.lower() != b"bearer" or not token:
                raise Unauthorized
            return self._of_token(token, workspace)
        if request.peer_cert is not None:
            return self._of_certificate(request.peer_cert)
        return ANONYMOUS

    async def run(self) -> None:
        """Notice changed token files until cancelled."""
        while True:
            await asyncio.sleep(5)
            self._tokens.refresh()

    def _of_token(self, token: bytes, workspace: Workspace | None) -> User | Awaitable[User]:
        key = digest(token)
        user = self._tokens.get(key)
        if user is not None:
            return user
        if token.count(b".") != 2:
            raise Unauthorized
        # An issuer's users are the same everywhere, a service account exists in one workspace.
        place = (workspace.token if workspace is not None else "", key)
        cached = self._good.get(place)
        if cached is not None:
            return cached
        if place in self._bad:
            raise Unauthorized
        pending = self._pending.get(place)
        if pending is None:
            pending = asyncio.get_running_loop().create_task(self._review(place, token, workspace))
            self._pending[place] = pending
            pending.add_done_callback(lambda _: self._pending.pop(place, None))
        return asyncio.shield(pending)

    async def _review(self, place: tuple[str, bytes], token: bytes, workspace: Workspace | None) -> User:
        if self._oidc is not None and self._oidc.issued(token):
            user = await self._oidc.verify(token)
        elif workspace is not None:
            user = await self._of_service_account(token, workspace)
        else:
            user = None
        if user is None:
            self._bad[place] = True
            raise Unauthorized
        self._good[place] = user
        return user

    async def _of_service_account(self, token: bytes, workspace: Workspace) -> User | None:
        body: dict[str, Any] = {
            "apiVersion": TOKEN_REVIEWS.api_version,
            "kind": "TokenReview",
            "spec": {"token": token.decode("latin-1"), "audiences": [workspace.prefix + DEFAULT_AUDIENCE]},
        }
        review = await self._shards[workspace.shard].create(TOKEN_REVIEWS, body)
        status = review.get("status") or {}
        return service_account(status.get("user") or {}, workspace) if status.get("authenticated") else None

    def _of_certificate(self, der: bytes) -> User:
        key = digest(der)
        user = self._certificates.get(key)
        if user is None:
            user = self._certificates[key] = of_certificate(der)
        return user


def service_account(info: Mapping[str, Any], workspace: Workspace) -> User | None:
    """The plain-named user of a TokenReview's ``status.user``; None if the account is not one of ``workspace``."""
    name = str(info.get("username") or "")
    if not name.startswith(SERVICE_ACCOUNT + workspace.prefix):
        return None
    plain = name[len(SERVICE_ACCOUNT + workspace.prefix) :]
    namespace = plain.partition(":")[0]
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", AUTHENTICATED)
    extra = tuple((key, tuple(values)) for key, values in sorted((info.get("extra") or {}).items()))
    return User(SERVICE_ACCOUNT + plain, groups, str(info.get("uid") or ""), extra, workspace_token=workspace.token)


def namespace_of_token(authorization: bytes) -> str | None:
    """The namespace that a service account's JWT claims, unverified; None for any other credential."""
    _, _, token = authorization.partition(b" ")
    parts = token.split(b".")
    if len(parts) != 3:
        return None
    try:
        claims = orjson.loads(base64.urlsafe_b64decode(parts[1] + b"=" * (-len(parts[1]) % 4)))
        namespace = claims["kubernetes.io"]["namespace"]
    except (ValueError, KeyError, TypeError):
        return None
    return namespace if isinstance(namespace, str) else None


def of_certificate(der: bytes) -> User:
    """Common name → user, organizations → groups, as kube-apiserver reads client certificates."""
    subject = x509.load_der_x509_certificate(der).subject
    names = subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    if not names or not names[0].value:
        raise Unauthorized
    groups = tuple(str(group.value) for group in subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME))
    return authenticated(str(names[0].value), groups)
