"""AuthenticationConfiguration: what it says, and what is wrong with one."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.auth.authentication_file import AuthenticationFileError, read_authentication
from proxy.auth.authenticator import Authenticator
from proxy.auth.issuers import ASYMMETRIC, Claim, Refused
from proxy.auth.tokenfile import TokenFiles
from proxy.auth.trusted import Trusted
from tests.unit.auth.samples import WORKSPACE, Asking

HEAD = {"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}
ISSUER = {"url": "https://one.example.com", "audiences": ["kcp"]}
JWT: dict[str, Any] = {"issuer": ISSUER, "claimMappings": {"username": {"claim": "sub", "prefix": "one:"}}}


def _file(folder: Path, **parts: Any) -> Path:
    file = folder / "authentication.yaml"
    file.write_text(yaml.safe_dump({**HEAD, **parts}))
    return file


def _jwt(**changes: Any) -> dict[str, Any]:
    return {**JWT, **changes}


def test_the_least_that_makes_an_issuer(tmp_path: Path) -> None:
    [issuer] = read_authentication(_file(tmp_path, jwt=[JWT])).issuers
    assert (issuer.url, issuer.audiences, issuer.username) == (ISSUER["url"], ("kcp",), Claim("sub", "one:"))
    assert issuer.algorithms == ASYMMETRIC
    user = issuer.user({"sub": "carol", "groups": ["dev"]})
    assert (user.name, user.groups, user.uid, user.extra) == ("one:carol", ("system:authenticated",), "", ())


def test_expressions(tmp_path: Path) -> None:
    jwt = _jwt(
        claimMappings={
            "username": {"expression": 'claims.email_verified ? "mail:" + claims.email.lowerAscii() : ""'},
            "groups": {"expression": 'claims.?roles.orValue("").split(",").map(role, "r:" + role)'},
            "uid": {"claim": "oid"},
            "extra": [
                {"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                {"key": "example.com/none", "valueExpression": "claims.?nothing.orValue([])"},
            ],
        },
        claimValidationRules=[
            {"claim": "hd", "requiredValue": "example.com"},
            {"expression": "claims.exp - claims.nbf <= 3600", "message": "an hour at most"},
        ],
        userValidationRules=[
            {"expression": "!user.username.endsWith('@evil.com')", "message": "not from there"},
            {"expression": "user.groups.all(group, group != 'r:banned')"},
        ],
    )
    [issuer] = read_authentication(_file(tmp_path, jwt=[jwt])).issuers
    good = {
        "email": "Carol@Example.com",
        "email_verified": True,
        "roles": "dev,ops",
        "oid": "7",
        "tenant": ["a", "", "b"],
        "hd": "example.com",
        "nbf": 1000,
        "exp": 2000,
    }
    user = issuer.user(good)
    assert user.name == "mail:carol@example.com"
    assert user.groups == ("r:dev", "r:ops", "system:authenticated")
    assert user.uid == "7"
    assert user.extra == (("example.com/tenant", ("a", "b")),)
    for changes, said in (
        ({"email_verified": False}, "it names no user"),
        ({"email": "x@evil.com"}, "not from there"),
        ({"roles": "banned"}, "not true: user.groups.all"),
        ({"exp": 9000}, "an hour at most"),
        ({"hd": "evil.com"}, "claim hd is not 'example.com'"),
        ({"tenant": 7}, "its example.com/tenant are not strings"),
        ({"email": 7}, "overload"),
        ({"nbf": None}, "overload"),
        ({"exp": 2**70}, "out of range"),
    ):
        with pytest.raises(Refused, match=said):
            issuer.user({**good, **changes})
    with pytest.raises(Refused, match="tenant"):
        issuer.user({key: value for key, value in good.items() if key != "tenant"})


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        (
            {"kind": "AuthorizationConfiguration"},
            "wanted kind AuthenticationConfiguration of apiserver.config.k8s.io/v1",
        ),
        ({"apiVersion": "v1"}, "wanted kind AuthenticationConfiguration"),
        ({"jwts": []}, "there is no field 'jwts'"),
        ({"jwt": {}}, "jwt: wanted a list"),
        ({"jwt": ["one"]}, "jwt[0]: wanted a mapping"),
        ({"jwt": [{}]}, "jwt[0].claimMappings.username: claim or expression is needed"),
        ({"jwt": [_jwt(issuer={**ISSUER, "url": "http://one"})]}, "jwt[0].issuer.url: http://one: wanted an https URL"),
        ({"jwt": [_jwt(issuer={**ISSUER, "url": ""})]}, "jwt[0].issuer.url: is needed"),
        ({"jwt": [_jwt(issuer={**ISSUER, "url": 7})]}, "jwt[0].issuer.url: wanted a string, not 7"),
        ({"jwt": [_jwt(issuer={**ISSUER, "discoveryURL": ISSUER["url"]})]}, "jwt[0].issuer.discoveryURL: is the same"),
        ({"jwt": [_jwt(issuer={**ISSUER, "audiences": []})]}, "jwt[0].issuer.audiences: is needed"),
        ({"jwt": [_jwt(issuer={**ISSUER, "audiences": ["a", "b"]})]}, "audienceMatchPolicy: must be MatchAny"),
        ({"jwt": [_jwt(issuer={**ISSUER, "audiences": ["a", "a"]})]}, "jwt[0].issuer.audiences: one is there twice"),
        ({"jwt": [_jwt(issuer={**ISSUER, "audienceMatchPolicy": "All"})]}, "audienceMatchPolicy: All: wanted MatchAny"),
        (
            {"jwt": [_jwt(issuer={**ISSUER, "certificateAuthority": "x"})]},
            "certificateAuthority: holds no certificates",
        ),
        (
            {"jwt": [_jwt(issuer={**ISSUER, "egressSelectorType": "cluster"})]},
            "egressSelectorType: there are no egress",
        ),
        ({"jwt": [JWT, JWT]}, "jwt[1].issuer.url: https://one.example.com is there twice"),
        ({"jwt": [_jwt(claimMappings={"username": {"claim": "sub"}})]}, "username.prefix: is needed with a claim"),
        (
            {"jwt": [_jwt(claimMappings={"username": {"claim": "sub", "prefix": "", "expression": "claims.sub"}})]},
            "username: claim and expression exclude each other",
        ),
        (
            {"jwt": [_jwt(claimMappings={"username": {"expression": "claims.sub", "prefix": "x"}})]},
            "username.prefix: is for a claim",
        ),
        (
            {"jwt": [_jwt(claimMappings={"username": {"expression": "claims.sub +"}})]},
            "jwt[0].claimMappings.username.expression: ",
        ),
        (
            {"jwt": [_jwt(claimMappings={"username": {"expression": "claim.sub"}})]},
            "undeclared reference to 'claim.sub'",
        ),
        (
            {"jwt": [_jwt(claimMappings={"username": {"expression": "1 + 1"}})]},
            "username.expression: it makes a int, wanted string",
        ),
        (
            {"jwt": [_jwt(claimMappings={"username": {"expression": "claims.email"}})]},
            "username: claims.email_verified must be looked at",
        ),
        ({"jwt": [_jwt(userValidationRules=[{"expression": "'a'"}])]}, "it makes a string, wanted bool"),
        ({"jwt": [_jwt(userValidationRules=[{"message": "a"}])]}, "userValidationRules[0].expression: is needed"),
        ({"jwt": [_jwt(claimValidationRules=[{}])]}, "claimValidationRules[0]: wanted either claim or expression"),
        (
            {"jwt": [_jwt(claimValidationRules=[{"claim": "a"}, {"claim": "a"}])]},
            "claimValidationRules[1].claim: a is there twice",
        ),
        ({"anonymous": {"enabled": "yes"}}, "anonymous.enabled: wanted true or false"),
        ({"anonymous": {"conditions": [{"path": "/livez"}]}}, "anonymous.conditions: they are for anonymous requests"),
        ({"anonymous": {"enabled": True, "conditions": [{}]}}, "anonymous.conditions[0].path: is needed"),
    ],
)
def test_what_is_wrong_is_named(parts: dict[str, Any], said: str, tmp_path: Path) -> None:
    file = _file(tmp_path, **parts)
    with pytest.raises(AuthenticationFileError) as failure:
        read_authentication(file)
    assert str(failure.value).startswith(f"{file}: ")
    assert said in str(failure.value)


@pytest.mark.parametrize("key", ["tenant", "Example.com/a", "k8s.io/a", "x.kubernetes.io/a", "example.com/A"])
def test_extras_need_names_of_their_own(key: str, tmp_path: Path) -> None:
    mappings = {**JWT["claimMappings"], "extra": [{"key": key, "valueExpression": "claims.sub"}]}
    with pytest.raises(AuthenticationFileError, match=r"extra\[0\].key"):
        read_authentication(_file(tmp_path, jwt=[_jwt(claimMappings=mappings)]))


def _authenticator(folder: Path, trusted: Trusted) -> Authenticator:
    tokens = folder / "tokens.csv"
    tokens.write_text("")
    return Authenticator(TokenFiles([tokens]), {}, trusted)


@pytest.mark.parametrize(
    ("anonymous", "admitted"),
    [
        (None, {b"/livez", b"/api", b"/livez?verbose"}),
        ({"enabled": True}, {b"/livez", b"/api", b"/livez?verbose"}),
        ({"enabled": False}, set()),
        ({}, set()),
        ({"enabled": True, "conditions": [{"path": "/livez"}, {"path": "/readyz"}]}, {b"/livez", b"/livez?verbose"}),
    ],
)
def test_where_anonymous_requests_go(anonymous: Any, admitted: set[bytes], tmp_path: Path) -> None:
    authenticator = _authenticator(tmp_path, Trusted(file=_file(tmp_path, anonymous=anonymous)))
    asked = (b"/livez", b"/api", b"/livez?verbose", b"/livez/")
    assert {target for target in asked if authenticator.admits_anonymous(target)} == admitted & set(asked) | (
        {b"/livez/"} if anonymous in (None, {"enabled": True}) else set()
    )


def test_a_file_that_changes_is_read_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trusted = Trusted(file=_file(tmp_path, jwt=[JWT]))
    authenticator = _authenticator(tmp_path, trusted)
    lease = authenticator.lease(Asking(), WORKSPACE)
    assert lease is not None
    assert not trusted.refresh()
    _file(tmp_path, jwt=[JWT, JWT])
    assert not trusted.refresh()
    assert "is there twice" in caplog.text
    caplog.clear()
    assert not trusted.refresh()
    assert not caplog.text, "it is said once"
    assert lease.good(time.monotonic())
    _file(tmp_path, anonymous={"enabled": False})
    assert trusted.refresh()
    assert not lease.good(time.monotonic())
    assert not authenticator.admits_anonymous(b"/api")
    (tmp_path / "authentication.yaml").unlink()
    assert not trusted.refresh()
    assert not authenticator.admits_anonymous(b"/api")
