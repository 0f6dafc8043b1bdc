"""kubectl kcp workload sync NAME --shared: one syncer on a cluster, with the rights that the printed manifests give."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from proxy.binaries import find
from proxy.kube.client import Object
from proxy.kube.errors import StatusError
from proxy.workload.api import CLUSTERS, is_true
from syncer.names import physical_namespace, syncer_id
from tests.integration.eventually import eventually
from tests.integration.pushing.conftest import CONFIGMAPS, SECRETS, Team

HERE = "kcp-syncer"


async def added(team: Team, folder: Path, *options: str) -> Path:
    """What the command prints, applied on the cluster."""
    command = ["kubectl-kcp", "workload", "sync", team.name, "--shared", *options]
    printed = await team.kcp.run(*command, kubeconfig=team.kcp.kubeconfig(team.path))
    assert printed.code == 0, printed.text
    file = folder / f"{team.name}.yaml"
    file.write_text(printed.out)
    await below(team, "apply", file)
    return file


async def below(team: Team, verb: str, file: Path) -> None:
    outcome = await team.kcp.run(find("kubectl"), verb, "-f", str(file), kubeconfig=team.physical.kubeconfig)
    assert outcome.code == 0, outcome.text


async def account(team: Team, folder: Path) -> Path:
    """A kubeconfig of the syncer's own account on the cluster."""
    request: Object = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {}}
    path = f"/api/v1/namespaces/{HERE}/serviceaccounts/kcp-syncer/token"
    token = (await team.below.request("POST", path, body=request))["status"]["token"]
    config: dict[str, Any] = team.config()
    for entry in config["users"]:
        entry["user"] = {"token": token}
    file = folder / "account.kubeconfig"
    file.write_text(json.dumps(config))
    return file


@asynccontextmanager
async def syncer(kubeconfig: Path, log: Path) -> AsyncIterator[None]:
    with log.open("ab") as output:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "syncer.main", f"--from-secrets={HERE}", f"--to-kubeconfig={kubeconfig}"),
            stdout=output,
            stderr=output,
        )
    try:
        yield
        assert process.returncode is None, log.read_text()[-2000:]
    finally:
        if process.returncode is None:
            process.terminate()
        await process.wait()


async def is_ready(team: Team) -> bool:
    return is_true(await team.above.get(CLUSTERS, team.name), "Ready")


async def renewed(team: Team) -> str:
    found = await team.below.get(SECRETS, f"{syncer_id(team.path, team.name)}-token", HERE)
    return str((found.get("data") or {}).get("token") or "")


async def test_two_workspaces_share_one_syncer(teams: tuple[Team, Team], tmp_path: Path) -> None:
    team = teams[0]
    other = Team(teams[1].kcp, teams[1].path, teams[1].above, team.physical, team.below, teams[1].name)
    await added(team, tmp_path, "--syncer-image", "localhost/kcp-syncer:dev")
    async with syncer(await account(team, tmp_path), tmp_path / "syncer.log"):
        await eventually(lambda: is_ready(team), timeout=60)
        second = await added(other, tmp_path)
        await eventually(lambda: is_ready(other), timeout=60)
        for each in (team, other):
            await each.write("words", each.path)
        for each in (team, other):
            await each.arrives("words", each.path)

        # A token of its own for each, renewed and kept beside the other.
        tokens = [await eventually(partial(renewed, each), StatusError) for each in (team, other)]
        assert tokens[0] != tokens[1]

        # One goes, with nothing that the other needs.
        await below(team, "delete", second)
        await team.write("words", "after")
        await team.arrives("words", "after")
        await other.write("words", "after")
        await asyncio.sleep(2)
        found = await team.below.get(CONFIGMAPS, "words", physical_namespace(other.path, "default"))
        assert found["data"]["value"] == other.path, "it stays as it was"
