"""OpenID Connect: ID tokens, checked with the keys of those who issue them.

https://kubernetes.io/docs/reference/access-authn-authz/authentication/#openid-connect-tokens. An issuer's keys are
fetched when they are needed and again when a token names one that is not known.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import jwt

from proxy.auth.identity import User
from proxy.auth.issuers import Claim, Issuer, Refused

log = logging.getLogger(__name__)

KEYS_EVERY = 10.0
"""Seconds at the least between two looks at the issuer's keys, whatever tokens are sent."""
TIMEOUT = aiohttp.ClientTimeout(total=10)
EARLY = 300.0
"""Seconds by which a token's ``nbf`` may lie ahead, as clocks differ. That, and no look at ``iat``, is kube-apiserver's
way, by go-oidc: https://github.com/coreos/go-oidc/blob/v3/oidc/verify.go"""
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

    def issuer(self) -> Issuer:
        """Raises OSError for a CA file that cannot be read."""
        prefix = self.username_prefix
        if prefix is None:
            prefix = "" if self.username_claim == "email" else f"{self.issuer_url}#"
        return Issuer(
            url=self.issuer_url,
            audiences=(self.client_id,),
            username=Claim(self.username_claim, "" if prefix == "-" else prefix),
            groups=Claim(self.groups_claim, self.groups_prefix) if self.groups_claim else None,
            required=tuple((key, value) for key, _, value in (claim.partition("=") for claim in self.required_claims)),
            authority=Path(self.ca_file).read_text() if self.ca_file else None,
            algorithms=self.signing_algs,
        )


class Oidc:
    """Verifies ID tokens of some issuers."""

    def __init__(self, issuers: Iterable[Issuer]) -> None:
        self._keys = {issuer.url: _Keys(issuer) for issuer in issuers}

    def issued(self, token: bytes) -> bool:
        """Whether the token says that it is of one of them; nothing is verified here."""
        return self._of(token) is not None

    def _of(self, token: bytes) -> _Keys | None:
        try:
            claims = jwt.decode(token, options={"verify_signature": False})
        except jwt.PyJWTError:
            return None
        url = claims.get("iss")
        return self._keys.get(url) if isinstance(url, str) else None

    async def verify(self, token: bytes) -> User | None:
        """The user of a good token, None for any other."""
        keys = self._of(token)
        if keys is None:
            return None
        try:
            header = jwt.get_unverified_header(token)
            key = await keys.get(str(header.get("kid", "")))
            if key is None:
                return None
            claims: Mapping[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=list(keys.issuer.algorithms),
                audience=keys.issuer.audiences,
                issuer=keys.issuer.url,
                options={"require": ["exp", "iss", "aud"], "verify_iat": False, "verify_nbf": False},
            )
            begins = claims.get("nbf") or 0
            if not isinstance(begins, int | float) or begins > time.time() + EARLY:
                raise jwt.ImmatureSignatureError("The token is not yet valid (nbf)")
            return keys.issuer.user(claims)
        except (jwt.PyJWTError, Refused) as error:
            log.info("an ID token of %s is refused: %s", keys.issuer.url, error)
            return None


class _Keys:
    """Those of one issuer, by their names."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self._keys: dict[str, jwt.PyJWK] = {}
        self._looked = float("-inf")
        self._lock = asyncio.Lock()

    async def get(self, name: str) -> jwt.PyJWK | None:
        if name not in self._keys:
            async with self._lock:
                if name not in self._keys and time.monotonic() - self._looked > KEYS_EVERY:
                    self._looked = time.monotonic()
                    await self._fetch()
        return self._keys.get(name)

    async def _fetch(self) -> None:
        issuer = self.issuer
        try:
            tls = ssl.create_default_context(cadata=issuer.authority)
            async with aiohttp.ClientSession(timeout=TIMEOUT, raise_for_status=True) as session:
                url = issuer.discovery_url or f"{issuer.url.rstrip('/')}/.well-known/openid-configuration"
                async with session.get(url, ssl=tls) as answer:
                    document = await answer.json(content_type=None)
                if document.get("issuer") != issuer.url:
                    raise ValueError(f"it calls itself {document.get('issuer')!r}")
                async with session.get(document["jwks_uri"], ssl=tls) as answer:
                    keys = jwt.PyJWKSet.from_dict(await answer.json(content_type=None))
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, jwt.PyJWTError) as error:
            log.warning("keys of the OIDC issuer %s: %s", issuer.url, error)
            return
        self._keys = {key.key_id or "": key for key in keys.keys}
