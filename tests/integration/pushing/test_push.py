"""kubectl kcp workload sync NAME --push FILE: two workspaces, two clusters, one `kcp syncer`."""

from __future__ import annotations

import asyncio
import base64
import signal

import aiohttp
import yaml

from proxy.kube.client import Object
from proxy.kube.config import load_kubeconfig
from proxy.workload.api import CLUSTERS
from syncer.names import physical_namespace, syncer_id
from tests.faults.clock import wrong_clock
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children
from tests.integration.pushing.conftest import CONFIGMAPS, DEPLOYMENTS, SECRETS, Team
from tests.integration.pushing.syncer_process import SETTINGS, SyncerProcess
from tests.integration.syncer_pair import absent, application


async def test_two_workspaces_and_two_clusters(teams: tuple[Team, Team]) -> None:
    outcomes = await asyncio.gather(*(team.sync() for team in teams))
    for team, outcome in zip(teams, outcomes, strict=True):
        assert outcome.code == 0, outcome.text
        assert outcome.out == f'WorkloadCluster "{team.name}" is Ready.\n'
    for team in teams:
        await team.write("words", team.path)
    for team in teams:
        await team.arrives("words", team.path)
    for team, other in (teams, teams[::-1]):
        assert physical_namespace(other.path, "default") not in await team.namespaces_below()

    team = teams[0]
    obj = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "words"}, **application()}
    await eventually(lambda: team.above.create(DEPLOYMENTS, obj, "default"), Exception, timeout=30)
    where = physical_namespace(team.path, "default")
    await eventually(lambda: team.below.get(DEPLOYMENTS, "words", where), Exception, timeout=30)
    status = {"status": {"observedGeneration": 1, "replicas": 1}}
    await team.below.patch(DEPLOYMENTS, "words", status, where, subresource="status")

    async def told() -> Object:
        found = await team.above.get(DEPLOYMENTS, "words", "default")
        return found["status"] if found["status"].get("replicas") == 1 else {}

    await eventually(told, timeout=30)

    # Another Secret, another cluster.
    other = teams[1]
    outcome = await team.sync(file=other.physical.kubeconfig)
    assert outcome.code == 0, outcome.text
    await team.write("words", "moved")
    await team.arrives("words", "moved", below=other.below)


async def test_what_is_handed_over_opens_no_more_than_syncing_needs(team: Team, kcp_process: Kcp) -> None:
    assert (await team.sync("--on-removal", "delete")).code == 0
    secret = await team.above.get(SECRETS, f"{team.name}-kubeconfig", "default")
    assert secret["type"] == "workload.kcp.dev/kubeconfig"
    config = yaml.safe_load(base64.b64decode(secret["data"]["kubeconfig"]))
    connection = load_kubeconfig(config)
    assert connection.token
    assert connection.client_key_data is None, "not the user's own credentials"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": "kube-system"},
    }
    async with type(team.below)(connection) as account:
        path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews"
        rules = (await account.request("POST", path, body=review))["status"]["resourceRules"]
    named = {resource for rule in rules for resource in rule["resources"]}
    assert named == {
        "configmaps", "customresourcedefinitions", "deployments", "namespaces", "secrets", "serviceaccounts",
        "selfsubjectaccessreviews", "selfsubjectrulesreviews", "selfsubjectreviews",
    }  # fmt: skip

    # Not even with all the rest of its namespace is it taken down.
    await team.write("words", "1")
    await team.arrives("words", "1")
    below = await team.below.list(SECRETS, physical_namespace(team.path, "default"))
    assert all(item["type"] != "workload.kcp.dev/kubeconfig" for item in below["items"])

    # Deleted, and gone with all that it has made, its account included, whatever the shard's clock said then.
    [apiserver] = [pid for pid, line in children(kcp_process.pid).items() if "kube-apiserver" in line.split()[0]]
    with wrong_clock(apiserver, 3000):
        await team.above.delete(CLUSTERS, team.name)
    gone = {physical_namespace(team.path, "default"), syncer_id(team.path, team.name)}

    async def cleared() -> bool:
        return not gone & await team.namespaces_below()

    assert gone <= await team.namespaces_below()
    await eventually(cleared, timeout=60)
    await absent(team.above, CLUSTERS, team.name)
    await absent(team.above, SECRETS, f"{team.name}-kubeconfig", "default")
    assert not (await team.above.get(CONFIGMAPS, "words", "default"))["metadata"].get("finalizers")


async def test_what_stands_stays_where_nothing_else_is_said(team: Team) -> None:
    assert (await team.sync()).code == 0
    await team.write("words", "1")
    await team.arrives("words", "1")

    # For a syncer on the cluster, and back.
    command = ["kubectl-kcp", "workload", "sync", team.name, "--syncer-image", "x"]
    outcome = await team.kcp.run(*command, kubeconfig=team.kcp.kubeconfig(team.path))
    assert outcome.code == 0, outcome.text
    assert "kind: Deployment" in outcome.out
    assert "push" not in (await team.cluster())["spec"]
    await eventually(lambda: says_nothing(team), timeout=30)
    assert (await team.sync()).code == 0

    await team.above.delete(CLUSTERS, team.name)
    await absent(team.above, CLUSTERS, team.name)
    await team.write("words", "2")
    await asyncio.sleep(3)
    found = await team.below.get(CONFIGMAPS, "words", physical_namespace(team.path, "default"))
    assert found["data"]["value"] == "1"
    assert not found["metadata"].get("deletionTimestamp")


async def says_nothing(team: Team) -> bool:
    return not await team.condition("Connected")


async def test_another_takes_over_from_one_that_is_killed(team: Team, syncer: SyncerProcess, kcp_process: Kcp) -> None:
    assert (await team.sync()).code == 0
    await team.write("words", "1")
    await team.arrives("words", "1")
    async with SyncerProcess(kcp_process.root, *SETTINGS) as second:
        await eventually(lambda: says(second, "[+]standing-by ok"), aiohttp.ClientError)
        await syncer.end(signal.SIGKILL)
        await team.write("words", "2")
        await team.write("more", "2")
        await team.arrives("words", "2")
        await team.arrives("more", "2")
        assert await says(second, "[+]clusters-known ok")
        await syncer.start()
        await eventually(lambda: says(syncer, "[+]standing-by ok"), aiohttp.ClientError)
    # The one that was killed is told at once that the other has ended.
    await eventually(lambda: says(syncer, "[+]clusters-known ok"), timeout=30)
    await team.write("words", "3")
    await team.arrives("words", "3")


async def says(process: SyncerProcess, line: str) -> bool:
    url = f"http://127.0.0.1:{process.port}/readyz?verbose"
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return line in await answer.text()
