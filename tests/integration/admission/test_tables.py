"""``kubectl get`` prints of webhook configurations and policies what it prints in a cluster."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.integration.admission.side import REGISTRATIONS, Object, Side, rule, same

ROOT = f"/apis/{REGISTRATIONS}/v1"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"
RULES = {"resourceRules": [rule("", "configmaps", operations=("CREATE",))]}
HOOK = {
    "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"url": "https://hooks.example.com/"},
    "rules": [rule("", "secrets")], "namespaceSelector": {"matchLabels": {"never": "there"}},
}  # fmt: skip
SELECTOR = {
    "matchLabels": {"b": "c", "a": "x"},
    "matchExpressions": [{"key": "k", "operator": "In", "values": ["v", "w"]}, {"key": "m", "operator": "Exists"}],
}
REFERENCES: dict[str, Object | None] = {
    "all": None, "one": {"name": "x"}, "there": {"name": "x", "namespace": "default"}, "any": {"selector": {}},
    "some": {"selector": SELECTOR, "namespace": "default"},
}  # fmt: skip
MUTATION = {
    "patchType": "JSONPatch",
    "jsonPatch": {"expression": 'has(object.x) ? [JSONPatch{op: "test", path: "/"}] : []'},
}
POLICY = {"paramKind": {"apiVersion": "v1", "kind": "ConfigMap"}, "matchConstraints": RULES}
TRICKY = '"\\"],\\"object\\":" != "<"'
MUTATING: Object = {"mutations": [MUTATION], "reinvocationPolicy": "Never"}


def hooks(*names: str) -> Object:
    return {"webhooks": [{"name": f"{name}.example.com", **HOOK} for name in names]}


def bindings(**more: Any) -> dict[str, Object]:
    return {
        name: {
            "spec": {"policyName": "p", **more}
            | ({"paramRef": {**ref, "parameterNotFoundAction": "Allow"}} if ref else {})
        }
        for name, ref in REFERENCES.items()
    }


OBJECTS: dict[str, dict[str, Object]] = {
    "validatingwebhookconfigurations": {"two": hooks("a", "b"), "none": {}},
    "mutatingwebhookconfigurations": {"one": hooks("a"), "none": {}},
    "validatingadmissionpolicies": {
        "two": {"spec": {**POLICY, "validations": [{"expression": TRICKY}, {"expression": "true"}]}},
        "plain": {"spec": {"matchConstraints": RULES, "validations": [{"expression": "1 == 1"}]}},
        "told": {"spec": {"matchConstraints": RULES, "auditAnnotations": [{"key": "k", "valueExpression": "'x'"}]}},
    },
    "mutatingadmissionpolicies": {
        "one": {"spec": {**POLICY, **MUTATING}}, "plain": {"spec": {"matchConstraints": RULES, **MUTATING}},
    },
    "validatingadmissionpolicybindings": bindings(validationActions=["Deny"]),
    "mutatingadmissionpolicybindings": bindings(),
}  # fmt: skip


async def printed(side: Side, resource: str) -> list[Any]:
    """A list, one of them, none of them, and the events of a watch, with ages left out."""
    path = f"{ROOT}/{resource}"
    for name, obj in OBJECTS[resource].items():
        said = await side.send("POST", path, {"metadata": {"name": name, "labels": {"of": "tables"}}, **obj})
        assert said.code == 201, said
    name = next(iter(OBJECTS[resource]))
    selected = {"fieldSelector": f"metadata.name={name}"}
    ours = {"labelSelector": "of=tables"}  # beside what a cluster has of its own, or of others
    tables = [
        await side.client.request("GET", path, accept=TABLE, params=ours),
        await side.client.request("GET", f"{path}/{name}", accept=TABLE),
        await side.client.request("GET", path, accept=TABLE, params={"fieldSelector": "metadata.name=nobody"}),
    ]
    tables.append(await first_event(side, path, {"watch": "true", **selected}))
    for name in OBJECTS[resource]:
        await side.client.request("DELETE", f"{path}/{name}")
    return [looks(table) for table in tables]


async def first_event(side: Side, path: str, query: dict[str, str]) -> Object:
    """What the first event of a watch is about."""
    client = side.client
    headers = {**client._request_headers(None), "Accept": TABLE}
    async with client._open().request("GET", client._url(path, query), headers=headers) as response:
        event = orjson.loads(await response.content.readline())
    assert event["type"] == "ADDED"
    return event["object"]  # type: ignore[no-any-return]


def looks(table: Object) -> Object:
    definitions = table.get("columnDefinitions") or []
    ages = [index for index, column in enumerate(definitions or [{}, {}, {}, {}]) if column.get("name") == "Age"]
    rows = [[cell for index, cell in enumerate(row["cells"]) if index not in ages] for row in table["rows"] or ()]
    kinds = [row["object"] and row["object"]["kind"] for row in table["rows"] or ()]
    return {"definitions": definitions, "rows": rows, "kinds": kinds}


async def test_what_get_prints(plain: Side, workspace: Side) -> None:
    for resource in OBJECTS:
        expected, got = await asyncio.gather(printed(plain, resource), printed(workspace, resource))
        assert any(table["rows"] for table in expected)
        same(got, expected, resource)
