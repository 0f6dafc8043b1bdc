"""What is killed comes back, and what was asked for meanwhile is done."""

from __future__ import annotations

import asyncio
import os
import signal

import pytest

from proxy.kube.errors import StatusError
from tests.e2e.processes import processes
from tests.e2e.workloads.team import (
    CONFIGMAPS,
    DEPLOYMENTS,
    PATIENCE,
    PODS,
    WORKLOAD_CLUSTERS,
    Team,
    is_ready,
)
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children


@pytest.mark.parametrize("program", ["proxy.server.worker", "kube-apiserver", "etcd ", "kube-controller-manager"])
async def test_kill_a_part_of_kcp(kcp_process: Kcp, team_a: Team, program: str) -> None:
    name = f"kill-{program.strip().replace('.', '-')}"
    await team_a.namespace(name)
    await team_a.deploy(name)
    victims = [pid for pid, line in children(kcp_process.pid).items() if program in f"{line} "]
    assert victims, children(kcp_process.pid)
    restarts = await team_a.syncer_restarts()
    for pid in victims:
        os.kill(pid, signal.SIGKILL)

    async def scaled() -> bool:
        await team_a.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 2}}, name)
        return True

    await eventually(scaled, StatusError, timeout=PATIENCE, interval=0.5)
    await team_a.available(name, "words", 2)
    assert await team_a.syncer_restarts() == restarts, await team_a.syncer_log(previous=True)


async def test_kill_the_syncer(team_a: Team) -> None:
    """Its process is killed: what changed in the meantime is caught up with, deletions too."""
    await team_a.namespace("syncer-killed")
    for name in ("kept", "changed", "deleted"):
        await team_a.up.create(CONFIGMAPS, {"metadata": {"name": name}, "data": {"k": "old"}}, "syncer-killed")
        await team_a.on_below(CONFIGMAPS, name, "syncer-killed")
    victims = team_a.syncer_processes()
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    await team_a.up.delete(CONFIGMAPS, "deleted", "syncer-killed")
    await team_a.up.patch(CONFIGMAPS, "changed", {"data": {"k": "new"}}, "syncer-killed")
    await team_a.gone_below(CONFIGMAPS, "deleted", team_a.below("syncer-killed"))

    async def changed() -> bool:
        return bool((await team_a.on_below(CONFIGMAPS, "changed", "syncer-killed"))["data"] == {"k": "new"})

    await eventually(changed, timeout=PATIENCE)
    assert (await team_a.on_below(CONFIGMAPS, "kept", "syncer-killed"))["data"] == {"k": "old"}


async def test_delete_the_syncers_pod(team_a: Team) -> None:
    await team_a.namespace("pod-deleted")
    pod = (await team_a.syncer_pod())["metadata"]
    await team_a.down.delete(PODS, pod["name"], pod["namespace"], grace=0)
    await team_a.deploy("pod-deleted")


async def test_kcp_away_for_a_while(kcp_process: Kcp, team_a: Team) -> None:
    """All of kcp is killed and started again: the workload runs on, and the syncer finds its way back."""
    await team_a.namespace("away")
    await team_a.deploy("away")
    before = [pod["metadata"]["uid"] for pod in await team_a.pods("away")]
    restarts = await team_a.syncer_restarts()
    await kcp_process.end(signal.SIGKILL)
    await asyncio.sleep(3)
    assert [pod["metadata"]["uid"] for pod in await team_a.pods("away")] == before
    await kcp_process.begin()

    async def scaled() -> bool:
        await team_a.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 2}}, "away")
        return True

    await eventually(scaled, StatusError, timeout=PATIENCE, interval=0.5)
    await team_a.available("away", "words", 2)
    assert await team_a.syncer_restarts() == restarts, await team_a.syncer_log(previous=True)
    assert set(before) < {pod["metadata"]["uid"] for pod in await team_a.pods("away")}


@pytest.mark.usefixtures("real_nodes")
async def test_a_node_that_dies(team_a: Team) -> None:
    """With all that runs on it, the syncer's pod among it, as in a power cut; it is started again."""
    await team_a.namespace("node-killed")
    await team_a.deploy("node-killed")
    before = {pod["metadata"]["uid"] for pod in await team_a.pods("node-killed")}
    victims = processes("unshare", "tests.clusters.node", str(team_a.cluster.folder))
    assert victims
    for pid in victims:
        os.kill(pid, signal.SIGKILL)
    await team_a.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 2}}, "node-killed")
    await team_a.up.create(CONFIGMAPS, {"metadata": {"name": "meanwhile"}, "data": {"k": "v"}}, "node-killed")
    # All its images are loaded again before its kubelet starts, and that starts the syncer again.
    there = await team_a.on_below(CONFIGMAPS, "meanwhile", "node-killed", timeout=6 * PATIENCE)
    assert there["data"] == {"k": "v"}
    await team_a.available("node-killed", "words", 2)
    assert before < {pod["metadata"]["uid"] for pod in await team_a.pods("node-killed")}


async def test_a_physical_cluster_that_is_down(team_b: Team) -> None:
    """It is not Ready within about a minute; when it is back, everything asked for meanwhile is done."""
    await team_b.namespace("cluster-down")
    await team_b.deploy("cluster-down")
    await team_b.cluster.stop()
    try:
        await team_b.up.create(CONFIGMAPS, {"metadata": {"name": "meanwhile"}, "data": {"k": "v"}}, "cluster-down")
        await team_b.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 2}}, "cluster-down")

        async def not_ready() -> bool:
            return not is_ready(await team_b.up.get(WORKLOAD_CLUSTERS, team_b.location))

        await eventually(not_ready, timeout=100, interval=1)
    finally:
        await team_b.cluster.start()

    async def ready() -> bool:
        return is_ready(await team_b.up.get(WORKLOAD_CLUSTERS, team_b.location))

    await eventually(ready, timeout=PATIENCE)
    await team_b.available("cluster-down", "words", 2)
    assert (await team_b.on_below(CONFIGMAPS, "meanwhile", "cluster-down"))["data"] == {"k": "v"}
