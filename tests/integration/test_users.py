"""`kcp kubeconfig`: somebody gets one, works with it, and loses it."""

from __future__ import annotations

import json
import stat
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.pki import Authority
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp

CONFIGMAPS = Resource("", "v1", "configmaps")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of CAs whose client certificates are accepted; that of ``one`` at first."""
    folder = tmp_path_factory.mktemp("authorities")
    file = folder / "clients.crt"
    file.write_bytes(Authority(folder, "one").cert)
    return file


@pytest.fixture(scope="module")
async def kcp(authorities: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    async with Kcp(tmp_path_factory.mktemp("users") / "root", "--client-ca-file", str(authorities)) as running:
        for name in ("team-a", "team-b"):
            await running.make_workspace("root:default", name)
        yield running


async def kubeconfig(kcp: Kcp, *arguments: str) -> tuple[int, str, str]:
    return await run_kcp("kubeconfig", *arguments, "--root-directory", str(kcp.root))


async def refused(client: Client, code: int) -> bool:
    try:
        await client.list(CONFIGMAPS, "default")
    except StatusError as error:
        return error.code == code
    return False


async def test_a_user_comes_and_goes(kcp: Kcp, tmp_path: Path) -> None:
    file = tmp_path / "alice.kubeconfig"
    made = await kubeconfig(
        kcp, "create", "alice", "--workspace", "root:default:team-a", "--admin", "--file", str(file)
    )
    assert made == (0, f"{file}: alice in root:default:team-a\n", "")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((kcp.root / "tokens.csv").stat().st_mode) == 0o600
    mine = load_kubeconfig(file)
    async with Client(mine) as client:

        async def works() -> bool:
            return bool((await client.list(CONFIGMAPS, "default"))["items"])

        await eventually(works, StatusError)
        obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "mine"}}
        await client.create(CONFIGMAPS, obj, "default")
        code, output, _ = await kubeconfig(kcp, "list", "-o", "json")
        assert (code, json.loads(output)) == (0, [{"user": "alice", "groups": []}])
        assert mine.token
        assert mine.token not in output
        assert await kubeconfig(kcp, "revoke", "alice") == (0, "user alice revoked\n", "")
        await eventually(lambda: refused(client, 401))


async def test_access_alone_is_no_right_inside_and_none_elsewhere(kcp: Kcp, tmp_path: Path) -> None:
    file = tmp_path / "bob.kubeconfig"
    where = ("--workspace", "root:default:team-b", "--group", "dev", "--group", "ops")
    assert (await kubeconfig(kcp, "create", "bob", *where, "--access", "--file", str(file)))[0] == 0
    async with Client(load_kubeconfig(file)) as client:
        await eventually(lambda: refused(client, 403))
        body: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        review = await client.request("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body)
        info = review["status"]["userInfo"]
        assert info["username"] == "bob"
        assert {"dev", "ops"} <= set(info["groups"])
    assert (await kubeconfig(kcp, "list"))[1] == "USER   GROUPS\nbob    dev,ops\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("create", "admin"), "'admin' is no name for a user"),
        (("create", "a b"), "'a b' is no name for a user"),
        (("create", "x", "--group", "system:masters"), "groups have no blanks"),
        (("create", "x", "--workspace", "root:nowhere"), "root:nowhere"),
        (("revoke", "nobody"), "no user nobody was made by kcp kubeconfig create"),
        (("revoke", "admin"), "no user admin was made by kcp kubeconfig create"),
    ],
)
async def test_mistakes_are_one_line(kcp: Kcp, arguments: tuple[str, ...], message: str) -> None:
    code, output, errors = await kubeconfig(kcp, *arguments)
    assert (code, output) == (1, "")
    assert message in errors
    assert len(errors.splitlines()) == 1


async def test_client_certificates(kcp: Kcp, authorities: Path) -> None:
    """Those of CAs that the file holds now, and of no other."""
    folder = authorities.parent
    one, two = (Authority(folder, name) for name in ("one", "two"))
    everywhere = load_kubeconfig(kcp.kubeconfig, "system:admin")

    async def who(authority: Authority) -> str:
        """Whom its certificate makes in a new connection."""
        pair = authority.client(f"bob-{authority.name}", user="bob", groups=["system:masters", "ops"])
        mine = replace(
            everywhere,
            server=f"{everywhere.server}/clusters/root:default",
            token=None,
            client_cert_data=pair.cert,
            client_key_data=pair.key,
        )
        async with Client(mine) as client:
            try:
                review = await client.request(
                    "POST",
                    "/apis/authentication.k8s.io/v1/selfsubjectreviews",
                    body={"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"},
                )
            except StatusError as error:
                return f"refused: {error.code}"
        info = review["status"]["userInfo"]
        return f"{info['username']}: {', '.join(info['groups'])}"

    bob = "bob: system:masters, ops, system:authenticated"
    assert await who(one) == bob
    assert (await who(two)).startswith("refused")
    authorities.write_text("nothing that can be read")
    authorities.write_bytes(two.cert)
    await kcp.says("client certificates are checked with", timeout=120)
    for _ in range(6):  # whichever worker takes the connection
        assert await who(two) == bob
        assert (await who(one)).startswith("refused")
