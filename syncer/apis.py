"""What the physical cluster can do: its API resources, and what the workspace is told of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from syncer.definitions import Definition

log = logging.getLogger(__name__)

IMPORTS = Resource("apiresource.kcp.dev", "v1alpha1", "apiresourceimports", namespaced=False)
HASH = "apiresource.kcp.dev/import-hash"


EVERYTHING = "*"
"""Among the wanted resources: all that a workspace may have."""
NEVER_GROUPS = frozenset(
    {
        "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "authentication.k8s.io",
        "authorization.k8s.io", "certificates.k8s.io", "coordination.k8s.io", "events.k8s.io",
        "flowcontrol.apiserver.k8s.io", "internal.apiserver.k8s.io", "rbac.authorization.k8s.io",
        "storagemigration.k8s.io",
    }
)  # fmt: skip
NEVER = frozenset(
    {
        *(
            ("", name)
            for name in ("componentstatuses", "events", "limitranges", "namespaces", "nodes", "resourcequotas")
        ),
        *(("networking.k8s.io", name) for name in ("ipaddresses", "servicecidrs")),
    }
)
"""What everything leaves out: a workspace has its own, or is none to have them."""
USABLE = frozenset({"create", "delete", "get", "list", "update", "watch"})


@dataclass(frozen=True, slots=True)
class Api:
    """One resource of the physical cluster."""

    resource: Resource
    kind: str
    singular: str
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    subresources: tuple[str, ...]
    synced: bool = True
    """False for one that the workspace is only told of."""

    @property
    def name(self) -> str:
        """``deployments.apps``."""
        return f"{self.resource.plural}.{self.resource.group}" if self.resource.group else self.resource.plural


async def find_apis(client: Client, wanted: Sequence[str]) -> list[Api]:
    """The ``wanted`` resources (``plural[.group]``, or `EVERYTHING`) that the cluster serves, each in the group's
    preferred version, or else in the next one that has it. Those that are named are synced, the others only known."""
    names = {(plural, group) for plural, _, group in (name.partition(".") for name in wanted if name != EVERYTHING)}
    everything = EVERYTHING in wanted
    versions = {"": ["v1"]}
    for group in (await client.request("GET", "/apis"))["groups"]:
        preferred = group["preferredVersion"]["version"]
        others = [version["version"] for version in group["versions"] if version["version"] != preferred]
        versions[group["name"]] = [preferred, *others]
    found: dict[tuple[str, str], Api] = {}
    groups = set(versions) - NEVER_GROUPS if everything else set()
    for group in sorted({group for _, group in names} & set(versions) | groups):
        for version in versions[group]:
            missing = {plural for plural, of in names if of == group and (plural, of) not in found}
            if not missing and group not in groups:
                break
            path = f"/apis/{group}/{version}" if group else f"/api/{version}"
            try:
                resources = (await client.request("GET", path))["resources"]
            except StatusError as error:
                # The server of an aggregated API may be away; who asked for everything did not ask for that one.
                if missing or error.code not in (404, 503):
                    raise
                continue
            for entry in resources:
                key = (entry["name"], group)
                if key[0] in missing or (group in groups and key not in found and _usable(group, entry)):
                    found[key] = _api(group, version, entry, resources, synced=key in names)
    return sorted(found.values(), key=lambda api: api.name)


def _usable(group: str, entry: Object) -> bool:
    return "/" not in entry["name"] and (group, entry["name"]) not in NEVER and set(entry["verbs"]) >= USABLE


def _api(group: str, version: str, entry: Object, resources: list[Object], *, synced: bool) -> Api:
    plural = entry["name"]
    return Api(
        Resource(group, version, plural, bool(entry["namespaced"])),
        entry["kind"],
        entry.get("singularName") or entry["kind"].lower(),
        tuple(entry.get("shortNames") or ()),
        tuple(entry.get("categories") or ()),
        tuple(other["name"].partition("/")[2] for other in resources if other["name"].startswith(plural + "/")),
        synced,
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


async def served(above: Client, api: Api) -> None:
    """Wait until the workspace serves the resource."""
    resource = api.resource
    path = f"/apis/{resource.group}/{resource.version}" if resource.group else f"/api/{resource.version}"
    delay = 0.1
    while True:
        try:
            listed = await above.request("GET", path)
            if any(entry["name"] == resource.plural for entry in listed.get("resources") or ()):
                return
        except (StatusError, AttributeError) as error:
            log.debug("%s: %s", path, error)
        await asyncio.sleep(delay)
        delay = min(delay * 1.5, 5.0)
