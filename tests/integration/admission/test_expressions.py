"""Expressions of policies: a kube-apiserver and this library find the same values, and the same errors, in the same
words. Each is a validation whose message tells type and value, and comes back as a warning of a dry run."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest_asyncio

from proxy.admission.cel.admission import Inputs, Verdict, namespace_object
from proxy.admission.policy import CompiledPolicy
from proxy.kube.client import Resource
from tests.integration.admission.expressions import ERRORS, OBJECT, VALUES, VARIABLES
from tests.integration.admission.side import CONFIG_MAPS, Side
from tests.integration.eventually import eventually

POLICIES, BINDINGS = (
    Resource("admissionregistration.k8s.io", "v1", f"validatingadmission{plural}", namespaced=False)
    for plural in ("policies", "policybindings")
)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
AT_ONCE = 12
"""Warnings of one request have 4096 characters in all."""
BATCHES = [(VALUES + ERRORS)[at : at + AT_ONCE] for at in range(0, len(VALUES + ERRORS), AT_ONCE)]
PREFIX = "Validation failed for ValidatingAdmissionPolicy '{0}' with binding '{0}': "
_WARNING = re.compile(r'299 - "((?:[^"\\]|\\.)*)"')


def spec(name: str, expressions: list[str]) -> dict[str, Any]:
    return {
        "failurePolicy": "Fail",
        "matchConstraints": {
            "resourceRules": [
                {
                    "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"], "operations": ["CREATE"],
                    "resourceNames": [name],
                }
            ]
        },
        "variables": [{"name": key, "expression": value} for key, value in VARIABLES.items()],
        "validations": [made for at, expression in enumerate(expressions) for made in validations(at, expression)],
    }  # fmt: skip


def validations(at: int, expression: str) -> list[dict[str, Any]]:
    """Of which one fails. A warning that was given is not given again."""
    if "authorizer" in expression:  # messages do not have it
        return [{"expression": f"dyn({expression}) {same} dyn(true)"} for same in ("==", "!=")]
    return [
        {
            "expression": f"size([dyn({expression})]) == 0",
            "messageExpression": f"'{at}: %s %s'.format([type({expression}), dyn({expression})])",
        }
    ]


class Server:
    """A kube-apiserver with a policy for each batch."""

    def __init__(self, side: Side) -> None:
        self._side = side
        self._client = side.client

    async def warnings(self, name: str) -> list[str]:
        """Of the creation of `OBJECT` with that name."""
        body = {**OBJECT, "metadata": {**OBJECT["metadata"], "name": name}}
        said = await self._side.create(CONFIG_MAPS, body, "default", dryRun="All")
        assert said.code == 201, said
        found = [_WARNING.fullmatch(value) for value in said.warnings]
        return sorted(re.sub(r"\\(.)", r"\1", warning[1]) for warning in found if warning)

    async def put(self, name: str, expressions: list[str]) -> None:
        await self._client.create(POLICIES, {"metadata": {"name": name}, "spec": spec(name, expressions)})
        binding = {"policyName": name, "validationActions": ["Warn"]}
        await self._client.create(BINDINGS, {"metadata": {"name": name}, "spec": binding})

    async def remove(self, name: str) -> None:
        for kind in (BINDINGS, POLICIES):
            await self._client.delete(kind, name)

    async def user(self) -> dict[str, Any]:
        reviews = Resource("authentication.k8s.io", "v1", "selfsubjectreviews", namespaced=False)
        review = await self._client.create(reviews, {"kind": "SelfSubjectReview"})
        info: dict[str, Any] = review["status"]["userInfo"]
        return info

    async def namespace(self) -> Any:
        return namespace_object(await self._client.get(NAMESPACES, "default"))


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def policies(plain: Side) -> AsyncIterator[Server]:
    server = Server(plain)
    names = [f"e{number}" for number in range(len(BATCHES))]
    await asyncio.gather(*map(server.put, names, BATCHES))
    yield server
    await asyncio.gather(*map(server.remove, names))


def inputs(name: str, user: dict[str, Any], namespace: Any) -> Inputs:
    kind, resource = {"group": "", "version": "v1"}, {"group": "", "version": "v1", "resource": "configmaps"}
    request = {
        "kind": {**kind, "kind": "ConfigMap"}, "resource": resource, "requestKind": {**kind, "kind": "ConfigMap"},
        "requestResource": resource, "name": name, "namespace": "default", "operation": "CREATE", "userInfo": user,
        "dryRun": True, "options": {"kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1", "dryRun": ["All"]},
    }  # fmt: skip
    body = {**OBJECT, "metadata": {**OBJECT["metadata"], "name": name}}
    return Inputs(body, None, request, namespace, None, lambda question: Verdict(question.service_account is None))


async def test_same_values_and_errors(policies: Server) -> None:
    user, namespace = await policies.user(), await policies.namespace()
    for number, expressions in enumerate(BATCHES):
        name = f"e{number}"

        async def warnings(name: str = name) -> list[str]:
            return await policies.warnings(name)

        theirs = await eventually(warnings)
        outcome = CompiledPolicy(spec(name, expressions)).evaluate(inputs(name, user, namespace))
        ours = [PREFIX.format(name) + decision.message for decision in outcome.decisions if decision.denied]
        assert sorted(ours) == theirs
