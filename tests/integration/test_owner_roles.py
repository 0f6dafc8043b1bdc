"""Whoever makes a workspace owns it: by no role until somebody looks, and by that role alone from then on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.kube.reviews import ACCESS_REVIEWS, OWN_ACCESS_REVIEWS, RULES_REVIEWS, status_of
from proxy.tenancy.api import CLUSTER_ROLE_BINDINGS, CLUSTER_ROLES, CLUSTER_WORKSPACES, WORKSPACES
from proxy.tenancy.index import LOGICAL_CLUSTERS
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp
from tests.integration.two_shards import two_shards

RBAC = "rbac.authorization.k8s.io"
CONFIGMAPS = Resource("", "v1", "configmaps")
ORG = "root:acme"
KINDS = (CLUSTER_ROLES, CLUSTER_ROLE_BINDINGS)


class Org:
    """An organization in which everybody who is known may make workspaces, and nothing else."""

    def __init__(self, kcp: Kcp, shard: Client) -> None:
        self.kcp = kcp
        self.shard = shard
        """Where its workspaces are."""

    @asynccontextmanager
    async def as_user(self, name: str, path: str = ORG) -> AsyncIterator[Client]:
        admin = load_kubeconfig(self.kcp.kubeconfig, "system:admin")
        server = f"{admin.server}/clusters/{path}"
        async with Client(
            replace(admin, server=server, client_cert_data=None, client_key_data=None, token=f"{name}-token")
        ) as client:
            yield client

    def admin(self, path: str = ORG) -> Client:
        return self.kcp.client(path)

    async def make(self, owner: str, name: str) -> None:
        """Until it can be entered."""
        workspace = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name},
                     "spec": {"type": "Universal"}}  # fmt: skip
        async with self.as_user(owner) as parent, self.as_user(owner, f"{ORG}:{name}") as inside:
            await parent.create(WORKSPACES, workspace)

            async def entered() -> bool:
                await inside.list(CONFIGMAPS)
                return True

            await eventually(entered, StatusError, timeout=20)

    async def on_shard(self, role: str) -> list[str]:
        """Of a role and its binding, those that the shard has: what clients are shown is made for them."""
        found = []
        for kind in KINDS:
            listed = await self.shard.list(kind)
            found += [kind.plural for item in listed["items"] if item["metadata"]["name"].endswith(f"-{role}")]
        return found

    async def record(self, name: str) -> Object:
        """The LogicalCluster."""
        listed = await self.shard.list(LOGICAL_CLUSTERS, field_selector=f"spec.path={ORG}:{name}")
        found: Object = listed["items"][0]
        return found

    async def role_of(self, name: str) -> str:
        said: str = (await self.record(name))["spec"]["ownerRole"]
        return said


async def refused(asked: Awaitable[Any], code: int = 403) -> StatusError:
    with pytest.raises(StatusError) as caught:
        await asked
    assert caught.value.code == code, caught.value
    return caught.value


async def may(org: Org, user: str, name: str) -> dict[str, int]:
    """What is said to who asks for the workspace, in it and about it."""
    codes = {}
    async with org.as_user(user) as parent, org.as_user(user, f"{ORG}:{name}") as inside:
        asked: dict[str, Any] = {
            "enter": inside.list(CONFIGMAPS), "get": parent.get(WORKSPACES, name),
            "details": parent.get(CLUSTER_WORKSPACES, name), "list": parent.list(WORKSPACES),
            "change": parent.patch(WORKSPACES, name, {"metadata": {"labels": {"a": "b"}}}),
            "status": parent.request("GET", f"{WORKSPACES.path(None, name)}/status"),
        }  # fmt: skip
        for what, answer in asked.items():
            try:
                await answer
            except StatusError as error:
                codes[what] = error.code
            else:
                codes[what] = 200
    return codes


OWNER = {"enter": 200, "get": 200, "details": 200, "list": 403, "change": 403, "status": 403}
NOBODY = dict.fromkeys(OWNER, 403)


def users_file(folder: Path) -> str:
    users = folder / "users.csv"
    users.touch(mode=0o600)
    users.write_text("".join(f"{name}-token,{name},{n},staff\n" for n, name in enumerate(("alice", "bob", "carol"))))
    return str(users)


async def make_org(kcp: Kcp, *, shard: str | None = None) -> None:
    await kcp.make_workspace("root", "acme", "Organization", shard=shard)
    rule = {"apiGroups": ["tenancy.kcp.dev"], "verbs": ["access"], "resourceNames": ["acme"]}
    await grant(kcp.client("root"), [{**rule, "resources": ["clusterworkspaces/content"]}])
    await grant(kcp.client(ORG), [{"apiGroups": ["tenancy.kcp.dev"], "resources": ["workspaces"], "verbs": ["create"]}])


@pytest.fixture(scope="module")
async def org(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Org]:
    folder = tmp_path_factory.mktemp("owners")
    async with Kcp(folder / ".kcp", "--workers", "2", "--token-auth-file", users_file(folder)) as kcp:
        await make_org(kcp)
        async with Client(load_kubeconfig(kcp.root / "shard" / "admin.kubeconfig")) as shard:
            yield Org(kcp, shard)


async def grant(client: Client, rules: list[Object], name: str = "staff", subject: Object | None = None) -> None:
    who = subject or {"kind": "Group", "name": "staff", "apiGroup": RBAC}
    async with client:
        await client.create(CLUSTER_ROLES, {"metadata": {"name": name}, "rules": rules})
        role = {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}
        await client.create(CLUSTER_ROLE_BINDINGS, {"metadata": {"name": name}, "subjects": [who], "roleRef": role})


async def test_no_role_until_somebody_looks(org: Org) -> None:
    await org.make("alice", "plain")
    assert await may(org, "alice", "plain") == OWNER
    assert await may(org, "bob", "plain") == NOBODY
    assert await org.on_shard("owner-workspace-plain-alice") == []
    assert await org.role_of("plain") == "Implied"

    async with org.admin() as admin, org.as_user("alice", f"{ORG}:plain") as alice:
        going, codes = True, []

        async def ask() -> None:
            while going:
                try:
                    await alice.list(CONFIGMAPS)
                except StatusError as error:
                    codes.append(error.code)

        asking = asyncio.gather(*(ask() for _ in range(4)))
        names = [item["metadata"]["name"] for item in (await admin.list(CLUSTER_ROLE_BINDINGS))["items"]]
        await asyncio.sleep(1.5)
        going = False
        await asking
    assert codes == [], "the owner is never kept out meanwhile"
    assert "owner-workspace-plain-alice" in names
    assert await org.on_shard("owner-workspace-plain-alice") == ["clusterroles", "clusterrolebindings"]
    assert await org.role_of("plain") == "Made"
    assert await may(org, "alice", "plain") == OWNER
    assert await may(org, "bob", "plain") == NOBODY


@pytest.mark.parametrize("looked_at", [True, False])
async def test_who_takes_the_role_away_takes_the_rights(org: Org, looked_at: bool) -> None:
    name = f"taken-{looked_at}".lower()
    await org.make("alice", name)
    role = f"owner-workspace-{name}-alice"
    async with org.admin() as admin:
        if looked_at:
            await admin.get(CLUSTER_ROLE_BINDINGS, role)
        await admin.delete(CLUSTER_ROLE_BINDINGS, role)

    async def nobody() -> bool:
        return await may(org, "alice", name) == NOBODY

    await eventually(nobody, timeout=2)
    await asyncio.sleep(1)
    assert await nobody()
    token = (await org.record(name))["metadata"]["name"]
    for value in ("Implied", "Wanted"):
        await refused(org.shard.patch(LOGICAL_CLUSTERS, token, {"spec": {"ownerRole": value}}), 422)


async def test_all_of_them_at_once(org: Org) -> None:
    await org.make("alice", "many-a")
    await org.make("bob", "many-b")
    async with org.admin() as admin:
        selector = "metadata.name!=staff"
        await admin.request("DELETE", CLUSTER_ROLE_BINDINGS.path(), params={"fieldSelector": selector})

    async def nobody() -> bool:
        return await may(org, "alice", "many-a") == await may(org, "bob", "many-b") == NOBODY

    await eventually(nobody, timeout=2)


async def test_reviews_say_what_is_done(org: Org) -> None:
    await org.make("alice", "asked-a")
    await org.make("bob", "asked-b")

    def about(name: str, verb: str = "delete") -> Object:
        return {
            "resourceAttributes": {"group": "tenancy.kcp.dev", "resource": "workspaces", "verb": verb, "name": name}
        }

    async with org.as_user("alice") as alice, org.as_user("bob") as bob:
        assert (await status_of(alice, OWN_ACCESS_REVIEWS, about("asked-a")))["allowed"]
        assert not (await status_of(alice, OWN_ACCESS_REVIEWS, about("asked-b"))).get("allowed")
        assert (await org.role_of("asked-a"), await org.role_of("asked-b")) == ("Made", "Implied")
        rules = (await status_of(bob, RULES_REVIEWS, {"namespace": "default"}))["resourceRules"]
        assert ["asked-b"] in [rule.get("resourceNames") for rule in rules]
    await org.make("carol", "asked-c")
    async with org.admin() as admin:
        assert (await status_of(admin, ACCESS_REVIEWS, {"user": "carol", **about("asked-c", "get")}))["allowed"]
        assert not (await status_of(admin, ACCESS_REVIEWS, {"user": "bob", **about("asked-c", "get")})).get("allowed")


async def test_an_owner_may_let_others_in(org: Org) -> None:
    """The shard sees to it that nobody gives what he does not have: an owner has it."""
    rules = [{"apiGroups": [RBAC], "resources": ["clusterroles", "clusterrolebindings"], "verbs": ["create"]}]
    await grant(org.admin(), rules, "sharers", {"kind": "User", "name": "carol", "apiGroup": RBAC})
    await org.make("carol", "shared")
    await org.make("bob", "others")

    def role(name: str) -> Object:
        rule = {"apiGroups": ["tenancy.kcp.dev"], "resources": ["workspaces/content"], "resourceNames": [name],
                "verbs": ["access"]}  # fmt: skip
        return {"metadata": {"name": f"enter-{name}"}, "rules": [rule]}

    async with org.as_user("carol") as carol:

        async def allowed() -> bool:  # sharers
            return bool(await carol.create(CLUSTER_ROLES, {"metadata": {"generateName": "nothing-"}, "rules": []}))

        await eventually(allowed, StatusError, timeout=5)
        error = await refused(carol.create(CLUSTER_ROLES, role("others")))
        assert "attempting to grant RBAC permissions not currently held" in error.message
        await carol.create(CLUSTER_ROLES, role("shared"))


async def test_who_makes_it_again_is_its_owner(org: Org) -> None:
    await org.make("alice", "again")
    async with org.as_user("alice") as alice:
        await alice.delete(WORKSPACES, "again")

        async def gone() -> bool:
            return not (await org.shard.list(LOGICAL_CLUSTERS, field_selector=f"spec.path={ORG}:again"))["items"]

        await eventually(gone, timeout=30)

        async def made() -> bool:
            await org.make("bob", "again")
            return True

        await eventually(made, StatusError, timeout=20)
    assert await may(org, "alice", "again") == NOBODY
    assert await may(org, "bob", "again") == OWNER


async def test_nobody_is_an_owner_by_saying_so(org: Org) -> None:
    await org.make("alice", "hers")
    owner = "tenancy.kcp.dev/owner"
    said = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "spec": {"type": "Universal"},
            "metadata": {"name": "his", "annotations": {owner: "alice"}}}  # fmt: skip
    async with org.as_user("bob") as bob, org.as_user("bob", f"{ORG}:hers") as inside, org.admin() as admin:
        for user in ("alice", "system:admin"):
            headers = {"Impersonate-User": user, "Impersonate-Group": "system:masters"}
            await refused(inside.request("GET", CONFIGMAPS.path("default"), headers=headers))
            await refused(bob.request("DELETE", WORKSPACES.path(None, "hers"), headers=headers))
        await bob.create(WORKSPACES, said)

        async def his() -> bool:
            return await may(org, "bob", "his") == OWNER

        await eventually(his, StatusError, timeout=20)
        for kind in (WORKSPACES, CLUSTER_WORKSPACES):
            changed = await admin.patch(kind, "his", {"metadata": {"annotations": {owner: "alice"}}})
            assert changed["metadata"]["annotations"][owner] == "bob"
    assert await may(org, "alice", "his") == NOBODY
    assert await may(org, "bob", "hers") == NOBODY
    assert (await org.record("his"))["spec"]["owner"] == "bob"


async def test_who_may_make_workspaces_and_nothing_else(org: Org, tmp_path: Path) -> None:
    """The plugin waits for his rights, and knows that they end with the workspace."""
    admin = load_kubeconfig(org.kcp.kubeconfig, "system:admin")
    authority = tmp_path / "ca.crt"
    authority.write_bytes(admin.ca_data or b"")
    here = {"server": f"{admin.server}/clusters/{ORG}", "certificate-authority": str(authority)}
    config = tmp_path / "kubeconfig"
    config.touch(mode=0o600)
    config.write_text(json.dumps({
        "apiVersion": "v1", "kind": "Config", "current-context": "c", "clusters": [{"name": "c", "cluster": here}],
        "users": [{"name": "c", "user": {"token": "alice-token"}}],
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
    }))  # fmt: skip

    async def ws(*arguments: str) -> list[str]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", "from proxy.cli.ws import main; main()", *arguments),
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            env={**os.environ, "KUBECONFIG": str(config)},
        )  # fmt: skip
        said, _ = await process.communicate()
        assert process.returncode == 0, said
        return said.decode().splitlines()

    for name in ("typed-a", "typed-b"):
        assert await ws("create", name, "--enter") == [
            f'Workspace "{name}" (type "Universal") created. Waiting for being ready.',
            f'Current workspace is "{ORG}:{name}" (type "Universal").',
        ]
        assert await ws("..") == [f'Current workspace is "{ORG}".']
        if name == "typed-b":
            await org.make("alice", "typed-c")  # one that is used takes longer
        for each in (name, "typed-c") if name == "typed-b" else (name,):
            assert await ws("delete", each) == [f'workspace.tenancy.kcp.dev "{each}" deleted']


async def test_it_is_deleted_with_its_role(org: Org) -> None:
    await org.make("alice", "ends")
    async with org.admin() as admin:
        await admin.get(CLUSTER_ROLES, "owner-workspace-ends-alice")
        assert len(await org.on_shard("owner-workspace-ends-alice")) == len(KINDS)
        await admin.delete(WORKSPACES, "ends")

        async def gone() -> bool:
            return await org.on_shard("owner-workspace-ends-alice") == []

        await eventually(gone, timeout=30)


async def test_kcp_starts_anew(org: Org) -> None:
    await org.make("alice", "stays")
    await org.make("alice", "looked")
    async with org.admin() as admin:
        await admin.get(CLUSTER_ROLES, "owner-workspace-looked-alice")
        await admin.delete(CLUSTER_ROLE_BINDINGS, "owner-workspace-looked-alice")
    await org.kcp.kill()
    await org.kcp.again()

    async def known() -> bool:
        return await may(org, "alice", "stays") == OWNER

    await eventually(known, StatusError, timeout=20)
    assert await may(org, "alice", "looked") == NOBODY
    assert await may(org, "bob", "stays") == NOBODY


async def test_it_moves(tmp_path: Path) -> None:
    """What is implied is so on the other shard; what is made while it moves would not be known there."""
    async with two_shards(tmp_path, "--workers", "2", "--token-auth-file", users_file(tmp_path)) as shards:
        await make_org(shards.kcp, shard="us")
        async with shards.below("eu") as eu, shards.below("us") as us:
            there, here = Org(shards.kcp, eu), Org(shards.kcp, us)
            await shards.shard("cordon", "us")
            for name in ("implied", "moving"):
                await there.make("alice", name)
                assert await there.role_of(name) == "Implied"
            await shards.shard("uncordon", "us")
            await shards.shard("move", f"{ORG}:implied", "us")
            assert await here.role_of("implied") == "Implied"
            assert await may(here, "alice", "implied") == OWNER
            assert await may(here, "bob", "implied") == NOBODY

            await shards.shard("move", f"{ORG}:moving", "us", "--no-wait")
            async with there.admin() as admin:

                async def taken_away() -> bool:
                    await admin.delete(CLUSTER_ROLE_BINDINGS, "owner-workspace-moving-alice")
                    return True

                await eventually(taken_away, StatusError, timeout=60)

            async def moved() -> bool:
                return not (await there.shard.list(LOGICAL_CLUSTERS, field_selector=f"spec.path={ORG}:moving"))["items"]

            await eventually(moved, timeout=60)
            assert await here.role_of("moving") == "Made"
            assert await may(here, "alice", "moving") == NOBODY
            await shards.shard("move", f"{ORG}:moving", "eu")
            assert await there.role_of("moving") == "Made"
            assert await may(here, "alice", "moving") == NOBODY
