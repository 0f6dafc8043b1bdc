"""ID tokens: signature, claims and what becomes of them, with an issuer of our own."""

from __future__ import annotations

import datetime
import json
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
import pytest_asyncio
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from proxy.auth.identity import User
from proxy.auth.oidc import Oidc, OidcSettings, user_of


class Issuer:
    """Serves its keys over TLS; signs what it is asked to."""

    def __init__(self, folder: Path) -> None:
        self.key = rsa.generate_private_key(65537, 2048)
        self.folder = folder
        self.fetched = 0

    async def start(self) -> None:
        self.ca_file = self.folder / "ca.crt"
        key_file = self.folder / "tls.key"
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
        now = datetime.datetime.now(datetime.UTC)
        certificate = (
            x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
            .not_valid_before(now)
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .sign(key, hashes.SHA256())
        )
        self.ca_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(self.ca_file, key_file)
        app = web.Application()
        app.router.add_get("/.well-known/openid-configuration", self._document)
        app.router.add_get("/keys", self._keys)
        self.runner = web.AppRunner(app)
        await self.runner.setup()
        site = web.TCPSite(self.runner, "localhost", 0, ssl_context=tls)
        await site.start()
        self.url = f"https://localhost:{self.runner.addresses[0][1]}"

    async def _document(self, request: web.Request) -> web.Response:
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys"})

    async def _keys(self, request: web.Request) -> web.Response:
        self.fetched += 1
        key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self.key.public_key()))
        return web.json_response({"keys": [{**key, "kid": "one", "alg": "RS256", "use": "sig"}]})

    def token(self, key: Any = None, kid: str = "one", algorithm: str = "RS256", **claims: Any) -> bytes:
        body = {"iss": self.url, "aud": "kcp", "sub": "carol", "exp": time.time() + 60, **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, key or self.key, algorithm=algorithm, headers={"kid": kid}).encode()


@pytest_asyncio.fixture(loop_scope="session")
async def issuer(tmp_path: Path) -> AsyncIterator[Issuer]:
    served = Issuer(tmp_path)
    await served.start()
    yield served
    await served.runner.cleanup()


def settings(issuer: Issuer, **changes: Any) -> OidcSettings:
    given = OidcSettings(issuer_url=issuer.url, client_id="kcp", groups_claim="groups", ca_file=str(issuer.ca_file))
    return replace(given, **changes)


async def test_a_good_token_names_a_user_with_the_issuers_prefix(issuer: Issuer) -> None:
    oidc = Oidc(settings(issuer, groups_prefix="oidc:"))
    token = issuer.token(groups=["dev", "ops"])
    assert oidc.issued(token)
    user = await oidc.verify(token)
    assert user == User(f"{issuer.url}#carol", ("oidc:dev", "oidc:ops", "system:authenticated"))
    await oidc.verify(issuer.token())
    assert issuer.fetched == 1


async def test_what_is_not_signed_for_us_is_nobody(issuer: Issuer) -> None:
    oidc = Oidc(settings(issuer))
    stranger = rsa.generate_private_key(65537, 2048)
    for token in (
        issuer.token(key=stranger),
        issuer.token(exp=time.time() - 1),
        issuer.token(aud="somebody-else"),
        issuer.token(iss="https://elsewhere"),
        issuer.token(exp=None),
        issuer.token(kid="two"),
        issuer.token(key="secret" * 8, algorithm="HS256"),
        b"a.b.c",
    ):
        assert await oidc.verify(token) is None
    assert issuer.fetched == 1  # an unknown key is no reason to ask the issuer again at once


def test_claims_make_the_user() -> None:
    given = OidcSettings(issuer_url="https://i", client_id="c", groups_claim="groups")
    assert user_of({"sub": "carol"}, replace(given, username_prefix="-")).name == "carol"  # type: ignore[union-attr]
    assert user_of({"sub": "carol"}, replace(given, username_prefix="x:")).name == "x:carol"  # type: ignore[union-attr]
    mail = replace(given, username_claim="email")
    assert user_of({"email": "c@x", "email_verified": True}, mail).name == "c@x"  # type: ignore[union-attr]
    assert user_of({"email": "c@x", "email_verified": False}, mail) is None
    assert user_of({"sub": "carol", "groups": [1]}, given) is None
    assert user_of({}, given) is None
    required = replace(given, required_claims=("tenant=a",))
    assert user_of({"sub": "carol", "tenant": "b"}, required) is None
    assert user_of({"sub": "carol", "tenant": "a"}, required) is not None


def test_nobody_becomes_an_administrator_by_a_claim() -> None:
    given = OidcSettings(issuer_url="https://i", client_id="c", groups_claim="groups", username_prefix="-")
    user = user_of({"sub": "carol", "groups": ["system:masters", "dev"]}, given)
    assert user is not None
    assert user.groups == ("dev", "system:authenticated")
    assert not user.masters
    assert user_of({"sub": "system:admin"}, given) is None


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"issuer_url": "http://i"}, "https"),
        ({"client_id": ""}, "--oidc-client-id"),
        ({"signing_algs": ("none",)}, "asymmetric"),
        ({"required_claims": ("x",)}, "key=value"),
    ],
)
def test_settings_that_make_no_sense_are_named(changes: dict[str, Any], says: str) -> None:
    problem = replace(OidcSettings(issuer_url="https://i", client_id="c"), **changes).problem()
    assert problem is not None
    assert says in problem
