"""What is decided here is what the shard's own RBAC decides: for made-up roles, bindings, users and requests."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.auth.asking import ask
from proxy.auth.authorizer import Access, Authorizer, access_review
from proxy.auth.identity import AUTHENTICATED, User
from proxy.kube.client import Client
from proxy.kube.reviews import ACCESS_REVIEWS
from proxy.mapping.paths import RequestInfo
from proxy.mapping.request import Attributes, attributes_of
from proxy.mapping.scopes import NoCRDs
from proxy.tenancy import index
from tests.integration.eventually import eventually
from tests.integration.mapping_front import Front, Workspace
from tests.integration.mapping_workspaces import RBAC

TOKEN = "kauthzaaa"
PLACE = index.Workspace(path="root:authz", token=TOKEN, type="Universal", phase="Ready", owner="", shard="shard")
API = "rbac.authorization.k8s.io"
NAMESPACES = ("default", "blue")
VERBS = (
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "impersonate",
    "bind",
    "use",
)
RESOURCES = (("", "configmaps"), ("", "secrets"), ("", "namespaces"), ("apps", "deployments"),
             ("example.com", "widgets"), (API, "roles"), (API, "clusterroles"), ("", "serviceaccounts"))  # fmt: skip
SUBRESOURCES = ("", "", "status", "token", "scale")
NAMES = ("", "one", "two", "view")
PATHS = ("/version", "/api", "/apis/apps", "/healthz/etcd", "/logs/a/b", "/")
USERS = (
    User("alice", ("dev", AUTHENTICATED)),
    User("bob", ("ops", "dev", AUTHENTICATED)),
    User("carol", (AUTHENTICATED,)),
    User("system:serviceaccount:blue:robot",
         ("system:serviceaccounts", "system:serviceaccounts:blue", AUTHENTICATED), workspace_token=TOKEN),
    User("nobody", ("system:unauthenticated",)),
)  # fmt: skip


def some(chance: random.Random, values: tuple[Any, ...], most: int = 3) -> list[Any]:
    return chance.sample(values, chance.randint(1, most))


def made_rule(chance: random.Random, *, urls: bool) -> dict[str, Any]:
    verbs = ["*"] if chance.random() < 0.2 else some(chance, VERBS, 6)
    if urls and chance.random() < 0.2:
        return {"verbs": verbs, "nonResourceURLs": some(chance, (*PATHS, "/logs/*", "/apis/*", "*"))}
    chosen = some(chance, RESOURCES, 4)
    resources = [name + chance.choice(("", "", "/status", "/scale", "/*")) for _, name in chosen]
    if chance.random() < 0.15:
        resources = [chance.choice(("*", "*/status", "*/scale"))]
    groups = ["*"] if chance.random() < 0.2 else [group for group, _ in chosen]
    rule = {"verbs": verbs, "apiGroups": groups, "resources": resources}
    return rule | ({"resourceNames": some(chance, ("one", "two", "view"), 2)} if chance.random() < 0.3 else {})


def made_subject(chance: random.Random) -> dict[str, Any]:
    kind = chance.choice(("User", "User", "Group", "ServiceAccount"))
    if kind == "ServiceAccount":
        return {"kind": kind, "name": chance.choice(("robot", "other")), "namespace": chance.choice(NAMESPACES)}
    users = ("alice", "bob", "carol", "system:serviceaccount:blue:robot")
    groups = ("dev", "ops", AUTHENTICATED, "system:serviceaccounts:blue", "system:unauthenticated", "system:masters")
    return {"kind": kind, "apiGroup": API, "name": chance.choice(users if kind == "User" else groups)}


def question(chance: random.Random) -> Attributes:
    if chance.random() < 0.1:
        return Attributes(chance.choice(("get", "post", "head")), "", "", "", "", "", False, chance.choice(PATHS))
    group, resource = chance.choice(RESOURCES)
    scoped = resource in ("namespaces", "clusterroles")
    info = RequestInfo(
        chance.choice(VERBS), group, "v1", resource, chance.choice(SUBRESOURCES),
        "" if scoped else chance.choice(("", *NAMESPACES, "missing")), chance.choice(NAMES), is_resource=True,
    )  # fmt: skip
    if resource == "namespaces" and info.name:
        info.namespace = info.name
    return attributes_of(info, f"{TOKEN}-", NoCRDs())


class OnlyPlace:
    def get(self, path: str) -> index.Workspace | None:
        return PLACE if path == PLACE.path else None


@pytest_asyncio.fixture(loop_scope="session")
async def authorizer(admin: Client) -> AsyncIterator[Authorizer]:
    authorizer = Authorizer(OnlyPlace(), {"shard": admin})
    following = asyncio.create_task(authorizer.run())
    await asyncio.sleep(0.5)
    yield authorizer
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)


async def decide(authorizer: Authorizer, user: User, asked: Attributes) -> bool:
    answer = authorizer.allowed(user, Access.ACCESS, PLACE, asked)
    return answer if isinstance(answer, bool) else await answer


@pytest.mark.parametrize("seed", range(4))
async def test_every_decision_is_the_shards(
    authorizer: Authorizer, front: Front, admin: Client, tmp_path: Path, seed: int
) -> None:
    chance = random.Random(seed)
    workspace = Workspace(front, TOKEN, tmp_path)
    for name in NAMESPACES:
        await workspace.raw("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    made: list[str] = []

    async def make(path: str, name: str, **body: Any) -> None:
        await workspace.ask("POST", path, {"metadata": {"name": name}, **body})
        made.append(f"{path}/{name}")

    for n in range(6):
        rules = [made_rule(chance, urls=True) for _ in range(chance.randint(0, 4))]
        await make(f"{RBAC}/clusterroles", f"r{seed}-{n}", rules=rules)
        for namespace in NAMESPACES:
            rules = [made_rule(chance, urls=False) for _ in range(chance.randint(0, 4))]
            await make(f"{RBAC}/namespaces/{namespace}/roles", f"r{seed}-{n}", rules=rules)
    for n in range(18):
        subjects = [made_subject(chance) for _ in range(chance.randint(1, 2))]
        role = {"apiGroup": API, "kind": "ClusterRole", "name": f"r{seed}-{chance.randint(0, 6)}"}
        where = chance.choice(("", *NAMESPACES))
        if not where:
            await make(f"{RBAC}/clusterrolebindings", f"b{seed}-{n}", subjects=subjects, roleRef=role)
        else:
            role["kind"] = chance.choice(("Role", "ClusterRole"))
            await make(f"{RBAC}/namespaces/{where}/rolebindings", f"b{seed}-{n}", subjects=subjects, roleRef=role)

    async def shards(user: User, asked: Attributes) -> bool:
        spec = access_review(user, PLACE, asked)
        return (await ask(admin, "shard", ACCESS_REVIEWS, spec)).get("allowed") is True

    async def compare(count: int) -> int:
        allowed = 0
        for _ in range(count):
            user, asked = chance.choice(USERS), question(chance)

            async def agree(user: User = user, asked: Attributes = asked) -> bool:
                return await decide(authorizer, user, asked) == await shards(user, asked)

            assert await eventually(agree, timeout=1.0), (user, asked)
            allowed += await shards(user, asked)
        return allowed

    allowed = await compare(150)
    assert 5 < allowed < 145, "questions that are all answered alike show nothing"
    bindings = [path for path in made if "binding" in path]
    for path in chance.sample(bindings, 4):
        await workspace.ask("DELETE", path)
        made.remove(path)
    await compare(60)
    for path in made:
        await workspace.ask("DELETE", path)
    since = time.monotonic()
    for user in USERS:

        async def nothing(user: User = user) -> bool:
            return not await decide(authorizer, user, question(random.Random(1)))

        await eventually(nothing, timeout=1.0)
    assert time.monotonic() - since < 1.0
