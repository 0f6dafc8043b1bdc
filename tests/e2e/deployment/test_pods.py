"""kcp runs as pods on a real cluster, and a team works through it while they come and go."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator

import aiohttp
import pytest
import pytest_asyncio

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.clusters import Cluster
from tests.e2e import story
from tests.e2e.deployment.deployed import NAMESPACE, NODE_PORT, installation, overlay
from tests.e2e.ground import Ground
from tests.e2e.stage import BLOG, stage
from tests.e2e.story import Story
from tests.e2e.transcript import INTERRUPT, Step, load
from tests.e2e.workloads.team import CONFIGMAPS, Team
from tests.e2e.workspaces.installation import Installation
from tests.faults.relay import Relay
from tests.integration.eventually import eventually

pytestmark = pytest.mark.usefixtures("real_nodes")
STARTED = "180s"
ORGANIZATION = "root:platform"
STEPS = [step for step in load(BLOG) if step.background is None and step.command != INTERRUPT]
"""Of the story, but for kcp's start and end: that is done with the manifests."""


class Pods:
    """The deployment, seen by who runs it."""

    def __init__(self, kcp: Installation, cluster: Cluster) -> None:
        self.kcp, self.cluster = kcp, cluster

    async def kubectl(self, *arguments: str) -> str:
        outcome = await self.kcp.run("kubectl", *arguments, kubeconfig=self.cluster.kubeconfig)
        assert outcome.code == 0, outcome.text
        return outcome.out


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pods(physical: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pods]:
    if physical.runtime == "kwok":
        pytest.skip("needs real nodes")
    folder = tmp_path_factory.mktemp("deployment")
    cluster = physical.clusters[0]
    settings = ControlPlaneSettings(
        folder=folder / "plane", durable=False, bind_address=physical.address, port=physical.port
    )
    address, port = physical.address, physical.other_port
    async with (
        ControlPlane(settings) as shard,
        Relay((cluster.address, NODE_PORT), host=address, port=port),
    ):
        here = overlay(folder / "kcp", f"{address}:{port}", shard)
        deployed = Pods(installation(folder / "kcp", folder / "clients"), cluster)
        try:
            await deployed.kubectl("apply", "-k", str(here))
            await deployed.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/kcp", f"--timeout={STARTED}")
            yield deployed
        finally:
            await deployed.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found")
            await deployed.kcp.close()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def blog(pods: Pods, physical: Ground, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Story]:
    folder = tmp_path_factory.mktemp("blog")
    async with stage(folder, physical, url=pods.kcp.url) as scene:
        home = folder / "work" / ".kcp"
        home.mkdir()
        shutil.copy(pods.kcp.root / "admin.kubeconfig", home)
        yield Story(scene)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def team(pods: Pods) -> AsyncIterator[Team]:
    assert await pods.kcp.create("root", "platform", "Organization") == ORGANIZATION
    made = Team(pods.kcp, await pods.kcp.create(ORGANIZATION, "team"), pods.cluster, "east")
    await made.onboard()
    yield made
    await made.leave()
    await made.close()


async def test_pods_are_what_the_manifests_promise(pods: Pods) -> None:
    found = json.loads(await pods.kubectl("-n", NAMESPACE, "get", "pods", "-o", "json"))["items"]
    assert len(found) == 2
    for pod in found:
        [container] = pod["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert pod["status"]["containerStatuses"][0]["restartCount"] == 0
        log = await pods.kubectl("-n", NAMESPACE, "logs", pod["metadata"]["name"])
        lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
        assert all({"ts", "level", "msg"} <= line.keys() for line in lines)
    leases = await pods.kcp.shard.request(
        "GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kcp-controllers"
    )
    assert leases["spec"]["holderIdentity"].split("_")[0] in {pod["metadata"]["name"] for pod in found}


@story.each(STEPS)
async def test_the_story_through_them(blog: Story, step: Step) -> None:
    await blog.tell(step)


async def test_new_pods_replace_old_ones_without_a_failed_request(pods: Pods, team: Team) -> None:
    """Each request on a connection of its own, as from many clients."""
    ended = asyncio.Event()
    asking = asyncio.create_task(_ask(pods.kcp.client(team.path), ended))
    await asyncio.sleep(1)
    await pods.kubectl("-n", NAMESPACE, "rollout", "restart", "deployment/kcp")
    await pods.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/kcp", f"--timeout={STARTED}")
    await asyncio.sleep(10)
    ended.set()
    good, failures = await asking
    assert not failures
    assert good > 50


async def _ask(client: Client, ended: asyncio.Event) -> tuple[int, list[str]]:
    good, failures = 0, []
    connection = client.connection
    while not ended.is_set():
        async with Client(connection) as own:
            try:
                await own.list(CONFIGMAPS, "default")
                good += 1
            except (StatusError, aiohttp.ClientError) as error:
                failures.append(str(error))
        await asyncio.sleep(0.05)
    return good, failures


async def test_loss_of_the_pod_that_controls(pods: Pods, team: Team) -> None:
    lease = await pods.kcp.shard.request(
        "GET", "/apis/coordination.k8s.io/v1/namespaces/kube-system/leases/kcp-controllers"
    )
    leader = lease["spec"]["holderIdentity"].split("_")[0]
    await pods.kubectl("-n", NAMESPACE, "delete", "pod", leader, "--grace-period=0", "--force")
    assert await eventually(lambda: _another(pods.kcp), StatusError, timeout=90) == f"{ORGANIZATION}:after"
    namespace = await team.namespace("later")
    await team.deploy(namespace)


async def _another(kcp: Installation) -> str:
    return await kcp.create(ORGANIZATION, "after")
