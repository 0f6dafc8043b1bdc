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
from proxy.auth.issuers import Refused
from proxy.auth.oidc import Oidc, OidcSettings


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
    oidc = Oidc([settings(issuer, groups_prefix="oidc:").issuer()])
    token = issuer.token(groups=["dev", "ops"])
    assert oidc.issued(token)
    user = await oidc.verify(token)
    assert user == User(f"{issuer.url}#carol", ("oidc:dev", "oidc:ops", "system:authenticated"))
    await oidc.verify(issuer.token())
    assert issuer.fetched == 1


async def test_clocks_may_differ_by_as_much_as_for_a_kube_apiserver(issuer: Issuer) -> None:
    oidc = Oidc([settings(issuer).issuer()])
    now = time.time()
    for good in ({"iat": now + 3600}, {"nbf": now + 200}, {"nbf": None}):
        assert await oidc.verify(issuer.token(**good)) is not None, good
    for bad in ({"nbf": now + 400}, {"nbf": "soon"}, {"exp": now - 2}):
        assert await oidc.verify(issuer.token(**bad)) is None, bad


async def test_what_is_not_signed_for_us_is_nobody(issuer: Issuer) -> None:
    oidc = Oidc([settings(issuer).issuer()])
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


async def test_several_issuers_are_told_apart(issuer: Issuer, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = Issuer(tmp_path / "other")
    await other.start()
    try:
        oidc = Oidc([settings(issuer).issuer(), settings(other, username_prefix="other:").issuer()])
        first, second = await oidc.verify(issuer.token()), await oidc.verify(other.token())
        assert first is not None
        assert second is not None
        assert (first.name, second.name) == (f"{issuer.url}#carol", "other:carol")
        assert await oidc.verify(other.token(iss=issuer.url)) is None
        assert not oidc.issued(issuer.token(iss="https://elsewhere"))
    finally:
        await other.runner.cleanup()


GIVEN = OidcSettings(issuer_url="https://i", client_id="c", groups_claim="groups")


@pytest.mark.parametrize(
    ("changes", "claims", "name"),
    [
        ({"username_prefix": "-"}, {"sub": "carol"}, "carol"),
        ({"username_prefix": "x:"}, {"sub": "carol"}, "x:carol"),
        ({}, {"sub": "carol"}, "https://i#carol"),
        ({"username_claim": "email"}, {"email": "c@x", "email_verified": True}, "c@x"),
        ({"username_claim": "email"}, {"email": "c@x"}, "c@x"),
        ({"required_claims": ("tenant=a",)}, {"sub": "carol", "tenant": "a"}, "https://i#carol"),
    ],
)
def test_claims_make_the_user(changes: dict[str, Any], claims: dict[str, Any], name: str) -> None:
    assert replace(GIVEN, **changes).issuer().user(claims).name == name


@pytest.mark.parametrize(
    ("changes", "claims"),
    [
        ({"username_claim": "email"}, {"email": "c@x", "email_verified": False}),
        ({}, {"sub": "carol", "groups": [1]}),
        ({}, {"sub": ["carol"]}),
        ({}, {"sub": ""}),
        ({}, {}),
        ({"required_claims": ("tenant=a",)}, {"sub": "carol", "tenant": "b"}),
        ({"required_claims": ("tenant=a",)}, {"sub": "carol"}),
        ({"username_prefix": "-"}, {"sub": "system:admin"}),
        ({"username_prefix": "system:"}, {"sub": "admin"}),
        ({}, {"sub": "carol\nX-Remote-Group: system:masters"}),
    ],
)
def test_claims_that_make_none(changes: dict[str, Any], claims: dict[str, Any]) -> None:
    with pytest.raises(Refused):
        replace(GIVEN, **changes).issuer().user(claims)


def test_nobody_becomes_an_administrator_by_a_claim() -> None:
    user = GIVEN.issuer().user({"sub": "carol", "groups": ["system:masters", "dev"]})
    assert user.groups == ("dev", "system:authenticated")
    assert not user.masters


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
