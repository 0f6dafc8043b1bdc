"""ClusterRoles of a new cluster: listed, bound, extended by aggregation, and each workspace's own."""

from __future__ import annotations

from functools import partial
from typing import Any

from tests.clients import same
from tests.e2e.workspaces.installation import USERS, Installation
from tests.e2e.workspaces.test_access import CLUSTER_ROLES, entry, grant_cluster, subject
from tests.e2e.workspaces.twins import CRDS, RBAC, Answer, Api, Twins
from tests.integration.eventually import eventually

DEFAULTS = ("admin", "cluster-admin", "edit", "system:aggregate-to-admin", "system:aggregate-to-edit",
            "system:aggregate-to-view", "view")  # fmt: skip
FEEDS_VIEW = "rbac.authorization.k8s.io/aggregate-to-view"


def role(name: str, labels: dict[str, str], *resources: str) -> dict[str, Any]:
    rules = [{"apiGroups": ["twins.test"], "resources": list(resources), "verbs": ["get", "list"]}]
    return {"metadata": {"name": name, "labels": labels}, "rules": rules}


async def test_aggregation_is_that_of_a_cluster(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        selectors = [
            {"matchLabels": {"twins.test/part": "yes"}},
            {"matchExpressions": [{"key": FEEDS_VIEW, "operator": "Exists"}]},
        ]
        whole = {"metadata": {"name": "twins-whole"}, "aggregationRule": {"clusterRoleSelectors": selectors}}
        await api.must("POST", f"{RBAC}/clusterroles", whole)
        await api.must("POST", f"{RBAC}/clusterroles", role("twins-a", {FEEDS_VIEW: "true"}, "gadgets"))
        await api.must("POST", f"{RBAC}/clusterroles", role("twins-b", {"twins.test/part": "yes"}, "widgets"))
        rounds = [await filled(api, {"gadgets"}, {"gadgets", "widgets"})]
        await api.must("DELETE", f"{RBAC}/clusterroles/twins-a")
        await api.must("DELETE", f"{RBAC}/clusterroles/twins-b")
        rounds.append(await filled(api, set(), set()))
        await api.must("DELETE", f"{RBAC}/clusterroles/twins-whole")
        return same.obj(rounds)

    async def filled(api: Api, view: set[str], whole: set[str]) -> list[Any]:
        for name, wanted in (("view", view), ("admin", view), ("twins-whole", whole)):
            await api.until("GET", f"{RBAC}/clusterroles/{name}", wanted=partial(has, wanted))
        return [await api.must("GET", f"{RBAC}/clusterroles/{name}") for name in (*DEFAULTS, "twins-whole")]

    def has(wanted: set[str], answer: Answer) -> bool:
        ours = [rule for rule in answer.json.get("rules") or () if "twins.test" in rule.get("apiGroups", ())]
        return {name for rule in ours for name in rule["resources"]} == wanted

    await twins.same(scenario)
    listed = await twins.workspace.must("GET", f"{RBAC}/clusterroles")
    assert [item["metadata"]["name"] for item in listed["items"]] == list(DEFAULTS)


async def test_what_one_workspace_adds_to_a_role_is_nothing_to_another(kcp: Installation) -> None:
    one, other = await kcp.fresh(), await kcp.fresh()
    for path in (one, other):
        name = path.rpartition(":")[2]
        await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), subject("User", "bob"))
        bound = await kcp.kubectl(path, "create", "rolebinding", "bob", "--clusterrole=view", "--user=bob")
        assert bound.out == "rolebinding.rbac.authorization.k8s.io/bob created\n", bound.err
        await kcp.client(path).request("POST", CRDS, body=definition())
    await kcp.client(one).create(CLUSTER_ROLES, role("adds", {FEEDS_VIEW: "true"}, "gadgets"))

    async def may(path: str) -> bool:
        asked = await kcp.kubectl(path, "auth", "can-i", "list", "gadgets.twins.test", token=USERS["bob"])
        status, _, _ = await kcp.raw(
            "GET", f"/clusters/{path}/apis/twins.test/v1/namespaces/default/gadgets", token=USERS["bob"]
        )
        return asked.out == "yes\n" and status == 200

    await eventually(lambda: may(one), timeout=60)
    assert not await may(other)
    in_other = await kcp.client(other).get(CLUSTER_ROLES, "view")
    assert all("twins.test" not in rule["apiGroups"] for rule in in_other["rules"])


async def test_they_can_be_changed_and_removed_here_alone(kcp: Installation) -> None:
    one, other = await kcp.fresh(), await kcp.fresh()
    mine, theirs = kcp.client(one), kcp.client(other)
    before = await theirs.get(CLUSTER_ROLES, "system:aggregate-to-view")
    await mine.patch(CLUSTER_ROLES, "system:aggregate-to-view", {"rules": []})

    async def emptied() -> bool:
        return not (await mine.get(CLUSTER_ROLES, "view")).get("rules")

    await eventually(emptied)
    await mine.delete(CLUSTER_ROLES, "edit")
    await mine.request("DELETE", f"{RBAC}/clusterroles")
    assert (await mine.list(CLUSTER_ROLES))["items"] == []
    assert (await theirs.get(CLUSTER_ROLES, "view"))["rules"] == before["rules"]
    assert len((await theirs.list(CLUSTER_ROLES))["items"]) == len(DEFAULTS)
    shards = await kcp.shard.get(CLUSTER_ROLES, "system:aggregate-to-view")
    assert shards["rules"] == before["rules"]


def definition() -> dict[str, Any]:
    schema = {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}}
    version = {"name": "v1", "served": True, "storage": True, "schema": schema}
    spec = {"group": "twins.test", "scope": "Namespaced", "names": {"plural": "gadgets", "kind": "Gadget"}}
    return {"metadata": {"name": "gadgets.twins.test"}, "spec": {**spec, "versions": [version]}}
