"""Names: how each kind of name is written on the shard. The inverse of all of them is removing the prefix."""

from __future__ import annotations

from typing import Any

from proxy.kube.errors import StatusError
from proxy.mapping.token import PREFIX_LENGTH

NATIVE_GROUPS = frozenset(
    {
        "", "admissionregistration.k8s.io", "apiextensions.k8s.io", "apiregistration.k8s.io", "apps",
        "authentication.k8s.io", "authorization.k8s.io", "autoscaling", "batch", "certificates.k8s.io",
        "coordination.k8s.io", "discovery.k8s.io", "events.k8s.io", "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io", "networking.k8s.io", "node.k8s.io", "policy", "rbac.authorization.k8s.io",
        "resource.k8s.io", "scheduling.k8s.io", "storage.k8s.io", "storagemigration.k8s.io",
        "tenancy.kcp.dev", "workload.kcp.dev", "apiresource.kcp.dev",
    }
)  # fmt: skip
"""API groups that a shard serves itself (Kubernetes 1.36 and kcp's own). Every other group is a workspace's private
one and gets its prefix, whether a CRD of it exists or not: a rule, a path and a CRD must agree without looking."""

KCP_GROUPS = frozenset(group for group in NATIVE_GROUPS if group.endswith(".kcp.dev"))
"""Those of them that CRDs of the shard itself make."""

DEFAULT_AUDIENCE = "https://kubernetes.default.svc"
"""Audience of a service-account token that names none; on the shard it carries the prefix and opens nothing there."""

SERVICE_ACCOUNT = "system:serviceaccount:"
MOVED_UIDS = "internal.kcp.dev/moved-uids"
"""Annotation of a service account that came from another shard: the uids that it had before, with commas between; no
workspace's to write (manifests/shard/moved-accounts.yaml)."""
MAX_NAMESPACE = 63 - PREFIX_LENGTH
MAX_NAME = 253 - PREFIX_LENGTH


def map_user(name: str, prefix: str) -> str:
    """Users get the prefix in front; service accounts, which the shard knows itself, in front of their namespace."""
    if name.startswith(SERVICE_ACCOUNT):
        return SERVICE_ACCOUNT + prefix + name[len(SERVICE_ACCOUNT) :]
    return prefix + name


def map_group(name: str, prefix: str) -> str:
    """All groups, ``system:`` ones too: what is bound to everybody in one workspace is nobody in another."""
    return prefix + name


def map_namespace(name: str, prefix: str) -> str:
    """Raises StatusError 422 for a name that would not fit with the prefix."""
    if len(name) > MAX_NAMESPACE:
        raise too_long("Namespace", "", name, MAX_NAMESPACE)
    return prefix + name


def map_cluster_name(name: str, prefix: str, kind: str = "object", group: str = "") -> str:
    """Name of a cluster-scoped object. Raises StatusError 422 for one that would not fit."""
    if len(name) > MAX_NAME:
        raise too_long(kind, group, name, MAX_NAME)
    return prefix + name


def map_crd_name(name: str, prefix: str) -> str:
    """``widgets.example.com`` → ``widgets.<prefix>example.com``."""
    plural, dot, group = name.partition(".")
    return f"{plural}.{prefix}{group}" if dot else prefix + name


def unmap(name: str, prefix: str) -> str:
    """What the workspace calls a mapped name of any kind."""
    return name.replace(prefix, "")


def map_api_group(group: str, prefix: str) -> str:
    return group if group in NATIVE_GROUPS else prefix + group


def map_api_version(api_version: str, prefix: str) -> str:
    """``example.com/v1`` → ``k3fq7zn2a-example.com/v1``; core and native groups stay."""
    group, slash, version = api_version.partition("/")
    return f"{map_api_group(group, prefix)}/{version}" if slash else api_version


def too_long(kind: str, group: str, name: str, limit: int) -> StatusError:
    """As apimachinery's NewInvalid with a field error of type Too long."""
    why = f'Too long: may not be more than {limit} bytes in a workspace: "{name[:80]}"'
    details: dict[str, Any] = {
        "name": name,
        "kind": kind,
        "causes": [{"reason": "FieldValueTooLong", "message": why, "field": "metadata.name"}],
    }
    if group:
        details["group"] = group
    return StatusError(422, f'{kind} "{name[:80]}" is invalid: metadata.name: {why}', details=details)
