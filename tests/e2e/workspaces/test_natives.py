"""Every native kind that a workspace may have: two workspaces and a plain kube-apiserver play the same at once, with
the same names, and answer the same."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.e2e.workspaces.natives import NAMESPACE, NATIVES, Native
from tests.e2e.workspaces.places import APPLY, MERGE, PROTOBUF, Places, clean, said
from tests.e2e.workspaces.twins import Answer, Api


async def life(api: Api, native: Native, body_in_protobuf: bytes) -> list[tuple[str, Any]]:
    """What an object goes through; what is seen of it at each step."""
    seen: list[tuple[str, Any]] = []
    name = "an-object"
    path = f"{native.place}/{name}"
    version = (await api.must("GET", native.everywhere))["metadata"]["resourceVersion"]

    def note(step: str, answer: Answer) -> None:
        seen.append((step, said(answer)))

    note("missing", await api.ask("GET", path))
    note("create", await api.ask("POST", native.place, native.body(name)))
    note("again", await api.ask("POST", native.place, native.body(name)))
    note("get", await api.ask("GET", path))
    note("change", await api.ask("PATCH", path, native.change, content_type=MERGE))
    owned = {**native.body(name), "metadata": {"name": name, "annotations": {"applied": "yes"}}}
    for key in set(owned) - {"apiVersion", "kind", "metadata"}:
        del owned[key]
    note("apply", await api.ask("PATCH", f"{path}?fieldManager=me&force=true", owned, content_type=APPLY))
    note("status", await api.ask("GET", f"{path}/status"))
    for step, where in (("list", native.place), ("list everywhere", native.everywhere)):
        listed = await api.must("GET", where)
        mine = [clean(item) for item in listed["items"] if item["metadata"]["name"] == name]
        seen.append((step, (listed["kind"], mine)))
    chosen = await api.must("GET", f"{native.everywhere}?fieldSelector=metadata.name%3D{name}")
    seen.append(("selected", [item["metadata"]["name"] for item in chosen["items"]]))
    table = await api.must("GET", path, accept="application/json;as=Table;v=v1;g=meta.k8s.io")
    seen.append(("table", [column["name"] for column in table["columnDefinitions"]]))
    note("wrong", await api.ask("POST", native.place, native.body("Wrong_Name")))
    note("delete", await api.ask("DELETE", path))
    await api.until("GET", path, wanted=lambda answer: answer.status == 404)
    events = await api.watch(
        f"{native.everywhere}?watch=true&resourceVersion={version}",
        lambda events: events[-1]["type"] == "DELETED" and events[-1]["object"]["metadata"]["name"] == name,
    )
    seen.append(("watch", [
        event["type"] for event in events
        if event["object"]["metadata"]["name"] == name and event["type"] != "MODIFIED"
    ]))  # fmt: skip
    note("create with protobuf", await api.ask("POST", native.place, body_in_protobuf, content_type=PROTOBUF))
    note("deletecollection", await api.ask("DELETE", f"{native.place}?fieldSelector=metadata.name%3Dwith-protobuf"))
    await api.until("GET", f"{native.place}/with-protobuf", wanted=lambda answer: answer.status == 404)
    return seen


@pytest.mark.parametrize("native", NATIVES, ids=lambda native: f"{native.id}.{native.api.rpartition('/')[2]}")
async def test_every_native_kind_is_as_in_a_cluster(places: Places, native: Native) -> None:
    dry = await places.plain.ask(
        "POST", f"{native.place}?dryRun=All", native.body("with-protobuf", encoded=True), accept=PROTOBUF
    )
    assert dry.status == 201, dry.body
    seen = await places.same(lambda api: life(api, native, dry.body))
    assert dict(seen)["create"][0] == 201


async def test_discovery_shows_them_and_no_more(places: Places) -> None:
    """All that a cluster has is named here: what a workspace has of it, or why it has it not."""
    absent = {
        "nodes", "componentstatuses", "bindings",  # of nodes and of the control plane itself
        "ipaddresses", "servicecidrs",  # named by addresses, which the shard has one range of
        "apiservices", "certificatesigningrequests", "flowschemas", "prioritylevelconfigurations",
    }  # fmt: skip

    async def shown(api: Api) -> set[str]:
        plurals = set()
        for root in ("/api", "/apis"):
            accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
            for group in (await api.must("GET", root, accept=accept, accept_encoding="identity"))["items"]:
                if not group["metadata"].get("name", "").endswith(".kcp.dev"):
                    plurals |= {entry["resource"] for version in group["versions"] for entry in version["resources"]}
        return plurals

    plain, one = await asyncio.gather(shown(places.plain), shown(places.one))
    assert plain - one == absent
    assert not one - plain
    assert {native.plural for native in NATIVES} <= one
    assert (await places.one.ask("GET", "/api/v1/nodes")).status == 404
    assert (await places.one.ask("GET", "/apis/networking.k8s.io/v1/ipaddresses")).status == 404


async def test_system_priority_classes_are_everybodys(places: Places) -> None:
    classes = "/apis/scheduling.k8s.io/v1/priorityclasses"

    async def tried(api: Api) -> list[Any]:
        path = f"{classes}/system-node-critical"
        body = {"metadata": {"name": "system-node-critical"}, "value": 2000001000}
        mine = {"metadata": {"name": "system-mine"}, "value": 1}
        answers = [
            await api.ask("GET", path), await api.ask("POST", classes, body), await api.ask("DELETE", path),
            await api.ask("POST", classes, mine),
        ]  # fmt: skip
        return [said(answer) for answer in answers]

    await places.same(tried)
    path = f"{classes}/system-node-critical"
    for options in ({"content_type": MERGE}, {"content_type": APPLY}):
        refused = await places.one.ask("PATCH", f"{path}?fieldManager=me", {"description": "mine"}, **options)
        assert refused.status == 403


async def test_what_acts_on_nodes_is_refused_with_a_reason(places: Places) -> None:
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods"
    body = {"metadata": {"name": "waiting"}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}}
    for api in (places.plain, places.one):
        made = await api.must("POST", pods, body)
        assert made["status"]["phase"] == "Pending"
    plain = await places.plain.ask("POST", f"{pods}/waiting/exec?command=ls")
    assert plain.said[:3] == (400, "BadRequest", "pod waiting does not have a host assigned")
    for subresource in ("log", "exec", "attach", "portforward", "proxy"):
        answer = await places.one.ask("GET", f"{pods}/waiting/{subresource}?command=ls")
        code, reason, message, _ = answer.said
        assert (code, reason) == (400, "BadRequest")
        assert message.startswith("pod waiting does not have a host assigned")
    binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "waiting"}, "target": {"name": "n"}}
    assert (await places.one.ask("POST", f"{pods}/waiting/binding", binding)).status == 403
    assert "nodeName" not in (await places.one.must("GET", f"{pods}/waiting"))["spec"]

    async def others(api: Api) -> list[Any]:
        container = {"spec": {"ephemeralContainers": [{"name": "e", "image": "i:1"}]}}
        size = {"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "1"}}}]}}
        strategic = "application/strategic-merge-patch+json"
        eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "waiting"}}
        return [
            said(await api.ask("PATCH", f"{pods}/waiting/ephemeralcontainers", container, content_type=strategic)),
            said(await api.ask("PATCH", f"{pods}/waiting/resize", size, content_type=strategic)),
            said(await api.ask("POST", f"{pods}/waiting/eviction", eviction)),
            (await api.ask("GET", f"{pods}/waiting")).status,
        ]

    await places.plain.must("GET", f"{pods}/waiting")
    await places.same(others, [places.plain, places.one])


async def test_services_share_a_shards_addresses(places: Places) -> None:
    """Names are each workspace's own; an address or a port that is asked for is given once on a shard."""
    services = f"/api/v1/namespaces/{NAMESPACE}/services"
    ports = [{"port": 80, "nodePort": 30123}]
    first = {"metadata": {"name": "asked"}, "spec": {"type": "NodePort", "ports": ports}}
    made = await places.one.must("POST", services, first)
    assert made["spec"]["ports"][0]["nodePort"] == 30123
    code, _, message, _ = (await places.other.ask("POST", services, first)).said
    assert code == 422
    assert "provided port is already allocated" in message
    second = {"metadata": {"name": "asked"}, "spec": {"clusterIP": made["spec"]["clusterIP"], "ports": [{"port": 1}]}}
    code, _, message, _ = (await places.other.ask("POST", services, second)).said
    assert code == 422
    assert "provided IP is already allocated" in message
    await places.one.must("DELETE", f"{services}/asked")
    assert (await places.other.must("POST", services, first))["spec"]["ports"][0]["nodePort"] == 30123
    balanced = {"spec": {"type": "LoadBalancer"}}
    await places.other.must("PATCH", f"{services}/asked", balanced, content_type=MERGE)
    status = {"status": {"loadBalancer": {"ingress": [{"ip": "192.0.2.7"}]}}}
    shown = await places.other.must("PATCH", f"{services}/asked/status", status, content_type=MERGE)
    assert shown["status"]["loadBalancer"]["ingress"][0]["ip"] == "192.0.2.7"


async def test_protected_claims_and_volumes_can_be_deleted(places: Places) -> None:
    claim = next(native for native in NATIVES if native.plural == "persistentvolumeclaims")
    volume = next(native for native in NATIVES if native.plural == "persistentvolumes")
    for native, finalizer in ((claim, "kubernetes.io/pvc-protection"), (volume, "kubernetes.io/pv-protection")):
        body = native.body("protected")
        body["metadata"]["finalizers"] = [finalizer]
        await places.one.must("POST", native.place, body)
        await places.one.must("DELETE", f"{native.place}/protected")
        await places.one.until("GET", f"{native.place}/protected", wanted=lambda answer: answer.status == 404)


async def test_service_kubernetes_is_there_and_comes_back(places: Places) -> None:
    async def shown(api: Api) -> Any:
        found = await api.until(
            "GET", "/api/v1/namespaces/default/services/kubernetes", wanted=lambda answer: answer.status == 200
        )
        service = clean(found.json)
        assert service["spec"].pop("ports")[0].pop("targetPort") > 0
        return service["metadata"]["labels"], service["spec"]

    await places.same(shown)
    first = (await places.one.must("GET", "/api/v1/namespaces/default/services/kubernetes"))["metadata"]["uid"]
    await places.one.must("DELETE", "/api/v1/namespaces/default/services/kubernetes")
    await places.one.until(
        "GET", "/api/v1/namespaces/default/services/kubernetes",
        wanted=lambda answer: answer.status == 200 and answer.json["metadata"]["uid"] != first,
    )  # fmt: skip
    slices = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes"
    found = (await places.one.until("GET", slices, wanted=lambda answer: answer.status == 200)).json
    assert found["metadata"]["labels"]["kubernetes.io/service-name"] == "kubernetes"
    assert found["ports"][0]["port"] > 0
    assert not found["endpoints"], "a loopback address cannot stand in endpoints"


async def test_a_pod_bound_to_a_node_can_be_deleted_with_its_namespace(places: Places) -> None:
    await places.one.must("POST", "/api/v1/namespaces", {"metadata": {"name": "bound"}})
    account = "/api/v1/namespaces/bound/serviceaccounts/default"
    await places.one.until("GET", account, wanted=lambda answer: answer.status == 200)
    spec = {"nodeName": "nowhere", "containers": [{"name": "c", "image": "i:1"}]}
    for name in ("a", "b"):
        await places.one.must("POST", "/api/v1/namespaces/bound/pods", {"metadata": {"name": name}, "spec": spec})
    await places.one.must("DELETE", "/api/v1/namespaces/bound/pods/a")
    await places.one.until("GET", "/api/v1/namespaces/bound/pods/a", wanted=lambda answer: answer.status == 404)
    await places.one.must("DELETE", "/api/v1/namespaces/bound")
    await places.one.until("GET", "/api/v1/namespaces/bound", wanted=lambda answer: answer.status == 404, within=40)
