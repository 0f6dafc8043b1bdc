"""Webhooks of a workspace do what they do in a cluster, and what they say is worded the same."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.kube.client import Resource
from tests.integration.admission.side import (
    CONFIG_MAPS,
    MUTATING,
    VALIDATING,
    Object,
    Said,
    Side,
    comparable,
    configuration,
    rule,
    same,
)
from tests.integration.admission.webhook_server import WebhookServer, raw
from tests.integration.eventually import eventually

CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
GADGETS = Resource("gadgets.example.com", "v1", "gadgets")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
MERGE, STRATEGIC = "application/merge-patch+json", "application/strategic-merge-patch+json"
JSON_PATCH, APPLY = "application/json-patch+json", "application/apply-patch+yaml"
SCHEMA = {
    "type": "object",
    "properties": {"spec": {"type": "object", "properties": {"replicas": {"type": "integer"}}}, "status": {
        "type": "object", "properties": {"replicas": {"type": "integer"}, "phase": {"type": "string"}}}},
}  # fmt: skip
CRD = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gadgets.gadgets.example.com"},
    "spec": {
        "group": GADGETS.group,
        "scope": "Namespaced",
        "names": {"plural": "gadgets", "singular": "gadget", "kind": "Gadget", "listKind": "GadgetList"},
        "versions": [
            {
                "name": name, "served": True, "storage": name == "v1", "schema": {"openAPIV3Schema": SCHEMA},
                "subresources": {"status": {}, "scale": {
                    "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
            }
            for name in ("v1", "v2")
        ],
    },
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A webhook for ConfigMaps with label ``case``, and one that is created."""

    name: str
    resource: Resource
    path: str
    more: Object = field(default_factory=dict)
    query: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def webhook(self, server: WebhookServer) -> Object:
        config = server.config(self.path)
        return {
            "name": f"{self.name}.example.com",
            "admissionReviewVersions": ["v1"],
            "sideEffects": "None",
            "clientConfig": {**config, "url": self.url} if self.url else config,
            "rules": [rule("", "configmaps", operations=("CREATE",))],
            "objectSelector": {"matchLabels": {"case": self.name}},
            **self.more,
        }

    async def play(self, side: Side) -> Said:
        obj = {"metadata": {"name": f"case-{self.name}", "labels": {"case": self.name}}, "data": {"a": "b"}}
        return await side.create(CONFIG_MAPS, obj, "default", **self.query)


NOBODY = "https://127.0.0.1:9/nobody"
CONDITIONS: list[tuple[list[str], Object]] = [
    (["object.data.a == 'b'", "request.operation == 'CREATE' && request.namespace == 'default'"], {}),
    (["oldObject == null", "object.metadata.labels['case'].startsWith('nothing')"], {}),
    (["object.data.c == 'b'"], {}),
    (["object.data.c == 'b'"], {"failurePolicy": "Ignore"}),
    (["object.data.c == 'b'", "request.resource.resource == 'secrets'"], {}),
    (["request.kind.kind == 'ConfigMap' && !request.dryRun && object.metadata.name.matches('^case-c.*2?')"], {}),
    (["authorizer.group('').resource('secrets').check('get').allowed()"], {}),
    (["!authorizer.requestResource.check('create').allowed()"], {}),
    (["authorizer.serviceAccount('default', 'x').group('').resource('secrets').check('get').allowed()"], {}),
]
CASES = [
    Case("allow", VALIDATING, "allow"),
    Case("deny", VALIDATING, "deny"),
    Case("silent", VALIDATING, "silent"),
    Case("teapot", VALIDATING, "teapot"),
    Case("warn", VALIDATING, "warn"),
    Case("wrong", VALIDATING, "wrong"),
    Case("error", VALIDATING, "error"),
    Case("missing", VALIDATING, "missing"),
    Case("error-ignored", VALIDATING, "error", {"failurePolicy": "Ignore"}),
    Case("deny-anyway", VALIDATING, "deny", {"failurePolicy": "Ignore"}),
    Case("slow", VALIDATING, "slow", {"timeoutSeconds": 1}),
    Case("slow-ignored", MUTATING, "slow", {"timeoutSeconds": 1, "failurePolicy": "Ignore"}),
    Case("nobody", VALIDATING, "", url=NOBODY),
    Case("nobody-mutating", MUTATING, "", url=NOBODY),
    Case("beta", VALIDATING, "deny", {"admissionReviewVersions": ["v1beta1", "v1"]}),
    Case("patch-of-validating", VALIDATING, "label/x"),
    Case("label", MUTATING, "label/x"),
    Case("deny-mutating", MUTATING, "deny"),
    Case("broken", MUTATING, "broken"),
    Case("data", MUTATING, raw(
        {"op": "replace", "path": "/data", "value": {"c": "d"}}, {"op": "add", "path": "/immutable", "value": True})),
    Case("moved", MUTATING, raw(
        {"op": "move", "from": "/data/a", "path": "/data/b"}, {"op": "test", "path": "/data/b", "value": "b"})),
    Case("untested", MUTATING, raw({"op": "test", "path": "/data/a", "value": "c"})),
    Case("annotated", MUTATING, raw({"op": "add", "path": "/metadata/annotations", "value": {"a.b/c": "d"}})),
    Case("unlabelled", MUTATING, raw({"op": "remove", "path": "/metadata/labels"})),
    Case("renamed", MUTATING, "rename"),
    Case("dry", VALIDATING, "deny", {"sideEffects": "NoneOnDryRun"}, {"dryRun": "All"}),
    Case("dry-mutating", MUTATING, "label/x", query={"dryRun": "All"}),
    Case("update-only", VALIDATING, "deny", {"rules": [rule("", "configmaps", operations=("UPDATE",))]}),
    Case("cluster-only", VALIDATING, "deny", {"rules": [rule("", "*", scope="Cluster")]}),
    Case("namespaced", VALIDATING, "deny", {"rules": [rule("*", "*/*", scope="Namespaced")]}),
    Case("status-only", VALIDATING, "deny", {"rules": [rule("", "configmaps/status")]}),
    Case("namespace", VALIDATING, "deny", {"namespaceSelector": {"matchLabels": {
        "kubernetes.io/metadata.name": "default"}}}),
    *(Case(f"condition-{number}", VALIDATING, "deny", {"matchConditions": [
        {"name": f"c{at}", "expression": expression} for at, expression in enumerate(expressions)], **more})
      for number, (expressions, more) in enumerate(CONDITIONS)),
    Case("elsewhere", VALIDATING, "deny", {"namespaceSelector": {"matchExpressions": [
        {"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["default"]}]}}),
]  # fmt: skip


async def test_answers_of_webhooks(plain: Side, workspace: Side, server: WebhookServer) -> None:
    async def play(side: Side) -> tuple[dict[str, Said], Any]:
        for resource, name in ((MUTATING, "cases"), (VALIDATING, "cases")):
            hooks = [case.webhook(server) for case in CASES if case.resource is resource]
            await side.install(resource, name, hooks)
        server.asked.clear()
        said = await asyncio.gather(*(case.play(side) for case in CASES))
        questions = {path: sorted(map(_question, asked), key=repr) for path, asked in server.asked.items()}
        for resource in (MUTATING, VALIDATING):
            await side.remove(resource, "cases")
        return {case.name: answer for case, answer in zip(CASES, said, strict=True)}, questions

    expected, questions = await play(plain)
    got, asked = await play(workspace)
    for case in CASES:
        same(got[case.name], expected[case.name], case.name)
    same(asked, questions)
    assert got["deny"].body["message"] == 'admission webhook "deny.example.com" denied the request: not here'
    assert got["unlabelled"].code == 201


def _question(request: Object) -> Object:
    """Without the user, who is another one."""
    kept = {key: value for key, value in request.items() if key not in ("uid", "userInfo")}
    return {key: comparable(value) for key, value in kept.items()}


def _last(asked: list[Object]) -> dict[str, Object]:
    """Of those about the same: a server that has read too old an object asks twice."""
    about = ("operation", "resource", "subResource", "namespace", "name")
    return {repr([request.get(key) for key in about]): _question(request) for request in asked}


async def test_writes_of_all_kinds(plain: Side, workspace: Side, server: WebhookServer) -> None:
    """Types of one's own and their subresources, server-side apply, patches, deletions, cluster-scoped objects."""
    named = {"matchLabels": {"played": "yes"}}
    resources = ("gadgets", "gadgets/status", "gadgets/scale")
    rules = [
        rule(GADGETS.group, *resources, apiVersions=["v1"]),
        rule("rbac.authorization.k8s.io", "clusterroles"),
        rule("", "namespaces", "configmaps"),
    ]
    common = {"admissionReviewVersions": ["v1"], "sideEffects": "None", "rules": rules}
    look = {"name": "look.example.com", "clientConfig": server.config("allow/all"), **common}
    label = {
        "name": "label.example.com",
        "clientConfig": server.config("label/seen"),
        "objectSelector": named,
        **common,
    }
    label["rules"] = [rule("*", "gadgets", "clusterroles", "namespaces", operations=("CREATE", "UPDATE"))]
    again = {
        **label,
        "name": "again.example.com",
        "clientConfig": server.config("label/again"),
        "reinvocationPolicy": "IfNeeded",
    }
    labels = {"played": "yes"}

    async def play(side: Side) -> tuple[list[Said], Any]:
        await side.client.create(CRDS, CRD)
        path = GADGETS.path("default")

        async def served() -> bool:
            said = await side.create(
                GADGETS,
                {"apiVersion": GADGETS.api_version, "kind": "Gadget", "metadata": {"name": "x"}},
                "default",
                dryRun="All",
            )
            return said.code == 201

        await eventually(served)
        await side.install(VALIDATING, "look", [{**look, "objectSelector": named}])
        await side.install(MUTATING, "label", [again, label])
        server.asked.clear()
        made = {"apiVersion": GADGETS.api_version, "kind": "Gadget", "metadata": {"name": "one", "labels": labels}}
        two = {**made, "apiVersion": f"{GADGETS.group}/v2", "metadata": {"name": "two", "labels": labels}}
        role = {"metadata": {"name": "played-role", "labels": labels}, "rules": []}
        added = [{"op": "add", "path": "/metadata/labels/a", "value": "b"}]
        said = [
            await side.create(GADGETS, made, "default"),
            await side.send("POST", path.replace("/v1/", "/v2/"), two),
            await side.send("PATCH", f"{path}/one", {"spec": {"replicas": 2}}, MERGE),
            await side.send("PATCH", f"{path}/one/status", {"status": {"phase": "x"}}, MERGE),
            await side.send("PATCH", f"{path}/one/scale", {"spec": {"replicas": 3}}, MERGE),
            await side.send(
                "PATCH", f"{path}/three", {**made, "metadata": {"name": "three", "labels": labels}},
                APPLY, fieldManager="me", force="true",
            ),
            await side.create(ROLES, role),
            await side.send("PATCH", ROLES.path(name="played-role"), {"rules": None}, STRATEGIC),
            await side.create(NAMESPACES, {"metadata": {"name": "played", "labels": labels}}),
            await side.send("PATCH", NAMESPACES.path(name="played"), added, JSON_PATCH),
            await side.send("DELETE", f"{path}/two"),
            await side.send("DELETE", path),
            await side.send("DELETE", ROLES.path(name="played-role")),
            await side.send("DELETE", NAMESPACES.path(name="played")),
        ]  # fmt: skip
        questions = {path: _last(asked) for path, asked in server.asked.items()}
        await side.remove(MUTATING, "label")
        await side.remove(VALIDATING, "look")
        await side.client.delete(CRDS, CRD["metadata"]["name"])  # type: ignore[index]
        return said, questions

    expected, questions = await play(plain)
    got, asked = await play(workspace)
    for number, (one, other) in enumerate(zip(got, expected, strict=True)):
        same(one, other, number)
    same(asked, questions)


@pytest.mark.parametrize("resource", [MUTATING, VALIDATING])
async def test_configurations_are_judged_as_in_a_cluster(
    plain: Side, workspace: Side, server: WebhookServer, resource: Resource
) -> None:
    """Defaults, errors, all ways to write; nothing is ever obeyed by the shard."""
    hook = {
        "name": "a.example.com", "admissionReviewVersions": ["v1"], "sideEffects": "None",
        "clientConfig": server.config("allow"), "rules": [rule("nowhere.example.com", "nothings")],
    }  # fmt: skip
    good = configuration(resource, "judged", [hook])

    applied = configuration(resource, "judged", [{**hook, "name": "c.example.com"}])

    def policy(value: str) -> list[Object]:
        return [{"op": "replace", "path": "/webhooks/0/failurePolicy", "value": value}]

    def bad(**more: Any) -> Object:
        return configuration(resource, "bad", [{**hook, **more}])

    async def play(side: Side) -> list[Said]:
        path, one = resource.path(), resource.path(name="judged")
        return [
            await side.send("POST", path, bad(timeoutSeconds=99)),
            await side.send("POST", path, bad(name="short", sideEffects="Some")),
            await side.send("POST", path, bad(matchConditions=[{"name": "x", "expression": "nonsense("}])),
            await side.send("POST", path, bad(clientConfig={"url": "http://x/"})),
            await side.send("POST", path, configuration(resource, "bad", [hook, hook])),
            await side.send("POST", path, {**good, "oops": 1}, fieldValidation="Strict"),
            await side.send("POST", path, b"{", "application/json"),
            await side.send("POST", path, good, dryRun="All"),
            await side.send("GET", one),
            await side.send("POST", path, good),
            await side.send("POST", path, good),
            await side.send("GET", one),
            await side.send("PATCH", one, {"webhooks": [{"name": "a.example.com", "timeoutSeconds": 5}]}, STRATEGIC),
            await side.send("PATCH", one, {"webhooks": [{**hook, "name": "b.example.com"}]}, STRATEGIC),
            await side.send("PATCH", one, {"webhooks": [{"$patch": "delete", "name": "a.example.com"}]}, STRATEGIC),
            await side.send("PATCH", one, {"webhooks": [{"name": "b.example.com", "timeoutSeconds": 31}]}, STRATEGIC),
            await side.send("PATCH", one, {"metadata": {"labels": {"a": "b"}}}, MERGE),
            await side.send("PATCH", one, policy("Ignore"), JSON_PATCH),
            await side.send("PATCH", one, policy("Later"), JSON_PATCH),
            await side.send("PATCH", one, {"metadata": {"resourceVersion": "1", "labels": {"c": "d"}}}, MERGE),
            await side.send("PATCH", one, applied, APPLY, fieldManager="me"),
            await side.send("PUT", one, configuration(resource, "judged", [{**hook, "failurePolicy": "Never"}])),
            await side.send("PUT", one, good),
            await side.send("PUT", one, configuration(resource, "other", [hook])),
            await side.send("DELETE", one),
            await side.send("DELETE", one),
        ]  # fmt: skip

    expected, got = await asyncio.gather(play(plain), play(workspace))
    for number, (one, other) in enumerate(zip(got, expected, strict=True)):
        same(one, other, number)
