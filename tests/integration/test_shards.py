"""Two shards under one kcp: where workspaces go, and what the loss of a shard means."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.tenancy.api import CLUSTER_ROLES, CLUSTER_WORKSPACES, SCHEDULED, SHARDS, WORKSPACES
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp

CONFIGMAPS = Resource("", "v1", "configmaps")
HERE = "root:default"
"""Where the workspaces of these tests are made."""


class Pair:
    """A kcp of an embedded shard and of shard ``eu``, and what its operator does."""

    def __init__(self, kcp: Kcp, eu: ControlPlane) -> None:
        self.kcp, self.eu = kcp, eu

    async def shard(self, *arguments: str) -> str:
        """What ``kcp shard …`` prints."""
        code, output, errors = await run_kcp("shard", *arguments, "--root-directory", str(self.kcp.root))
        assert (code, errors) == (0, "")
        return output

    async def label(self, shard: str, labels: dict[str, str | None]) -> None:
        async with self.kcp.client("root") as client:
            await client.patch(SHARDS, shard, {"metadata": {"labels": labels}})

    async def make(self, name: str, shard: Object | None = None) -> None:
        spec: Object = {"type": "Universal"} | ({"shard": shard} if shard is not None else {})
        workspace = {
            "apiVersion": WORKSPACES.api_version,
            "kind": "Workspace",
            "metadata": {"name": name},
            "spec": spec,
        }
        async with self.kcp.client(HERE) as client:
            await client.create(WORKSPACES, workspace)

    async def details(self, name: str) -> Object:
        async with self.kcp.client(HERE) as client:
            return await client.get(CLUSTER_WORKSPACES, name)

    async def place(self, name: str) -> str:
        """Shard of a workspace, once it is Ready."""

        async def ready() -> str | None:
            status = (await self.details(name)).get("status") or {}
            return status["location"]["current"] if status.get("phase") == "Ready" else None

        return str(await eventually(ready, StatusError, timeout=30))

    async def trouble(self, name: str) -> str:
        """Why a workspace is not placed, once that is said."""

        async def said() -> str:
            conditions = ((await self.details(name)).get("status") or {}).get("conditions") or ()
            return next((item["message"] for item in conditions if item["type"] == SCHEDULED and "message" in item), "")

        return await eventually(said, StatusError, timeout=30)


@pytest.fixture(scope="module")
async def pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    folder: Path = tmp_path_factory.mktemp("shards")
    async with (
        ControlPlane(ControlPlaneSettings(folder=folder / "eu", durable=False)) as eu,
        Kcp(folder / "kcp", "--shard", f"eu={eu.kubeconfig}") as kcp,
    ):
        yield Pair(kcp, eu)


async def _listed(pair: Pair) -> dict[str, Any]:
    return {item["metadata"]["name"]: item for item in json.loads(await pair.shard("list", "-o", "json"))["items"]}


async def _counted(pair: Pair, **expected: int) -> None:
    """Until the shards' status says how many workspaces they hold."""

    async def counted() -> bool:
        return {name: shard["status"].get("workspaces") for name, shard in (await _listed(pair)).items()} == expected

    await eventually(counted, timeout=30, interval=0.3)


async def test_new_workspaces_go_where_there_is_room_and_leave(pair: Pair) -> None:
    async def both() -> bool:
        shards = await _listed(pair)
        return set(shards) == {"root", "eu"} and all(
            {item["type"]: item["status"] for item in (shard.get("status") or {}).get("conditions") or ()}
            == {"Ready": "True"}
            for shard in shards.values()
        )

    await eventually(both, timeout=60, interval=0.3)
    for name in ("one", "two", "three", "four"):
        await pair.make(name)
        await pair.place(name)
    await _counted(pair, root=3, eu=3)  # with root and root:default

    assert await pair.shard("cordon", "eu") == "shard/eu cordoned\n"
    assert await pair.shard("cordon", "eu") == "shard/eu already cordoned\n"
    await pair.make("five")
    assert await pair.place("five") == "root"

    assert await pair.shard("limit", "root", "4") == "shard/root limited to 4 workspaces\n"
    await pair.make("six")
    assert await pair.trouble("six") == "0/2 shards are available: 1 cordoned, 1 full"
    assert await pair.shard("uncordon", "eu") == "shard/eu uncordoned\n"
    assert await pair.place("six") == "eu"
    assert await pair.shard("limit", "root", "none") == "shard/root unlimited\n"

    await _counted(pair, root=4, eu=4)
    table = (await pair.shard("list")).splitlines()
    assert table[0].split() == ["NAME", "READY", "WORKSPACES", "MAXIMUM", "CORDONED"]
    assert [line.split()[:3] for line in table[1:]] == [["eu", "True", "4"], ["root", "True", "4"]]
    async with pair.kcp.client(HERE) as client:
        await client.delete(WORKSPACES, "five")

    await _counted(pair, root=3, eu=4)


async def test_selector_and_name(pair: Pair) -> None:
    wanted = {"selector": {"matchLabels": {"region": "eu"}}}
    await pair.make("near", wanted)
    assert await pair.trouble("near") == "0/2 shards are available: 2 not selected"
    await pair.label("eu", {"region": "eu"})
    assert await pair.place("near") == "eu"
    await pair.make("named", {"name": "root"})
    assert await pair.place("named") == "root"
    await pair.make("nowhere", {"name": "asia"})
    assert await pair.trouble("nowhere") == 'shard "asia" not found'


async def _refused_roles(pair: Pair) -> float:
    """How often the shard of `HERE` was asked to make a role, or its binding, that was there."""
    async with Client(load_kubeconfig(pair.kcp.root / "shard" / "admin.kubeconfig")) as client:
        metrics = await client.request("GET", "/metrics")
    asked = [line for line in metrics.splitlines() if re.match(r"apiserver_request_total\{code=\"409\"", line)]
    return sum(float(line.rpartition(" ")[2]) for line in asked if 'resource="clusterrole' in line)


async def test_looks_at_a_workspace_that_waits_cost_nothing(pair: Pair) -> None:
    await pair.make("patient", {"selector": {"matchLabels": {"looks": "enough"}}})
    assert await pair.trouble("patient") == "0/2 shards are available: 2 not selected"
    before = await _refused_roles(pair)
    for number in range(5):  # each is a look
        await pair.label("eu", {"looks": str(number)})
    await pair.label("eu", {"looks": "enough"})
    assert await pair.place("patient") == "eu"
    assert await _refused_roles(pair) == before
    async with pair.kcp.client(HERE) as client:
        await client.get(CLUSTER_ROLES, "owner-workspace-patient-admin")


async def test_object_of_a_shard_is_made_again(pair: Pair) -> None:
    async with pair.kcp.client("root") as client:
        before = (await client.get(SHARDS, "eu"))["metadata"]["uid"]
        await client.delete(SHARDS, "eu")

        async def again() -> bool:
            return bool((await client.get(SHARDS, "eu"))["metadata"]["uid"] != before)

        await eventually(again, StatusError, timeout=30, interval=0.3)


async def test_loss_of_a_shard_leaves_the_others_working(pair: Pair) -> None:
    await pair.make("there", {"name": "eu"})
    await pair.make("here", {"name": "root"})
    assert (await pair.place("there"), await pair.place("here")) == ("eu", "root")
    server = pair.eu.processes["kube-apiserver"]
    await server.stop()
    running = False
    try:
        async with pair.kcp.client(f"{HERE}:there") as there, pair.kcp.client(f"{HERE}:here") as here:
            with pytest.raises(StatusError) as refused:
                await there.list(CONFIGMAPS)
            assert refused.value.code == 503
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}}
            await here.create(CONFIGMAPS, made)

            async def away() -> bool:
                conditions = (await _listed(pair))["eu"]["status"]["conditions"]
                return [item["reason"] for item in conditions if item["status"] == "False"] == ["Away"]

            await eventually(away, timeout=30, interval=0.3)
            await pair.make("meanwhile")
            assert await pair.place("meanwhile") == "root"
            await server.start()
            running = True

            async def back() -> bool:
                return bool((await there.list(CONFIGMAPS))["items"])

            await eventually(back, StatusError, timeout=60, interval=0.3)
    finally:
        if not running:
            await server.start()


async def test_what_is_wrong_is_one_line(pair: Pair, tmp_path: Path) -> None:
    for arguments, message in (
        (("cordon", "asia"), 'Error: clusterworkspaceshards.tenancy.kcp.dev "asia" not found'),
        (("limit", "eu", "few"), "Error: 'few' is neither a number nor none"),
    ):
        code, output, errors = await run_kcp("shard", *arguments, "--root-directory", str(pair.kcp.root))
        assert (code, output, errors.strip()) == (1, "", message)
    code, _, errors = await run_kcp("shard", "list", "--root-directory", str(tmp_path))
    assert code == 1
    assert errors.strip().endswith("does not exist; --root-directory names the folder of `kcp start`")


async def _refused(pair: Pair, *arguments: str) -> str:
    code, output, errors = await run_kcp("shard", *arguments, "--root-directory", str(pair.kcp.root))
    assert (code, output) == (1, "")
    return errors.strip().removeprefix("Error: ")


@asynccontextmanager
async def _in_use(pair: Pair) -> AsyncIterator[None]:
    """Somebody reads all the time, and no request fails."""
    failures: list[StatusError] = []
    count = 0

    async def read() -> None:
        nonlocal count
        async with pair.kcp.client(HERE) as client:
            while True:
                try:
                    await client.list(CONFIGMAPS, namespace="default")
                    count += 1
                except StatusError as error:
                    failures.append(error)
                await asyncio.sleep(0.01)

    reading = asyncio.create_task(read())
    try:
        yield
    finally:
        reading.cancel()
    assert not failures
    assert count > 20


async def test_a_shard_comes_and_goes(pair: Pair, tmp_path: Path) -> None:
    async with ControlPlane(ControlPlaneSettings(folder=tmp_path / "us", durable=False)) as us, _in_use(pair):
        assert await pair.shard("add", "us", str(us.kubeconfig)) == "shard/us added\n"
        kept = pair.kcp.root / "shards" / "us.kubeconfig"
        assert kept.stat().st_mode & 0o777 == 0o600
        await pair.make("over-there", {"name": "us"})
        assert await pair.place("over-there") == "us"
        async with pair.kcp.client(f"{HERE}:over-there") as there:
            made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x", "namespace": "default"}}
            await there.create(CONFIGMAPS, made)

        await _counted_at(pair, "us", 1)
        assert await _refused(pair, "remove", "us") == (
            "shard us holds 1 workspaces: kcp shard drain us moves them away"
        )
        assert (await pair.shard("add", "us", str(us.kubeconfig))).startswith("shard/us changed: ")
        # A file that somebody takes away leaves nobody's workspace behind.
        content = kept.read_bytes()
        kept.unlink()
        await pair.kcp.says("shards stay as they are: shard us holds 1 workspaces", timeout=60)
        kept.write_bytes(content)
        kept.chmod(0o600)
        await pair.shard("move", f"{HERE}:over-there", "root")
        await _counted_at(pair, "us", 0)
        async with pair.kcp.client(f"{HERE}:over-there") as there:
            assert [item["metadata"]["name"] for item in (await there.list(CONFIGMAPS, namespace="default"))["items"]]
        assert await pair.shard("remove", "us") == "shard/us removed\n"
        assert set(await _listed(pair)) == {"root", "eu"}
        assert not kept.exists()
        served = json.loads((pair.kcp.root / "server.json").read_text())["shards"]
        assert [shard["name"] for shard in served] == ["root", "eu"]


async def _counted_at(pair: Pair, shard: str, expected: int) -> None:
    async def counted() -> bool:
        return bool((await _listed(pair))[shard]["status"].get("workspaces") == expected)

    await eventually(counted, timeout=60, interval=0.3)


async def test_what_cannot_be_added_or_removed(pair: Pair, tmp_path: Path) -> None:
    def written(server: str, **user: str) -> str:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "a", "cluster": {"server": server, "insecure-skip-tls-verify": True}}],
            "users": [{"name": "a", "user": user}],
            "contexts": [{"name": "a", "context": {"cluster": "a", "user": "a"}}],
            "current-context": "a",
        }
        file = tmp_path / "kubeconfig"
        file.write_text(json.dumps(config))
        return str(file)

    own = "there is a shard {} that `kcp start` has of its own, or by a flag"
    for name in ("root", "eu"):
        assert await _refused(pair, "add", name, str(pair.eu.kubeconfig)) == own.format(name)
    assert "lower case letters" in await _refused(pair, "add", "Asia", str(pair.eu.kubeconfig))
    closed = f"https://127.0.0.1:{free_port()}"
    assert "cannot be reached" in await _refused(pair, "add", "asia", written(closed))
    assert await _refused(pair, "add", "asia", written(pair.eu.server, token="none")) == "Unauthorized"
    (tmp_path / "text").write_text("no kubeconfig")
    assert await _refused(pair, "add", "asia", str(tmp_path / "text")) == f"{tmp_path / 'text'}: not a kubeconfig"
    assert await _refused(pair, "remove", "eu") == (
        "shard eu cannot be removed: it is kcp's own, or was given by a flag"
    )
    assert await _refused(pair, "remove", "asia") == "shard asia cannot be removed: there is no such shard"
    assert set(await _listed(pair)) == {"root", "eu"}
