"""A workspace's own CRDs as discovery shows them.

Follows k8s.io/apiextensions-apiserver's ``customresource_discovery_controller``: verbs, status and scale subresources,
versions ordered by how stable they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from proxy.discovery.catalog import Entry, Group, Version
from proxy.mapping.token import PREFIX_LENGTH, token_of

VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]


@dataclass(frozen=True, slots=True)
class PrivateCRD:
    """What is kept of one CRD; ``group`` plain."""

    token: str
    group: str
    plural: str
    kind: str
    cluster_scoped: bool
    established: bool
    resource_version: str
    versions: tuple[tuple[str, Entry], ...]
    """Served versions with their discovery entries."""


def private_crd(obj: dict[str, Any]) -> PrivateCRD | None:
    """None for a CRD that belongs to no workspace."""
    spec = obj["spec"]
    token = token_of(spec["group"])
    if token is None:
        return None
    group = spec["group"][PREFIX_LENGTH:]
    status = obj.get("status") or {}
    conditions = {item["type"]: item["status"] for item in status.get("conditions") or ()}
    names = status.get("acceptedNames") or spec["names"]
    versions = tuple(
        (version["name"], _entry(group, version, names, spec)) for version in spec["versions"] if version.get("served")
    )
    return PrivateCRD(
        token,
        group,
        spec["names"]["plural"],
        spec["names"]["kind"],
        spec["scope"] == "Cluster",
        conditions.get("Established") == "True",
        obj["metadata"].get("resourceVersion", ""),
        versions,
    )


def _entry(group: str, version: dict[str, Any], names: dict[str, Any], spec: dict[str, Any]) -> Entry:
    kind = {"group": group, "version": version["name"], "kind": spec["names"]["kind"]}
    entry: dict[str, Any] = {
        "resource": spec["names"]["plural"],
        "responseKind": kind,
        "scope": "Cluster" if spec["scope"] == "Cluster" else "Namespaced",
        "singularResource": names.get("singular") or kind["kind"].lower(),
        "verbs": VERBS,
    }
    if names.get("shortNames"):
        entry["shortNames"] = names["shortNames"]
    if names.get("categories"):
        entry["categories"] = names["categories"]
    sub = version.get("subresources") or {}
    subresources = []
    if "status" in sub:
        subresources.append({"subresource": "status", "responseKind": kind, "verbs": ["get", "patch", "update"]})
    if "scale" in sub:
        scale = {"group": "autoscaling", "version": "v1", "kind": "Scale"}
        subresources.append({"subresource": "scale", "responseKind": scale, "verbs": ["get", "patch", "update"]})
    if subresources:
        entry["subresources"] = subresources
    return entry


def groups_of_crds(crds: Iterable[PrivateCRD]) -> list[Group]:
    """Established CRDs by group, groups by name, versions most stable first."""
    table: dict[str, dict[str, list[Entry]]] = {}
    for crd in sorted(crds, key=lambda crd: (crd.group, crd.plural)):
        if crd.established:
            for version, entry in crd.versions:
                table.setdefault(crd.group, {}).setdefault(version, []).append(entry)
    return [
        Group(
            group,
            tuple(Version(name, tuple(versions[name])) for name in sorted(versions, key=priority)),
        )
        for group, versions in sorted(table.items())
    ]


def priority(version: str) -> tuple[int, int, int, str]:
    """Order of versions as ``k8s.io/apimachinery/pkg/version.CompareKubeAwareVersionStrings``, best first."""
    match = re.fullmatch(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match.group(2)]
    return (stage, -int(match.group(1)), -int(match.group(3) or 0), version)
