"""What keeps a cluster from being synced is said where its owner looks; what would harm kcp's machine is refused."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from proxy.shard.addresses import free_port
from proxy.workload.api import CLUSTERS
from tests.integration.eventually import eventually
from tests.integration.pushing.conftest import SECRETS, Team
from tests.integration.pushing.syncer_process import SyncerProcess


def edited(config: dict[str, Any], cluster: dict[str, Any] | None = None, user: dict[str, Any] | None = None) -> str:
    config = copy.deepcopy(config)
    config["clusters"][0]["cluster"] |= cluster or {}
    config["users"][0]["user"] |= user or {}
    return json.dumps(config)


@asynccontextmanager
async def listener() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server of nobody's: its port, and what it was sent."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.append(await reader.read(100))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], got


async def test_a_cluster_that_cannot_be_synced_says_why(team: Team, tmp_path: Path, syncer: SyncerProcess) -> None:
    assert (await team.sync("--push-as-is")).code == 0
    config, marker = team.config(), tmp_path / "marker"
    await team.above.delete(CLUSTERS, team.name)  # for a start with nothing but a Secret
    await eventually(lambda: gone(team), timeout=60)
    push = {"secretRef": {"name": f"{team.name}-kubeconfig"}}
    obj = {"apiVersion": CLUSTERS.api_version, "kind": "WorkloadCluster", "metadata": {"name": team.name}}
    await team.secret(edited(config, user={"exec": {"command": "/usr/bin/touch", "args": [str(marker)]}}))
    await team.above.create(CLUSTERS, {**obj, "spec": {"push": push}})
    said = await team.becomes("KubeconfigRefused")
    assert "'exec', which would run a program" in said["message"]
    # What is said there is what the owner sees first.
    await eventually(lambda: says(team, "Ready", "KubeconfigRefused"), timeout=30)
    assert not marker.exists()

    await team.secret(edited(config, {"certificate-authority": "/etc/passwd", "certificate-authority-data": None}))
    await team.becomes("KubeconfigRefused")
    async with listener() as (port, got):
        # 127.0.0.1/32 is allowed in these tests; not so the rest of what is this machine.
        for server in ("https://127.0.0.2", "https://[::1]", "https://[::ffff:127.0.0.2]"):
            await team.secret(edited(config, {"server": f"{server}:{port}"}))
            assert "--allow-network" in (await team.becomes("AddressNotAllowed"))["message"], server
            assert not got
            await team.secret(edited(config, {"server": f"https://127.0.0.1:{free_port()}"}))
            assert "refuses connections" in (await team.becomes("NotReachable"))["message"]
        await team.secret(edited(config, {"server": f"https://127.0.0.1:{port}"}))
        await eventually(lambda: sent(got), timeout=30)
    await team.secret(edited(config, user={"token": "wrong"}))
    await team.becomes("Unauthorized")
    await team.secret(None, data={"kubeconfig": ""})
    await team.becomes("SecretInvalid")
    await team.secret(edited(config))
    await team.becomes("")
    await team.write("words", "1")
    await team.arrives("words", "1")
    text = syncer.log.read_text()
    assert "wrong" not in text
    assert config["users"][0]["user"]["token"] not in text


async def sent(got: list[bytes]) -> bool:
    return bool(got)


async def gone(team: Team) -> bool:
    """The cluster, and the Secret that goes with it: one that were made anew before would go as well."""
    clusters, secrets = await asyncio.gather(team.above.list(CLUSTERS), team.above.list(SECRETS, namespace="default"))
    names = {item["metadata"]["name"] for item in [*clusters["items"], *secrets["items"]]}
    return not names & {team.name, f"{team.name}-kubeconfig"}


async def says(team: Team, kind: str, reason: str) -> bool:
    return bool((await team.condition(kind)).get("reason") == reason)


async def test_a_troubled_cluster_disturbs_no_other(teams: tuple[Team, Team]) -> None:
    team, other = teams
    assert [outcome.code for outcome in await asyncio.gather(team.sync(), other.sync())] == [0, 0]
    # The other's API server, whose certificate does not fit.
    server = other.config()["clusters"][0]["cluster"]["server"]
    await team.secret(edited(team.config(), {"server": server}))
    await team.becomes("CertificateNotTrusted")
    for number in range(5):
        await other.write("words", str(number))
        await other.arrives("words", str(number))
    await team.above.delete(CLUSTERS, team.name)
    await other.above.delete(CLUSTERS, other.name)


async def test_the_command_says_what_is_wrong(team: Team, tmp_path: Path) -> None:
    file = tmp_path / "kubeconfig"
    file.write_text(edited(team.config(), user={"exec": {"command": "/bin/true"}}))
    outcome = await team.sync("--push-as-is", file=file)
    assert (outcome.code, outcome.out) == (1, "")
    assert "exec" in outcome.err
    file.write_text(edited(team.config(), {"server": "https://127.0.0.2:1"}))
    outcome = await team.sync("--push-as-is", file=file)
    assert outcome.code == 1
    assert outcome.err.startswith("Error: AddressNotAllowed: ")
    assert "--allow-network" in outcome.err
    for options, words in (
        (("--syncer-image", "x"), "only one of them"),
        (("--push-context", "nope"), "does not exist"),
    ):
        outcome = await team.sync(*options)
        assert outcome.code == 1
        assert words in outcome.err, outcome.text
        assert "Traceback" not in outcome.text


@pytest.mark.parametrize("options", [("--allow-network", "127.0.0.1/8"), ("--root-directory", "/nonexistent")])
async def test_a_syncer_that_cannot_start(options: tuple[str, ...], tmp_path: Path) -> None:
    process = SyncerProcess(tmp_path / ".kcp", *options)
    await process.start()
    assert process._process is not None
    async with asyncio.timeout(30):
        assert await process._process.wait() == 1
    lines = process.log.read_text().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("Error: ")
