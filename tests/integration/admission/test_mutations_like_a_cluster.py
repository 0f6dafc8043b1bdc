"""MutatingAdmissionPolicies of a workspace make of an object what they make of it in a cluster, and fail in the same
words."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest_asyncio

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from tests.integration.admission.conftest import fresh
from tests.integration.admission.side import CONFIG_MAPS, MUTATING, REGISTRATIONS, Object, Said, Side, rule, same
from tests.integration.admission.test_policies_like_a_cluster import LIMITS, param, prepare
from tests.integration.admission.webhook_server import WebhookServer
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

POLICIES, BINDINGS = (
    Resource(REGISTRATIONS, "v1", f"mutatingadmission{plural}", namespaced=False)
    for plural in ("policies", "policybindings")
)
DEPLOYMENTS = Resource("apps", "v1", "deployments")
SERVICES = Resource("", "v1", "services")
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
THINGS = Resource("mutations.example.com", "v1", "things")


def structure(**properties: Any) -> Object:
    return {"type": "object", "properties": properties}


ITEM = structure(name={"type": "string"}, zone={"type": "string", "default": "here"}, size={"type": "integer"})
SPEC = structure(
    words={"type": "array", "items": {"type": "string"}, "x-kubernetes-list-type": "set"},
    plain={"type": "array", "items": {"type": "string"}},
    items={
        "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name", "zone"],
        "items": ITEM | {"required": ["name"]},
    },
    whole=structure(a={"type": "string"}, b={"type": "string"}) | {"x-kubernetes-map-type": "atomic"},
    parts=structure(a={"type": "string"}, b={"type": "string"}),
    open={"type": "object", "x-kubernetes-preserve-unknown-fields": True},
    numbers={"type": "object", "additionalProperties": {"type": "integer"}},
    either={"x-kubernetes-int-or-string": True},
    size={"type": "integer"},
)  # fmt: skip
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.mutations.example.com"},
    "spec": {
        "group": THINGS.group,
        "scope": "Namespaced",
        "names": {"plural": "things", "singular": "thing", "kind": "Thing", "listKind": "ThingList"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": structure(spec=SPEC)},
            }
        ],
    },
}  # fmt: skip


def deployment(name: str) -> Object:
    containers = [
        {"name": "web", "image": "web:1", "ports": [{"containerPort": 80}], "env": [{"name": "A", "value": "1"}]},
        {"name": "log", "image": "log:1", "args": ["-v"]},
    ]
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    spec = {"replicas": 1, "selector": {"matchLabels": labels}, "template": template}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": spec}


def config_map(name: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"replicas": "7", "n": "0"}}


def thing(name: str) -> Object:
    spec = {
        "words": ["a", "b", "c"],
        "plain": ["x"],
        "items": [{"name": "one", "size": 1}, {"name": "two", "zone": "there", "size": 2}],
        "whole": {"a": "1"},
        "parts": {"a": "1"},
        "open": {"x": {"y": 1}, "l": [1, 2]},
        "numbers": {"a": 1},
        "either": "1",
    }
    return {"apiVersion": THINGS.api_version, "kind": "Thing", "metadata": {"name": name}, "spec": spec}


def service(name: str) -> Object:
    ports = [{"port": 80, "name": "a"}, {"port": 81, "name": "b"}]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": ports}}


MADE = {CONFIG_MAPS: config_map, DEPLOYMENTS: deployment, THINGS: thing, SERVICES: service}


def patch(text: str) -> Object:
    return {"patchType": "JSONPatch", "jsonPatch": {"expression": text}}


def apply(text: str) -> Object:
    return {"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": text}}


@dataclass(frozen=True)
class Case:
    """A policy for objects with label ``case``, bound, and one of them that is created."""

    name: str
    mutations: list[Object]
    of: Resource = CONFIG_MAPS
    spec: Object = field(default_factory=dict)
    bindings: tuple[Object, ...] = ({},)
    namespace: str = "default"

    def policy(self) -> Object:
        constraints = {
            "resourceRules": [rule(self.of.group, self.of.plural, operations=("CREATE", "UPDATE"))],
            "objectSelector": {"matchLabels": {"case": self.name.partition("+")[0]}},
            **self.spec.get("matchConstraints", {}),
        }
        spec = {"reinvocationPolicy": "Never", **self.spec, "matchConstraints": constraints}
        return {"metadata": {"name": self._plain}, "spec": {**spec, "mutations": self.mutations}}

    @property
    def _plain(self) -> str:
        return self.name.replace("+", "-")

    def bound(self) -> list[Object]:
        return [
            {"metadata": {"name": f"{self._plain}-{number}"}, "spec": {"policyName": self._plain, **binding}}
            for number, binding in enumerate(self.bindings)
        ]

    async def play(self, side: Side) -> Said:
        obj = MADE[self.of](f"mutated-{self._plain}")
        obj["metadata"]["labels"] = {"case": self.name}
        return await side.create(self.of, obj, self.namespace, dryRun="All")


COUNT = """[JSONPatch{op: "replace", path: "/data/n", value: string(int(object.data.n) + 1)}]"""
CONTAINERS = "Object{spec: Object.spec{template: Object.spec.template{spec: Object.spec.template.spec{%s}}}}"
CONTAINER = "Object.spec.template.spec.containers"
CASES = [
    Case("add", [patch('[JSONPatch{op: "add", path: "/data/a", value: "b"}]')]),
    Case("none", [patch("true ? [] : [JSONPatch{op: 'remove', path: '/data'}]")]),
    Case("escape", [patch('[JSONPatch{op: "add", path: "/metadata/labels/" + '
         'jsonpatch.escapeKey("example.com/a"), value: "b"}]')]),
    Case("object", [patch('[JSONPatch{op: "add", path: "/metadata/annotations", value: {"a": "b"}}]')]),
    Case("copy-move", [patch('[JSONPatch{op: "copy", from: "/data/n", path: "/data/m"}, '
         'JSONPatch{op: "move", from: "/data/m", path: "/data/o"}]')]),
    Case("test-holds", [patch('[JSONPatch{op: "test", path: "/data/n", value: "0"}, '
         'JSONPatch{op: "remove", path: "/data/n"}]')]),
    Case("test-fails", [patch('[JSONPatch{op: "test", path: "/data/n", value: "1"}, '
         'JSONPatch{op: "remove", path: "/data/n"}]')]),
    Case("missing", [patch('[JSONPatch{op: "remove", path: "/data/none"}]')]),
    Case("missing-ignored", [patch('[JSONPatch{op: "remove", path: "/data/none"}]')], spec={"failurePolicy": "Ignore"}),
    Case("wrong-op", [patch('[JSONPatch{op: "change", path: "/data/n", value: "1"}]')]),
    Case("no-path", [patch('[JSONPatch{op: "add", value: "1"}]')]),
    Case("unknown-field", [patch('[JSONPatch{op: "add", path: "/other", value: "1"}]')]),
    Case("unknown-deep", [patch('[JSONPatch{op: "add", path: "/spec/template/spec/containers/0/x", value: 1}]')],
         DEPLOYMENTS),
    Case("wrong-type", [patch('[JSONPatch{op: "add", path: "/data/n", value: 1}]')]),
    Case("number", [patch('[JSONPatch{op: "replace", path: "/spec/replicas", value: 3}]')], DEPLOYMENTS),
    Case("double", [patch('[JSONPatch{op: "replace", path: "/spec/replicas", value: 3.0}]')], DEPLOYMENTS),
    Case("list", [patch('[JSONPatch{op: "add", path: "/spec/template/spec/containers/1/args/-", '
         'value: object.metadata.name}]')], DEPLOYMENTS),
    Case("typed-value", [patch('[JSONPatch{op: "replace", path: "/spec/selector", value: '
         'Object.spec.selector{matchLabels: {"app": "web"}}}]')], DEPLOYMENTS),
    Case("misnamed-value", [patch('[JSONPatch{op: "replace", path: "/spec/selector", value: '
         'Object.spec.selector{matchLabels: Object.spec.other{app: "web"}}}]')], DEPLOYMENTS),
    Case("open", [patch('[JSONPatch{op: "add", path: "/spec/open/x/z", value: {"a": [1, 2], "b": [3]}}, '
         'JSONPatch{op: "add", path: "/spec/unknown", value: 1}]')], THINGS),
    Case("error", [patch('[JSONPatch{op: "add", path: "/data/a", value: object.spec.x}]')]),
    Case("error-ignored", [patch('[JSONPatch{op: "add", path: "/data/a", value: object.spec.x}]')],
         spec={"failurePolicy": "Ignore"}),
    Case("two", [patch(COUNT), patch(COUNT)]),
    Case("two-one-fails", [patch("[JSONPatch{op: 'remove', path: object.x}]"), patch(COUNT)],
         spec={"failurePolicy": "Ignore"}),
    Case("again", [patch(COUNT)], spec={"reinvocationPolicy": "IfNeeded"}),
    Case("again-nothing", [apply("Object{}")], spec={"reinvocationPolicy": "IfNeeded"}),
    Case("again-condition", [patch(COUNT)], spec={"reinvocationPolicy": "IfNeeded",
         "matchConditions": [{"name": "first", "expression": "object.data.n == '0'"}]}),
    Case("condition-false", [patch(COUNT)], spec={"matchConditions": [{"name": "no", "expression": "false"}]}),
    Case("condition-error", [patch(COUNT)], spec={"matchConditions": [{"name": "x", "expression": "object.x == 1"}]}),
    Case("variables", [patch("[JSONPatch{op: 'add', path: '/data/v', value: variables.v}]"),
         patch("[JSONPatch{op: 'add', path: '/data/w', value: variables.v}]")],
         spec={"variables": [{"name": "v", "expression": "string(size(object.data))"}]}),
    Case("request", [patch("[JSONPatch{op: 'add', path: '/data/r', value: '%s %s %s'.format([request.operation, "
         "request.name, dyn(request.kind)]) + namespaceObject.metadata.name}]")]),
    Case("authorizer", [patch("[JSONPatch{op: 'add', path: '/data/r', value: string("
         "authorizer.group('').resource('secrets').check('get').allowed())}]")]),
    Case("selected", [patch(COUNT)], spec={"matchConstraints": {"namespaceSelector": {"matchLabels": {
         "limited": "yes"}}}}),
    Case("selected-there", [patch(COUNT)], spec={"matchConstraints": {"namespaceSelector": {"matchLabels": {
         "limited": "yes"}}}}, namespace="limited"),
    Case("bound-elsewhere", [patch(COUNT)], bindings=({"matchResources": {"namespaceSelector": {"matchLabels": {
         "limited": "yes"}}}},)),
    Case("bound-twice", [patch(COUNT)], bindings=({}, {})),
    Case("unbound", [patch(COUNT)], bindings=()),
    Case("param", [patch("[JSONPatch{op: 'add', path: '/data/max', value: params.data.max}]")],
         spec={"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}}, bindings=(param(name="five"),)),
    Case("param-missing", [patch(COUNT)], spec={"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}},
         bindings=(param(name="none"),)),
    Case("param-missing-allowed", [patch(COUNT)], spec={"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}},
         bindings=(param("Allow", name="none"),)),
    Case("param-selected", [patch(COUNT)], spec={"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}},
         bindings=(param(selector={"matchExpressions": [{"key": "limits", "operator": "Exists"}]}),)),
    Case("param-unknown", [patch(COUNT)], spec={"paramKind": {"apiVersion": "nothing.example.com/v1", "kind": "Thing"}},
         bindings=(param(name="five"),)),
    Case("param-own", [apply("Object{data: {'max': string(params.max)}}")],
         spec={"paramKind": {"apiVersion": LIMITS.api_version, "kind": "Limit"}}, bindings=(param(name="five"),)),
    Case("costly", [patch("lists.range(300).all(x, lists.range(300).all(y, lists.range(300).all(z, x >= 0))) ? "
         "[JSONPatch{op: 'add', path: '/data/a', value: 'b'}] : []")]),
    Case("apply", [apply("Object{data: {'a': 'b'}, metadata: Object.metadata{labels: {'l': 'm'}}}")]),
    Case("apply-typed-map", [apply("Object{metadata: Object.metadata{labels: Object.metadata.labels{l: 'm'}}}")]),
    Case("apply-nothing", [apply("Object{}")]),
    Case("apply-none", [apply("Object{?data: optional.none()}")]),
    Case("apply-immutable", [apply("Object{immutable: true}")]),
    Case("apply-optional", [apply("Object{?data: object.?data, ?immutable: object.?other}")]),
    Case("apply-misnamed", [apply("Object{metadata: Object.meta{labels: {'l': 'm'}}}")]),
    Case("apply-unknown", [apply("Object{other: 'x'}")]),
    Case("apply-wrong-type", [apply("Object{data: {'a': 1}}")]),
    Case("apply-wrong-type-map", [apply("Object{data: 'x'}")]),
    Case("apply-wrong-type-number", [apply("Object{spec: Object.spec{replicas: 'x'}}")], DEPLOYMENTS),
    Case("apply-wrong-type-bool", [apply("Object{immutable: 'x'}")]),
    Case("apply-name", [apply("Object{kind: 'Secret', apiVersion: 'v2'}")]),
    Case("apply-replicas", [apply("Object{spec: Object.spec{replicas: object.spec.replicas + 4}}")], DEPLOYMENTS),
    Case("apply-sidecar", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'side', image: 'side:1'}}]")],
         DEPLOYMENTS),
    Case("apply-init", [apply(CONTAINERS % "initContainers: [Object.spec.template.spec.initContainers{name: 'side', "
         "image: 'side:1', restartPolicy: 'Always'}]")], DEPLOYMENTS),
    Case("apply-env", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'web', env: [{CONTAINER}.env{{name: 'B', "
         f"value: '2'}}, {CONTAINER}.env{{name: 'A', value: '3'}}]}}]")], DEPLOYMENTS),
    Case("apply-ports", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'web', ports: [{CONTAINER}.ports{{"
         f"containerPort: 80, name: 'http'}}, {CONTAINER}.ports{{containerPort: 80, protocol: 'UDP'}}]}}]")],
         DEPLOYMENTS),
    Case("apply-map-all", [apply(CONTAINERS % "containers: object.spec.template.spec.containers.map(c, "
         f"{CONTAINER}{{name: c.name, imagePullPolicy: 'Never'}})")], DEPLOYMENTS),
    Case("apply-order", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'log', image: 'log:2'}}, "
         f"{CONTAINER}{{name: 'web', image: 'web:2'}}]")], DEPLOYMENTS),
    Case("apply-atomic-list", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'web', args: ['x']}}]")],
         DEPLOYMENTS),
    Case("apply-atomic-map", [apply("Object{spec: Object.spec{selector: Object.spec.selector{matchLabels: "
         "{'app': 'web'}}}}")], DEPLOYMENTS),
    Case("apply-no-key", [apply(CONTAINERS % f"containers: [{CONTAINER}{{image: 'x'}}]")], DEPLOYMENTS),
    Case("apply-same-key", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'x'}}, {CONTAINER}{{name: 'x'}}]")],
         DEPLOYMENTS),
    Case("apply-service", [apply("Object{spec: Object.spec{ports: [Object.spec.ports{port: 81, nodePort: 0, "
         "targetPort: 8081}], externalIPs: ['10.1.2.3']}}")], SERVICES),
    Case("apply-quantity", [apply(CONTAINERS % f"containers: [{CONTAINER}{{name: 'web', resources: "
         f"{CONTAINER}.resources{{requests: {{'cpu': dyn('1000m'), 'memory': dyn(5)}}}}}}]")], DEPLOYMENTS),
    Case("thing-words", [apply("Object{spec: Object.spec{words: ['c', 'd', 'a']}}")], THINGS),
    Case("thing-words-same", [apply("Object{spec: Object.spec{words: ['d', 'd']}}")], THINGS),
    Case("thing-plain", [apply("Object{spec: Object.spec{plain: ['y']}}")], THINGS),
    Case("thing-items", [apply("Object{spec: Object.spec{items: [Object.spec.items{name: 'one', size: 5}, "
         "Object.spec.items{name: 'two', size: 6}]}}")], THINGS),
    Case("thing-whole", [apply("Object{spec: Object.spec{whole: Object.spec.whole{b: '2'}}}")], THINGS),
    Case("thing-parts", [apply("Object{spec: Object.spec{parts: Object.spec.parts{b: '2'}}}")], THINGS),
    Case("thing-open", [apply("Object{spec: Object.spec{open: Object.spec.open{x: Object.spec.open.x{z: 'a'}, "
         "n: 1}}}")], THINGS),
    Case("thing-numbers", [apply("Object{spec: Object.spec{numbers: {'b': 2, 'a': 3}}}")], THINGS),
    Case("thing-either", [apply("Object{spec: Object.spec{either: 5}}")], THINGS),
    Case("thing-either-wrong", [apply("Object{spec: Object.spec{either: true}}")], THINGS),
    Case("thing-double", [apply("Object{spec: Object.spec{size: 3.0}}")], THINGS),
    Case("thing-unknown", [apply("Object{spec: Object.spec{sise: 3}}")], THINGS),
    Case("thing-empty", [apply("Object{spec: Object.spec{open: {}, numbers: Object.spec.numbers{}, words: []}}")],
         THINGS),
]  # fmt: skip
PAIRS = [
    Case("pair", [patch(COUNT)], spec={"reinvocationPolicy": "IfNeeded"}),
    Case("pair+then", [patch(COUNT)], spec={"reinvocationPolicy": "Never"}),
]
"""Two for one object, one of which wants to see what the other made."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(kcp: Kcp) -> AsyncIterator[Side]:
    """A workspace that has all that a cluster has."""
    await kcp.make_workspace("root:tests", "full", "Cluster")
    async with kcp.client("root:tests:full") as client:
        yield Side("full", client)


async def install(side: Side, *cases: Case) -> None:
    """And wait until they act: what is made last does."""
    last = Case(f"last{secrets.token_hex(4)}", [patch("[JSONPatch{op: 'add', path: '/data/last', value: 'x'}]")])
    for case in (*cases, last):
        await side.client.create(POLICIES, case.policy())
        for binding in case.bound():
            await side.client.create(BINDINGS, binding)

    async def acts() -> bool:
        return "last" in (await last.play(side)).body.get("data", {})

    await eventually(acts)
    await remove(side, last)


async def remove(side: Side, *cases: Case) -> None:
    for case in cases:
        for binding in case.bound():
            await side.client.delete(BINDINGS, binding["metadata"]["name"])
        await side.client.delete(POLICIES, case.policy()["metadata"]["name"])


async def test_what_policies_make(plain: Side, full: Side) -> None:
    async def play(side: Side) -> list[Said]:
        await prepare(side)
        await side.client.create(CRDS, CRD)
        await install(side, *CASES)

        async def known() -> bool:
            """A cluster learns of parameters, and of types, with a delay."""
            answers = [await case.play(side) for case in CASES if case.name.startswith(("param", "thing"))]
            said = [str(answer.body) for answer in answers]
            return not any("not yet synced" in one or "There can be a delay" in one or "404" in one for one in said)

        await eventually(known, StatusError)
        return [await case.play(side) for case in CASES]

    expected, got = await asyncio.gather(play(plain), play(full))
    wrong = []
    for case, theirs, ours in zip(CASES, expected, got, strict=True):
        try:
            same(ours, theirs, case.name)
        except AssertionError as error:
            wrong.append(str(error))
    assert not wrong, "\n".join(wrong)
    await asyncio.gather(*(remove(side, *CASES) for side in (plain, full)))


async def test_policies_see_what_others_made(plain: Side, full: Side, server: WebhookServer) -> None:
    """Before and after webhooks. The order of policies is nobody's to know in a cluster, so they make the same."""
    hook = {
        "name": "label.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": server.config("label/hooked"),
        "rules": [rule("", "configmaps")],
        "reinvocationPolicy": "IfNeeded",
        "objectSelector": {"matchExpressions": [{"key": "case", "operator": "In", "values": ["pair", "hooked"]}]},
    }
    once = Case("hooked", [patch(COUNT)])
    hooked = Case("hooked", [patch(COUNT)], spec={"reinvocationPolicy": "IfNeeded"})

    async def play(side: Side, *cases: Case) -> list[Said]:
        await install(side, *cases)
        await side.install(MUTATING, "label", [hook])
        said = [await case.play(side) for case in cases]
        await side.remove(MUTATING, "label")
        await remove(side, *cases)
        return said

    for cases, count in (((once,), "1"), ((hooked,), "2"), (tuple(PAIRS), "3")):
        server.asked.clear()
        theirs = await play(plain, *cases)
        calls = len(server.asked["label/hooked"])
        server.asked.clear()
        ours = await play(full, *cases)
        same(ours, theirs)
        assert ours[0].body["data"]["n"] == count
        assert len(server.asked["label/hooked"]) == calls


async def test_refusals_of_policies(plain: Side, full: Side) -> None:
    """What is no policy is refused in the words of a cluster."""
    wrong = [
        Case("syntax", [patch("[JSONPatch{")]),
        Case("no-list", [patch("JSONPatch{op: 'add'}")]),
        Case("wrong-field", [patch("[JSONPatch{op: 1, path: '/a'}]")]),
        Case("unknown-field", [patch("[JSONPatch{ops: 'add'}]")]),
        Case("no-object", [apply("{'a': 'b'}")]),
        Case("part-of-object", [apply("Object.spec{a: 1}")]),
        Case("unknown-type", [apply("Thing{}")]),
        Case("no-mutation", []),
        Case("both", [patch(COUNT) | apply("Object{}")]),
        Case("neither", [{"patchType": "JSONPatch"}]),
        Case("other", [{"patchType": "Merge"}]),
        Case("message-in-variable", [patch(COUNT)], spec={"variables": [{"name": "v", "expression": "Object{}"}]}),
        Case("never", [patch(COUNT)], spec={"reinvocationPolicy": "Sometimes"}),
        Case("deleted", [patch(COUNT)], spec={"matchConstraints": {
             "resourceRules": [rule("", "configmaps", operations=("DELETE",))]}}),
    ]  # fmt: skip
    for case in wrong:
        theirs, ours = [await side.create(POLICIES, case.policy()) for side in (plain, full)]
        same(ours, theirs, case.name)
        assert ours.code == 422, case.name
    for spec in (
        {},
        {"policyName": "x", "paramRef": {"name": "x"}},
        {"policyName": "x", "validationActions": ["Deny"]},
    ):
        body = {"metadata": {"name": "x"}, "spec": spec}
        theirs, ours = [await side.create(BINDINGS, body, fieldValidation="Strict") for side in (plain, full)]
        same(ours, theirs)
        assert ours.code >= 400


async def test_policies_are_objects_as_in_a_cluster(plain: Side, full: Side) -> None:
    """Made, read, listed, patched in each way, applied and deleted; discovery tells the same of them."""
    case = Case("kept", [patch(COUNT), apply("Object{}")], spec={
        "variables": [{"name": "v", "expression": "1"}],
        "matchConditions": [{"name": "a", "expression": "true"}],
    })  # fmt: skip
    path = POLICIES.path(None, "kept")
    more = {"spec": {"matchConditions": [{"name": "b", "expression": "false"}],
                     "variables": [{"name": "w", "expression": "2"}]}}  # fmt: skip
    applied = {"apiVersion": POLICIES.api_version, "kind": "MutatingAdmissionPolicy", **case.policy()}

    async def play(side: Side) -> list[Said]:
        said = [await side.create(POLICIES, case.policy()), await side.create(POLICIES, case.policy())]
        for kind in ("merge-patch", "strategic-merge-patch"):
            said.append(await side.send("PATCH", path, more, f"application/{kind}+json"))
        replaced = [{"op": "replace", "path": "/spec/failurePolicy", "value": "Ignore"}]
        said.append(await side.send("PATCH", path, replaced, "application/json-patch+json"))
        applying = {"fieldManager": "tests", "force": "true"}
        said.append(await side.send("PATCH", path, applied, "application/apply-patch+yaml", **applying))
        said.append(await side.create(BINDINGS, case.bound()[0]))
        said.append(await side.send("GET", path))
        said.append(await side.send("DELETE", BINDINGS.path(None, "kept-0")))
        said.append(await side.send("DELETE", path))
        said.append(await side.send("GET", path))
        return said

    for number, (theirs, ours) in enumerate(zip(await play(plain), await play(full), strict=True)):
        same(ours, theirs, number)
    for side in (plain, full):
        assert (await side.send("GET", f"/apis/{REGISTRATIONS}/v1beta1/mutatingadmissionpolicies")).code == 404
    listed = [(await side.client.request("GET", f"/apis/{REGISTRATIONS}/v1"))["resources"] for side in (plain, full)]
    known = [{entry["name"]: entry for entry in entries if "mutatingadmission" in entry["name"]} for entries in listed]
    for entries in known:
        for entry in entries.values():
            entry.pop("storageVersionHash", None)
    assert known[0] == known[1]
    assert len(known[1]) == 2


async def test_a_policy_acts_in_its_workspace_alone(kcp: Kcp) -> None:
    async with fresh(kcp) as one, fresh(kcp) as two:
        for side, letter in ((one, "a"), (two, "b")):
            text = f"[JSONPatch{{op: 'add', path: '/data/{letter}', value: object.metadata.namespace}}]"
            await install(side, Case("own", [patch(text)]))
        first, second = [await Case("own", []).play(side) for side in (one, two)]
        assert first.body["data"] == {"replicas": "7", "n": "0", "a": "default"}
        assert second.body["data"] == {"replicas": "7", "n": "0", "b": "default"}
        for text in (
            "[JSONPatch{op: 'add', path: '/metadata/labels/0.kcp.dev~1w', value: 'kaaaaaaaa'}]",
            "[JSONPatch{op: 'replace', path: '/metadata/namespace', value: 'kaaaaaaaa-default'}]",
            "[JSONPatch{op: 'replace', path: '/metadata/name', value: 'other'}]",
            "[JSONPatch{op: 'replace', path: '/metadata', value: {'name': 'x', 'namespace': 'kube-system'}}]",
        ):
            case = Case("beyond", [patch(text)])
            await install(one, case)
            said = await case.play(one)
            meta = said.body.get("metadata") or {}
            assert said.code >= 400 or meta["namespace"] == "default", said
            assert "kaaaaaaaa" not in str(meta)
            await remove(one, case)


async def test_what_a_workspace_cannot_have(full: Side) -> None:
    secret = Case("secret", [patch(COUNT)], spec={"paramKind": {"apiVersion": "v1", "kind": "Secret"}})
    said = await full.create(POLICIES, secret.policy())
    assert said.code == 422
    assert "Secrets are no parameters" in said.body["message"]
    selecting = "authorizer.group('').resource('pods').fieldSelector('spec.nodeName=x').check('list').allowed()"
    said = await full.create(POLICIES, Case("selecting", [patch(f"{selecting} ? [JSONPatch{{}}] : []")]).policy())
    assert said.code == 422
    assert "spec.mutations[0].jsonPatch.expression: Forbidden: it cannot be evaluated" in said.body["message"]
