"""Who asks: client certificates, static tokens, ID tokens, service-account tokens of workspaces, anonymous.

What is cached answers at once; a service-account token not seen lately costs a TokenReview at the shard, an ID token
the verification of its signature.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Mapping
from typing import Any, NamedTuple, Protocol

from cachetools import LRUCache, TTLCache
from cryptography import x509
from cryptography.x509.oid import NameOID

from proxy.auth.asking import ask
from proxy.auth.identity import ANONYMOUS, AUTHENTICATED, User, authenticated
from proxy.auth.leases import Lease
from proxy.auth.moved import MovedTokens
from proxy.auth.tokenfile import TokenFiles, digest
from proxy.auth.trusted import Trusted
from proxy.auth.webhook import TokenWebhook
from proxy.identities import Identity
from proxy.kube.claims import claims_of
from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.flights import Flights
from proxy.kube.reviews import TOKEN_REVIEWS
from proxy.mapping.names import DEFAULT_AUDIENCE, SERVICE_ACCOUNT
from proxy.tenancy.index import Workspace

GOOD_FOR = 10.0
"""Seconds that a reviewed token counts without asking again: the time a deleted account's token may still work
(kube-apiserver's own default for webhook and service-account tokens is the same)."""
BAD_FOR = 2.0
"""Seconds that a refused token is refused without asking again."""
CACHED = 8192
CERTIFICATES = 1024
"""Client certificates read lately."""


class Asking(Protocol):
    """What is needed of a request."""

    peer_cert: bytes | None

    def header(self, name: bytes) -> bytes: ...


class Unauthorized(StatusError):
    def __init__(self) -> None:
        super().__init__(401, "Unauthorized")


class _Verified(NamedTuple):
    user: User
    until: float
    """Monotonic seconds."""


class _Certificate(NamedTuple):
    user: User | None
    """None where the certificate names nobody."""
    until: float
    """Its notAfter, seconds since 1970."""


class Authenticator:
    """``shards``: a client for each, which may impersonate, for TokenReviews."""

    def __init__(
        self,
        tokens: TokenFiles,
        shards: Mapping[str, Client],
        trusted: Trusted | None = None,
        webhook: TokenWebhook | None = None,
    ) -> None:
        self._tokens = tokens
        self._trusted = trusted or Trusted()
        self._webhook = webhook
        self._shards = Identity.ACCESS.on_all(shards)
        self._moved = MovedTokens(shards)
        self._good: LRUCache[tuple[str, bytes], _Verified] = LRUCache(CACHED)
        self._bad: TTLCache[tuple[str, bytes], bool] = TTLCache(CACHED, BAD_FOR)
        self._certificates: LRUCache[bytes, _Certificate] = LRUCache(CERTIFICATES)
        self._verifying: Flights[tuple[str, bytes], User] = Flights()

    def authenticate(self, request: Asking, workspace: Workspace | None) -> User | Awaitable[User]:
        """The user who asks ``workspace``. Raises Unauthorized (or gives an awaitable that does) for a bad token.

        As with kube-apiserver a client certificate that names somebody counts more than a token, a bearer token that
        is sent must be good, and without both the user is anonymous. Other schemes of authorization are refused.
        """
        if request.peer_cert is not None:
            user = self._of_certificate(request.peer_cert)
            if user is not None:
                return user
        header = request.header(b"authorization")
        if not header:
            return ANONYMOUS
        scheme, _, token = header.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token:
            raise Unauthorized
        return self._of_token(token, workspace)

    def lease(self, request: Asking, workspace: Workspace | None) -> Lease | None:
        """How long what `authenticate` says of this request now is good; None if it must be asked each time."""
        if request.peer_cert is not None and self._of_certificate(request.peer_cert) is not None:
            left = self._certificates[request.peer_cert].until - time.time()
            return Lease(time.monotonic() + left, ())
        header = request.header(b"authorization")
        if not header:
            return Lease(float("inf"), (self._trusted.epoch,))
        key = digest(header.partition(b" ")[2].strip())
        if self._tokens.get(key) is not None:
            return Lease(float("inf"), (self._tokens.epoch,))
        verified = self._good.get((workspace.token if workspace is not None else "", key))
        # A file may give the token to somebody else.
        epochs = (self._tokens.epoch, self._trusted.epoch)
        return Lease(verified.until, epochs) if verified is not None else None

    def admits_anonymous(self, target: bytes) -> bool:
        """Whether who shows nothing may ask for this path (and query) of a workspace at all."""
        anonymous = self._trusted.anonymous
        return anonymous.everywhere or anonymous.at(target.partition(b"?")[0].decode("latin-1"))

    async def run(self) -> None:
        """Notice changed files until cancelled."""
        while True:
            await asyncio.sleep(1)
            self._tokens.refresh()
            if self._trusted.refresh():
                self._good.clear()
                self._bad.clear()

    def _of_token(self, token: bytes, workspace: Workspace | None) -> User | Awaitable[User]:
        key = digest(token)
        user = self._tokens.get(key)
        if user is not None:
            return user
        if token.count(b".") != 2 and self._webhook is None:
            raise Unauthorized
        # An issuer's users are the same everywhere, a service account exists in one workspace.
        place = (workspace.token if workspace is not None else "", key)
        cached = self._good.get(place)
        if cached is not None and cached.until > time.monotonic():
            return cached.user
        if place in self._bad:
            raise Unauthorized
        return self._verifying.once(place, lambda: self._verify(place, token, workspace))

    async def _verify(self, place: tuple[str, bytes], token: bytes, workspace: Workspace | None) -> User:
        user = None
        oidc = self._trusted.oidc
        if oidc.issued(token):
            user = await oidc.verify(token)
        elif workspace is not None and claims_workspace(token, workspace):
            user = await self._of_service_account(token, workspace)
        elif self._webhook is not None and not str(claims_of(token).get("sub")).startswith(SERVICE_ACCOUNT):
            user = await self._webhook.review(token)
        if user is None:
            self._bad[place] = True
            raise Unauthorized
        self._good[place] = _Verified(user, time.monotonic() + GOOD_FOR)
        return user

    async def _of_service_account(self, token: bytes, workspace: Workspace) -> User | None:
        audience = workspace.prefix + DEFAULT_AUDIENCE
        spec = {"token": token.decode("latin-1"), "audiences": [audience]}
        status = await ask(self._shards[workspace.shard], workspace.shard, TOKEN_REVIEWS, spec)
        # A server that does not look at audiences names none.
        if status.get("authenticated") is True and audience in (status.get("audiences") or ()):
            return service_account(status.get("user") or {}, workspace)
        info = await self._moved.review(token, workspace, audience) if workspace.moves else None
        return service_account(info, workspace) if info is not None else None

    def _of_certificate(self, der: bytes) -> User | None:
        known = self._certificates.get(der)
        if known is None:
            known = self._certificates[der] = read_certificate(der)
        # The handshake may have been long ago.
        if known.until < time.time():
            raise Unauthorized
        return known.user


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


def claims_workspace(token: bytes, workspace: Workspace) -> bool:
    """Whether a JWT claims to be a service account of ``workspace``, unverified: all others need no review."""
    claims = claims_of(token)
    audiences = claims.get("aud")
    return (
        isinstance(audiences, list)
        and workspace.prefix + DEFAULT_AUDIENCE in audiences
        and str(claims.get("sub")).startswith(SERVICE_ACCOUNT + workspace.prefix)
    )


def namespace_of_token(authorization: bytes) -> str | None:
    """The namespace that a service account's JWT claims, unverified; None for any other credential."""
    account = claims_of(authorization.partition(b" ")[2].strip()).get("kubernetes.io")
    namespace = account.get("namespace") if isinstance(account, dict) else None
    return namespace if isinstance(namespace, str) else None


def read_certificate(der: bytes) -> _Certificate:
    """Common name → user, organizations → groups, as kube-apiserver reads client certificates.

    Raises Unauthorized for names that no user can have, or a certificate that cannot be read.
    """
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        organizations = certificate.subject.get_attributes_for_oid(NameOID.ORGANIZATION_NAME)
        until = certificate.not_valid_after_utc.timestamp()
        if not names or not names[0].value:
            return _Certificate(None, until)
        user = authenticated(str(names[0].value), tuple(str(organization.value) for organization in organizations))
    except ValueError as error:
        raise Unauthorized from error
    return _Certificate(user, until)
