"""The mapping against a real kube-apiserver with the label policy: what it makes is accepted, and means the same."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.shard.control_plane import ControlPlane
from tests.integration.mapping_front import Front, Workspace, settled
from tests.integration.mapping_workspaces import (
    APPLY,
    BEFORE,
    BEHIND,
    CRDS,
    MINE,
    RBAC,
    TABLE,
    clean,
    config_map,
    crd,
    names,
)


@pytest.fixture
def may_come_back() -> tuple[str, ...]:
    """Discovery is the whole shard's here: the front has none of its own."""
    documents = ("apis?", "openapi/v3?")
    return tuple(f"the token of {token} in body, GET /{each}" for token in (BEFORE, BEHIND) for each in documents)


async def test_kubectl_creates_with_protobuf_and_sees_plain_names(mine: Workspace, front: Front, admin: Client) -> None:
    front.content_types.clear()
    created = [
        await mine.kubectl("create", "namespace", "proto"),
        await mine.kubectl("-n", "proto", "create", "configmap", "cm", "--from-literal=a=b"),
        await mine.kubectl("-n", "proto", "create", "secret", "generic", "s", "--from-literal=a=b"),
        await mine.kubectl("-n", "proto", "create", "serviceaccount", "sa"),
        await mine.kubectl("-n", "proto", "create", "role", "r", "--verb=get", "--resource=configmaps",
                           "--resource-name=cm"),
        await mine.kubectl("-n", "proto", "create", "rolebinding", "rb", "--role=r", "--user=alice", "--group=dev",
                           "--serviceaccount=proto:sa"),
        await mine.kubectl("create", "clusterrole", "cr", "--verb=get", "--resource=namespaces",
                           "--resource-name=proto"),
        await mine.kubectl("create", "clusterrolebinding", "crb", "--clusterrole=cr", "--user=alice"),
        await mine.kubectl("create", "clusterrolebinding", "crb2", "--clusterrole=view",
                           "--group=system:authenticated"),
        await mine.kubectl("-n", "proto", "create", "quota", "q", "--hard=count/widgets.example.com=2,pods=1"),
    ]  # fmt: skip
    assert created[0] == "namespace/proto created\n"
    assert all("protobuf" in media for media in front.content_types), front.content_types
    assert len(front.content_types) == len(created)

    role = await admin.request("GET", f"{RBAC}/clusterroles/{MINE}-cr")
    assert role["rules"][0]["resourceNames"] == [f"{MINE}-proto"]
    binding = await admin.request("GET", f"{RBAC}/clusterrolebindings/{MINE}-crb")
    assert (binding["roleRef"]["name"], binding["subjects"][0]["name"]) == (f"{MINE}-cr", f"{MINE}-alice")
    everybody = await admin.request("GET", f"{RBAC}/clusterrolebindings/{MINE}-crb2")
    assert (everybody["roleRef"]["name"], everybody["subjects"][0]["name"]) == (
        f"{MINE}-view",
        f"{MINE}-system:authenticated",
    )
    inside = await admin.request("GET", f"{RBAC}/namespaces/{MINE}-proto/rolebindings/rb")
    assert [(each["kind"], each["name"], each.get("namespace")) for each in inside["subjects"]] == [
        ("User", f"{MINE}-alice", None), ("Group", f"{MINE}-dev", None), ("ServiceAccount", "sa", f"{MINE}-proto"),
    ]  # fmt: skip
    quota = await admin.request("GET", f"/api/v1/namespaces/{MINE}-proto/resourcequotas/q")
    assert set(quota["spec"]["hard"]) == {f"count/widgets.{MINE}-example.com", "pods"}
    for thing in (role, binding, inside, quota):
        assert thing["metadata"]["labels"]["0.kcp.dev/w"] == MINE

    for path, plain in (
        (f"{RBAC}/clusterroles/cr", {"resourceNames": ["proto"]}),
        (f"{RBAC}/namespaces/proto/rolebindings/rb", {"namespace": "proto"}),
        ("/api/v1/namespaces/proto/resourcequotas/q", {"count/widgets.example.com": "2"}),
    ):
        shown = clean(await mine.ask("GET", path))
        assert orjson.dumps(plain)[1:-1] in orjson.dumps(shown)
    assert "proto" in await mine.kubectl("get", "namespaces")
    described = await mine.kubectl("describe", "clusterrolebinding", "crb")
    assert "alice" in described
    assert MINE not in described
    assert await mine.kubectl("delete", "namespace", "proto", "--wait=false") == 'namespace "proto" deleted\n'


async def test_the_shards_own_roles_are_out_of_reach(mine: Workspace) -> None:
    for name in ("view", "cluster-admin", "system:node"):
        for method, body in (("GET", None), ("DELETE", None), ("PATCH", {"rules": []})):
            media = "application/merge-patch+json" if method == "PATCH" else "application/json"
            status, answer = await mine.raw(method, f"{RBAC}/clusterroles/{name}", body, media)
            assert status == 404, answer


async def test_the_label_is_the_shards_and_hidden(mine: Workspace, admin: Client) -> None:
    stored = f"/api/v1/namespaces/{MINE}-demo/configmaps/labelled"
    path = "/api/v1/namespaces/demo/configmaps/labelled"
    for labels in ({}, {"a": "b"}, {"0-first": "x"}, {"0-first": "x", "z": "y"}):
        body = config_map("labelled", a="b")
        if labels:
            body["metadata"]["labels"] = labels
        shown: Any = clean(await mine.ask("POST", "/api/v1/namespaces/demo/configmaps", body))
        assert shown["metadata"].get("labels", {}) == labels
        assert (await admin.request("GET", stored))["metadata"]["labels"] == {"0.kcp.dev/w": MINE, **labels}
        # What a client writes back lacks the label; it stays all the same, and nobody is seen to own it.
        again: Any = clean(await mine.ask("PUT", path, {**shown, "data": {"c": "d"}}))
        assert again["metadata"].get("labels", {}) == labels
        kept = await admin.request("GET", stored)
        assert kept["metadata"]["labels"]["0.kcp.dev/w"] == MINE
        assert "0.kcp.dev" not in str(kept["metadata"]["managedFields"])
        await mine.ask("PATCH", path, {"metadata": {"labels": None}}, "application/merge-patch+json")
        assert (await admin.request("GET", stored))["metadata"]["labels"] == {"0.kcp.dev/w": MINE}
        await mine.ask(
            "PATCH", path, [{"op": "add", "path": "/metadata/labels", "value": {}}], "application/json-patch+json"
        )
        assert (await admin.request("GET", stored))["metadata"]["labels"] == {"0.kcp.dev/w": MINE}
        await mine.ask("DELETE", path)


async def test_all_forms_of_patches(mine: Workspace) -> None:
    path = "/api/v1/namespaces/demo/configmaps/patched"
    head = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: patched, namespace: demo}\n"
    yaml = head + b"data: {when: 2020-01-01, on: yes}\n"
    status, answer = await mine.raw("PATCH", f"{path}?fieldManager=me", yaml, APPLY)
    assert status >= 400, "on: yes is true: true, as a kube-apiserver reads it"
    assert b".data.true: expected string" in answer
    assert b"0.kcp.dev" not in answer
    yaml = yaml.replace(b"on: yes", b"port: '22:22', at: 22:22")
    made: Any = clean(await mine.ask("PATCH", f"{path}?fieldManager=me", yaml, APPLY))
    assert made["data"] == {"when": "2020-01-01", "port": "22:22", "at": "22:22"}
    assert [entry["manager"] for entry in made["metadata"]["managedFields"]] == ["me"]
    as_json = {**config_map("patched", a="b"), "metadata": {"name": "patched", "namespace": "demo"}}
    applied: Any = await mine.ask("PATCH", f"{path}?fieldManager=me&force=true", as_json, APPLY)
    assert applied["data"] == {"a": "b"}
    merged: Any = await mine.ask("PATCH", path, {"data": {"a": None, "c": "d"}}, "application/merge-patch+json")
    assert merged["data"] == {"c": "d"}
    # The shard's garbage collector looks for the owner by its mapped name: one that it does not find costs the object.
    uid = (await mine.ask("GET", "/api/v1/namespaces/demo"))["metadata"]["uid"]
    strategic: Any = await mine.ask(
        "PATCH", path,
        {"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "Namespace", "name": "demo", "uid": uid}]}},
        "application/strategic-merge-patch+json",
    )  # fmt: skip
    assert clean(strategic)["metadata"]["ownerReferences"][0]["name"] == "demo"
    await asyncio.sleep(1)
    pointed: Any = await mine.ask(
        "PATCH", path,
        [{"op": "test", "path": "/metadata/namespace", "value": "demo"},
         {"op": "test", "path": "/metadata/ownerReferences/0/kind", "value": "Namespace"},
         {"op": "remove", "path": "/metadata/ownerReferences"},
         {"op": "move", "from": "/data/c", "path": "/data/e"}],
        "application/json-patch+json",
    )  # fmt: skip
    assert pointed["data"] == {"e": "d"}
    assert "ownerReferences" not in pointed["metadata"]
    await mine.ask("DELETE", path, {"kind": "DeleteOptions", "apiVersion": "v1", "propagationPolicy": "Foreground"})


async def test_the_same_kind_with_two_schemas(workspaces: dict[str, Workspace]) -> None:
    fields = {BEFORE: "size", MINE: "weight"}
    for token, field in fields.items():
        shown: Any = clean(
            await workspaces[token].ask("POST", CRDS, crd("Namespaced", "things.test", "widgets", "Widget", field))
        )
        assert shown["metadata"]["name"] == "widgets.things.test"
        await workspaces[token].ask("POST", CRDS, crd("Cluster", "stars.test", "planets", "Planet", field))
    mine = workspaces[MINE]
    for accept in ("", TABLE):
        shown = clean(await mine.ask("GET", f"{CRDS}?limit=500", accept=accept))
        assert sorted(names(shown)) == ["planets.stars.test", "widgets.things.test"]
    assert names(await workspaces[BEHIND].ask("GET", CRDS)) == []
    by_name: Any = await mine.ask("GET", f"{CRDS}?fieldSelector=metadata.name%3Dplanets.stars.test")
    assert names(by_name) == ["planets.stars.test"]

    for token, field in fields.items():
        widget = {"apiVersion": "things.test/v1", "kind": "Widget", "metadata": {"name": "w"}, "spec": {field: 1}}
        planet = {"apiVersion": "stars.test/v1", "kind": "Planet", "metadata": {"name": "p"}, "spec": {field: 1}}
        made = clean(await settled(workspaces[token], "POST", "/apis/stars.test/v1/planets", planet))
        assert (made["apiVersion"], made["metadata"]["name"]) == ("stars.test/v1", "p")
        owner = {"apiVersion": "stars.test/v1", "kind": "Planet", "name": "p", "uid": made["metadata"]["uid"]}
        widget["metadata"] = {"name": "w", "namespace": "demo", "ownerReferences": [owner]}
        made = clean(
            await settled(
                workspaces[token],
                "PATCH",
                "/apis/things.test/v1/namespaces/demo/widgets/w?fieldManager=me",
                widget,
                APPLY,
            )
        )
        assert made["metadata"]["ownerReferences"] == [owner]
        assert made["metadata"]["managedFields"][0]["apiVersion"] == "things.test/v1"
        wrong = {**widget, "spec": {"other": 1}}
        status, answer = await workspaces[token].raw(
            "PUT", "/apis/things.test/v1/namespaces/demo/widgets/w",
            {**wrong, "metadata": {"name": "w", "resourceVersion": made["metadata"]["resourceVersion"]}},
        )  # fmt: skip
        assert status == 422
        assert orjson.loads(answer)["details"]["group"] == "things.test"
        status_body = {**made, "status": {"ready": 1}}
        with_status = clean(
            await workspaces[token].ask("PUT", "/apis/things.test/v1/namespaces/demo/widgets/w/status", status_body)
        )
        assert with_status["status"] == {"ready": 1}
    assert names(clean(await mine.ask("GET", "/apis/things.test/v1/widgets"))) == ["w"]
    assert names(clean(await mine.ask("GET", "/apis/things.test/v1/widgets?limit=5", accept=TABLE))) == ["w"]
    assert names(clean(await mine.ask("GET", "/apis/stars.test/v1/planets?limit=5"))) == ["p"]
    assert "w " in await mine.kubectl("get", "widgets.things.test", "-A")
    options = {"kind": "DeleteOptions", "apiVersion": "things.test/v1", "propagationPolicy": "Background"}
    await mine.ask("DELETE", "/apis/things.test/v1/namespaces/demo/widgets/w", options)
    assert names(await workspaces[BEFORE].ask("GET", "/apis/things.test/v1/widgets")) == ["w"]
    for path, code in ((CRDS, 403),):
        status, answer = await mine.raw("POST", path, crd("Namespaced", "apps", "foos", "Foo", "x"))
        assert status == code, answer


async def test_delete_collection_stays_inside(workspaces: dict[str, Workspace]) -> None:
    for workspace in workspaces.values():
        for name in ("gone-1", "gone-2"):
            body = {"metadata": {"name": name, "labels": {"gone": "yes"}}, "rules": []}
            await workspace.ask("POST", f"{RBAC}/clusterroles", body)
    await workspaces[MINE].ask("DELETE", f"{RBAC}/clusterroles?labelSelector=gone%3Dyes")
    for token, workspace in workspaces.items():
        left: Any = await workspace.ask("GET", f"{RBAC}/clusterroles?labelSelector=gone")
        assert len(names(left)) == (0 if token == MINE else 2)
        await workspace.ask("DELETE", f"{RBAC}/clusterroles")
        assert names(await workspace.ask("GET", f"{RBAC}/clusterroles")) == []


async def test_tokens_open_their_workspace_and_nothing_else(
    workspaces: dict[str, Workspace], shard: ControlPlane, admin: Client
) -> None:
    mine = workspaces[MINE]
    await mine.raw("POST", "/api/v1/namespaces/demo/serviceaccounts", {"metadata": {"name": "sa"}})
    token = (await mine.kubectl("-n", "demo", "create", "token", "sa")).strip()
    asked: Any = await mine.ask("POST", "/api/v1/namespaces/demo/serviceaccounts/sa/token", {"spec": None})
    for given in (token, asked["status"]["token"]):
        connection = shard.connection
        async with (
            aiohttp.ClientSession() as session,
            session.get(
                f"{connection.server}/api/v1/namespaces",
                headers={"authorization": f"Bearer {given}"},
                ssl=_anonymous(connection.ca_data),
            ) as refused,
        ):
            assert refused.status == 401
        path = "/apis/authentication.k8s.io/v1/tokenreviews"
        review: Any = clean(await mine.ask("POST", path, {"spec": {"token": given}}))
        assert review["status"]["authenticated"]
        assert review["status"]["user"]["username"] == "system:serviceaccount:demo:sa"
        assert review["status"]["audiences"] == ["https://kubernetes.default.svc"]
        other: Any = await workspaces[BEHIND].ask("POST", path, {"spec": {"token": given}})
        assert not other["status"].get("authenticated")
        plain = await admin.request(
            "POST",
            path,
            body={"kind": "TokenReview", "apiVersion": "authentication.k8s.io/v1", "spec": {"token": given}},
        )
        assert not plain["status"].get("authenticated")
    named: Any = await mine.ask(
        "POST", "/api/v1/namespaces/demo/serviceaccounts/sa/token", {"spec": {"audiences": ["vault"]}}
    )
    assert named["spec"]["audiences"] == ["vault"]


def _anonymous(ca: bytes | None) -> Any:
    import ssl

    return ssl.create_default_context(cadata=ca.decode() if ca else None)


async def test_access_reviews(mine: Workspace) -> None:
    await mine.raw("POST", "/api/v1/namespaces/demo/serviceaccounts", {"metadata": {"name": "sa"}})
    role = {"metadata": {"name": "reader"}, "rules": [
        {"verbs": ["get"], "apiGroups": [""], "resources": ["namespaces"], "resourceNames": ["demo"]},
        {"verbs": ["get"], "apiGroups": ["", "things.test"], "resources": ["configmaps", "widgets"],
         "resourceNames": ["cm"]},
    ]}  # fmt: skip
    await mine.raw("POST", f"{RBAC}/clusterroles", role)
    binding = {
        "metadata": {"name": "reader"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "reader"},
        "subjects": [
            {"kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": "alice"},
            {"kind": "Group", "apiGroup": "rbac.authorization.k8s.io", "name": "system:serviceaccounts:demo"},
        ],
    }
    await mine.raw("POST", f"{RBAC}/clusterrolebindings", binding)

    async def can(user: str, groups: list[str], **wanted: str) -> bool:
        spec = {"user": user, "groups": groups, "resourceAttributes": {"verb": "get", **wanted}}
        body = {"kind": "SubjectAccessReview", "apiVersion": "authorization.k8s.io/v1", "spec": spec}
        answer: Any = clean(await mine.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body))
        return bool(answer["status"]["allowed"])

    for _ in range(50):
        if await can("alice", [], resource="namespaces", name="demo"):
            break
        await asyncio.sleep(0.1)
    assert await can("alice", [], resource="namespaces", name="demo", namespace="demo")
    assert not await can("alice", [], resource="namespaces", name="default")
    assert await can("alice", [], resource="configmaps", name="cm", namespace="demo")
    assert await can("alice", [], group="things.test", resource="widgets", name="cm", namespace="demo")
    assert not await can("bob", [], resource="namespaces", name="demo")
    assert not await can("bob", ["system:masters"], resource="namespaces", name="demo")
    assert await can(
        "system:serviceaccount:demo:sa", ["system:serviceaccounts:demo"], resource="namespaces", name="demo"
    )


async def test_events_stand_where_their_objects_are(mine: Workspace) -> None:
    old = {"metadata": {"name": "old"}, "reason": "r", "message": "m", "type": "Normal",
           "involvedObject": {"kind": "ConfigMap", "namespace": "demo", "name": "x", "apiVersion": "v1"}}  # fmt: skip
    shown: Any = clean(await mine.ask("POST", "/api/v1/namespaces/demo/events", old))
    assert shown["involvedObject"]["namespace"] == "demo"
    node = {**old, "metadata": {"name": "node"}, "involvedObject": {"kind": "Node", "name": "n"}}
    await mine.ask("POST", "/api/v1/namespaces/default/events", node)
    new = {"metadata": {"name": "new"}, "eventTime": "2026-01-01T00:00:00.000000Z", "reason": "r", "action": "a",
           "type": "Normal", "reportingController": "c", "reportingInstance": "i",
           "regarding": {"kind": "ConfigMap", "namespace": "demo", "name": "x"}}  # fmt: skip
    await mine.ask("POST", "/apis/events.k8s.io/v1/namespaces/demo/events", new)
    found: Any = await mine.ask("GET", "/api/v1/events?fieldSelector=involvedObject.namespace%3Ddemo")
    assert sorted(names(clean(found))) == ["new", "old"]


async def test_scale(mine: Workspace, front: Front) -> None:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = {"metadata": {"name": "scaled"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod}}
    path = "/apis/apps/v1/namespaces/demo/deployments"
    made: Any = clean(await mine.ask("POST", path, deployment))
    # The shard mutates the object only: a template's labels are the user's.
    assert made["spec"]["template"]["metadata"]["labels"] == {"a": "b"}
    assert (
        await mine.kubectl("-n", "demo", "scale", "deployment", "scaled", "--replicas=3")
        == "deployment.apps/scaled scaled\n"
    )
    scale: Any = clean(await mine.ask("GET", f"{path}/scaled/scale"))
    assert (scale["metadata"]["namespace"], scale["spec"]["replicas"]) == ("demo", 3)
    scale["spec"]["replicas"] = 4
    again: Any = clean(await mine.ask("PUT", f"{path}/scaled/scale", scale))
    assert again["spec"]["replicas"] == 4
    await mine.ask("DELETE", f"{path}/scaled")


async def test_names_that_do_not_fit(mine: Workspace) -> None:
    said = await mine.kubectl("create", "namespace", "n" * 54, fails=True)
    assert "53" in said
    assert await mine.kubectl("create", "namespace", "n" * 53) == f"namespace/{'n' * 53} created\n"
    await mine.ask("DELETE", f"/api/v1/namespaces/{'n' * 53}")


async def test_generated_names(mine: Workspace) -> None:
    made: Any = clean(
        await mine.ask("POST", f"{RBAC}/clusterroles", {"metadata": {"generateName": "made-"}, "rules": []})
    )
    assert made["metadata"]["name"].startswith("made-")
    assert made["metadata"]["generateName"] == "made-"
    shown: Any = await mine.ask("GET", f"{RBAC}/clusterroles/{made['metadata']['name']}")
    assert shown["metadata"]["uid"] == made["metadata"]["uid"]


async def test_aggregated_roles_keep_to_themselves(mine: Workspace, admin: Client) -> None:
    label = "rbac.authorization.k8s.io/aggregate-to-admin"
    role = {
        "metadata": {"name": "aggregating", "labels": {label: "true"}},
        "rules": [],
        "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"a": "b"}}, {"matchLabels": {label: "true"}}]},
    }
    shown: Any = clean(await mine.ask("POST", f"{RBAC}/clusterroles", role))
    assert shown["metadata"]["labels"] == {label: "true"}
    assert shown["aggregationRule"] == role["aggregationRule"]
    stored = await admin.request("GET", f"{RBAC}/clusterroles/{MINE}-aggregating")
    assert label not in stored["metadata"]["labels"]
    assert all(each["matchLabels"]["0.kcp.dev/w"] == MINE for each in stored["aggregationRule"]["clusterRoleSelectors"])
    assert names(await mine.ask("GET", f"{RBAC}/clusterroles?labelSelector={label}")) == ["aggregating"]


async def test_server_side_apply_of_an_exported_namespace(mine: Workspace) -> None:
    exported = await mine.kubectl("get", "namespace", "demo", "-o", "yaml")
    assert MINE not in exported
    assert "kubernetes.io/metadata.name: demo" in exported
    said = await mine.kubectl(
        "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=_without_managed(exported)
    )
    assert said == "namespace/demo serverside-applied\n"


def _without_managed(manifest: str) -> str:
    import yaml

    obj = yaml.safe_load(manifest)
    for key in ("managedFields", "resourceVersion", "uid", "creationTimestamp"):
        obj["metadata"].pop(key, None)
    return str(yaml.safe_dump(obj))


@pytest.mark.parametrize(
    ("method", "path", "body", "media", "code"),
    [
        ("POST", "/api/v1/namespaces/demo/configmaps", b"{", "application/json", 400),
        ("POST", "/api/v1/namespaces/demo/configmaps", b"{}", "application/cbor", 415),
        ("POST", "/api/v1/namespaces/demo/configmaps", b"k8s\x00junk", "application/vnd.kubernetes.protobuf", 400),
        ("PATCH", "/api/v1/namespaces/demo/configmaps/x", b"a: [", APPLY, 400),
        ("PATCH", "/api/v1/namespaces/demo/configmaps/x", b"{}", "application/json", 415),
        ("POST", "/api/v1/namespaces/demo/configmaps", {"data": {"a": f"{MINE}-x"}}, "application/json", 422),
        ("GET", "/api/v1/namespaces/demo/../../secrets", None, "", 400),
        ("GET", f"/api/v1/namespaces/%2e%2e/{BEHIND}-demo", None, "", 400),
        ("GET", "/api/v1/configmaps?labelSelector=0.kcp.dev/w%3Dkmapzzzzz", None, "", 400),
    ],
)
async def test_bad_input_is_a_status(
    mine: Workspace, method: str, path: str, body: object, media: str, code: int
) -> None:
    status, answer = await mine.raw(method, path, body, media)
    assert status == code, answer
    assert orjson.loads(answer)["kind"] == "Status"
    assert orjson.loads(answer)["code"] == code


async def test_refusals_of_the_client_library_are_errors_too(shard: ControlPlane) -> None:
    """The shard itself keeps its own API closed to a workspace's token typed by hand."""
    async with shard.client() as client:
        with pytest.raises(StatusError) as caught:
            await client.request("GET", "/api/v1/secrets", headers={"Impersonate-User": f"{MINE}-alice"})
    assert caught.value.code == 403
