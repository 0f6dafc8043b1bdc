"""A real OpenID provider (npm's oidc-provider), and people who sign in there."""

from __future__ import annotations

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urljoin, urlsplit

import aiohttp
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from proxy.shard.addresses import free_port
from proxy.shard.pki import Authority
from tests.clients.programs import javascript
from tests.integration.eventually import eventually

DONE = "https://localhost/done"
_ACTION = re.compile(r'<form[^>]* action="([^"]+)"')
_PROMPT = re.compile(r'name="prompt" value="([^"]+)"')


def rsa_key(name: str) -> dict[str, Any]:
    key = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048), as_dict=True)
    return {**key, "kid": name, "use": "sig", "alg": "RS256"}


def curve_key(name: str) -> dict[str, Any]:
    key = jwt.algorithms.ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()), as_dict=True)
    return {**key, "kid": name, "use": "sig", "alg": "ES256"}


@dataclass(slots=True)
class Provider:
    """One issuer. ``accounts``: claims by the name to sign in with."""

    accounts: Mapping[str, Mapping[str, Any]]
    keys: list[dict[str, Any]] = field(default_factory=lambda: [rsa_key("first")])
    seconds: int = 600
    """Life of a token."""
    url: str = field(default_factory=lambda: f"https://localhost:{free_port()}")


class Providers:
    """Those of one process, and the CA of their certificate."""

    def __init__(self, folder: Path, providers: Sequence[Provider]) -> None:
        self.folder = folder
        self.providers = providers
        authority = Authority(folder, "issuer")
        self.authority = authority.cert.decode()
        self._tls = ssl.create_default_context(cadata=self.authority)
        self._serving = authority.server("openid", ["localhost"])

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        settings = self.folder / "settings.json"
        fields = ("url", "keys", "accounts", "seconds")
        settings.write_bytes(orjson.dumps([{name: getattr(one, name) for name in fields} for one in self.providers]))
        environment = {
            "SETTINGS": str(settings),
            "CERTIFICATE": str(self._serving.cert_file),
            "KEY": str(self._serving.key_file),
        }
        with (self.folder / "issuer.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *javascript("issuer", self.folder), env=environment, stdout=log, stderr=log
            )
            try:
                await eventually(self._answers, aiohttp.ClientError)
                yield
            finally:
                process.kill()
                await process.wait()

    async def _answers(self) -> bool:
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            for provider in self.providers:
                async with session.get(f"{provider.url}/.well-known/openid-configuration", ssl=self._tls):
                    pass
        return True

    async def sign_in(self, provider: Provider, name: str, client: str = "kcp") -> str:
        """The ID token that somebody gets for ``client`` by the authorization code flow."""
        asked = {
            "client_id": client,
            "response_type": "code",
            "scope": "openid about",
            "redirect_uri": DONE,
            "nonce": "n",
        }
        async with aiohttp.ClientSession(raise_for_status=True) as session:
            url, form = f"{provider.url}/auth", None
            while not url.startswith(DONE):
                method = "GET" if form is None else "POST"
                async with session.request(
                    method, url, ssl=self._tls, params=asked, data=form, allow_redirects=False
                ) as answer:
                    asked, form = {}, None
                    if "Location" in answer.headers:
                        url = urljoin(url, answer.headers["Location"])
                        continue
                    page = await answer.text()
                    action, prompt = _ACTION.search(page), _PROMPT.search(page)
                    assert action, page
                    assert prompt, page
                    url, form = urljoin(url, action[1]), {"prompt": prompt[1], "login": name, "password": "any"}
            [code] = parse_qs(urlsplit(url).query)["code"]
            wanted = {"grant_type": "authorization_code", "code": code, "redirect_uri": DONE}
            secret = {"Authorization": aiohttp.encode_basic_auth(client, "secret")}
            async with session.post(f"{provider.url}/token", data=wanted, headers=secret, ssl=self._tls) as answer:
                token: str = (await answer.json())["id_token"]
                return token
