"""OpenID Connect: ID tokens of one issuer, by the flags of kube-apiserver.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens. The issuer's keys are
fetched when they are needed and again when a token names one that is not known.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass
from typing import Any

import aiohttp
import jwt

from proxy.auth.identity import User, authenticated

log = logging.getLogger(__name__)

KEYS_EVERY = 10.0
"""Seconds at the least between two looks at the issuer's keys, whatever tokens are sent."""
TIMEOUT = aiohttp.ClientTimeout(total=10)
SYMMETRIC = frozenset({"none", "HS256", "HS384", "HS512"})


@dataclass(frozen=True, slots=True, kw_only=True)
class OidcSettings:
    """As kube-apiserver's ``--oidc-*`` flags."""

    issuer_url: str
    """Must be https; compared with the token's ``iss`` letter by letter."""
    client_id: str
    """Must be in the token's ``aud``."""
    username_claim: str = "sub"
    username_prefix: str | None = None
    """None: ``<issuer>#`` unless the claim is ``email``; ``-``: no prefix."""
    groups_claim: str | None = None
    groups_prefix: str = ""
    required_claims: tuple[str, ...] = ()
    """``key=value`` each."""
    signing_algs: tuple[str, ...] = ("RS256",)
    ca_file: str | None = None

    def problem(self) -> str | None:
        """What is wrong with the settings, in a line."""
        if not self.issuer_url.startswith("https://"):
            return "--oidc-issuer-url must be an https URL"
        if not self.client_id:
            return "--oidc-client-id is needed with --oidc-issuer-url"
        if not set(self.signing_algs) or set(self.signing_algs) & SYMMETRIC:
            return "--oidc-signing-algs takes asymmetric algorithms such as RS256"
        if any("=" not in claim for claim in self.required_claims):
            return "--oidc-required-claim takes key=value"
        return None


class Oidc:
    """Verifies ID tokens of one issuer."""

    def __init__(self, settings: OidcSettings) -> None:
        self._settings = settings
        self._keys: dict[str, jwt.PyJWK] = {}
        self._looked = 0.0
        self._lock = asyncio.Lock()

    def issued(self, token: bytes) -> bool:
        """Whether the token says that it is of our issuer; nothing is verified here."""
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return False
        return claims.get("iss") == self._settings.issuer_url

    async def verify(self, token: bytes) -> User | None:
        """The user of a good token, None for any other."""
        settings = self._settings
        try:
            header = jwt.get_unverified_header(token)
            key = await self._key(str(header.get("kid", "")))
            if key is None:
                return None
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=list(settings.signing_algs),
                audience=settings.client_id,
                issuer=settings.issuer_url,
                options={"require": ["exp", "iss", "aud"]},
            )
        except jwt.PyJWTError as error:
            log.info("an ID token is refused: %s", error)
            return None
        return user_of(claims, settings)

    async def _key(self, name: str) -> jwt.PyJWK | None:
        if name not in self._keys:
            async with self._lock:
                if name not in self._keys and time.monotonic() - self._looked > KEYS_EVERY:
                    self._looked = time.monotonic()
                    await self._fetch()
        return self._keys.get(name)

    async def _fetch(self) -> None:
        settings = self._settings
        tls = ssl.create_default_context(cafile=settings.ca_file)
        try:
            async with aiohttp.ClientSession(timeout=TIMEOUT, raise_for_status=True) as session:
                url = f"{settings.issuer_url.rstrip('/')}/.well-known/openid-configuration"
                async with session.get(url, ssl=tls) as answer:
                    document = await answer.json(content_type=None)
                if document.get("issuer") != settings.issuer_url:
                    raise ValueError(f"it calls itself {document.get('issuer')!r}")
                async with session.get(document["jwks_uri"], ssl=tls) as answer:
                    keys = jwt.PyJWKSet.from_dict(await answer.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, jwt.PyJWTError) as error:
            log.warning("keys of the OIDC issuer %s: %s", settings.issuer_url, error)
            return
        self._keys = {key.key_id or "": key for key in keys.keys}


def user_of(claims: dict[str, Any], settings: OidcSettings) -> User | None:
    """The user that verified claims name; None where a claim is missing or not what is required."""
    for required in settings.required_claims:
        key, _, value = required.partition("=")
        if claims.get(key) != value:
            return None
    name = claims.get(settings.username_claim)
    if not isinstance(name, str) or not name:
        return None
    if settings.username_claim == "email" and claims.get("email_verified", True) is not True:
        return None
    prefix = settings.username_prefix
    if prefix is None:
        prefix = "" if settings.username_claim == "email" else f"{settings.issuer_url}#"
    elif prefix == "-":
        prefix = ""
    groups = (claims.get(settings.groups_claim) if settings.groups_claim else None) or ()
    if isinstance(groups, str):
        groups = [groups]
    if not isinstance(groups, list | tuple) or not all(isinstance(group, str) for group in groups):
        return None
    prefixed = tuple(settings.groups_prefix + group for group in groups)
    # An issuer vouches for its own users, not for the control plane's: nobody becomes system:masters by a claim.
    if (prefix + name).startswith("system:"):
        return None
    try:
        return authenticated(prefix + name, tuple(group for group in prefixed if not group.startswith("system:")))
    except ValueError:
        return None
