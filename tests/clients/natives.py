"""Native kinds of namespaces in a workspace, as if a physical cluster had told of them."""

from __future__ import annotations

from proxy.kube.client import Client, Resource
from proxy.kube.errors import StatusError
from proxy.workload.api import IMPORTS
from tests.integration.eventually import eventually

KINDS = {
    Resource("", "v1", "pods"): "Pod",
    Resource("", "v1", "services"): "Service",
    Resource("apps", "v1", "deployments"): "Deployment",
    Resource("apps", "v1", "replicasets"): "ReplicaSet",
    Resource("apps", "v1", "statefulsets"): "StatefulSet",
    Resource("apps", "v1", "daemonsets"): "DaemonSet",
    Resource("autoscaling", "v1", "horizontalpodautoscalers"): "HorizontalPodAutoscaler",
    Resource("autoscaling", "v2", "horizontalpodautoscalers"): "HorizontalPodAutoscaler",
    Resource("batch", "v1", "jobs"): "Job",
    Resource("batch", "v1", "cronjobs"): "CronJob",
    Resource("discovery.k8s.io", "v1", "endpointslices"): "EndpointSlice",
    Resource("networking.k8s.io", "v1", "ingresses"): "Ingress",
    Resource("policy", "v1", "poddisruptionbudgets"): "PodDisruptionBudget",
}
CONTROLLERS = (
    *("deployment", "replicaset", "statefulset", "daemonset", "job", "cronjob"),
    *("disruption", "horizontal-pod-autoscaler", "endpoints", "endpointslice", "endpointslice-mirroring"),
)
"""Of kube-controller-manager, without ``-controller``: a workspace leaves their work to its physical clusters."""


async def import_natives(client: Client) -> None:
    """Returns when the workspace serves them all."""
    for resource, kind in KINDS.items():
        name = f"{resource.plural}.east.{resource.version}.{resource.group or 'core'}"
        spec = {
            "location": "east",
            "groupVersion": {"group": resource.group, "version": resource.version},
            "scope": "Namespaced",
            "plural": resource.plural,
            "kind": kind,
            "openAPIV3Schema": {"type": "object"},
        }
        body = {"apiVersion": IMPORTS.api_version, "kind": "APIResourceImport", "metadata": {"name": name}}
        await client.create(IMPORTS, {**body, "spec": spec})

    async def served() -> bool:
        for resource in KINDS:
            await client.list(resource, "default")
        return True

    await eventually(served, StatusError, timeout=60)
