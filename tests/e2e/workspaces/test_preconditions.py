"""Writes that depend on what is there: versions, uids, selectors, dry runs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.clients import same
from tests.e2e.workspaces.twins import DEFAULT, RBAC, Answer, Api, Twins, encoded

MERGE, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
STRATEGIC, APPLY = "application/strategic-merge-patch+json", "application/apply-patch+yaml"


def brief(answer: Answer) -> Any:
    value = same.obj(answer.json)
    text = re.sub(r"\(?(uid|resource version): [\w-]+", r"\1", str(value)) if value.get("kind") == "Status" else value
    return [answer.status, re.sub(r"\b\d{3,}\b", "N", text) if isinstance(text, str) else text]


async def test_stale_versions_and_wrong_uids(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        seen = []
        for path, body in (
            (f"{DEFAULT}/configmaps", {"data": {"a": "1"}}),
            (f"{RBAC}/clusterroles", {"rules": []}),
            ("/api/v1/namespaces", {}),
        ):
            meta = {"name": "pre-a"}
            made = await api.must("POST", path, {"metadata": meta, **body})
            stale = made["metadata"]["resourceVersion"]
            await api.must("PATCH", f"{path}/pre-a", {"metadata": {"labels": {"x": "y"}}}, content_type=MERGE)
            other = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"uid": "other"}}
            old = {"kind": "DeleteOptions", "apiVersion": "v1", "preconditions": {"resourceVersion": stale}}
            answers = [
                await api.ask("PUT", f"{path}/pre-a", made),
                await api.ask("PUT", f"{path}/pre-a", made | {"metadata": {**made["metadata"], "uid": "other"}}),
                await api.ask("PUT", f"{path}/pre-a", made | {"metadata": {"name": "pre-b"}}),
                await api.ask("PUT", f"{path}/pre-none", {"metadata": {"name": "pre-none", "uid": "x"}, **body}),
                await api.ask("PATCH", f"{path}/pre-a", {"metadata": {"resourceVersion": stale, "labels": {"x": "z"}}},
                              content_type=MERGE),
                await api.ask("PATCH", f"{path}/pre-a", {"metadata": {"uid": "other"}}, content_type=MERGE),
                await api.ask("PATCH", f"{path}/pre-a", [{"op": "test", "path": "/metadata/labels/x", "value": "q"}],
                              content_type=JSON_PATCH),
                await api.ask("PATCH", f"{path}/pre-none", {}, content_type=MERGE),
                await api.ask("DELETE", f"{path}/pre-a", other),
                await api.ask("DELETE", f"{path}/pre-a", old),
                await api.ask("DELETE", f"{path}/pre-a?dryRun=All"),
                await api.ask("DELETE", f"{path}/pre-a", {"kind": "DeleteOptions", "apiVersion": "v1",
                                                          "propagationPolicy": "Sideways"}),
                await api.ask("POST", path, {"metadata": meta, **body}),
                await api.ask("POST", path, {"metadata": {"name": "pre-c", "resourceVersion": "5"}, **body}),
                await api.ask("POST", f"{path}?dryRun=Some", {"metadata": {"name": "pre-c"}, **body}),
                await api.ask("POST", f"{path}?dryRun=All", {"metadata": {"name": "pre-c"}, **body}),
                await api.ask("GET", f"{path}/pre-c"),
            ]  # fmt: skip
            seen += [(path, index, brief(answer)) for index, answer in enumerate(answers)]
            await api.must("DELETE", f"{path}/pre-a")
        return seen

    await twins.same(scenario)


async def test_collections(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.must("POST", "/api/v1/namespaces", {"metadata": {"name": "collections"}})
        path = "/api/v1/namespaces/collections/secrets"

        async def left() -> list[str]:
            return [item["metadata"]["name"] for item in (await api.must("GET", path))["items"]]

        for name, kind in (("a", "Opaque"), ("b", "Opaque"), ("c", "twins.test/c"), ("d", "twins.test/c")):
            body = {"metadata": {"name": name, "labels": {"n": name}}, "type": kind, "data": {"k": encoded("v")}}
            await api.must("POST", path, body)
        seen: list[Any] = [await left()]
        for query in ("dryRun=All", "labelSelector=n%3Da", "fieldSelector=type%3Dtwins.test%2Fc&labelSelector=n%21%3Dd",
                      "fieldSelector=metadata.name%3Dd", "labelSelector=a%3D%3D%3D", ""):  # fmt: skip
            answer = await api.ask("DELETE", f"{path}?{query}")
            value = answer.json
            names = [item["metadata"]["name"] for item in value["items"]] if "items" in value else value["reason"]
            seen.append((query, answer.status, value["kind"], names, await left()))
        for selector in (
            "status.phase=Active",
            "status.phase=Gone",
            "metadata.name=collections",
            "metadata.name!=default",
        ):
            found = await api.must("GET", f"/api/v1/namespaces?fieldSelector={selector}")
            names = [item["metadata"]["name"] for item in found["items"]]
            seen.append((selector, "collections" in names, "default" in names))
        await api.must("DELETE", "/api/v1/namespaces/collections")
        return seen

    await twins.same(scenario)


@pytest.mark.parametrize("kind", ["ConfigMap", "ClusterRole"])
async def test_server_side_apply(twins: Twins, kind: str) -> None:
    """New and existing objects, conflicts and force, fields given up."""
    path = f"{DEFAULT}/configmaps/ssa" if kind == "ConfigMap" else f"{RBAC}/clusterroles/ssa"
    group = "v1" if kind == "ConfigMap" else "rbac.authorization.k8s.io/v1"

    def body(**annotations: str) -> dict[str, Any]:
        return {"apiVersion": group, "kind": kind, "metadata": {"name": "ssa", "annotations": annotations}}

    async def scenario(api: Api) -> Any:
        async def apply(manager: str, value: Any, query: str = "") -> Answer:
            return await api.ask("PATCH", f"{path}?fieldManager={manager}{query}", value, content_type=APPLY)

        answers = [
            await apply("one", body(a="1", b="1")),
            await apply("two", body(a="1")),
            await apply("two", body(a="2", c="2")),
            await apply("two", body(a="2", c="2"), "&force=true"),
            await apply("one", body(b="1")),
            await apply("one", body()),
            await apply("", body(a="x")),
            await apply("one", {"apiVersion": group, "kind": "Secret", "metadata": {"name": "ssa"}}),
            await apply("one", {"metadata": {"name": "ssa"}}),
            await apply("one", body(a="3") | {"metadata": {"name": "other"}}),
            await api.ask("PATCH", f"{path}?fieldManager=three", {"metadata": {"annotations": {"d": "3"}}},
                          content_type=STRATEGIC),
        ]  # fmt: skip
        now = await api.must("GET", path)
        owners = [
            [entry["manager"], entry["operation"], sorted(entry["fieldsV1"]["f:metadata"].get("f:annotations", ()))]
            for entry in now["metadata"]["managedFields"]
            if "f:metadata" in entry["fieldsV1"]
        ]
        await api.must("DELETE", path)
        return [brief(answer) for answer in answers], sorted(owners)

    await twins.same(scenario)


async def test_all_labels_at_once(twins: Twins) -> None:
    """A JSON patch compares and changes those that the client knows of."""
    labels = "/metadata/labels"
    patches: list[list[dict[str, Any]]] = [
        [{"op": "test", "path": labels, "value": {"a": "b"}}],
        [{"op": "test", "path": labels, "value": None}, {"op": "add", "path": labels, "value": {"a": "b"}}],
        [{"op": "test", "path": labels, "value": None}],
        [{"op": "test", "path": labels, "value": {"a": "c"}}],
        [{"op": "test", "path": labels, "value": {"a": "b"}}, {"op": "replace", "path": labels, "value": {"c": "d"}}],
        [{"op": "replace", "path": labels, "value": {"e": "f"}}, {"op": "test", "path": labels, "value": {"e": "f"}}],
        [{"op": "remove", "path": labels}, {"op": "test", "path": labels, "value": None}],
        [{"op": "test", "path": labels}],
    ]

    async def scenario(api: Api) -> Any:
        seen = []
        for path in (f"{DEFAULT}/configmaps", f"{RBAC}/clusterroles"):
            await api.must("POST", path, {"metadata": {"name": "labelled"}})
            for patch in patches:
                seen.append(brief(await api.ask("PATCH", f"{path}/labelled", patch, content_type=JSON_PATCH)))
            await api.must("DELETE", f"{path}/labelled")
        return seen

    await twins.same(scenario)
