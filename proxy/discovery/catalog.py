"""What a workspace has by its type, and what it may import: native resources, as the shard's own discovery tells them.

Left out of every workspace, because they would be inert or unsafe there: the status of admission policies, flow
control and API services (the shard's own), certificate signing requests (no signer runs), nodes (no shard has any), and
IP addresses and their ranges (their names are addresses, of which the shard has one range). What runs on nodes is there
in a workspace of type Cluster, or where it was imported.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.mapping.natives import WORKLOADS, hidden, importable
from proxy.mapping.registrations import GROUP as REGISTRATIONS
from proxy.mapping.registrations import KINDS
from proxy.mapping.registrations import VERSION as REGISTERED

Entry = Mapping[str, Any]
"""An APIResourceDiscovery of apidiscovery.k8s.io/v2."""

Resource = tuple[str, str]
"""Group and plural."""

GroupVersionResource = tuple[str, str, str]
"""Group, version, plural."""

EVERYWHERE: frozenset[Resource] = frozenset(
    {
        *(("", name) for name in (
            "configmaps", "events", "limitranges", "namespaces", "resourcequotas", "secrets", "serviceaccounts",
        )),
        *((REGISTRATIONS, resource) for resource in KINDS),
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
        ("workload.kcp.dev", "placements"),
        ("workload.kcp.dev", "workloadclusters"),
    }
)
TREE: frozenset[Resource] = frozenset(
    ("tenancy.kcp.dev", name) for name in ("workspaces", "clusterworkspaces", "clusterworkspacetypes")
)
SHARDS: frozenset[Resource] = frozenset(
    {("tenancy.kcp.dev", "clusterworkspaceshards"), ("tenancy.kcp.dev", "workspacemoves")}
)

BY_TYPE: dict[str, frozenset[Resource]] = {
    "Root": EVERYWHERE | TREE | SHARDS,
    "Organization": EVERYWHERE | TREE,
    "Team": EVERYWHERE | TREE,
    "Cluster": EVERYWHERE | COMPUTE | WORKLOADS,
}
UNIVERSAL: frozenset[Resource] = EVERYWHERE | COMPUTE
"""Every type that is not named above is a place to work in."""


def resources_of(workspace_type: str) -> frozenset[Resource]:
    return BY_TYPE.get(workspace_type, UNIVERSAL)


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
    """Groups of aggregated discovery documents (``/api`` and ``/apis`` of a shard), in their order.

    Without the subresources that no workspace has.
    """
    return tuple(
        Group(
            name := item["metadata"].get("name", ""),
            tuple(
                Version(version["version"], tuple(_served(name, entry) for entry in version.get("resources") or ()))
                for version in item["versions"]
            ),
        )
        for document in documents
        for item in document.get("items") or ()
    )


def _served(group: str, entry: dict[str, Any]) -> Entry:
    subresources = entry.get("subresources")
    if not subresources:
        return entry
    plural = entry["resource"]
    kept = [sub for sub in subresources if not hidden(group, plural, sub["subresource"])]
    return entry | {"subresources": kept}


def select(
    groups: Sequence[Group], wanted: Collection[Resource], imports: Collection[GroupVersionResource]
) -> list[Group]:
    """The part of a shard's groups that a workspace has: ``wanted`` in every version, ``imports`` in theirs."""
    kept = []
    for group in groups:
        versions = []
        for version in group.versions:
            if group.name == REGISTRATIONS and version.name != REGISTERED:
                continue  # a shard may have others, in which nothing is stored here
            entries = tuple(
                entry
                for entry in version.resources
                if (group.name, entry["resource"]) in wanted
                or (
                    (group.name, version.name, entry["resource"]) in imports
                    and importable(group.name, entry["resource"])
                )
            )
            if entries:
                versions.append(Version(version.name, entries))
        if versions:
            kept.append(Group(group.name, tuple(versions)))
    return kept


_NO_WRITES = frozenset({"delete", "deletecollection", "get", "list", "watch"})


def without_writes(groups: Iterable[Group], left: Collection[GroupVersionResource]) -> list[Group]:
    """The same, with the verbs of reading and deleting alone for what is ``left``."""
    if not left:
        return list(groups)
    return [
        Group(
            group.name,
            tuple(
                Version(
                    version.name,
                    tuple(
                        _read_only(entry) if (group.name, version.name, entry["resource"]) in left else entry
                        for entry in version.resources
                    ),
                )
                for version in group.versions
            ),
        )
        for group in groups
    ]


def _read_only(entry: Entry) -> Entry:
    kept = {**entry, "verbs": [verb for verb in entry["verbs"] if verb in _NO_WRITES]}
    subresources = [
        {**sub, "verbs": verbs}
        for sub in entry.get("subresources") or ()
        if (verbs := [verb for verb in sub["verbs"] if verb in _NO_WRITES])
    ]
    if "subresources" in kept:
        kept["subresources"] = subresources
    return kept
