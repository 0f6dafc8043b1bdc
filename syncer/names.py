"""Names on the physical cluster."""

from __future__ import annotations

import functools
import hashlib
import json

LOCATOR = "kcp.dev/namespace-locator"
"""Annotation of a namespace below: which namespace of which workspace it stands for."""
CLUSTER_LABEL = "workloads.kcp.dev/cluster"
"""Label on both sides of everything that is synced; its value is the name of the WorkloadCluster."""

SYNCED_UP = "workloads.kcp.dev/synced-up"
"""Label of an object above that shows one of a cluster; its value is the name of the WorkloadCluster."""
SHOWABLE = ("configmaps", "events", "pods", "secrets")
"""Resources of a cluster that can be shown in the workspace."""
ASKED_UP = "workloads.kcp.dev/sync-up"
"""Label, with value ``true``, by which an object of a cluster asks to be shown above, where kinds are shown so."""
SHOWS = "workloads.kcp.dev/shows"
"""Annotation of such an object: uid of the one below, and a digest of what cannot be changed of it above."""
UID = "kcp.dev/uid"
"""Annotation of an object below: the uid of the object above that it stands for."""
TOKEN_SECRET = "kcp-default-token"
"""Secret of a namespace below with the workspace's token for its pods."""

SHARED = "workloads.kcp.dev/shared-syncer"
"""Label of Secrets on a cluster that each add a workspace to its one syncer; the value says nothing."""
SHARED_SETTINGS, SHARED_KUBECONFIG = "settings", "kubeconfig"
"""Keys of these: JSON of what the flags of a syncer would say, and of the kubeconfig of the workspace."""
FINALIZERS = "syncer.workloads.kcp.dev/"
"""Begin of the finalizers above; the rest is the name of the WorkloadCluster."""
MANAGER = "syncer"
"""Field manager of everything that is applied below."""

RENAMED = {
    ("configmaps", "kube-root-ca.crt"): "kcp-root-ca.crt",
    ("serviceaccounts", "default"): "kcp-default",
}
"""Objects that every namespace has on both sides: those from above get names of their own below."""
_BACK = {(plural, below): above for (plural, above), below in RENAMED.items()}


def finalizer(cluster: str) -> str:
    """Of objects above that stand on ``cluster``."""
    return FINALIZERS + cluster


def locator(workspace: str, namespace: str) -> str:
    """The annotation's value: compact JSON, keys in this order, as the name's hash is made of it."""
    return json.dumps({"logical-cluster": workspace, "namespace": namespace}, separators=(",", ":"))


@functools.lru_cache(maxsize=10_000)
def physical_namespace(workspace: str, namespace: str) -> str:
    """``kcp`` and the hash of the locator: the same workspace and namespace always meet the same name."""
    return "kcp" + hashlib.sha224(locator(workspace, namespace).encode()).hexdigest()


def namespace_of(annotations: dict[str, str], workspace: str) -> str | None:
    """The namespace above that a namespace below stands for; None if it is not one of ``workspace``."""
    try:
        value = json.loads(annotations.get(LOCATOR, ""))
        here = value["logical-cluster"] == workspace
        return str(value["namespace"]) if here else None
    except (ValueError, KeyError, TypeError):
        return None


def syncer_id(workspace: str, cluster: str) -> str:
    """Name of what is made on the physical cluster for the syncer itself."""
    return "kcpsync" + hashlib.sha224((workspace + cluster).encode()).hexdigest()


def name_below(plural: str, name: str) -> str:
    return RENAMED.get((plural, name), name)


def name_above(plural: str, name: str) -> str:
    return _BACK.get((plural, name), name)


def is_taken(plural: str, name: str) -> bool:
    """Whether an object above has a name that stands for something else below."""
    return (plural, name) in _BACK or (plural, name) == ("secrets", TOKEN_SECRET)
