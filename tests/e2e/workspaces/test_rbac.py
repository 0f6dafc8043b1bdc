"""RBAC as a cluster has it: nobody gives what they do not have, acts as whom they may not, in the apiserver's words."""

from __future__ import annotations

import time
from typing import Any

from tests.clients import same
from tests.e2e.workspaces.installation import USERS, Installation
from tests.e2e.workspaces.test_access import CLUSTER_ROLE_BINDINGS, entry, grant_cluster, subject
from tests.e2e.workspaces.twins import DEFAULT, RBAC, Api, Twins
from tests.integration.eventually import eventually

GROUP = "rbac.authorization.k8s.io"


def rule(verbs: str, group: str, resources: str, *names: str) -> dict[str, Any]:
    named = {"resourceNames": list(names)} if names else {}
    return {"apiGroups": [group], "resources": resources.split(), "verbs": verbs.split(), **named}


async def actor(api: Api, name: str, *rules: dict[str, Any]) -> dict[str, str]:
    """Headers by which the administrator acts as a new user with ``rules``."""
    await api.must("POST", f"{RBAC}/clusterroles", {"metadata": {"name": name}, "rules": list(rules)})
    binding = {"metadata": {"name": name}, "subjects": [{"kind": "User", "name": name, "apiGroup": GROUP}],
               "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name}}  # fmt: skip
    await api.must("POST", f"{RBAC}/clusterrolebindings", binding)
    headers = {"Impersonate_User": name}
    first = rules[0]
    spec = {"resourceAttributes": {"verb": first["verbs"][0], "group": first["apiGroups"][0],
                                   "resource": first["resources"][0], "namespace": "default",
                                   "name": first.get("resourceNames", [""])[0]}}  # fmt: skip

    async def may() -> bool:
        path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
        return bool((await api.must("POST", path, {"spec": spec}, **headers))["status"]["allowed"])

    await eventually(may)
    return headers


async def clear(api: Api, *names: str) -> None:
    for name in names:
        for kind in ("clusterroles", "clusterrolebindings"):
            await api.must("DELETE", f"{RBAC}/{kind}/{name}")


async def test_escalation_and_binding(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        writer = await actor(api, "rbac-writer", rule("create update patch", GROUP, "roles rolebindings clusterroles"),
                             rule("get list", "", "configmaps"))  # fmt: skip
        trusted = await actor(api, "rbac-trusted", rule("create", GROUP, "rolebindings roles"),
                              rule("bind", GROUP, "clusterroles", "view", "rbac-writer"),
                              rule("escalate", GROUP, "roles"))  # fmt: skip
        roles, bindings = f"{RBAC}/namespaces/default/roles", f"{RBAC}/namespaces/default/rolebindings"

        def role(*rules: dict[str, Any], name: str = "r", **more: Any) -> dict[str, Any]:
            return {"metadata": {"name": name}, "rules": list(rules), **more}

        def binding(role: str, kind: str = "ClusterRole") -> dict[str, Any]:
            return {"metadata": {"name": "b"}, "subjects": [{"kind": "User", "name": "x", "apiGroup": GROUP}],
                    "roleRef": {"apiGroup": GROUP, "kind": kind, "name": role}}  # fmt: skip

        dry = "?dryRun=All"
        answers = [
            await api.ask("POST", roles + dry, role(rule("get", "", "configmaps")), **writer),
            await api.ask("POST", roles + dry, role(rule("get delete", "", "configmaps secrets")), **writer),
            await api.ask("POST", roles + dry, role(rule("*", "*", "*")), **writer),
            await api.ask("POST", roles + dry, role(rule("get", "example.com", "widgets", "one")), **writer),
            await api.ask("POST", f"{RBAC}/clusterroles{dry}", role(
                {"nonResourceURLs": ["/logs/*"], "verbs": ["get"]}), **writer),
            await api.ask("POST", f"{RBAC}/clusterroles{dry}", role(
                aggregationRule={"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}]}), **writer),
            await api.ask("POST", bindings + dry, binding("view"), **writer),
            await api.ask("POST", bindings + dry, binding("cluster-admin"), **writer),
            await api.ask("POST", bindings + dry, binding("rbac-writer"), **writer),
            await api.ask("POST", bindings + dry, binding("missing"), **writer),
            await api.ask("POST", bindings + dry, binding("missing", "Role"), **writer),
            await api.ask("POST", bindings + dry, binding("view"), **trusted),
            await api.ask("POST", bindings + dry, binding("edit"), **trusted),
            await api.ask("POST", roles + dry, role(rule("*", "*", "*")), **trusted),
            await api.ask("POST", bindings + dry, binding("x", "Other")),
            await api.ask("POST", bindings + dry, {**binding("view"), "subjects": [{"kind": "Robot", "name": "x"}]}),
        ]  # fmt: skip
        made = await api.must("POST", bindings, binding("view"))
        changed = await api.ask("PUT", f"{bindings}/b", {**made, "roleRef": {**made["roleRef"], "name": "edit"}})
        await api.must("DELETE", f"{bindings}/b")
        await clear(api, "rbac-writer", "rbac-trusted")
        return [answer.said if answer.status >= 400 else answer.status for answer in answers], changed.said

    await twins.same(scenario)


async def test_impersonation(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        boss = await actor(api, "rbac-boss", rule("impersonate", "", "users", "carol"),
                           rule("impersonate", "", "groups", "dev"), rule("impersonate", "", "serviceaccounts"),
                           rule("impersonate", "authentication.k8s.io", "userextras/scopes", "view"),
                           rule("impersonate", "authentication.k8s.io", "uids", "u-1"))  # fmt: skip
        del boss
        whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        seen: list[Any] = []
        # Acting as the boss is itself an impersonation, so the boss is a service account with a token here.
        await api.must("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "boss"}})
        binding = {"metadata": {"name": "rbac-boss-2"}, "subjects": [
            {"kind": "ServiceAccount", "name": "boss", "namespace": "default"}],
            "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "rbac-boss"}}  # fmt: skip
        await api.must("POST", f"{RBAC}/clusterrolebindings", binding)
        token = (await api.must("POST", f"{DEFAULT}/serviceaccounts/boss/token", {"spec": {}}))["status"]["token"]

        async def acts() -> bool:
            return (await api.ask("POST", whoami, {}, token=token, Impersonate_User="carol")).status == 201

        await eventually(acts)
        for headers in (
            {"Impersonate_User": "carol"},
            {"Impersonate_User": "carol", "Impersonate_Group": "dev"},
            {"Impersonate_User": "carol", "Impersonate_Group": "ops"},
            {"Impersonate_User": "carol", "Impersonate_Uid": "u-1"},
            {"Impersonate_User": "carol", "Impersonate_Uid": "u-2"},
            {"Impersonate_User": "carol", "Impersonate_Extra_scopes": "view"},
            {"Impersonate_User": "carol", "Impersonate_Extra_scopes": "edit"},
            {"Impersonate_User": "dave"},
            {"Impersonate_User": "system:serviceaccount:default:default"},
            {"Impersonate_User": "system:serviceaccount:other:x"},
            {"Impersonate_User": "system:anonymous"},
        ):
            answer = await api.ask("POST", whoami, {}, token=token, **headers)
            seen.append((headers, answer.said if answer.status >= 400 else answer.json["status"]))
        # There the message shows the insides of a Go program.
        nameless = await api.ask("POST", whoami, {}, token=token, Impersonate_Group="dev")
        seen.append(nameless.said[:2])
        admin = await api.ask(
            "POST",
            whoami,
            {},
            Impersonate_User="erin",
            Impersonate_Group="a",
            Impersonate_Uid="7",
            Impersonate_Extra_x="y",
        )
        seen.append(admin.json["status"])
        seen.append((await api.ask("GET", f"{DEFAULT}/secrets", Impersonate_User="erin")).said)
        await api.must("DELETE", f"{RBAC}/clusterrolebindings/rbac-boss-2")
        await api.must("DELETE", f"{DEFAULT}/serviceaccounts/boss")
        await clear(api, "rbac-boss")
        return same.obj(seen)

    await twins.same(scenario)


async def test_cluster_roles_by_name(twins: Twins) -> None:
    """cluster-admin, admin, edit and view do what they do in a cluster, bound in a namespace or everywhere."""

    async def scenario(api: Api) -> Any:
        seen = []
        for role in ("cluster-admin", "admin", "edit", "view"):
            who = {"kind": "User", "name": f"{role}-here", "apiGroup": GROUP}
            ref = {"apiGroup": GROUP, "kind": "ClusterRole", "name": role}
            path = f"{RBAC}/namespaces/default/rolebindings"
            await api.must("POST", path, {"metadata": {"name": f"t-{role}"}, "subjects": [who], "roleRef": ref})

            async def works(role: str = role) -> bool:
                asked = await api.ask("GET", f"{DEFAULT}/configmaps", Impersonate_User=f"{role}-here")
                return asked.status == 200

            await eventually(works)
            for verb, resource, namespace in (
                ("list", "secrets", "default"), ("create", "configmaps", "default"), ("get", "roles", "default"),
                ("list", "configmaps", "other"), ("get", "namespaces", ""), ("delete", "namespaces", "default"),
                ("update", "resourcequotas", "default"), ("create", "rolebindings", "default"),
                ("get", "pods", "default"),
            ):  # fmt: skip
                group = GROUP if resource.startswith("role") else ""
                spec = {
                    "resourceAttributes": {"verb": verb, "resource": resource, "namespace": namespace, "group": group}
                }
                review = await api.must(
                    "POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", {"spec": spec},
                    Impersonate_User=f"{role}-here",
                )  # fmt: skip
                seen.append((role, verb, resource, namespace, review["status"]["allowed"]))
            await api.must("DELETE", f"{path}/t-{role}")
        return seen

    await twins.same(scenario)


async def test_what_is_taken_away_is_gone_within_a_second(kcp: Installation) -> None:
    path = await kcp.fresh()
    name = path.rpartition(":")[2]
    await grant_cluster(kcp, "root:tests", f"enter-{name}", entry(name, "access"), subject("User", "bob"))
    rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["list"]}]
    await grant_cluster(kcp, path, "taken", rules, subject("User", "bob"))
    admin = kcp.client(path)
    where = f"/clusters/{path}/api/v1/namespaces/default/configmaps"

    async def status() -> int:
        return (await kcp.raw("GET", where, token=USERS["bob"]))[0]

    async def allowed() -> bool:
        return await status() == 200

    for _ in range(3):
        await eventually(allowed)
        taken = await admin.get(CLUSTER_ROLE_BINDINGS, "taken")
        await admin.delete(CLUSTER_ROLE_BINDINGS, "taken")
        since = time.monotonic()
        while await status() == 200:
            pass
        assert time.monotonic() - since < 1.0
        kept = {key: taken[key] for key in ("subjects", "roleRef")}
        await admin.create(CLUSTER_ROLE_BINDINGS, {"metadata": {"name": "taken"}, **kept})
