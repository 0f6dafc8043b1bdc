"""A workspace's CRDs as discovery shows them: its own, and those that it shares with others.

Follows k8s.io/apiextensions-apiserver's ``customresource_discovery_controller``: verbs, status and scale subresources,
versions ordered by how stable they are.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakValueDictionary

import orjson

from proxy.discovery.catalog import Entry, Group, Version
from proxy.mapping.shared import plain_group
from proxy.mapping.token import PREFIX_LENGTH, token_of

VERBS = ["delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"]


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Shape:
    """What matters of a CRD, without whose it is: workspaces with the same CRDs share it. ``group`` is plain."""

    digest: str
    """Of everything that discovery and OpenAPI show of it, schemas included; the only part that is compared."""
    group: str = field(compare=False)
    plural: str = field(compare=False)
    kind: str = field(compare=False)
    cluster_scoped: bool = field(compare=False)
    established: bool = field(compare=False)
    versions: tuple[tuple[str, Entry], ...] = field(compare=False)
    """Served versions with their discovery entries."""
    shared_group: str = field(default="", compare=False)
    """On the shard, of a type that workspaces share; empty for a workspace's own."""

    def only(self, versions: Container[str]) -> Shape | None:
        """What a workspace has that imports some of the versions."""
        kept = tuple(version for version in self.versions if version[0] in versions)
        if len(kept) == len(self.versions):
            return self
        return replace(self, versions=kept, digest=f"{self.digest}:{[name for name, _ in kept]}") if kept else None


class Shapes:
    """Makes each different shape once; one that no workspace has any more goes away by itself."""

    def __init__(self) -> None:
        self._known: WeakValueDictionary[str, Shape] = WeakValueDictionary()

    def of(self, crd: dict[str, Any]) -> tuple[str | None, Shape]:
        """Token and shape of a CRD; the token is None for one that belongs to no workspace."""
        spec = crd["spec"]
        token = token_of(spec["group"])
        shared = plain_group(spec["group"])
        group = shared or spec["group"][PREFIX_LENGTH if token else 0 :]
        status = crd.get("status") or {}
        names = status.get("acceptedNames") or {}
        if not names.get("kind"):
            names = spec["names"]
        established = any(
            item["type"] == "Established" and item["status"] == "True" for item in status.get("conditions") or ()
        )
        shared_group = spec["group"] if shared else ""
        shown = (group, spec["scope"], names, spec["versions"], established, shared_group)
        digest = hashlib.sha256(orjson.dumps(shown, option=orjson.OPT_SORT_KEYS)).hexdigest()
        shape = self._known.get(digest)
        if shape is None:
            shape = self._known[digest] = Shape(
                digest=digest,
                group=group,
                plural=spec["names"]["plural"],
                kind=spec["names"]["kind"],
                cluster_scoped=spec["scope"] == "Cluster",
                established=established,
                versions=tuple(
                    (version["name"], _entry(group, version, names, spec))
                    for version in spec["versions"]
                    if version.get("served")
                ),
                shared_group=shared_group,
            )
        return token, shape


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


def groups_of_crds(shapes: Iterable[Shape]) -> list[Group]:
    """Established CRDs by group, groups by name, versions most stable first."""
    table: dict[str, dict[str, list[Entry]]] = {}
    for shape in sorted(shapes, key=lambda shape: (shape.group, shape.plural)):
        if shape.established:
            for version, entry in shape.versions:
                table.setdefault(shape.group, {}).setdefault(version, []).append(entry)
    return [
        Group(group, tuple(Version(name, tuple(versions[name])) for name in sorted(versions, key=priority)))
        for group, versions in sorted(table.items())
    ]


def priority(version: str) -> tuple[int, int, int, str]:
    """Order of versions as ``k8s.io/apimachinery/pkg/version.CompareKubeAwareVersionStrings``, best first."""
    match = re.fullmatch(r"v([1-9][0-9]*)(?:(alpha|beta)([1-9][0-9]*))?", version)
    if match is None:
        return (3, 0, 0, version)
    stage = {None: 0, "beta": 1, "alpha": 2}[match.group(2)]
    return (stage, -int(match.group(1)), -int(match.group(3) or 0), version)
