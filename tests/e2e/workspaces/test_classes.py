"""Default classes and priorities: each workspace's own, as admission of a cluster finds them."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.e2e.workspaces.natives import CLAIM, NAMESPACE
from tests.e2e.workspaces.places import APPLY, MERGE, PROTOBUF, Places, said
from tests.e2e.workspaces.twins import Answer, Api
from tests.integration.eventually import eventually

CORE = f"/api/v1/namespaces/{NAMESPACE}"
STORAGE = "/apis/storage.k8s.io/v1/storageclasses"
NETWORK = "/apis/networking.k8s.io/v1"
INGRESSES = f"{NETWORK}/namespaces/{NAMESPACE}/ingresses"
PRIORITY = "/apis/scheduling.k8s.io/v1/priorityclasses"


def claim(name: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {"name": name}, "spec": CLAIM}


def pod(name: str, **spec: Any) -> dict[str, Any]:
    spec |= {"containers": [{"name": "c", "image": "i:1"}]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


async def test_default_storage_class_is_the_workspaces_own(places: Places) -> None:
    default = {"annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}
    for name, meta in (("plain-one", {}), ("standard", default)):
        body = {"metadata": {"name": name, **meta}, "provisioner": "example.com/p"}
        for api in (places.plain, places.one):
            await api.must("POST", STORAGE, body)
    claims = f"{CORE}/persistentvolumeclaims"
    dry = await places.plain.ask("POST", f"{CORE}/pods?dryRun=All", pod("unused"), accept=PROTOBUF)
    assert dry.status == 201

    async def default_is(name: str | None) -> bool:
        """In all workers, which the connections are spread over."""
        answers = await asyncio.gather(
            *(places.one.ask("POST", f"{claims}?dryRun=All", claim("unused")) for _ in range(8))
        )
        return {answer.json["spec"].get("storageClassName") for answer in answers} == {name}

    await eventually(lambda: default_is("standard"))

    async def tried(api: Api) -> list[Any]:
        empty = {**claim("empty"), "spec": {**CLAIM, "storageClassName": ""}}
        beta = claim("beta")
        beta["metadata"]["annotations"] = {"volume.beta.kubernetes.io/storage-class": "slow"}
        answers = [
            await api.ask("POST", claims, claim("created")),
            await api.ask("PATCH", f"{claims}/applied?fieldManager=me", claim("applied"), content_type=APPLY),
            await api.ask("POST", claims, empty),
            await api.ask("POST", claims, beta),
        ]
        return [(answer.status, answer.json["spec"].get("storageClassName")) for answer in answers]

    classes = [name for _, name in await places.same(tried, [places.plain, places.one])]
    assert classes == ["standard", "standard", "", None]
    assert [name for _, name in await tried(places.other)] == [None, None, "", None]
    owners = (await places.one.must("GET", f"{claims}/applied"))["metadata"]["managedFields"]
    assert "storageClassName" not in str(owners[0])
    for api in (places.plain, places.one):
        await api.must("DELETE", f"{STORAGE}/standard")

    await eventually(lambda: default_is(None))


async def test_default_ingress_class_is_the_workspaces_own(places: Places) -> None:
    default = {"ingressclass.kubernetes.io/is-default-class": "true"}
    body = {"metadata": {"name": "public", "annotations": default}, "spec": {"controller": "example.com/i"}}
    for api in (places.plain, places.one):
        await api.must("POST", f"{NETWORK}/ingressclasses", body)

    backend = {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}
    ingress: dict[str, Any] = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": "a"},
        "spec": backend,
    }

    async def known() -> bool:
        """In all workers, which the connections are spread over."""
        made = await asyncio.gather(*(places.one.must("POST", f"{INGRESSES}?dryRun=All", ingress) for _ in range(8)))
        return all(item["spec"].get("ingressClassName") == "public" for item in made)

    async def tried(api: Api) -> list[Any]:
        named = {**ingress, "metadata": {"name": "b", "annotations": {"kubernetes.io/ingress.class": "other"}}}
        chosen = []
        for item in (ingress, named):
            made = await api.must("POST", INGRESSES, item)
            chosen.append(made["spec"].get("ingressClassName"))
            await api.must("DELETE", f"{INGRESSES}/{item['metadata']['name']}")
        return chosen

    await eventually(known)
    assert await places.same(tried, [places.plain, places.one]) == ["public", None]
    assert await tried(places.other) == [None, None]
    for api in (places.plain, places.one):
        await api.must("DELETE", f"{NETWORK}/ingressclasses/public")


async def test_priorities_come_from_the_workspaces_own_classes(places: Places) -> None:
    for value, api in ((7, places.plain), (7, places.one), (9, places.other)):
        body = {"metadata": {"name": "high"}, "value": value, "preemptionPolicy": "Never"}
        await api.must("POST", PRIORITY, body)
    await places.one.must("POST", PRIORITY, {"metadata": {"name": "mine"}, "value": 3})
    await places.plain.must("POST", PRIORITY, {"metadata": {"name": "mine"}, "value": 3})
    pods = f"{CORE}/pods"

    async def tried(api: Api) -> list[Any]:
        seen: list[Any] = []
        for body in (
            pod("high", priorityClassName="high"),
            pod("none"),
            pod("critical", priorityClassName="system-node-critical"),
            pod("missing", priorityClassName="nowhere"),
        ):
            answer = await api.ask("POST", pods, body)
            seen.append(said(answer) if answer.status > 201 else priority(answer.json))
        made = await api.must("GET", f"{pods}/high")
        for key in ("priority", "preemptionPolicy"):
            del made["spec"][key]
        made["metadata"]["labels"] = {"updated": "yes"}
        seen.append(priority(await api.must("PUT", f"{pods}/high", made)))
        applied = pod("applied", priorityClassName="high")
        made = await api.must("PATCH", f"{pods}/applied?fieldManager=me", applied, content_type=APPLY)
        seen.append(priority(made))
        encoded = await api.ask("POST", f"{pods}?dryRun=All", pod("high-again", priorityClassName="mine"))
        seen.append(encoded.status)
        wrong = await api.ask("POST", pods, pod("wrong", priorityClassName="high", priority=5))
        seen.append(wrong.status)
        unknown = pod("unknown", priorityClassName="nowhere")
        seen.append((await api.ask("PATCH", f"{pods}/unknown?fieldManager=me", unknown, content_type=APPLY)).status)
        for name in ("high", "none", "critical", "applied"):
            await api.must("DELETE", f"{pods}/{name}?gracePeriodSeconds=0")
        return seen

    seen = await places.same(tried, [places.plain, places.one])
    assert seen[:3] == [
        ("high", 7, "Never"), (None, 0, "PreemptLowerPriority"),
        ("system-node-critical", 2000001000, "PreemptLowerPriority"),
    ]  # fmt: skip
    assert seen[6:] == [201, 403, 403]
    made = await places.other.must("POST", pods, pod("high", priorityClassName="high"))
    assert priority(made) == ("high", 9, "Never")
    refused = await places.other.ask("POST", pods, pod("foreign", priorityClassName="mine"))
    assert refused.said[:3] == (
        403,
        "Forbidden",
        'pods "foreign" is forbidden: no PriorityClass with name mine was found',
    )
    await places.other.must("DELETE", f"{pods}/high")


async def test_one_default_priority_for_each_workspace(places: Places) -> None:
    pods = f"{CORE}/pods"

    async def tried(api: Api) -> list[Any]:
        first = {"metadata": {"name": "usual"}, "value": 5, "globalDefault": True}
        second = {"metadata": {"name": "unusual"}, "value": 6, "globalDefault": True}
        await api.must("POST", PRIORITY, first)
        refused = await eventually(lambda: refusal(api, second))
        assert refused is not None
        assert "PriorityClass usual is already marked as default. Only one default can exist" in refused.json["message"]
        made = priority(await api.must("POST", pods, pod("usual")))
        described = {"description": "still the default"}
        changed = await api.must("PATCH", f"{PRIORITY}/usual", described, content_type=MERGE)
        await api.must("DELETE", f"{pods}/usual?gracePeriodSeconds=0")
        return [made, changed["globalDefault"], refused.status]

    seen = await places.same(tried, [places.plain, places.one])
    assert seen == [("usual", 5, "PreemptLowerPriority"), True, 403]
    elsewhere = await places.other.must("POST", pods, pod("usual"))
    assert priority(elsewhere) == (None, 0, "PreemptLowerPriority")
    await places.other.must("DELETE", f"{pods}/usual?gracePeriodSeconds=0")
    assert (await tried(places.other))[0] == ("usual", 5, "PreemptLowerPriority")
    for api in places.all:
        await api.must("DELETE", f"{PRIORITY}/usual")


async def refusal(api: Api, item: dict[str, Any]) -> Answer | None:
    """Of a class; None if it could be made after all (that a default is there already is not known at once)."""
    answer = await api.ask("POST", PRIORITY, item)
    if answer.status == 201:
        await api.must("DELETE", f"{PRIORITY}/{item['metadata']['name']}")
    return answer if answer.status == 403 else None


def priority(made: dict[str, Any]) -> tuple[str | None, int | None, str | None]:
    spec = made["spec"]
    return spec.get("priorityClassName"), spec.get("priority"), spec.get("preemptionPolicy")
