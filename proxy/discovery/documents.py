"""Discovery documents of one set of groups, rendered once and kept.

Forms: aggregated (apidiscovery.k8s.io/v2) and the older one document per group version.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import orjson

from proxy.discovery.catalog import Entry, Group, Version

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


@dataclass(frozen=True, slots=True)
class Document:
    body: bytes
    content_type: bytes
    etag: bytes


def document(value: Any, content_type: str = "application/json") -> Document:
    body = orjson.dumps(value, option=orjson.OPT_APPEND_NEWLINE)
    return Document(body, content_type.encode(), b'"%b"' % hashlib.sha256(body).hexdigest().upper().encode())


class View:
    """What one workspace (or many alike) serves: look-ups and documents."""

    def __init__(self, groups: Sequence[Group]) -> None:
        self.groups = tuple(groups)
        self.served = frozenset(
            (group.name, version.name, entry["resource"])
            for group in groups
            for version in group.versions
            for entry in version.resources
        )
        self.group_versions = frozenset((group.name, version.name) for group in groups for version in group.versions)
        self._documents: dict[str, Document] = {}

    def get(self, path: str, aggregated: bool) -> Document | None:
        """The document at ``/api``, ``/apis``, ``/api/v1``, ``/apis/G`` or ``/apis/G/V``."""
        if aggregated and path in ("/api", "/apis"):
            return self.aggregated_core if path == "/api" else self.aggregated_groups
        known = self._documents.get(path)
        if known is None:
            value = self._render(path)
            if value is None:
                return None
            known = self._documents[path] = document(value)
        return known

    @cached_property
    def aggregated_core(self) -> Document:
        return document(_aggregated([group for group in self.groups if not group.name]), AGGREGATED)

    @cached_property
    def aggregated_groups(self) -> Document:
        return document(_aggregated([group for group in self.groups if group.name]), AGGREGATED)

    def _render(self, path: str) -> dict[str, Any] | None:
        parts = path.strip("/").split("/")
        by_name = {group.name: group for group in self.groups}
        if parts == ["api"]:
            return {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
        if parts == ["apis"]:
            groups = [_api_group(group) for group in self.groups if group.name]
            return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
        name = "" if parts[0] == "api" else parts[1]
        group = by_name.get(name)
        if group is None:
            return None
        if parts[0] == "apis" and len(parts) == 2:
            return {"kind": "APIGroup", "apiVersion": "v1", **_api_group(group)}
        wanted = parts[1] if parts[0] == "api" else parts[2]
        for version in group.versions:
            if version.name == wanted:
                return _resource_list(group, version)
        return None


def _aggregated(groups: Sequence[Group]) -> dict[str, Any]:
    items = [
        {
            "metadata": {"name": group.name, "creationTimestamp": None} if group.name else {"creationTimestamp": None},
            "versions": [
                {"version": version.name, "resources": list(version.resources), "freshness": "Current"}
                for version in group.versions
            ],
        }
        for group in groups
    ]
    return {"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items}


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
    if (kind.get("group", ""), kind.get("version", "")) != (group.name, version.name) and kind.get("version"):
        resource["group"] = kind.get("group", "")
        resource["version"] = kind["version"]
    resource["kind"] = kind["kind"]
    resource["verbs"] = entry["verbs"]
    for key in ("shortNames", "categories"):
        if entry.get(key):
            resource[key] = entry[key]
    return resource
