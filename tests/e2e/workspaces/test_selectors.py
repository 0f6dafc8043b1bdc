"""Field selectors of every key that a native kind knows, in one namespace and over all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import quote

import pytest
import pytest_asyncio

from tests.e2e.workspaces.natives import JOB, SELECTOR, TEMPLATE
from tests.e2e.workspaces.places import Places
from tests.e2e.workspaces.twins import Api

SPACE = "selectors"
CONTAINERS = TEMPLATE["spec"]


def reported(group: str, **others: Any) -> dict[str, Any]:
    about = {"kind": "Thing", "namespace": SPACE, "name": "it", "uid": "u", "apiVersion": "things.test/v1",
             "resourceVersion": "5", "fieldPath": "spec.x"}  # fmt: skip
    if group:
        return {"regarding": about, "reportingController": "c", "reportingInstance": "i", "action": "a", **others,
                "eventTime": "2026-01-02T03:04:05.000000Z"}  # fmt: skip
    return {"involvedObject": about, "source": {"component": "c"}, **others}


OBJECTS: list[tuple[str, str, dict[str, Any]]] = [
    ("/api/v1", "pods", {"spec": {**CONTAINERS, "nodeName": "n", "restartPolicy": "Never", "schedulerName": "s",
                                  "hostNetwork": True}}),
    ("/api/v1", "services", {"spec": {"type": "ClusterIP", "clusterIP": "None", "ports": [{"port": 80}]}}),
    ("/api/v1", "secrets", {"type": "selectors.test/own"}),
    ("/api/v1", "events", reported("", type="Warning", reason="Because")),
    ("/api/v1", "replicationcontrollers", {"spec": {"replicas": 1, "selector": {"app": "x"}, "template": TEMPLATE}}),
    ("/apis/events.k8s.io/v1", "events", reported("events.k8s.io", type="Normal", reason="Other")),
    ("/apis/apps/v1", "replicasets", {"spec": {"replicas": 1, "selector": SELECTOR, "template": TEMPLATE}}),
    ("/apis/batch/v1", "jobs", {"spec": {"template": JOB}}),
]  # fmt: skip
INVOLVED = [("kind", "Thing"), ("namespace", SPACE), ("name", "it"), ("uid", "u"), ("apiVersion", "things.test/v1"),
            ("resourceVersion", "5"), ("fieldPath", "spec.x")]  # fmt: skip
KEYS: dict[str, list[tuple[str, str]]] = {
    "pods": [("spec.nodeName", "n"), ("spec.host", "n"), ("spec.restartPolicy", "Never"), ("spec.schedulerName", "s"),
             ("spec.serviceAccountName", "default"), ("spec.hostNetwork", "true"), ("status.phase", "Pending"),
             ("status.podIP", ""), ("status.podIPs", ""), ("status.nominatedNodeName", "")],
    "services": [("spec.clusterIP", "None"), ("spec.type", "ClusterIP")],
    "secrets": [("type", "selectors.test/own")],
    "events": [*((f"involvedObject.{key}", value) for key, value in INVOLVED),
               *((f"regarding.{key}", value) for key, value in INVOLVED), ("reason", "Because"), ("type", "Warning"),
               ("source", "c"), ("reportingComponent", ""), ("reportingController", "c")],
    "replicationcontrollers": [("status.replicas", "0")],
    "replicasets": [("status.replicas", "0")],
    "jobs": [("status.successful", "0")],
    "namespaces": [("status.phase", "Active")],
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def furnished(places: Places) -> AsyncIterator[Places]:
    async def furnish(api: Api) -> None:
        await api.must("POST", "/api/v1/namespaces", {"metadata": {"name": SPACE}})
        account = f"/api/v1/namespaces/{SPACE}/serviceaccounts/default"
        await api.until("GET", account, wanted=lambda answer: answer.status == 200)
        for root, plural, content in OBJECTS:
            name = f"own-{root.count('/')}"  # events stand in two groups
            await api.must("POST", f"{root}/namespaces/{SPACE}/{plural}", {"metadata": {"name": name}, **content})

    await asyncio.gather(*map(furnish, places.all))
    yield places
    await asyncio.gather(*(api.ask("DELETE", f"/api/v1/namespaces/{SPACE}") for api in places.all))


@pytest.mark.parametrize("plural", list(KEYS))
async def test_every_key(furnished: Places, plural: str) -> None:
    roots = [root for root, kind, _ in OBJECTS if kind == plural] or ["/api/v1"]
    paths = [f"{root}/{plural}" for root in roots]
    if plural != "namespaces":
        paths += [f"{root}/namespaces/{SPACE}/{plural}" for root in roots]
    terms = [*KEYS[plural], ("metadata.name", "own-2"), ("metadata.name", SPACE), ("metadata.namespace", SPACE)]
    selectors = [f"{key}{sign}{value}" for key, value in terms for sign in ("=", "!=")]
    selectors += [",".join(f"{key}={value}" for key, value in KEYS[plural][:2]), "spec.none=x"]

    async def scenario(api: Api) -> Any:
        found = []
        for path in paths:
            for selector in selectors:
                answer = await api.ask("GET", f"{path}?fieldSelector={quote(selector)}")
                here = answer.said if answer.status >= 400 else sorted(
                    item["metadata"]["name"] for item in answer.json["items"]
                    if SPACE in (item["metadata"].get("namespace"), item["metadata"]["name"])
                    and item["metadata"]["name"] in ("own-2", "own-3", SPACE)
                )  # fmt: skip
                found.append((path, selector, here))
        return found

    found = await furnished.same(scenario)
    assert any(names for _, _, names in found if isinstance(names, list))
