"""The tenancy API as the controllers see it: resources, names, conditions."""

from __future__ import annotations

import datetime
import hashlib
import re
from typing import Any

from proxy.kube.client import Object, Resource
from proxy.mapping.token import LABEL, token_of

GROUP = "tenancy.kcp.dev"
WORKSPACES = Resource(GROUP, "v1beta1", "workspaces", namespaced=False)
CLUSTER_WORKSPACES = Resource(GROUP, "v1alpha1", "clusterworkspaces", namespaced=False)
TYPES = Resource(GROUP, "v1alpha1", "clusterworkspacetypes", namespaced=False)
SHARDS = Resource(GROUP, "v1alpha1", "clusterworkspaceshards", namespaced=False)
MOVES = Resource(GROUP, "v1alpha1", "workspacemoves", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CLUSTER_ROLES = Resource("rbac.authorization.k8s.io", "v1", "clusterroles", namespaced=False)
CLUSTER_ROLE_BINDINGS = Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", namespaced=False)

FINALIZER = "tenancy.kcp.dev/workspace-finalizer"
OWNER = "tenancy.kcp.dev/owner"
"""Annotation: mapped user name of the creator, kept by an admission policy of the shard."""


def complete(resource: Resource, obj: Object) -> Object:
    """``obj`` with the label of its workspace and, for the pair, the finalizer.

    The shard's policies would add them too; but an API server mutates objects of a new CRD only some seconds after its
    creation and refuses until then, which would hold up the first start.
    """
    meta = obj["metadata"]
    token = token_of(meta["name"])
    if token is not None:
        meta["labels"] = {LABEL: token} | (meta.get("labels") or {})
    if resource in (WORKSPACES, CLUSTER_WORKSPACES):
        meta["finalizers"] = [FINALIZER]
    return obj


ROOT = "root"
ROOT_TYPE = "Root"
DEFAULT = "default"

TYPES_IN = {
    ROOT_TYPE: ("organization",),
    "Organization": ("universal", "cluster", "team"),
    "Team": ("universal", "cluster"),
}
"""Type of a workspace → names of the ClusterWorkspaceTypes that it starts with."""

SCHEDULED = "WorkspaceScheduled"
SHARD_VALID = "WorkspaceShardValid"
CONTENT_DELETED = "WorkspaceContentDeleted"
DELETION_SUCCESS = "WorkspaceDeletionContentSuccess"


def type_name(workspace_type: str) -> str:
    """Name of the ClusterWorkspaceType object: ``Universal`` → ``universal``."""
    return workspace_type.lower()


def now() -> str:
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def set_condition(
    conditions: list[dict[str, Any]], kind: str, status: bool, reason: str = "", message: str = ""
) -> list[dict[str, Any]]:
    """A copy of ``conditions`` with one set; its time changes only with its status."""
    value = "True" if status else "False"
    before = next((item for item in conditions if item["type"] == kind), None)
    same = before is not None and before["status"] == value
    item: dict[str, Any] = {
        "type": kind,
        "status": value,
        "lastTransitionTime": before["lastTransitionTime"] if same and before else now(),
    }
    if not status:
        item["severity"] = "Error"
    if reason:
        item["reason"] = reason
    if message:
        item["message"] = message
    return [*(other for other in conditions if other["type"] != kind), item]


def owner_of(half: dict[str, Any], prefix: str) -> tuple[str, str]:
    """Who made a Workspace or ClusterWorkspace whose name has ``prefix``, as the shard knows him and by his plain name;
    empty where nobody is known to have."""
    owner: str = (half.get("metadata", {}).get("annotations") or {}).get(OWNER, "")
    return owner, owner.replace(prefix, "", 1)


def owner_role_name(prefix: str, workspace: str, owner: str) -> str:
    """``owner-workspace-<name>-<user>`` in the parent, legal for any user name and unique all the same: names of users
    that have dashes, as names of workspaces may have, get a digest."""
    plain = re.sub(r"[^a-zA-Z0-9._:@]", "-", owner)[:100]
    if plain != owner or "-" in owner:
        plain = f"{plain}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"
    return f"{prefix}owner-workspace-{workspace}-{plain}"


def ambiguous_role_name(prefix: str, workspace: str, owner: str) -> str:
    """What it was called by earlier releases: that of one workspace may be called like that of another."""
    plain = re.sub(r"[^a-zA-Z0-9._:@-]", "-", owner)
    if plain != owner or len(plain) > 120:
        plain = f"{plain[:100]}-{hashlib.sha256(owner.encode()).hexdigest()[:8]}"
    return f"{prefix}owner-workspace-{workspace}-{plain}"


def deleting(obj: Object | None) -> bool:
    return obj is not None and bool(obj["metadata"].get("deletionTimestamp"))
