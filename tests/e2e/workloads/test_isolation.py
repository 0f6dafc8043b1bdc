"""Two teams on one kcp see nothing of each other: neither in their workspaces nor on their clusters."""

from __future__ import annotations

import pytest

from proxy.kube.errors import StatusError
from tests.e2e.workloads.team import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, Team, deployment


async def test_same_names_side_by_side(team_a: Team, team_b: Team) -> None:
    for team in (team_a, team_b):
        await team.namespace("shop")
        await team.deploy("shop", replicas=1)
        settings = {"metadata": {"name": "settings"}, "data": {"team": team.path}}
        await team.up.create(CONFIGMAPS, settings, "shop")
    for team in (team_a, team_b):
        assert (await team.up.get(CONFIGMAPS, "settings", "shop"))["data"] == {"team": team.path}
        assert (await team.on_below(CONFIGMAPS, "settings", "shop"))["data"] == {"team": team.path}
    await team_a.up.delete(DEPLOYMENTS, "words", "shop")
    await team_a.gone_below(DEPLOYMENTS, "words", team_a.below("shop"))
    await team_b.available("shop", "words", 1)
    assert len(await team_b.pods("shop")) == 1


async def test_nothing_of_the_other_team_in_a_workspace(team_a: Team, team_b: Team) -> None:
    await team_a.namespace("only-a")
    await team_a.up.create(DEPLOYMENTS, deployment("only-a-app", 0), "only-a")
    await team_a.on_below(DEPLOYMENTS, "only-a-app", "only-a")
    names = [item["metadata"]["name"] for item in (await team_b.up.list(NAMESPACES))["items"]]
    assert "only-a" not in names
    everywhere = [item["metadata"]["name"] for item in (await team_b.up.list(DEPLOYMENTS))["items"]]
    assert "only-a-app" not in everywhere
    with pytest.raises(StatusError) as caught:
        await team_b.up.get(DEPLOYMENTS, "only-a-app", "only-a")
    assert caught.value.code == 404
    everything = await team_b.kcp.kubectl(
        team_b.path, "get", "deployments,configmaps,secrets,serviceaccounts,events,workloadclusters", "-A", "-o", "yaml"
    )
    assert everything.code == 0, everything.text
    for trace in ("only-a", "team-a", team_a.location, await team_a.kcp.token_of(team_a.path)):
        assert trace not in everything.out


async def test_nothing_of_the_other_team_on_a_cluster(team_a: Team, team_b: Team) -> None:
    for team, other in ((team_a, team_b), (team_b, team_a)):
        await team.namespace("below")
        await team.up.create(CONFIGMAPS, {"metadata": {"name": "mine"}, "data": {}}, "below")
        await team.on_below(CONFIGMAPS, "mine", "below")
        everything = await team.kubectl_below("get", "namespaces,configmaps,deployments", "-A", "-o", "yaml")
        assert other.path not in everything
        assert other.below("below") not in everything


async def test_the_syncer_of_a_team_may_not_enter_another_workspace(team_a: Team, team_b: Team) -> None:
    token = team_a.manifest.read_text().partition("token: ")[2].split()[0].strip('"')
    own = team_a.kcp.client(team_a.path, token)
    assert (await own.list(CONFIGMAPS, "default"))["items"]
    stranger = team_a.kcp.client(team_b.path, token)
    with pytest.raises(StatusError) as caught:
        await stranger.list(CONFIGMAPS, "default")
    assert caught.value.code in (401, 403)
    above = team_a.kcp.client("root:telcops", token)
    with pytest.raises(StatusError) as caught:
        await above.request("GET", "/apis/tenancy.kcp.dev/v1beta1/workspaces")
    assert caught.value.code in (401, 403)
