"""What a shard's own discovery says, cut down to what the tests need."""

from __future__ import annotations

from typing import Any

ALL = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"]


def entry(plural: str, kind: str, *, namespaced: bool = True, verbs: list[str] | None = None, **more: Any) -> Any:
    return {
        "resource": plural,
        "responseKind": {"group": "", "version": "", "kind": kind},
        "scope": "Namespaced" if namespaced else "Cluster",
        "singularResource": kind.lower(),
        "verbs": ALL if verbs is None else verbs,
        **more,
    }


def sub(name: str, kind: str, group: str = "", version: str = "") -> Any:
    return {
        "subresource": name,
        "responseKind": {"group": group, "version": version, "kind": kind},
        "verbs": ["create"],
    }


def group(name: str, **versions: list[Any]) -> Any:
    return {
        "metadata": {"name": name} if name else {},
        "versions": [{"version": version, "resources": entries} for version, entries in versions.items()],
    }


CORE = {
    "items": [
        group(
            "",
            v1=[
                entry("bindings", "Binding", verbs=["create"]),
                entry("configmaps", "ConfigMap", shortNames=["cm"]),
                entry("namespaces", "Namespace", namespaced=False, subresources=[sub("finalize", "Namespace")]),
                entry("nodes", "Node", namespaced=False),
                entry(
                    "pods",
                    "Pod",
                    subresources=[
                        sub("binding", "Binding"),
                        sub("eviction", "Eviction", "policy", "v1"),
                        sub("exec", "PodExecOptions"),
                        sub("log", "Pod"),
                        sub("status", "Pod"),
                    ],
                ),
            ],
        )
    ]
}
OTHERS = {
    "items": [
        group(
            "admissionregistration.k8s.io",
            v1beta1=[entry("mutatingadmissionpolicies", "MutatingAdmissionPolicy", namespaced=False)],
        ),
        group("apps", v1=[entry("deployments", "Deployment", shortNames=["deploy"], categories=["all"])]),
        group(
            "autoscaling",
            v2=[entry("horizontalpodautoscalers", "HorizontalPodAutoscaler")],
            v1=[entry("horizontalpodautoscalers", "HorizontalPodAutoscaler")],
        ),
        group("certificates.k8s.io", v1=[entry("podcertificaterequests", "PodCertificateRequest")]),
        group("storage.k8s.io", v1=[entry("storageclasses", "StorageClass", namespaced=False)]),
        group(
            "tenancy.kcp.dev",
            v1alpha1=[
                entry("clusterworkspaces", "ClusterWorkspace", namespaced=False),
                entry("clusterworkspaceshards", "ClusterWorkspaceShard", namespaced=False),
            ],
        ),
        group("workload.kcp.dev", v1alpha1=[entry("workloadclusters", "WorkloadCluster", namespaced=False)]),
    ]
}


def crd(
    name: str = "widgets",
    group: str = "k2222aaaa-example.com",
    *,
    kind: str = "Widget",
    scope: str = "Namespaced",
    established: bool = True,
    versions: tuple[str, ...] = ("v1",),
    schema: Any = None,
    subresources: Any = None,
) -> dict[str, Any]:
    names = {"plural": name, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List", "shortNames": ["wd"]}
    made: dict[str, Any] = {
        "metadata": {"name": f"{name}.{group}", "resourceVersion": "7"},
        "spec": {
            "group": group,
            "scope": scope,
            "names": names,
            "versions": [
                {
                    "name": version,
                    "served": True,
                    "storage": version == versions[0],
                    "schema": {"openAPIV3Schema": schema or {"type": "object"}},
                    **({"subresources": subresources} if subresources else {}),
                }
                for version in versions
            ],
        },
    }
    if established:
        conditions = [{"type": "NamesAccepted", "status": "True"}, {"type": "Established", "status": "True"}]
        made["status"] = {"acceptedNames": names, "conditions": conditions}
    return made
