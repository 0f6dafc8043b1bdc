"""What the physical cluster can do: its API resources, and their schemas for the workspace."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
from dataclasses import dataclass
from typing import Any

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)

IMPORTS = Resource("apiresource.kcp.dev", "v1alpha1", "apiresourceimports", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)
HASH = "apiresource.kcp.dev/import-hash"
_GVK = "x-kubernetes-group-version-kind"
_KEPT = (
    "type", "format", "enum", "required", "nullable", "default", "minimum", "maximum", "pattern", "minLength",
    "maxLength", "minItems", "maxItems", "x-kubernetes-int-or-string", "x-kubernetes-preserve-unknown-fields",
)  # fmt: skip
MAX_DEPTH = 24


@dataclass(frozen=True, slots=True)
class Api:
    """One resource of the physical cluster."""

    resource: Resource
    kind: str
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    subresources: tuple[str, ...]

    @property
    def name(self) -> str:
        """``deployments.apps``."""
        return f"{self.resource.plural}.{self.resource.group}" if self.resource.group else self.resource.plural


async def find_apis(client: Client, wanted: list[str]) -> list[Api]:
    """The ``wanted`` resources (``plural[.group]``) that the cluster serves, each in its preferred version."""
    names = {name.partition(".")[::2] for name in wanted}
    versions: dict[str, str] = {}
    if any(not group for _, group in names):
        versions[""] = "v1"
    listed = await client.request("GET", "/apis")
    for group in listed["groups"]:
        if any(group["name"] == wanted_group for _, wanted_group in names):
            versions[group["name"]] = group["preferredVersion"]["version"]
    found: list[Api] = []
    for name, version in versions.items():
        resources = (await client.request("GET", f"/apis/{name}/{version}" if name else f"/api/{version}"))["resources"]
        for entry in resources:
            if (entry["name"], name) in names:
                below = tuple(
                    other["name"].partition("/")[2]
                    for other in resources
                    if other["name"].startswith(entry["name"] + "/")
                )
                found.append(
                    Api(
                        Resource(name, version, entry["name"], bool(entry["namespaced"])),
                        entry["kind"],
                        entry.get("singularName") or entry["kind"].lower(),
                        tuple(entry.get("shortNames") or ()),
                        tuple(entry.get("categories") or ()),
                        below,
                    )
                )
    return sorted(found, key=lambda api: api.name)


async def import_of(client: Client, api: Api, location: str) -> Object:
    """The APIResourceImport that tells the workspace of ``api``."""
    resource = api.resource
    spec: Object = {
        "location": location,
        "schemaUpdateStrategy": "UpdateUnpublished",
        "groupVersion": {"group": resource.group, "version": resource.version},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "plural": resource.plural,
        "singular": api.singular,
        "kind": api.kind,
        "listKind": f"{api.kind}List",
        "shortNames": list(api.short_names),
        "categories": list(api.categories),
        "subResources": [{"name": name} for name in api.subresources if name in ("status", "scale")],
        "openAPIV3Schema": await schema_of(client, api),
    }
    digest = hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()
    return {
        "apiVersion": IMPORTS.api_version,
        "kind": "APIResourceImport",
        "metadata": {
            "name": f"{resource.plural}.{location}.{resource.version}.{resource.group or 'core'}",
            "annotations": {HASH: digest},
        },
        "spec": spec,
    }


async def schema_of(client: Client, api: Api) -> Object:
    """A structural schema: a CRD's own, else the published OpenAPI schema with its references resolved."""
    resource = api.resource
    if resource.group:
        try:
            crd = await client.get(CRDS, f"{resource.plural}.{resource.group}")
        except StatusError as error:
            if error.code not in (403, 404):
                raise
        else:
            for version in crd["spec"]["versions"]:
                if version["name"] == resource.version and version.get("schema"):
                    schema: Object = version["schema"]["openAPIV3Schema"]
                    return schema
    path = f"apis/{resource.group}/{resource.version}" if resource.group else f"api/{resource.version}"
    document = await client.request("GET", f"/openapi/v3/{path}", timeout=60)
    schemas = document["components"]["schemas"]
    gvk = {"group": resource.group, "version": resource.version, "kind": api.kind}
    for name, candidate in schemas.items():
        if gvk in (candidate.get(_GVK) or ()):
            whole = structural(schemas[name], schemas)
            # Metadata is the API server's own affair in a structural schema.
            whole.get("properties", {})["metadata"] = {"type": "object"}
            return whole
    return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}


def structural(schema: Object, schemas: dict[str, Object], depth: int = 0) -> Object:
    """``schema`` without references; what nests beyond `MAX_DEPTH` (recursive types) is left open."""
    if "allOf" in schema and len(schema["allOf"]) == 1:
        schema = {**schema["allOf"][0], **{key: value for key, value in schema.items() if key != "allOf"}}
    reference = schema.get("$ref")
    if reference:
        target = schemas.get(reference.rpartition("/")[2], {})
        schema = {**target, **{key: value for key, value in schema.items() if key != "$ref"}}
    if depth > MAX_DEPTH:
        return {"type": schema.get("type", "object"), "x-kubernetes-preserve-unknown-fields": True}
    kept: dict[str, Any] = {key: copy.copy(schema[key]) for key in _KEPT if key in schema}
    if "oneOf" in schema and "type" not in kept:
        kept["x-kubernetes-int-or-string"] = True
    if schema.get("properties"):
        kept["type"] = "object"
        kept["properties"] = {
            name: structural(value, schemas, depth + 1) for name, value in sorted(schema["properties"].items())
        }
    if isinstance(schema.get("additionalProperties"), dict):
        kept["type"] = "object"
        kept["additionalProperties"] = structural(schema["additionalProperties"], schemas, depth + 1)
    if isinstance(schema.get("items"), dict):
        kept["type"] = "array"
        kept["items"] = structural(schema["items"], schemas, depth + 1)
    if kept.get("format") == "int-or-string":
        kept = {"x-kubernetes-int-or-string": True}
    if "type" not in kept and "x-kubernetes-int-or-string" not in kept:
        kept = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return kept
