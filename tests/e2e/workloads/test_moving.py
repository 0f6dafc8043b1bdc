"""One workspace, two clusters: what moves runs all the time and leaves nothing; what runs on both is one above."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
import pytest_asyncio

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from tests.e2e.ground import Ground
from tests.e2e.workloads.team import DEPLOYMENTS, LABEL, NAMESPACES, PATIENCE, WORKLOAD_CLUSTERS, Team, deployment
from tests.e2e.workspaces.installation import Installation, Outcome
from tests.integration.eventually import eventually

PLACEMENTS = Resource("workload.kcp.dev", "v1alpha1", "placements", namespaced=False)
EVENTS = Resource("", "v1", "events")


class Both(NamedTuple):
    """The two clusters of one workspace, as if a team had each."""

    east: Team
    west: Team

    async def workload(self, *arguments: str) -> Outcome:
        team = self.east
        command = ("kubectl-kcp", "workload", *arguments)
        return await team.kcp.run(*command, kubeconfig=team.kcp.kubeconfig(team.path))

    async def running(self, namespace: str) -> tuple[int, int]:
        """Pods that are Ready, on each cluster."""
        counts = [sum(map(ready, await team.pods(namespace))) for team in self]
        return counts[0], counts[1]

    async def reaches(self, namespace: str, *wanted: int) -> None:
        async def reached() -> bool:
            return await self.running(namespace) == wanted

        try:
            await eventually(reached, StatusError, timeout=PATIENCE)
        except AssertionError:
            raise AssertionError(f"{await self.running(namespace)} pods are ready, not {wanted}") from None


def ready(pod: dict[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def both(kcp: Installation, physical: Ground) -> AsyncIterator[Both]:
    path = await kcp.create("root:telcops", "movers")
    east, west = (
        Team(kcp, path, cluster, name) for name, cluster in zip(("one", "two"), physical.clusters, strict=True)
    )
    await east.onboard()  # the older one is where namespaces go first
    await west.onboard()
    yield Both(east, west)
    for team in (east, west):
        await team.leave()
        await team.close()


@pytest.fixture
async def seen(both: Both) -> AsyncIterator[list[tuple[int, int]]]:
    """Counts of ready pods of namespace ``moved``, as they change while the test runs."""
    counts: list[tuple[int, int]] = []

    async def look() -> None:
        while True:
            with contextlib.suppress(StatusError):
                found = await both.running("moved")
                if not counts or counts[-1] != found:
                    counts.append(found)
            await asyncio.sleep(0.1)

    task = asyncio.create_task(look())
    yield counts
    task.cancel()


async def test_drain(both: Both, seen: list[tuple[int, int]]) -> None:
    await both.east.namespace("moved")
    await both.east.deploy("moved", replicas=2)
    await both.reaches("moved", 2, 0)
    seen.clear()
    done = await both.workload("drain", "one", "--timeout", "2m")
    assert done.code == 0, done.text
    assert done.out.splitlines() == [
        "workloadcluster/one cordoned",
        *(f"evicting namespace {name}" for name in ("default", "moved")),
        *sorted(line for line in done.out.splitlines() if " evicted" in line),
        "workloadcluster/one drained",
    ]
    assert "namespace/moved evicted to two" in done.out
    await both.reaches("moved", 0, 2)
    await both.east.gone_below(NAMESPACES, both.east.below("moved"), None)
    assert all(sum(counts) >= 2 for counts in seen), f"too few at a time: {seen}"
    await both.west.available("moved", "words", 2)
    above = await both.east.up.get(DEPLOYMENTS, "words", "moved")
    assert above["metadata"]["labels"][LABEL] == "two"

    async def nothing_left() -> bool:
        found = await both.east.up.get(DEPLOYMENTS, "words", "moved")
        return not [key for key in found["metadata"].get("annotations") or {} if "status.workload" in key]

    await eventually(nothing_left, timeout=PATIENCE)
    events = {item["reason"]: item["message"] for item in (await both.east.up.list(EVENTS, "moved"))["items"]}
    assert events["Moved"] == "Runs on two; is removed from one."
    again = await both.workload("drain", "one")
    assert again.out.splitlines() == ["workloadcluster/one already cordoned", "workloadcluster/one drained"]
    assert (await both.workload("uncordon", "one")).out == "workloadcluster/one uncordoned\n"
    assert (await both.workload("uncordon", "one")).out == "workloadcluster/one already uncordoned\n"


async def test_drain_of_what_has_nowhere_to_go(both: Both) -> None:
    selector = {"matchLabels": {"stuck": "yes"}}
    spec = {"namespaceSelector": selector, "clusterSelector": {"matchLabels": {"only": "here"}}}
    await both.east.up.patch(WORKLOAD_CLUSTERS, "one", {"metadata": {"labels": {"only": "here"}}})
    await both.east.up.create(PLACEMENTS, placement("stuck", spec))
    await both.east.up.create(NAMESPACES, {"metadata": {"name": "stuck", "labels": {"stuck": "yes"}}})

    async def placed() -> bool:
        found = await both.east.up.get(NAMESPACES, "stuck")
        return bool(found["metadata"].get("labels", {}).get(LABEL) == "one")

    await eventually(placed, timeout=PATIENCE)
    failed = await both.workload("drain", "one", "--timeout", "5s")
    assert failed.code == 1
    assert 'error when evicting namespace "stuck" (will retry): Runs on one by Placement stuck.' in failed.err
    assert failed.err.splitlines()[-1].startswith(
        "error: unable to drain workloadcluster 'one' within 5s, still there: "
    )
    assert "Traceback" not in failed.err
    shown = await both.workload("status", "one", "-o", "json")
    report = json.loads(shown.out)
    assert report["draining"] is True
    assert "stuck" in {each["name"] for each in report["namespaces"]}
    await both.east.up.delete(NAMESPACES, "stuck")
    await both.east.up.delete(PLACEMENTS, "stuck")
    await both.workload("uncordon", "one")


async def test_on_two_clusters(both: Both) -> None:
    spec = {"namespaceSelector": {"matchLabels": {"on": "both"}}, "numberOfClusters": 2}
    await both.east.up.create(PLACEMENTS, placement("both", spec))
    await both.east.up.create(NAMESPACES, {"metadata": {"name": "shared", "labels": {"on": "both"}}})
    await both.east.up.create(DEPLOYMENTS, deployment("words", 3), "shared")
    await both.reaches("shared", 2, 1)
    await both.east.available("shared", "words", 3)
    difference = {"experimental.spec-diff.workload.kcp.dev/two": '[{"op":"replace","path":"/replicas","value":3}]'}
    await both.east.up.patch(DEPLOYMENTS, "words", {"metadata": {"annotations": difference}}, "shared")
    await both.reaches("shared", 2, 3)
    policy = {"workloads.kcp.dev/replicas": "Repeat", **dict.fromkeys(difference)}
    await both.east.up.patch(DEPLOYMENTS, "words", {"metadata": {"annotations": policy}}, "shared")
    await both.reaches("shared", 3, 3)
    shown = await both.workload("status")
    assert shown.code == 0, shown.text
    lines = [line.split() for line in shown.out.splitlines()]
    assert lines[0][:6] == ["NAME", "READY", "SCHEDULING", "HEARTBEAT", "RESOURCES", "NAMESPACES"]
    assert [line[:3] for line in lines[1:]] == [["one", "True", "Enabled"], ["two", "True", "Enabled"]]
    await both.east.up.delete(NAMESPACES, "shared")
    for team in both:
        await team.gone_below(NAMESPACES, team.below("shared"), None)


def placement(name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {"apiVersion": PLACEMENTS.api_version, "kind": "Placement", "metadata": {"name": name}, "spec": spec}
