"""ValidatingAdmissionPolicies of a workspace decide what they decide in a cluster, and say it in the same words."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from tests.integration.admission.conftest import fresh
from tests.integration.admission.side import CONFIG_MAPS, REGISTRATIONS, Object, Said, Side, rule, same
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

POLICIES, BINDINGS = (
    Resource(REGISTRATIONS, "v1", f"validatingadmission{plural}", namespaced=False)
    for plural in ("policies", "policybindings")
)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
SERVICE_ACCOUNTS = Resource("", "v1", "serviceaccounts")
ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
LIMITS = Resource("policies.example.com", "v1", "limits", namespaced=False)
CRD: Object = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "limits.policies.example.com"},
    "spec": {
        "group": LIMITS.group,
        "scope": "Cluster",
        "names": {"plural": "limits", "singular": "limit", "kind": "Limit", "listKind": "LimitList"},
        "versions": [
            {
                "name": "v1", "served": True, "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"max": {"type": "integer"}}}},
            }
        ],
    },
}  # fmt: skip
REPLICAS = "int(object.data.replicas)"


@dataclass(frozen=True)
class Case:
    """A policy for ConfigMaps with label ``case``, bound, and one that is created."""

    name: str
    spec: Object
    bindings: tuple[Object, ...] = ({},)
    data: Object = field(default_factory=lambda: {"replicas": "7"})
    namespace: str = "default"

    def policy(self) -> Object:
        constraints = {
            "resourceRules": [rule("", "configmaps", operations=("CREATE",))],
            "objectSelector": {"matchLabels": {"case": self.name}},
            **self.spec.get("matchConstraints", {}),
        }
        return {"metadata": {"name": self.name}, "spec": {**self.spec, "matchConstraints": constraints}}

    def bound(self) -> list[Object]:
        return [
            {
                "metadata": {"name": f"{self.name}-{number}"},
                "spec": {"policyName": self.name, "validationActions": ["Deny"], **binding},
            }
            for number, binding in enumerate(self.bindings)
        ]

    async def play(self, side: Side) -> Said:
        obj = {"metadata": {"name": f"policed-{self.name}", "labels": {"case": self.name}}, "data": self.data}
        return await side.create(CONFIG_MAPS, obj, self.namespace, dryRun="All")


def validation(expression: str, **more: str) -> Object:
    return {"validations": [{"expression": expression, **more}]}


ATMOST = validation(f"{REPLICAS} <= int(params.data.max)", messageExpression="'at most ' + params.data.max")
BY_NAME = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, **ATMOST}
LIMITED = {
    "paramKind": {"apiVersion": LIMITS.api_version, "kind": "Limit"},
    **validation(f"{REPLICAS} <= params.max", messageExpression="params.metadata.name + ' of ' + params.kind"),
}


def param(action: str = "Deny", **ref: Any) -> Object:
    return {"paramRef": {"parameterNotFoundAction": action, **ref}}


CASES = [
    Case("fails", validation(f"{REPLICAS} <= 5")),
    Case("holds", validation(f"{REPLICAS} <= 5"), data={"replicas": "3"}),
    Case("unbound", validation("false"), ()),
    Case("message", validation(f"{REPLICAS} <= 5", message="too many")),
    Case("expression", validation(f"{REPLICAS} <= 5", messageExpression=f"'not ' + string({REPLICAS})")),
    Case("reason", validation("false", reason="Forbidden", message="no")),
    Case("too-large", validation("false", reason="RequestEntityTooLarge", message="no")),
    Case("error", validation("object.spec.replicas > 1")),
    Case("error-ignored", {"failurePolicy": "Ignore", **validation("object.spec.replicas > 1")}),
    Case("warn", validation("false", message="careful"), ({"validationActions": ["Warn"]},)),
    Case("warn-and-audit", validation("false", message="careful"), ({"validationActions": ["Warn", "Audit"]},)),
    Case("audit", validation("false"), ({"validationActions": ["Audit"]},)),
    Case("twice", validation("false", message="no"), ({"validationActions": ["Warn"]}, {})),
    Case("variables", {
        "variables": [{"name": "n", "expression": REPLICAS}, {"name": "twice", "expression": "variables.n * 2"}],
        **validation("variables.twice < 10", messageExpression="string(variables.twice)")}),
    Case("condition-false", {"matchConditions": [{"name": "no", "expression": "false"}], **validation("false")}),
    Case("condition-error", {"matchConditions": [{"name": "x", "expression": "object.x == 1"}], **validation("true")}),
    Case("request", validation("false", messageExpression="'%s %s %s %s %s'.format([request.operation, request.name, "
         "request.namespace, dyn(request.kind), dyn(request.requestResource)])")),
    Case("namespace", validation("false", messageExpression="namespaceObject.metadata.name + ' ' + "
         "namespaceObject.metadata.labels['kubernetes.io/metadata.name'] + ' ' + namespaceObject.status.phase")),
    Case("names", validation("object.metadata.name == 'policed-names' && object.metadata.namespace == 'default' && "
         "object.metadata.labels == {'case': 'names'}")),
    Case("authorizer", validation("authorizer.group('').resource('secrets').check('get').allowed() && "
         "authorizer.requestResource.check('get').allowed() && authorizer.path('/version').check('get').allowed() && "
         "!authorizer.serviceAccount('default', 'x').group('').resource('secrets').check('get').allowed()")),
    Case("reader", validation("authorizer.serviceAccount('default', 'reader').group('').resource('configmaps')"
         ".namespace('default').check('get').allowed()")),
    Case("selected", {"matchConstraints": {"namespaceSelector": {"matchLabels": {"limited": "yes"}}},
         **validation("false")}),
    Case("selected-there", {"matchConstraints": {"namespaceSelector": {"matchLabels": {"limited": "yes"}}},
         **validation("false")}, namespace="limited"),
    Case("excluded", {"matchConstraints": {"excludeResourceRules": [
         {**rule("", "configmaps"), "resourceNames": ["policed-excluded"]}]}, **validation("false")}),
    Case("bound-elsewhere", validation("false"), ({"matchResources": {"namespaceSelector": {"matchLabels": {
         "limited": "yes"}}}},)),
    Case("all-resources", {"matchConstraints": {"resourceRules": [rule("*", "*")]}, **validation("false")}),
    Case("param", BY_NAME, (param(name="five"),)),
    Case("param-there", BY_NAME, (param(name="five", namespace="limited"),)),
    Case("param-missing", BY_NAME, (param(name="none"),)),
    Case("param-missing-allowed", BY_NAME, (param("Allow", name="none"),)),
    Case("param-selected", BY_NAME, (param(selector={"matchLabels": {"limits": "yes"}}),)),
    Case("param-expressed", BY_NAME, (param(selector={"matchExpressions": [
         {"key": "limits", "operator": "NotIn", "values": ["yes"]}, {"key": "limits", "operator": "Exists"}]}),)),
    Case("param-unused", {"paramKind": BY_NAME["paramKind"], **validation("params == null && false")}),
    Case("param-several", BY_NAME, (param(name="five"), param(name="nine"))),
    Case("param-unknown", {"paramKind": {"apiVersion": "nothing.example.com/v1", "kind": "Thing"},
         **validation("true")}, (param(name="five"),)),
    Case("param-own", LIMITED, (param(name="five"),)),
    Case("param-own-all", LIMITED, (param(selector={}),)),
    Case("annotation-error", {"auditAnnotations": [{"key": "k", "valueExpression": "string(object.x)"}]}),
    Case("annotation", {"auditAnnotations": [{"key": "k", "valueExpression": "'v'"}]}),
    Case("costly", validation("lists.range(300).all(x, lists.range(300).all(y, lists.range(300).all(z, x >= 0)))")),
]  # fmt: skip


def limits(name: str, most: str, label: str) -> Object:
    return {"metadata": {"name": name, "labels": {"limits": label}}, "data": {"max": most}}


async def prepare(side: Side) -> None:
    """What cases speak of, unless it is there."""

    async def create(resource: Resource, obj: Object, namespace: str | None = None) -> None:
        try:
            await side.client.create(resource, obj, namespace)
        except StatusError as error:
            if error.code != 409:
                raise

    await create(NAMESPACES, {"metadata": {"name": "limited", "labels": {"limited": "yes"}}})
    await create(CRDS, CRD)
    await create(CONFIG_MAPS, limits("five", "5", "yes"), "default")
    await create(CONFIG_MAPS, limits("nine", "9", "no"), "default")
    await create(CONFIG_MAPS, limits("five", "6", "yes"), "limited")
    own = {"apiVersion": LIMITS.api_version, "kind": "Limit", "metadata": {"name": "five"}, "max": 5}

    async def made() -> bool:
        await create(LIMITS, own)
        return True

    await eventually(made, StatusError)
    await create(SERVICE_ACCOUNTS, {"metadata": {"name": "reader"}}, "default")
    reads = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get"]}]
    await create(ROLES, {"metadata": {"name": "reader"}, "rules": reads})
    bindings = Resource(ROLES.group, "v1", "rolebindings")
    subject = {"kind": "ServiceAccount", "name": "reader", "namespace": "default"}
    role = {"apiGroup": ROLES.group, "kind": "ClusterRole", "name": "reader"}
    await create(bindings, {"metadata": {"name": "reader"}, "subjects": [subject], "roleRef": role}, "default")


async def act(side: Side, name: str) -> None:
    """Until what was made before acts: a policy that is made last does, and goes again."""
    await side.client.create(POLICIES, Case(name, validation("false")).policy())
    await side.client.create(BINDINGS, Case(name, {}).bound()[0])

    async def acts() -> bool:
        return (await Case(name, {}).play(side)).code == 422

    await eventually(acts)
    await side.client.delete(BINDINGS, f"{name}-0")
    await side.client.delete(POLICIES, name)


@pytest.fixture
async def played(plain: Side, workspace: Side) -> tuple[Side, Side]:
    await asyncio.gather(prepare(plain), prepare(workspace))
    return plain, workspace


async def test_decisions_of_policies(played: tuple[Side, Side]) -> None:
    async def play(side: Side) -> list[Said]:
        for case in CASES:
            await side.client.create(POLICIES, case.policy())
            for binding in case.bound():
                await side.client.create(BINDINGS, binding)
        await act(side, "last")
        if side.name == "plain":  # parameters are followed there, from when a policy first needs them

            async def known() -> bool:
                answers = [await case.play(side) for case in CASES if case.name.startswith("param")]
                return not any("not yet synced" in str(said.body) for said in answers)

            await eventually(known)
        return [await case.play(side) for case in CASES]

    plain, workspace = played
    expected, got = await play(plain), await play(workspace)
    for case, theirs, ours in zip(CASES, expected, got, strict=True):
        same(ours, theirs, case.name)
    by_name = {case.name: said for case, said in zip(CASES, got, strict=True)}
    assert by_name["fails"].body["message"] == (
        "configmaps \"policed-fails\" is forbidden: ValidatingAdmissionPolicy 'fails' with binding 'fails-0' denied "
        "request: failed expression: int(object.data.replicas) <= 5"
    )
    for kind, names in ((BINDINGS, [one["metadata"]["name"] for case in CASES for one in case.bound()]),
                        (POLICIES, [case.name for case in CASES])):  # fmt: skip
        for name in names:
            await plain.client.delete(kind, name)


async def test_refusals_of_policies(plain: Side, workspace: Side) -> None:
    """What is no policy is refused in the words of a cluster."""
    wrong = [
        Case("syntax", validation("1 +")),
        Case("type", validation("object.data")),
        Case("nothing", validation("unknown(object)")),
        Case("number", validation("1")),
        Case("none", {}),
        Case("message-type", validation("true", messageExpression="1")),
    ]
    for case in wrong:
        theirs, ours = [await side.create(POLICIES, case.policy()) for side in (plain, workspace)]
        same(ours, theirs, case.name)
        assert ours.code == 422
    no_action = {"metadata": {"name": "x"}, "spec": {"policyName": "x", "validationActions": []}}
    theirs, ours = [await side.create(BINDINGS, no_action) for side in (plain, workspace)]
    same(ours, theirs)


async def test_what_a_workspace_cannot_have(workspace: Side) -> None:
    secret = Case("secret", {"paramKind": {"apiVersion": "v1", "kind": "Secret"}, **validation("true")})
    said = await workspace.create(POLICIES, secret.policy())
    assert said.code == 422
    assert "Secrets are no parameters" in said.body["message"]
    for expressions in ([f"object.metadata.name != '{'x' * 9000}'"], [f"object.metadata.name != '{'x' * 8000}'"] * 9):
        long = Case("long", {"validations": [{"expression": text} for text in expressions]})
        said = await workspace.create(POLICIES, long.policy())
        assert said.code == 422
        assert "characters" in said.body["message"]
    selecting = "authorizer.group('').resource('pods').fieldSelector('spec.nodeName=x').check('list').allowed()"
    said = await workspace.create(POLICIES, Case("selecting", validation(selecting)).policy())
    assert said.code == 422
    assert "cannot be evaluated in a workspace" in said.body["message"]


async def test_two_workspaces_with_opposite_policies(kcp: Kcp) -> None:
    async with fresh(kcp) as few, fresh(kcp) as many:
        for side, expression in ((few, f"{REPLICAS} <= 5"), (many, f"{REPLICAS} > 5")):
            case = Case("opposite", validation(expression))
            await side.client.create(POLICIES, case.policy())
            await side.client.create(BINDINGS, case.bound()[0])
            await act(side, "last")
        for replicas, allowed in (("3", few), ("7", many)):
            for side in (few, many):
                said = await Case("opposite", {}, data={"replicas": replicas}).play(side)
                assert said.code == (201 if side is allowed else 422), said


async def test_policies_that_go_do_not_act(workspace: Side) -> None:
    case = Case("gone", validation("false"))
    await workspace.client.create(POLICIES, case.policy())
    await workspace.client.create(BINDINGS, case.bound()[0])
    await act(workspace, "last")
    assert (await case.play(workspace)).code == 422
    await workspace.client.delete(BINDINGS, "gone-0")

    async def allowed() -> bool:
        return (await case.play(workspace)).code == 201

    await eventually(allowed)
