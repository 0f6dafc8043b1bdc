"""What a workspace has by its type: native resources, as the shard's own discovery describes them.

Left out of every workspace, because they would be inert or unsafe there: webhook and admission policy kinds (they act
on the whole shard), flow control (the shard's own), certificate signing requests (no signer runs), API services, and
everything that needs nodes unless it was imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Entry = Mapping[str, Any]
"""An APIResourceDiscovery of apidiscovery.k8s.io/v2."""

Resource = tuple[str, str]
"""Group and plural."""

EVERYWHERE: frozenset[Resource] = frozenset(
    {
        *(("", name) for name in (
            "configmaps", "events", "limitranges", "namespaces", "resourcequotas", "secrets", "serviceaccounts",
        )),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        *(("authentication.k8s.io", name) for name in ("tokenreviews", "selfsubjectreviews")),
        *(("authorization.k8s.io", name) for name in (
            "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews", "subjectaccessreviews",
        )),
        ("coordination.k8s.io", "leases"),
        ("events.k8s.io", "events"),
        *(("rbac.authorization.k8s.io", name) for name in (
            "clusterrolebindings", "clusterroles", "rolebindings", "roles",
        )),
    }
)  # fmt: skip
COMPUTE: frozenset[Resource] = frozenset(
    {
        ("apiresource.kcp.dev", "apiresourceimports"),
        ("apiresource.kcp.dev", "negotiatedapiresources"),
        ("workload.kcp.dev", "workloadclusters"),
    }
)
TREE: frozenset[Resource] = frozenset(
    ("tenancy.kcp.dev", name) for name in ("workspaces", "clusterworkspaces", "clusterworkspacetypes")
)
SHARDS: frozenset[Resource] = frozenset({("tenancy.kcp.dev", "clusterworkspaceshards")})

BY_TYPE: dict[str, frozenset[Resource]] = {
    "Root": EVERYWHERE | TREE | SHARDS,
    "Organization": EVERYWHERE | TREE,
    "Team": EVERYWHERE | TREE,
}
"""Every other type is a place to work in, like Universal."""


def resources_of(workspace_type: str) -> frozenset[Resource]:
    return BY_TYPE.get(workspace_type, EVERYWHERE | COMPUTE)


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a group, resources in the shard's order."""

    name: str
    resources: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """A group with its versions, preferred first."""

    name: str
    versions: tuple[Version, ...]


def groups_of(documents: Sequence[Mapping[str, Any]]) -> tuple[Group, ...]:
    """Groups of aggregated discovery documents (``/api`` and ``/apis`` of a shard), in their order."""
    return tuple(
        Group(
            item["metadata"].get("name", ""),
            tuple(Version(version["version"], tuple(version.get("resources") or ())) for version in item["versions"]),
        )
        for document in documents
        for item in document.get("items") or ()
    )


def select(
    groups: Sequence[Group], wanted: frozenset[Resource], imports: frozenset[tuple[str, str, str]]
) -> list[Group]:
    """The part of a shard's groups that a workspace has: ``wanted`` in every version, ``imports`` in theirs."""
    kept = []
    for group in groups:
        versions = []
        for version in group.versions:
            entries = tuple(
                entry
                for entry in version.resources
                if (group.name, entry["resource"]) in wanted or (group.name, version.name, entry["resource"]) in imports
            )
            if entries:
                versions.append(Version(version.name, entries))
        if versions:
            kept.append(Group(group.name, tuple(versions)))
    return kept
