"""What a workspace serves: look-ups for every request, and discovery documents.

Documents come as aggregated discovery (apidiscovery.k8s.io/v2, v2beta1) and as the older one document per group and
version, in the shapes of k8s.io/apiserver's ``endpoints/discovery``. ``storageVersionHash`` is left out of the latter.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

from proxy.discovery.catalog import Entry, Group, GroupVersionResource, Version
from proxy.discovery.crds import Shape
from proxy.discovery.documents import Document, document
from proxy.mapping.registrations import GROUPS_OF_KINDS, GROUPS_OF_RESOURCES

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
AGGREGATED_BETA = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"


class View:
    """Made once for all workspaces of a shard that have the same; ``shapes``: their own CRDs, established or not."""

    def __init__(
        self, groups: Iterable[Group], shapes: Iterable[Shape] = (), left: Collection[GroupVersionResource] = ()
    ) -> None:
        self.groups = tuple(groups)
        self.shapes = tuple(shapes)
        self.left = frozenset(left)
        """What can be read and deleted only."""
        private = {(shape.group, version, shape.plural) for shape in self.shapes for version, _ in shape.versions}
        self.shown = frozenset(
            (group.name, version.name, entry["resource"])
            for group in self.groups
            for version in group.versions
            for entry in version.resources
        )
        """Group, version, resource of what discovery shows."""
        self.served = self.shown | private
        """The same and CRDs that are not established yet: what becomes of those is the shard's to say."""
        self.group_versions = frozenset(served[:2] for served in self.served)
        self.cluster_scoped_resources = frozenset((s.group, s.plural) for s in self.shapes if s.cluster_scoped)
        self.cluster_scoped_kinds = frozenset((s.group, s.kind) for s in self.shapes if s.cluster_scoped)
        self.kinds = {(s.group, s.plural): s.kind for s in self.shapes}
        shared = [shape for shape in self.shapes if shape.shared_group]
        self.shared_groups = GROUPS_OF_RESOURCES | {(s.group, s.plural): s.shared_group for s in shared}
        self.shared_groups_of_kinds = GROUPS_OF_KINDS | {(s.group, s.kind): s.shared_group for s in shared}
        self._documents: dict[tuple[str, str], Document | None] = {}

    def get(self, path: str, form: str) -> Document | None:
        """The document at ``/api``, ``/apis``, ``/api/v1``, ``/apis/G`` or ``/apis/G/V``; None where there is nothing.

        ``form``: the media type, of which the aggregated ones exist at ``/api`` and ``/apis`` alone.
        """
        try:
            return self._documents[path, form]
        except KeyError:
            value = self._render(path, form)
            if value is None:
                return None  # not kept: anybody may ask for any path
            return self._documents.setdefault((path, form), document(value, form))

    def paths(self) -> list[str]:
        """Of all discovery documents."""
        paths = {"/api", "/apis"}
        for group, version in self.shown_group_versions():
            paths |= {f"/apis/{group}", f"/apis/{group}/{version}"} if group else {f"/api/{version}"}
        return sorted(paths)

    def shown_group_versions(self) -> list[tuple[str, str]]:
        return [(group.name, version.name) for group in self.groups for version in group.versions]

    def _render(self, path: str, form: str) -> dict[str, Any] | None:
        root, *rest = path.strip("/").split("/")
        if form != "application/json":
            kept = [group for group in self.groups if bool(group.name) == (root == "apis")]
            return _aggregated(kept, "v2beta1" if form == AGGREGATED_BETA else "v2") if not rest else None
        if not rest:
            if root == "api":
                return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            groups = [_api_group(group) for group in self.groups if group.name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        name, *versions = rest if root == "apis" else ["", *rest]
        group = next((group for group in self.groups if group.name == name), None)
        if group is None or len(versions) > 1 or (root == "apis" and not name):
            return None
        if not versions:
            return {"kind": "APIGroup", "apiVersion": "v1", **_api_group(group)}
        return next((_resource_list(group, found) for found in group.versions if [found.name] == versions), None)


def _aggregated(groups: Sequence[Group], version: str) -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": group.name} if group.name else {},
            "versions": [
                {"version": version.name, "resources": list(version.resources), "freshness": "Current"}
                for version in group.versions
            ],
        }
        for group in groups
    ]
    kind = {"kind": "APIGroupDiscoveryList", "apiVersion": f"apidiscovery.k8s.io/{version}"}
    return {**kind, "metadata": {}, "items": items}


def _api_group(group: Group) -> dict[str, Any]:
    versions = [{"groupVersion": f"{group.name}/{version.name}", "version": version.name} for version in group.versions]
    return {"name": group.name, "versions": versions, "preferredVersion": versions[0]}


def _resource_list(group: Group, version: Version) -> dict[str, Any]:
    resources: list[dict[str, Any]] = []
    for entry in version.resources:
        resources.append(_api_resource(group, version, entry, entry["resource"], entry))
        for sub in entry.get("subresources") or ():
            name = f"{entry['resource']}/{sub['subresource']}"
            resources.append(_api_resource(group, version, sub, name, entry))
    return {
        "kind": "APIResourceList",
        **({"apiVersion": "v1"} if group.name else {}),
        "groupVersion": f"{group.name}/{version.name}" if group.name else version.name,
        "resources": resources,
    }


def _api_resource(group: Group, version: Version, entry: Entry, name: str, main: Entry) -> dict[str, Any]:
    kind = entry.get("responseKind") or main["responseKind"]
    resource: dict[str, Any] = {
        "name": name,
        "singularName": entry.get("singularResource", ""),
        "namespaced": main["scope"] == "Namespaced",
    }
    if kind.get("version") and (kind.get("group", ""), kind["version"]) != (group.name, version.name):
        resource["group"] = kind.get("group", "")
        resource["version"] = kind["version"]
    resource["kind"] = kind["kind"]
    resource["verbs"] = entry["verbs"]
    for key in ("shortNames", "categories"):
        if entry.get(key):
            resource[key] = entry[key]
    return resource
