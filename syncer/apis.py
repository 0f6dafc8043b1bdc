"""What the physical cluster can do: its API resources, and what the workspace is told of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.kube.client import Client, Object, Resource
from syncer.definitions import Definition

IMPORTS = Resource("apiresource.kcp.dev", "v1alpha1", "apiresourceimports", namespaced=False)
HASH = "apiresource.kcp.dev/import-hash"


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


async def find_apis(client: Client, wanted: Sequence[str]) -> list[Api]:
    """The ``wanted`` resources (``plural[.group]``) that the cluster serves, each in the group's preferred version, or
    else in the next one that has it."""
    names = {(plural, group) for plural, _, group in (name.partition(".") for name in wanted)}
    versions = {"": ["v1"]}
    for group in (await client.request("GET", "/apis"))["groups"]:
        preferred = group["preferredVersion"]["version"]
        others = [version["version"] for version in group["versions"] if version["version"] != preferred]
        versions[group["name"]] = [preferred, *others]
    found: dict[tuple[str, str], Api] = {}
    for group in sorted({group for _, group in names} & set(versions)):
        for version in versions[group]:
            missing = {plural for plural, of in names if of == group and (plural, of) not in found}
            if not missing:
                break
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            resources = (await client.request("GET", path))["resources"]
            for entry in resources:
                if entry["name"] in missing:
                    found[entry["name"], group] = _api(group, version, entry, resources)
    return sorted(found.values(), key=lambda api: api.name)


def _api(group: str, version: str, entry: Object, resources: list[Object]) -> Api:
    plural = entry["name"]
    return Api(
        Resource(group, version, plural, bool(entry["namespaced"])),
        entry["kind"],
        entry.get("singularName") or entry["kind"].lower(),
        tuple(entry.get("shortNames") or ()),
        tuple(entry.get("categories") or ()),
        tuple(other["name"].partition("/")[2] for other in resources if other["name"].startswith(plural + "/")),
    )


def import_of(api: Api, definition: Definition, location: str) -> Object:
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
        "openAPIV3Schema": definition.schema,
    }
    if definition.columns:
        spec["columnDefinitions"] = list(definition.columns)
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
