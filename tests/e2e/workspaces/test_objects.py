"""What clients do with objects in a workspace, and that nothing of another one is ever seen."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from tests.e2e.workspaces.installation import CONFIGMAPS, NAMESPACES, SECRETS, Installation
from tests.integration.eventually import eventually

WIDGETS = Resource("example.com", "v1", "widgets")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
TOKEN = re.compile(r"\bk[a-z2-7]{8}-")


def crd(kind: str) -> dict[str, object]:
    """Widgets whose ``spec.size`` is of a type of its own."""
    schema = {"type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": kind}}}}}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com",
            "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"]},
            "versions": [version],
        },
    }


def widget(name: str, size: object) -> dict[str, object]:
    return {"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": size}}


async def test_two_workspaces_hold_the_same_names(kcp: Installation) -> None:
    one, other = await kcp.fresh(), await kcp.fresh()
    for path, value in ((one, "1"), (other, "2")):
        client = kcp.client(path)
        await client.create(NAMESPACES, {"metadata": {"name": "shop"}})
        await client.create(CONFIGMAPS, {"metadata": {"name": "cm"}, "data": {"v": value}}, "shop")
    for path, value in ((one, "1"), (other, "2")):
        client = kcp.client(path)
        everywhere = (await client.list(CONFIGMAPS))["items"]
        assert [item["data"]["v"] for item in everywhere if item["metadata"]["name"] == "cm"] == [value]
        assert {item["metadata"]["namespace"] for item in everywhere} <= {"default", "shop"}
        assert {item["metadata"]["name"] for item in (await client.list(NAMESPACES))["items"]} == {"default", "shop"}


async def test_kubectl_sees_neither_tokens_nor_labels(kcp: Installation) -> None:
    path = await kcp.fresh()
    assert (await kcp.kubectl(path, "create", "namespace", "shop")).out == "namespace/shop created\n"
    made = await kcp.kubectl(path, "-n", "shop", "create", "configmap", "cm", "--from-literal=a=b")
    assert made.out == "configmap/cm created\n"
    applied = await kcp.kubectl(
        path, "apply", "--server-side", "-f", "-",
        stdin="apiVersion: v1\nkind: ConfigMap\nmetadata: {name: ssa, labels: {0-x: 'y'}}\ndata: {a: 'yes'}\n",
    )  # fmt: skip
    assert applied.out == "configmap/ssa serverside-applied\n", applied.err
    for arguments in (
        ("get", "cm,sa,secrets,ns,roles", "-A", "-o", "yaml", "--show-managed-fields"),
        ("get", "ns,cm", "-A", "--show-labels"),
        ("describe", "ns", "shop"),
        ("get", "--raw", "/api/v1/configmaps"),
        ("get", "--raw", "/openapi/v3"),
        ("get", "--raw", "/openapi/v3/api/v1"),
        ("get", "--raw", "/apis"),
        ("api-resources", "-o", "wide"),
    ):
        outcome = await kcp.kubectl(path, *arguments)
        assert outcome.code == 0, outcome.err
        assert not TOKEN.search(outcome.text), f"{arguments}: {TOKEN.search(outcome.text)}"
        assert "0.kcp.dev" not in outcome.text, arguments
    labels = await kcp.kubectl(path, "get", "cm", "ssa", "-o", "jsonpath={.metadata.labels}")
    assert json.loads(labels.out) == {"0-x": "y"}


async def test_the_same_kind_with_different_schemas(kcp: Installation) -> None:
    one, other = kcp.client(await kcp.fresh()), kcp.client(await kcp.fresh())
    await one.create(CRDS, crd("integer"))
    await other.create(CRDS, crd("string"))
    good = await eventually(lambda: one.create(WIDGETS, widget("w", 3), "default"), StatusError, timeout=60)
    assert good["apiVersion"] == "example.com/v1"
    await eventually(lambda: other.create(WIDGETS, widget("w", "big"), "default"), StatusError, timeout=60)
    with pytest.raises(StatusError, match="must be of type integer") as invalid:
        await one.create(WIDGETS, widget("x", "big"), "default")
    assert invalid.value.code == 422
    assert not TOKEN.search(invalid.value.message)
    assert [item["spec"]["size"] for item in (await one.list(WIDGETS))["items"]] == [3]
    assert [item["metadata"]["name"] for item in (await other.list(CRDS))["items"]] == ["widgets.example.com"]


async def test_a_crd_appears_to_kubectl_and_can_be_explained(kcp: Installation) -> None:
    path = await kcp.fresh()
    missing = await kcp.kubectl(path, "get", "widgets")
    assert missing.err == 'error: the server doesn\'t have a resource type "widgets"\n'
    assert (await kcp.kubectl(path, "apply", "-f", "-", stdin=json.dumps(crd("integer")))).code == 0

    async def listed() -> bool:
        return "Widget" in (await kcp.kubectl(path, "api-resources")).out

    await eventually(listed, timeout=60, interval=0.2)
    created = await kcp.kubectl(path, "apply", "-f", "-", stdin=json.dumps(widget("w", 1)))
    assert created.out == "widget.example.com/w created\n", created.err
    explained = await kcp.kubectl(path, "explain", "widget.spec")
    assert "size\t<integer>" in explained.out, explained.text
    assert (await kcp.kubectl(path, "get", "wd", "-A")).out.split()[:4] == ["NAMESPACE", "NAME", "AGE", "default"]


async def test_a_crd_in_a_native_group_is_refused(kcp: Installation) -> None:
    definition = json.loads(json.dumps(crd("integer")).replace("example.com", "apps"))
    with pytest.raises(StatusError) as refused:
        await kcp.client(await kcp.fresh()).create(CRDS, definition)
    assert refused.value.code in (403, 422)


async def test_long_lists_come_in_pages_and_whole(kcp: Installation) -> None:
    path = await kcp.fresh()
    client = kcp.client(path)
    await client.create(NAMESPACES, {"metadata": {"name": "many"}})
    for start in range(0, 620, 20):
        await asyncio.gather(
            *(client.create(CONFIGMAPS, {"metadata": {"name": f"c-{n}"}}, "many") for n in range(start, start + 20))
        )
    whole = await client.request("GET", "/api/v1/configmaps")
    names = [item["metadata"]["name"] for item in whole["items"] if item["metadata"]["name"].startswith("c-")]
    assert len(names) == len(set(names)) == 620
    assert "continue" not in whole["metadata"]
    assert "remainingItemCount" not in whole["metadata"]
    for limit in (7, 600):
        paged = await client.list(CONFIGMAPS, limit=limit)
        assert len(paged["items"]) == len(whole["items"])
    table = await kcp.kubectl(path, "get", "configmaps", "-A", "--chunk-size=50", "--no-headers")
    assert len(table.out.splitlines()) == len(whole["items"])


def listed(found: dict[str, Any]) -> list[Any]:
    """Items, or what is in a Table's rows: how old they are changes with each second."""
    return found["items"] if "items" in found else [row["object"] for row in found["rows"]]


async def test_a_list_ends_where_its_workspace_does(kcp: Installation) -> None:
    """Whatever others have behind it on the shard, a page that is full does not say that more follows."""
    clients = [kcp.client(await kcp.fresh()) for _ in range(2)]  # one of them is not the last
    table = "application/json;as=Table;g=meta.k8s.io;v=v1"
    roles = "/apis/rbac.authorization.k8s.io/v1/clusterroles"
    for client in clients:
        await client.create(CRDS, crd("integer"))
        for name in ("a", "b", "c"):
            await client.create(CONFIGMAPS, {"metadata": {"name": name, "labels": {"part": "end"}}}, "default")
            await client.request("POST", roles, body={"metadata": {"name": name, "labels": {"part": "end"}}})
    for client in clients:
        crds = f"/apis/{CRDS.api_version}/{CRDS.plural}"
        for path, selector in (("/api/v1/configmaps", ""), ("/api/v1/configmaps", "&labelSelector=part"),
                               ("/api/v1/configmaps", "&fieldSelector=metadata.name%3Da"),
                               (roles, ""), (roles, "&labelSelector=part"), (crds, "")):  # fmt: skip
            for headers in (None, {"Accept": table}):
                whole = await client.request("GET", f"{path}?limit=500{selector}", headers=headers)
                assert "continue" not in whole["metadata"]
                found = listed(whole)
                last = await client.request("GET", f"{path}?limit={len(found)}{selector}", headers=headers)
                assert (listed(last), last["kind"]) == (found, whole["kind"])
                assert "continue" not in last["metadata"], path
                if len(found) == 1:
                    continue
                one = await client.request("GET", f"{path}?limit={len(found) - 1}{selector}", headers=headers)
                rest = f"{path}?limit=1{selector}&continue={one['metadata']['continue']}"
                other = await client.request("GET", rest, headers=headers)
                assert listed(one) + listed(other) == found
                assert "continue" not in other["metadata"], path
        for limit, more in ((2, True), (1, False)):
            gone = await client.request("DELETE", f"{roles}?labelSelector=part&limit={limit}")
            assert len(gone["items"]) == limit
            assert bool(gone["metadata"].get("continue")) is more


@pytest.mark.parametrize(
    "start",
    ["", "kube-system", "kube-system/extension-apiserver-authentication", "/kube-system", "{own}../kube-system"],
)
async def test_a_continue_token_made_by_hand_leads_nowhere(kcp: Installation, start: str) -> None:
    import base64

    path = await kcp.fresh()
    own = f"{await kcp.token_of(path)}-"
    token = json.dumps({"v": "meta.k8s.io/v1", "rv": -1, "start": start.replace("{own}", own + "x/")})
    value = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    status, _, body = await kcp.raw("GET", f"/clusters/{path}/api/v1/configmaps?limit=5&continue={value}")
    assert status in (400, 410), body


async def test_selectors_narrow_but_never_widen(kcp: Installation) -> None:
    path, other = await kcp.fresh(), await kcp.fresh()
    client = kcp.client(path)
    for where in (client, kcp.client(other)):
        await where.create(SECRETS, {"metadata": {"name": "s", "labels": {"app": "x"}}}, "default")
    for selector in ("app=x", "app", "app in (x,y)", "!nothing", "app!=y"):
        found = await client.list(SECRETS, label_selector=selector)
        assert [item["metadata"]["name"] for item in found["items"]] == ["s"], selector
    assert (await client.list(SECRETS, label_selector="app=y"))["items"] == []
    token = await kcp.token_of(other)
    for bad in (f"0.kcp.dev/w={token}", f"0.kcp.dev/w in ({token})", "app=x,0.kcp.dev/w!=none", "a=b)("):
        with pytest.raises(StatusError) as refused:
            await client.list(SECRETS, label_selector=bad)
        assert refused.value.code == 400
    named = await client.list(NAMESPACES, field_selector="metadata.name=default")
    assert [item["metadata"]["name"] for item in named["items"]] == ["default"]
    by_label = await client.list(NAMESPACES, label_selector="kubernetes.io/metadata.name=default")
    assert [item["metadata"]["name"] for item in by_label["items"]] == ["default"]


async def test_a_watch_over_all_namespaces_tells_of_this_workspace_alone(kcp: Installation) -> None:
    path, other = await kcp.fresh(), await kcp.fresh()
    client, stranger = kcp.client(path), kcp.client(other)
    version = (await client.list(CONFIGMAPS))["metadata"]["resourceVersion"]
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        async for event in client.watch(CONFIGMAPS, resource_version=version, timeout=20):
            if event["type"] != "BOOKMARK":
                seen.append((event["type"], event["object"]["metadata"]["name"]))
            if ("DELETED", "mine") in seen:
                return

    follower = asyncio.create_task(follow())
    await asyncio.sleep(0.3)
    await stranger.create(CONFIGMAPS, {"metadata": {"name": "theirs"}}, "default")
    await client.create(CONFIGMAPS, {"metadata": {"name": "mine"}}, "default")
    await client.patch(CONFIGMAPS, "mine", {"data": {"a": "b"}}, "default")
    await client.delete(CONFIGMAPS, "mine", "default")
    async with asyncio.timeout(15):
        await follower
    assert [item for item in seen if item[1] != "kube-root-ca.crt"] == [
        ("ADDED", "mine"),
        ("MODIFIED", "mine"),
        ("DELETED", "mine"),
    ]


async def test_a_namespace_takes_its_content_with_it(kcp: Installation) -> None:
    client = kcp.client(await kcp.fresh())
    await client.create(NAMESPACES, {"metadata": {"name": "gone"}})
    await client.create(CONFIGMAPS, {"metadata": {"name": "cm"}}, "gone")
    await client.delete(NAMESPACES, "gone")

    async def is_gone() -> bool:
        try:
            await client.get(NAMESPACES, "gone")
        except StatusError as error:
            return error.code == 404 and error.message == 'namespaces "gone" not found'
        return False

    await eventually(is_gone, timeout=30)


async def test_owners_are_found_by_the_garbage_collector(kcp: Installation) -> None:
    client = kcp.client(await kcp.fresh())
    owner = await client.create(CONFIGMAPS, {"metadata": {"name": "owner"}}, "default")
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner["metadata"]["uid"]}
    await client.create(CONFIGMAPS, {"metadata": {"name": "owned", "ownerReferences": [reference]}}, "default")
    await client.delete(CONFIGMAPS, "owner", "default", propagation="Background")

    async def collected() -> bool:
        try:
            await client.get(CONFIGMAPS, "owned", "default")
        except StatusError as error:
            return error.code == 404
        return False

    await eventually(collected, timeout=30)


async def test_kube_root_ca_is_the_ca_of_the_endpoint(kcp: Installation) -> None:
    client = kcp.client(await kcp.fresh())
    found = await eventually(lambda: client.get(CONFIGMAPS, "kube-root-ca.crt", "default"), StatusError)
    import base64

    shown = base64.b64decode(kcp.admin["clusters"][0]["cluster"]["certificate-authority-data"])
    assert found["data"]["ca.crt"].strip() == shown.decode().strip()
