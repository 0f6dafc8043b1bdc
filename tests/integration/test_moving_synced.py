"""Workspaces whose workloads run on a physical cluster move to another shard: their syncers go on by themselves."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.mapping.names import MOVED_UIDS
from proxy.shard.control_plane import ControlPlane
from proxy.tenancy.api import MOVES
from proxy.tenancy.moves import COMPLETED, name_of_move
from tests.integration.eventually import eventually
from tests.integration.pushing.syncer_process import SETTINGS, SyncerProcess
from tests.integration.synced import CONFIGMAPS, SECRETS, Synced, cluster_without_nodes, syncer_of
from tests.integration.test_moving import shards
from tests.integration.test_shards import HERE
from tests.integration.two_shards import Shards

ACCOUNTS = Resource("", "v1", "serviceaccounts")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)
__all__ = ["shards"]


@pytest.fixture(scope="module")
async def physical(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ControlPlane]:
    async with cluster_without_nodes(tmp_path_factory.mktemp("physical")) as plane:
        yield plane


@pytest.mark.parametrize("mode", ["pushed", "pulled"])
async def test_syncing_goes_on(shards: Shards, physical: ControlPlane, tmp_path: Path, mode: str) -> None:
    synced = Synced(shards.kcp, f"{HERE}:{mode}", physical, tmp_path)
    await shards.make_of(HERE, mode, "Universal", "us")
    async with AsyncExitStack() as stack:
        above = await stack.enter_async_context(shards.kcp.client(synced.path))
        below = await stack.enter_async_context(physical.client())
        if mode == "pushed":
            await stack.enter_async_context(SyncerProcess(shards.kcp.root, *SETTINGS))
            await synced.sync("--push", str(physical.kubeconfig))
        else:
            secret = await syncer_of(await synced.sync("--syncer-image", "none"), synced, stack)
        await synced.goes_on(above, below, "before")
        token = await shards.token_of(synced.path, "us")
        kept = await below.get(SECRETS, *secret) if mode == "pulled" else {}
        await shards.switch(synced.path, "eu")
        await synced.goes_on(above, below, "after")

        async def nothing_left() -> bool:
            return await shards.left("us", token) == []

        await eventually(nothing_left, StatusError, timeout=60)
        if mode == "pulled":

            async def renewed() -> bool:
                return bool((await below.get(SECRETS, *secret))["data"] != kept["data"])

            await eventually(renewed, StatusError, timeout=60)
        await synced.goes_on(above, below, "later")


async def account(client: Client, name: str) -> None:
    body: Object = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}}
    await client.create(ACCOUNTS, body, "default")


async def token_of(client: Client, name: str, **spec: Any) -> str:
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
    answer = await client.request("POST", ACCOUNTS.path("default", name, "token"), body=body)
    return str(answer["status"]["token"])


async def test_tokens_from_before_a_move(shards: Shards) -> None:
    """Good until they end, with the rights that their account has now; nobody else's are."""
    path, other = f"{HERE}:tokens", f"{HERE}:others"
    await shards.make_of(HERE, "tokens", "Universal", "us")
    await shards.make_of(HERE, "others", "Universal", "us")
    async with shards.kcp.client(path) as client, shards.kcp.client(other) as foreign:
        for name in ("robot", "remade", "deleted-later"):
            await account(client, name)
        await account(foreign, "robot")
        subjects = [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
        body: Object = {"apiVersion": ROLES.api_version, "kind": "ClusterRoleBinding", "metadata": {"name": "robot"}}
        await client.create(ROLES, {**body, "roleRef": role, "subjects": subjects})
        secret: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "holder"}}
        held = await client.create(SECRETS, secret, "default")
        bound = {"apiVersion": "v1", "kind": "Secret", "name": "holder", "uid": held["metadata"]["uid"]}
        # What is known of a token is known for ten seconds: none of these is shown before its time.
        good, again = await token_of(client, "robot"), await token_of(client, "robot")
        later = await token_of(client, "deleted-later")
        refused = {
            "of an account that was deleted": await token_of(client, "remade"),
            "bound to an object": await token_of(client, "robot", boundObjectRef=bound),
            "of another workspace": await token_of(foreign, "robot"),
            "for somebody else": await token_of(client, "robot", audiences=["vault"]),
            "with another signature": good[:-8] + good[-4:] + good[-8:-4],
        }
        await client.delete(ACCOUNTS, "remade", "default")
        await account(client, "remade")

        async def who(token: str) -> tuple[int, str]:
            """Code of a list, and who is refused."""
            connection = replace(client.connection, token=token, client_cert_data=None, client_key_data=None)
            async with Client(connection) as asking:
                try:
                    await asking.list(CONFIGMAPS, "default")
                except StatusError as error:
                    return error.code, error.message
                return 200, ""

        await shards.switch(path, "eu")
        assert (await who(good))[0] == 200
        code, message = await who(later)
        assert (code, "system:serviceaccount:default:deleted-later" in message) == (403, True), message
        for what, token in refused.items():
            assert (await who(token))[0] == 401, what
        uids = (await client.get(ACCOUNTS, "remade", "default"))["metadata"]["annotations"][MOVED_UIDS]
        # Nobody makes an account older than it is.
        for name, value in (("remade", f"{uids},x"), ("robot", "x")):
            found = await client.patch(
                ACCOUNTS, name, {"metadata": {"annotations": {MOVED_UIDS: value, "own": "1"}}}, "default"
            )
            assert found["metadata"]["annotations"][MOVED_UIDS] != value
            assert found["metadata"]["annotations"]["own"] == "1"
        forged: Object = {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": "forged", "annotations": {MOVED_UIDS: uids}},
        }
        made = await client.create(ACCOUNTS, forged, "default")
        assert MOVED_UIDS not in (made["metadata"].get("annotations") or {})
        found = await client.get(ACCOUNTS, "robot", "default")
        found["metadata"].pop("annotations")
        assert (await client.replace(ACCOUNTS, found))["metadata"]["annotations"][MOVED_UIDS]
        # It ends with its account, as on any cluster.
        await client.delete(ACCOUNTS, "deleted-later", "default")
        await account(client, "deleted-later")

        async def ended() -> bool:
            return (await who(later))[0] == 401

        await eventually(ended, timeout=60)
        # And another move on, back to where it was signed.
        async with shards.kcp.client("root") as root:

            async def completed() -> bool:
                return bool((await root.get(MOVES, name_of_move(path)))["status"]["phase"] == COMPLETED)

            await eventually(completed, StatusError, timeout=60)
        await shards.switch(path, "us")
        assert (await who(again))[0] == 200
        for what, token in refused.items():
            assert (await who(token))[0] == 401, what
