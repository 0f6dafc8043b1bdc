"""Objects as they are written down when a workspace is exported: what people and programs asked for, and nothing that a
server or a controller adds and would add again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.mapping.rbac import BOOTSTRAPPING
from syncer.names import FINALIZERS, SYNCED_UP

Object = dict[str, Any]

LEFT_OUT = frozenset(
    {
        ("", "bindings"),
        ("", "endpoints"),
        ("", "events"),
        ("apiresource.kcp.dev", "apiresourceimports"),
        ("apiresource.kcp.dev", "negotiatedapiresources"),
        ("authentication.k8s.io", "*"),
        ("authorization.k8s.io", "*"),
        ("coordination.k8s.io", "leases"),
        ("discovery.k8s.io", "endpointslices"),
        ("events.k8s.io", "events"),
        ("tenancy.kcp.dev", "clusterworkspaces"),
        ("tenancy.kcp.dev", "clusterworkspaceshards"),
        ("tenancy.kcp.dev", "workspacemoves"),
        ("tenancy.kcp.dev", "workspaces"),
    }
)
"""Group and resource: what passes, what controllers write, and other workspaces."""
CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
FIRST = (CRDS, ("", "namespaces"), ("", "serviceaccounts"), ("", "secrets"), ("", "configmaps"))
"""What others need to be there; the rest follows by group and name."""
LAST = (("", "limitranges"), ("", "resourcequotas"))
"""What was there before them need not fit."""
_META = ("uid", "resourceVersion", "creationTimestamp", "generation", "selfLink", "managedFields")
_ADDRESSES = ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "healthCheckNodePort")
_JOB_LABELS = ("controller-uid", "batch.kubernetes.io/controller-uid", "job-name", "batch.kubernetes.io/job-name")
_ROOT_CA = "kube-root-ca.crt"
_ACCOUNT_TOKEN = "kubernetes.io/service-account-token"


def is_left_out(group: str, resource: str) -> bool:
    return bool({(group, resource), (group, "*")} & LEFT_OUT)


def order(group: str, resource: str) -> tuple[int, str, str]:
    """Of a resource among the others."""
    place = (group, resource)
    if place in FIRST:
        return FIRST.index(place), group, resource
    return len(FIRST) + (place in LAST), group, resource


def portable(group: str, resource: str, obj: Mapping[str, Any]) -> Object | None:
    """The object as it is exported; None for one that is not: it is being deleted, or somebody makes it everywhere.

    ``apiVersion`` and ``kind`` must be there.
    """
    meta = obj["metadata"]
    labels = meta.get("labels") or {}
    owners = meta.get("ownerReferences") or ()
    if meta.get("deletionTimestamp") or SYNCED_UP in labels or BOOTSTRAPPING in labels:
        return None
    if resource == "pods" and any(owner.get("controller") for owner in owners):
        return None
    if not group and (resource, meta["name"]) == ("configmaps", _ROOT_CA):
        return None
    if not group and resource == "secrets" and obj.get("type") == _ACCOUNT_TOKEN:
        return None
    kept = {key: value for key, value in obj.items() if key not in ("status", "metadata")}
    result: Object = {
        "apiVersion": kept.pop("apiVersion"),
        "kind": kept.pop("kind"),
        "metadata": {key: value for key, value in meta.items() if key not in _META},
        **kept,
    }
    _without_finalizers(result["metadata"])
    if (group, resource) == ("", "services"):
        result["spec"] = _service(result.get("spec") or {})
    elif (group, resource) == ("", "serviceaccounts"):
        result.pop("secrets", None)
    elif (group, resource) == ("", "namespaces"):
        result.pop("spec", None)
    elif (group, resource) == ("batch", "jobs"):
        result["spec"] = _job(result.get("spec") or {}, result["metadata"])
    return result


def _without_finalizers(meta: Object) -> None:
    kept = [name for name in meta.pop("finalizers", ()) if not name.startswith(FINALIZERS)]
    if kept:
        meta["finalizers"] = kept


def _service(spec: Object) -> Object:
    """Addresses and ports are given anew; that there is none (``None``) stays."""
    headless = spec.get("clusterIP") == "None"
    changed = {key: value for key, value in spec.items() if key not in _ADDRESSES}
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports") or ()]
    return {**changed, **({"ports": ports} if ports else {}), **({"clusterIP": "None"} if headless else {})}


def _job(spec: Object, meta: Object) -> Object:
    """A selector that the server made names a uid."""
    if spec.get("manualSelector"):
        return spec
    template = spec.get("template") or {}
    for holder in (meta, template.get("metadata") or {}):
        labels = {key: value for key, value in (holder.get("labels") or {}).items() if key not in _JOB_LABELS}
        if holder.pop("labels", None) is not None and labels:
            holder["labels"] = labels
    return {key: value for key, value in spec.items() if key != "selector"}
