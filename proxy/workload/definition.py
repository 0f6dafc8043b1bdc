"""Negotiated types as CRDs."""

from __future__ import annotations

from proxy.kube.client import Object
from proxy.workload.api import CRDS
from proxy.workload.typekey import TypeKey

MADE_BY = "apiresource.kcp.dev/negotiated"
"""Annotation of a CRD that was made from a NegotiatedAPIResource."""


def is_ours(crd: Object) -> bool:
    return MADE_BY in (crd["metadata"].get("annotations") or {})


def version_of(crd: Object, name: str) -> Object | None:
    return next((version for version in crd["spec"]["versions"] if version["name"] == name), None)


def crd_name(key: TypeKey) -> str:
    """Of a CRD of the workspace's own, on the shard."""
    return f"{key.plural}.{key.token}-{key.group}"


def crd_of(key: TypeKey, spec: Object) -> Object:
    """The CRD for a negotiated type, its group plain, with what the API server would add to it."""
    version: Object = {
        "name": key.version,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": spec.get("openAPIV3Schema") or {"type": "object"}},
    }
    if "status" in {item["name"] for item in spec.get("subResources") or ()}:
        version["subresources"] = {"status": {}}
    if spec.get("columnDefinitions"):
        version["additionalPrinterColumns"] = spec["columnDefinitions"]
    names = {"singular": spec["kind"].lower(), "listKind": f"{spec['kind']}List"}
    names |= {
        name: spec[name]
        for name in ("plural", "singular", "kind", "listKind", "shortNames", "categories")
        if spec.get(name)
    }
    return {
        "apiVersion": CRDS.api_version,
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{key.plural}.{key.group}", "annotations": {MADE_BY: "true"}},
        "spec": {"group": key.group, "scope": spec["scope"], "names": names, "versions": [version]},
    }
