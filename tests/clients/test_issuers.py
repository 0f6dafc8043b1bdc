"""People of OpenID providers: the same AuthenticationConfiguration in a kube-apiserver and in kcp."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable
from pathlib import Path
from typing import Any

import orjson
import pytest_asyncio
import yaml

from proxy.auth.identity import AUTHENTICATED
from proxy.binaries import find
from tests.clients.conftest import NO_ISSUERS
from tests.clients.openid import Provider, Providers, curve_key, rsa_key
from tests.clients.side import Side, Sides
from tests.e2e.workspaces.installation import Installation, Outcome
from tests.integration.eventually import eventually

_numbers = itertools.count(1)

TEAM = {"groups": ["dev", "ops"], "tenant": "telcops", "email": "A@Example.com", "email_verified": True}
ACCOUNTS: dict[str, dict[str, Any]] = {
    "alice": TEAM,
    "bob": {"groups": "dev", "tenant": "telcops"},
    "carol": {**TEAM, "tenant": "other"},
    "dave": {**TEAM, "groups": [1]},
    "eve": {**TEAM, "email": "eve@evil.com"},
    "mallory": {**TEAM, "email_verified": False},
    "nobody": {"tenant": "telcops"},
}


def _issuer(provider: Provider, authority: str, *audiences: str) -> dict[str, Any]:
    policy = {"audienceMatchPolicy": "MatchAny"} if len(audiences) > 1 else {}
    return {"url": provider.url, "certificateAuthority": authority, "audiences": list(audiences), **policy}


def _configuration(claims: Provider, expressions: Provider, authority: str) -> dict[str, Any]:
    """One issuer whose claims are taken as they are, one with an expression for everything."""
    mail = 'claims.?email_verified.orValue(false) ? claims.email.lowerAscii() : "unverified:" + claims.sub'
    return {
        **yaml.safe_load(NO_ISSUERS),
        "jwt": [
            {
                "issuer": _issuer(claims, authority, "kcp"),
                "claimMappings": {
                    "username": {"claim": "sub", "prefix": "one:"},
                    "groups": {"claim": "groups", "prefix": "one:"},
                    "uid": {"claim": "tenant"},
                },
                "claimValidationRules": [{"claim": "tenant", "requiredValue": "telcops"}],
            },
            {
                "issuer": _issuer(expressions, authority, "other", "kcp"),
                "claimMappings": {
                    "username": {"expression": mail},
                    "groups": {"expression": 'dyn(claims.?groups.orValue([])).map(group, "two:" + group)'},
                    "uid": {"expression": "claims.sub"},
                    "extra": [
                        {"key": "example.com/tenant", "valueExpression": "claims.tenant"},
                        {"key": "example.com/all", "valueExpression": "claims.?groups.orValue([])"},
                    ],
                },
                "claimValidationRules": [{"expression": "claims.exp - claims.iat <= 3600", "message": "too long"}],
                "userValidationRules": [{"expression": "!user.username.endsWith('@evil.com')", "message": "no"}],
            },
        ],
    }


def _say(file: Path, text: str) -> None:
    """At once: nobody reads half of it."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.replace(file)


@pytest_asyncio.fixture(loop_scope="session")
async def providers(authentication: Path, tmp_path: Path) -> AsyncIterator[Providers]:
    folder = tmp_path / "openid"
    folder.mkdir()
    made = Providers(folder, [Provider(ACCOUNTS), Provider(ACCOUNTS, keys=[curve_key("curve"), rsa_key("second")])])
    async with made.running():
        _say(authentication, yaml.safe_dump(_configuration(made.providers[0], made.providers[1], made.authority)))
        yield made
    _say(authentication, NO_ISSUERS)


async def _as(side: Side, token: str, *arguments: str) -> Outcome:
    """kubectl with nothing but that token."""
    config = yaml.safe_load(side.kubeconfig.read_text())
    config["users"] = [{**config["users"][0], "user": {"token": token}}]
    file = side.folder / f"kubeconfig-{next(_numbers)}"
    file.touch(0o600)
    file.write_text(yaml.safe_dump(config))
    return await side.run(find("kubectl"), "--kubeconfig", str(file), *arguments)


async def _who(side: Side, token: str) -> Any:
    """Whom the token makes: as SelfSubjectReview says, or the words of the refusal."""
    outcome = await _as(side, token, "auth", "whoami", "-o", "json")
    if outcome.code:
        return outcome.text
    info = orjson.loads(outcome.out)["status"]["userInfo"]
    extra = info.get("extra") or {}
    # A kube-apiserver of 1.36 adds the id of the credential, which kcp does for service accounts alone.
    return {**info, "extra": {key: value for key, value in extra.items() if "credential-id" not in key}}


async def _let_in(sides: Sides, *groups: str) -> None:
    """On a cluster of one's own everybody may ask who they are; into a workspace one must be let."""
    path = sides.workspace.server.rpartition("/clusters/")[2]
    parent, _, name = path.rpartition(":")
    role = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": f"enter-{name}"},
        "rules": [
            {
                "apiGroups": ["tenancy.kcp.dev"],
                "resources": ["clusterworkspaces/content"],
                "resourceNames": [name],
                "verbs": ["access"],
            }
        ],
    }
    binding = {
        "apiVersion": role["apiVersion"],
        "kind": "ClusterRoleBinding",
        "metadata": {"name": f"enter-{name}"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": f"enter-{name}"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": group} for group in groups],
    }
    server = f"{sides.workspace.server.rpartition('/clusters/')[0]}/clusters/{parent}"
    documents = "\n---\n".join(orjson.dumps(item).decode() for item in (role, binding))
    await sides.workspace.kubectl("--server", server, "apply", "-f", "-", stdin=documents)


async def _known(side: Side, token: str) -> None:
    """Wait until the side has read what it is told, and the issuer's keys."""

    async def said() -> bool:
        return (await _as(side, token, "auth", "whoami")).code == 0

    await eventually(said, timeout=120, interval=0.3)


async def test_people_of_two_issuers(sides: Sides, providers: Providers) -> None:
    one, two = providers.providers
    await _let_in(sides, "system:authenticated")
    tokens = {name: await providers.sign_in(one, name) for name in ("alice", "bob", "carol", "dave", "nobody")}
    others = ("alice", "eve", "mallory", "nobody", "dave")
    tokens |= {f"second {name}": await providers.sign_in(two, name) for name in others}
    tokens["second for another"] = await providers.sign_in(two, "alice", "other")
    tokens["for another"] = await providers.sign_in(one, "alice", "other")
    head, body, signature = tokens["alice"].split(".")
    tokens["damaged"] = ".".join((head, body, signature[::-1]))
    tokens["unsigned"] = f"{head}.{body}."
    for side in (sides.plain, sides.workspace):
        await asyncio.gather(_known(side, tokens["alice"]), _known(side, tokens["second alice"]))

    async def play(side: Side) -> dict[str, Any]:
        return {name: await _who(side, token) for name, token in tokens.items()}

    who = await sides.same(play)
    assert who["alice"]["username"] == "one:alice"
    assert who["alice"]["groups"] == ["one:dev", "one:ops", "system:authenticated"]
    assert who["second alice"]["extra"] == {"example.com/all": ["dev", "ops"], "example.com/tenant": ["telcops"]}
    assert who["second for another"]["username"] == "a@example.com"
    assert who["second mallory"]["username"] == "unverified:mallory"
    refused = {name for name, what in who.items() if isinstance(what, str)}
    assert {"carol", "dave", "for another", "second eve", "second dave", "damaged", "unsigned"} <= refused
    assert all("Unauthorized" in who[name] for name in refused)


async def test_a_server_that_knows_tokens(sides: Sides) -> None:
    """The plain cluster is kcp's token webhook."""
    await _let_in(sides, "shift")
    plain, workspace = [await _who(side, "walters-token") for side in (sides.plain, sides.workspace)]
    assert plain == {**plain, "username": "walter", "uid": "7", "groups": ["shift", "system:trusted", AUTHENTICATED]}
    assert workspace == {**plain, "groups": ["shift", AUTHENTICATED]}, "system: is the control plane's own"
    assert "system:someone" in (await _who(sides.plain, "systems-token"))["username"]
    for token in ("systems-token", "no-token"):
        assert "Unauthorized" in await _who(sides.workspace, token)
    # Accounts of another cluster are not taken for the workspace's of the same name.
    account = (await eventually(lambda: sides.plain.kubectl("create", "token", "default"), AssertionError)).strip()
    assert "Unauthorized" in await _who(sides.workspace, account)


async def test_keys_that_change(sides: Sides, authentication: Path, tmp_path: Path) -> None:
    folder = tmp_path / "openid"
    folder.mkdir()
    one = Provider(ACCOUNTS)
    providers = Providers(folder, [one])
    jwt = {
        "issuer": _issuer(one, providers.authority, "kcp"),
        "claimMappings": {"username": {"claim": "sub", "prefix": ""}, "groups": {"claim": "groups", "prefix": ""}},
    }
    _say(authentication, yaml.safe_dump({**yaml.safe_load(NO_ISSUERS), "jwt": [jwt]}))
    try:
        await _let_in(sides, "dev")
        async with providers.running():
            old = await providers.sign_in(one, "alice")
            await _known(sides.workspace, old)
        one.keys[:] = [rsa_key("next")]
        async with providers.running():
            await _known(sides.workspace, await providers.sign_in(one, "alice"))

            async def refused() -> bool:
                return "Unauthorized" in (await _as(sides.workspace, old, "auth", "whoami")).text

            await eventually(refused, timeout=60, interval=0.5)
    finally:
        _say(authentication, NO_ISSUERS)


async def test_anonymous_requests(installation: Installation, authentication: Path) -> None:
    """Of ours alone: a kube-apiserver does not let that change while it runs."""
    conditions = {"enabled": True, "conditions": [{"path": "/version"}]}

    async def asked(*paths: str) -> list[set[bool]]:
        """Whether somebody without a token is refused for want of one, and not of rights: by each worker, of which any
        takes a new connection."""
        targets = [f"/clusters/root:tests{path}" for path in paths]
        answers = [[await installation.raw("GET", target, token=None) for _ in range(20)] for target in targets]
        return [{status == 401 for status, _, _ in of_path} for of_path in answers]

    assert await asked("/version", "/api") == [{False}, {False}]
    try:
        _say(authentication, yaml.safe_dump({**yaml.safe_load(NO_ISSUERS), "anonymous": conditions}))
        await eventually(lambda: _same(asked("/version", "/api"), [{False}, {True}]), timeout=60, interval=0.3)
        _say(authentication, "anonymous: everything")  # nothing that can be read: what was said before holds
        await asyncio.sleep(1.5)
        assert await asked("/version", "/api") == [{False}, {True}]
        _say(authentication, yaml.safe_dump({**yaml.safe_load(NO_ISSUERS), "anonymous": {"enabled": False}}))
        await eventually(lambda: _same(asked("/version", "/api"), [{True}, {True}]), timeout=60, interval=0.3)
    finally:
        _say(authentication, NO_ISSUERS)
    await eventually(lambda: _same(asked("/version", "/api"), [{False}, {False}]), timeout=60, interval=0.3)


async def _same(asking: Awaitable[list[set[bool]]], wanted: list[set[bool]]) -> bool:
    return await asking == wanted
