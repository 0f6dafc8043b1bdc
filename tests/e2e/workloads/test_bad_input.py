"""Mistakes around workloads: each gets one clear line, and nothing is lost."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from proxy.kube.errors import StatusError
from tests.e2e.ground import Ground
from tests.e2e.workloads.team import CONFIGMAPS, DEPLOYMENTS, WORKLOAD_CLUSTERS, Team, run_syncer
from tests.e2e.workspaces.installation import WORKSPACES, Installation
from tests.images import SYNCER
from tests.integration.eventually import eventually


async def sync(kcp: Installation, path: str, *arguments: str) -> tuple[int, str, str]:
    outcome = await kcp.run("kubectl-kcp", "workload", "sync", *arguments, kubeconfig=kcp.kubeconfig(path))
    return outcome.code, outcome.out, outcome.err


async def test_without_an_image(team_a: Team) -> None:
    code, out, errors = await sync(team_a.kcp, team_a.path, "another")
    assert (code, out, errors) == (1, "", "error: a value must be specified for --syncer-image\n")
    with pytest.raises(StatusError, match="not found"):
        await team_a.up.get(WORKLOAD_CLUSTERS, "another")


async def test_in_a_workspace_without_workloads(kcp: Installation) -> None:
    code, out, errors = await sync(kcp, "root:telcops", "another", "--syncer-image", SYNCER)
    assert (code, out) == (1, "")
    assert len(errors.splitlines()) == 1
    assert "workloadclusters" in errors.lower() or "the server could not find the requested resource" in errors


async def test_in_a_workspace_that_does_not_exist(kcp: Installation) -> None:
    code, out, errors = await sync(kcp, "root:telcops:nobody", "another", "--syncer-image", SYNCER)
    assert (code, out) == (1, "")
    assert len(errors.splitlines()) == 1


@pytest.mark.parametrize("name", ["Upper", "under_score", "a" * 250])
async def test_with_an_invalid_name(team_a: Team, name: str) -> None:
    code, out, errors = await sync(team_a.kcp, team_a.path, name, "--syncer-image", SYNCER)
    assert (code, out) == (1, "")
    assert len(errors.splitlines()) == 1
    assert name[:20] in errors


async def test_twice_changes_nothing_and_prints_again(team_a: Team) -> None:
    before = await team_a.up.get(WORKLOAD_CLUSTERS, team_a.location)
    code, out, errors = await sync(team_a.kcp, team_a.path, team_a.location, "--syncer-image", SYNCER)
    assert (code, errors) == (0, "")
    assert _without_secrets(out) == _without_secrets(team_a.manifest.read_text())
    after = await team_a.up.get(WORKLOAD_CLUSTERS, team_a.location)
    assert (after["metadata"]["uid"], after["spec"]) == (before["metadata"]["uid"], before["spec"])


async def test_the_workspace_of_a_syncer_is_deleted(kcp: Installation, physical: Ground) -> None:
    """The syncer says so in one line and does not give up; what is on the cluster stays."""
    path = await kcp.create("root:telcops", "short-lived")
    team = Team(kcp, path, physical.clusters[0], "short")
    try:
        code, out, _ = await sync(kcp, path, "short", "--syncer-image", SYNCER)
        assert code == 0
        config = _kubeconfig(out)
        await kcp.client("root:telcops").delete(WORKSPACES, "short-lived")

        async def gone() -> bool:
            try:
                await kcp.client("root:telcops").get(WORKSPACES, "short-lived")
            except StatusError as error:
                return error.code == 404
            return False

        await eventually(gone, timeout=30)
        said = (await run_syncer(team, config, 5)).splitlines()
        assert 1 <= len(said) <= 5, said
        assert not any("Traceback" in line for line in said)
        assert any("workspace" in line for line in said)
    finally:
        await team.close()


async def test_the_application_survives_a_wrong_image(team_a: Team) -> None:
    """A new release whose image does not exist: the old pods go on, and the workspace says what is wrong."""
    await team_a.namespace("wrong-image")
    await team_a.deploy("wrong-image", replicas=2)
    change = {"spec": {"template": {"spec": {"containers": [{"name": "words", "image": "localhost/none:1"}]}}}}
    await team_a.up.patch(DEPLOYMENTS, "words", change, "wrong-image", kind="strategic")
    if team_a.cluster.runtime != "kwok":

        async def stuck() -> bool:
            status = (await team_a.up.get(DEPLOYMENTS, "words", "wrong-image"))["status"]
            return bool(status.get("unavailableReplicas") and status.get("availableReplicas") == 2)

        await eventually(stuck, timeout=30)


async def test_a_config_map_too_large_for_the_cluster_below(team_a: Team) -> None:
    """Near the limit of an object: it goes down whole."""
    await team_a.namespace("large")
    data = {"k": "x" * 900_000}
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "large"}, "data": data}, "large")
    assert (await team_a.on_below(CONFIGMAPS, "large", "large"))["data"] == data


def _kubeconfig(manifest: str) -> dict[str, Any]:
    for document in yaml.safe_load_all(manifest):
        if document and document["metadata"]["name"] == "kcp-syncer-config":
            config: dict[str, Any] = yaml.safe_load(document["stringData"]["kubeconfig"])
            return config
    raise AssertionError("the manifest has no secret")


def _without_secrets(manifest: str) -> list[Any]:
    return [document for document in yaml.safe_load_all(manifest) if document and document["kind"] != "Secret"]
