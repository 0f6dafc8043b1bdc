"""What a server says of itself: discovery in all forms, OpenAPI of both versions, compared document by document.

A workspace of type Cluster has all that a cluster without nodes has; what it leaves out is named here, everything else
must be the same.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import yaml

from tests.differential.sides import Side
from tests.differential.wire import fields, messages, named, strings

Spec = dict[str, Any]
NO_GROUPS = frozenset({"apiregistration.k8s.io", "certificates.k8s.io", "flowcontrol.apiserver.k8s.io"})
NO_RESOURCES = frozenset(
    {("", "bindings"), ("", "componentstatuses"), ("", "nodes"), ("networking.k8s.io", "ipaddresses"),
     ("networking.k8s.io", "servicecidrs")}
)  # fmt: skip
NO_SUBRESOURCES = frozenset(
    {("pods", name) for name in ("attach", "binding", "exec", "log", "portforward", "proxy")}
    | {("services", "proxy"), ("validatingadmissionpolicies", "status")}
)
"""What no workspace has (README). Groups of kcp itself are what it has more."""
AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
SHARED = frozenset({"DeleteOptions", "WatchEvent"})
GVK = "x-kubernetes-group-version-kind"
_REFERENCE = re.compile(r'"#/(?:components/schemas|definitions)/([^"]+)"')


def has_group(group: str) -> bool:
    """Whether both sides serve it, and for good: sequences make and remove groups of their own."""
    return group not in NO_GROUPS and not group.endswith((".kcp.dev", ".example.org"))


def has(group: str, resource: str, subresource: str = "") -> bool:
    return has_group(group) and (group, resource) not in NO_RESOURCES and (resource, subresource) not in NO_SUBRESOURCES


@dataclass(slots=True)
class Documents:
    """``differences``: text for each document that differs."""

    compared: int = 0
    differences: list[str] = field(default_factory=list)

    def same(self, name: str, plain: Any, workspace: Any) -> None:
        self.compared += 1
        one, other = (json.dumps(value, indent=1, sort_keys=True).splitlines() for value in (plain, workspace))
        if one != other:
            changed = list(difflib.unified_diff(one, other, "plain", "workspace", lineterm="", n=3))
            self.differences.append("\n".join([name, *changed[:60]]))


async def compare_documents(plain: Side, workspace: Side) -> Documents:
    found = Documents()

    async def both(path: str, accept: str = "application/json") -> tuple[Any, Any]:
        answers = [await side.ask("GET", path, _headers(side, accept)) for side in (plain, workspace)]
        for side, answer in zip((plain, workspace), answers, strict=True):
            assert answer.status == 200, f"{side.name}: {path}: {answer.status}"
        if path != "/openapi/v3":  # of which a kube-apiserver says that it is text
            found.same(f"type of {path}", *(answer.header("content-type") for answer in answers))
        if accept == V2_PROTOBUF:
            return answers[0].body, answers[1].body
        return answers[0].json(), answers[1].json()

    group_versions: list[str] = []
    for root in ("/api", "/apis"):
        one, other = (_aggregated(document) for document in await both(root, AGGREGATED))
        found.same(f"{root}, aggregated", one, other)
        group_versions += _group_versions(one)
    one, other = await both("/api")
    found.same("/api", one["versions"], other["versions"])
    one, other = await both("/apis")
    found.same("/apis", *(_cut(value, "groups", lambda item: has_group(item["name"])) for value in (one, other)))
    for group in dict.fromkeys(path.rpartition("/")[0] for path in group_versions if path.startswith("/apis/")):
        found.same(group, *await both(group))
    for path in group_versions:
        found.same(path, *(_resources(path, value) for value in await both(path)))
    await _openapi_v3(found, both, group_versions)
    one, other = await both("/openapi/v2")
    _openapi_v2(found, one, other)
    _openapi_v2_protobuf(found, *await both("/openapi/v2", V2_PROTOBUF))
    return found


def _headers(side: Side, accept: str) -> list[tuple[str, str]]:
    return [("Authorization", f"Bearer {side.tokens['master']}"), ("Accept", accept)]


def _cut(value: Any, key: str, keep: Callable[[Any], bool]) -> Any:
    return value | {key: [item for item in value[key] if keep(item)]}


def _aggregated(document: Any) -> Any:
    items = []
    for item in document["items"]:
        group = item["metadata"].get("name", "")
        if not has_group(group):
            continue
        versions = []
        for version in item["versions"]:
            resources = []
            for entry in version.get("resources", ()):
                subs = [
                    sub for sub in entry.get("subresources", ()) if has(group, entry["resource"], sub["subresource"])
                ]
                if has(group, entry["resource"]):
                    kept = entry | ({"subresources": subs} if subs else {})
                    resources.append(kept if subs else {key: kept[key] for key in kept if key != "subresources"})
            versions.append(version | {"resources": resources})
        items.append({"metadata": {"name": group}, "versions": versions})
    return document | {"items": items}


def _group_versions(document: Any) -> Iterable[str]:
    for item in document["items"]:
        group = item["metadata"]["name"]
        yield from (f"/apis/{group}/{v['version']}" if group else f"/api/{v['version']}" for v in item["versions"])


def _resources(path: str, document: Any) -> Any:
    """Without the hashes of storage versions, which tell what a shard stores."""
    group = path.split("/")[2] if path.startswith("/apis/") else ""
    kept = []
    for entry in document["resources"]:
        if has(group, *entry["name"].split("/")):
            kept.append({key: value for key, value in entry.items() if key != "storageVersionHash"})
    return document | {"resources": sorted(kept, key=lambda entry: str(entry["name"]))}


def _about(path: str) -> tuple[str, str, str] | None:
    """Group, resource and subresource of a path of OpenAPI; None for one that is about none."""
    parts = path.strip("/").split("/")
    group, rest = ("", parts[1:]) if parts[0] == "api" else (parts[1], parts[2:]) if len(parts) > 2 else ("", [])
    rest = rest[1:]
    if rest[:1] == ["watch"]:
        rest = rest[1:]
    if rest[:1] == ["namespaces"] and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        rest = rest[2:]
    if not rest or parts[0] not in ("api", "apis"):
        return None
    return group, rest[0], rest[2] if len(rest) > 2 else ""


def _paths(document: Spec) -> Spec:
    """Those of resources that both sides have, without discovery's and watches of old."""
    kept = {}
    for path, item in document["paths"].items():
        about = _about(path)
        if about is not None and "/watch/" not in path and has(*about):
            kept[path] = item
    return kept


def _reachable(schemas: Spec, start: Spec) -> Spec:
    found: Spec = {}
    waiting = [start]
    while waiting:
        for name in set(_REFERENCE.findall(json.dumps(waiting.pop()))) - set(found):
            found[name] = schemas[name]
            waiting.append(schemas[name])
    return {name: _of_one(schema) for name, schema in found.items()}


def _of_one(schema: Spec) -> Spec:
    """Kinds that all groups share name all that a server was built with."""
    kinds = schema.get(GVK, ())
    shared = len(kinds) > 1 or any(kind["kind"] in SHARED for kind in kinds)
    return {key: value for key, value in schema.items() if key != GVK} if shared else schema


async def _openapi_v3(found: Documents, both: Any, group_versions: list[str]) -> None:
    one, other = await both("/openapi/v3")
    wanted = {path.strip("/") for path in group_versions}
    found.same("paths of /openapi/v3", sorted(wanted & set(one["paths"])), sorted(wanted & set(other["paths"])))
    for path in sorted(wanted):
        seen = []
        for document in await both(f"/openapi/v3/{path}"):
            paths = _paths(document)
            schemas = _reachable(document["components"].get("schemas", {}), paths)
            rest = {key: value for key, value in document.items() if key not in ("paths", "components", "info")}
            seen.append((rest, paths, schemas, document["components"].get("securitySchemes")))
        found.same(f"/openapi/v3/{path}", *seen)


def _openapi_v2(found: Documents, one: Spec, other: Spec) -> None:
    for key in set(one) | set(other):
        if key not in ("paths", "definitions", "parameters", "info"):
            found.same(f"{key} of /openapi/v2", one.get(key), other.get(key))
    paths = [_whole(document) for document in (one, other)]
    found.same("paths of /openapi/v2", sorted(paths[0]), sorted(paths[1]))
    for path in paths[0]:
        found.same(f"{path} in /openapi/v2", paths[0][path], paths[1].get(path))
    schemas = [_reachable(document["definitions"], of) for document, of in zip((one, other), paths, strict=True)]
    found.same("definitions of /openapi/v2", sorted(schemas[0]), sorted(schemas[1]))
    for name in schemas[0]:
        found.same(f"{name} in /openapi/v2", schemas[0][name], schemas[1].get(name))


def _whole(document: Spec) -> Spec:
    """Paths, with parameters written out, which a server may put aside; lists that come from maps in order."""
    shared = {f"#/parameters/{name}": value for name, value in document.get("parameters", {}).items()}

    def written(parameters: list[Any]) -> list[Any]:
        return sorted((shared.get(item.get("$ref"), item) for item in parameters), key=lambda item: str(item["name"]))

    def put(operation: Any) -> Any:
        if isinstance(operation, list):
            return written(operation)
        lists = {key: sorted(operation[key]) for key in ("consumes", "produces") if key in operation}
        return operation | lists | {"parameters": written(operation.get("parameters", []))}

    return {path: {key: put(value) for key, value in item.items()} for path, item in _paths(document).items()}


def _openapi_v2_protobuf(found: Documents, one: bytes, other: bytes) -> None:
    """Definitions alone: kubectl reads nothing else of this form."""
    plain, workspace = (
        {name: _schema(schema) for name, schema in named(messages(body, 9, 1))} for body in (one, other)
    )
    for name, entry in workspace.items():
        # Those of apimachinery name all groups.
        if not name.startswith(("io.k8s.apimachinery.", "dev.kcp.")):
            found.same(f"{name} in protobuf", plain.get(name), entry)


def _schema(message: bytes) -> list[Any]:
    """``Schema`` of github.com/google/gnostic-models/openapiv2/OpenAPIv2.proto; its fields of type Any hold YAML, in
    which a value may be written in more than one way."""
    read: list[Any] = []
    for number, part in fields(message):
        value: Any = part.hex()
        if number in (5, 20):  # default, enum
            value = yaml.safe_load(strings(part).get(2, ""))
        elif number == 25:  # properties
            value = [(name, _schema(schema)) for name, schema in named(messages(part, 1))]
        elif number in (21, 23):  # additionalProperties, items
            value = [(way, _schema(inner)) for way, inner in fields(part) if way == 1]
        elif number == 31:  # x-…
            value = [(name, yaml.safe_load(strings(inner).get(2, ""))) for name, inner in named([part])]
        read.append((number, value))
    return read
