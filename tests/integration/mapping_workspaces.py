"""Three workspaces on one shard, seen through the mapping: names and helpers of its tests."""

from __future__ import annotations

from typing import Any

import orjson

# In the order of the shard's keys: one workspace before, one behind the one that is looked at.
BEFORE, MINE, BEHIND = "kmapaaaaa", "kmapmmmmm", "kmapzzzzz"
APPLY = "application/apply-patch+yaml"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
METADATA = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json"
CRDS = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
RBAC = "/apis/rbac.authorization.k8s.io/v1"


def config_map(name: str, **data: str) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def names(answer: Any) -> list[str]:
    items = answer.get("items") if "items" in answer else [row["object"] for row in answer["rows"]]
    return [item["metadata"]["name"] for item in items or []]


def clean(answer: Any) -> Any:
    """Fails if anything of any workspace's inside is to be seen."""
    text = orjson.dumps(answer)
    for token in (BEFORE, MINE, BEHIND):
        assert token.encode() not in text
    assert b"0.kcp.dev" not in text
    return answer


def crd(scope: str, group: str, plural: str, kind: str, field: str) -> dict[str, Any]:
    spec = {"type": "object", "properties": {field: {"type": "integer"}}, "required": [field]}
    schema = {
        "type": "object",
        "properties": {"spec": spec, "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
    }
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
        "subresources": {"status": {}},
    }
    names = {"plural": plural, "singular": kind.lower(), "kind": kind}
    return {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {"group": group, "scope": scope, "names": names, "versions": [version]},
    }  # fmt: skip
