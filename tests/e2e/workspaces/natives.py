"""An object of every native kind that a workspace may have for its workloads, with a reference to every other object
that such kinds know."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Body = dict[str, Any]
NAMESPACE = "natives"
TEMPLATE: Body = {
    "metadata": {"labels": {"app": "x"}},
    "spec": {"containers": [{"name": "c", "image": "i:1"}]},
}
JOB: Body = {**TEMPLATE, "spec": {**TEMPLATE["spec"], "restartPolicy": "Never"}}
SELECTOR: Body = {"matchLabels": {"app": "x"}}
CLAIM: Body = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
DEVICES: Body = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "gold"}}]}}


@dataclass(frozen=True, slots=True)
class Native:
    """One kind, and the content of an object of it."""

    api: str
    """``v1``, ``apps/v1``."""
    kind: str
    plural: str
    content: Body
    namespaced: bool = True
    change: Body = field(default_factory=lambda: {"metadata": {"labels": {"changed": "yes"}}})
    """A merge patch that the kind allows."""
    encoded: Body | None = None
    """Content for the round with protobuf, where what an apiserver adds to the first could not be sent again."""

    @property
    def id(self) -> str:
        return f"{self.plural}.{self.api.rpartition('/')[0]}".rstrip(".")

    @property
    def everywhere(self) -> str:
        """Path of all objects of the kind."""
        return f"/{'apis' if '/' in self.api else 'api'}/{self.api}/{self.plural}"

    @property
    def place(self) -> str:
        """Path of those in the test's namespace."""
        root = self.everywhere.removesuffix(f"/{self.plural}")
        return f"{root}/namespaces/{NAMESPACE}/{self.plural}" if self.namespaced else self.everywhere

    def body(self, name: str, *, encoded: bool = False) -> Body:
        # A Job without labels of its own gets those of its pods by a quirk that admission policies undo.
        meta = {"name": name, "labels": {"own": "yes"}, **({"namespace": NAMESPACE} if self.namespaced else {})}
        content = self.encoded if encoded and self.encoded is not None else self.content
        return {"apiVersion": self.api, "kind": self.kind, "metadata": meta, **content}


CORE = (
    Native("v1", "Endpoints", "endpoints", {
        "subsets": [{"addresses": [{"ip": "192.0.2.1", "nodeName": "n", "targetRef": {"kind": "Pod", "namespace":
                     NAMESPACE, "name": "p"}}], "ports": [{"port": 80}]}],
    }),
    Native("v1", "PersistentVolumeClaim", "persistentvolumeclaims", {
        "spec": {**CLAIM, "storageClassName": "gold", "volumeName": "v", "volumeAttributesClassName": "fast"},
    }),
    Native("v1", "PersistentVolume", "persistentvolumes", {
        "spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "gold",
                 "claimRef": {"namespace": NAMESPACE, "name": "c"}, "csi": {"driver": "d", "volumeHandle": "h"},
                 "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [
                     {"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
    }, namespaced=False),
    Native("v1", "Pod", "pods", {
        "spec": {"containers": [{"name": "c", "image": "i:1"}], "priorityClassName": "system-cluster-critical",
                 "serviceAccountName": "default",
                 "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}]},
    }),
    Native("v1", "PodTemplate", "podtemplates", {"template": TEMPLATE}),
    Native("v1", "ReplicationController", "replicationcontrollers", {
        "spec": {"replicas": 2, "selector": {"app": "x"}, "template": TEMPLATE},
    }, change={"spec": {"replicas": 3}}),
    Native("v1", "Service", "services", {
        "spec": {"type": "NodePort", "selector": {"app": "x"}, "ports": [{"name": "http", "port": 80}]},
    }, change={"spec": {"type": "LoadBalancer"}}, encoded={
        "spec": {"clusterIP": "None", "selector": {"app": "x"}, "ports": [{"name": "http", "port": 80}]},
    }),
)  # fmt: skip
APPS = (
    Native("apps/v1", "ControllerRevision", "controllerrevisions", {"revision": 1, "data": {"spec": {"a": "b"}}},
           change={"revision": 2}),
    Native("apps/v1", "DaemonSet", "daemonsets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}}),
    Native("apps/v1", "Deployment", "deployments", {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
           change={"spec": {"replicas": 3}}),
    Native("apps/v1", "ReplicaSet", "replicasets", {"spec": {"selector": SELECTOR, "template": TEMPLATE}},
           change={"spec": {"replicas": 3}}),
    Native("apps/v1", "StatefulSet", "statefulsets", {
        "spec": {"serviceName": "s", "selector": SELECTOR, "template": TEMPLATE,
                 "volumeClaimTemplates": [{"metadata": {"name": "d"}, "spec": {**CLAIM, "storageClassName": "gold"}}]},
    }, change={"spec": {"replicas": 3}}),
    Native("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "private.example.com/v1", "kind": "Wheel",
                                                         "name": "w"}},
    }, change={"spec": {"maxReplicas": 5}}),
    Native("autoscaling/v1", "HorizontalPodAutoscaler", "horizontalpodautoscalers", {
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    }),
    Native("batch/v1", "CronJob", "cronjobs", {
        "spec": {"schedule": "1 * * * *", "jobTemplate": {"spec": {"template": JOB}}},
    }, change={"spec": {"suspend": True}}),
    Native("batch/v1", "Job", "jobs", {"spec": {"template": JOB}}, change={"spec": {"suspend": True}}, encoded={
        "spec": {"manualSelector": True, "selector": SELECTOR, "template": JOB},
    }),
    Native("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", {
        "spec": {"minAvailable": 1, "selector": SELECTOR},
    }, change={"spec": {"minAvailable": 2}}),
)  # fmt: skip
NETWORK = (
    Native("discovery.k8s.io/v1", "EndpointSlice", "endpointslices", {
        "addressType": "IPv4", "ports": [{"port": 80}],
        "endpoints": [{"addresses": ["192.0.2.1"], "nodeName": "n",
                       "targetRef": {"kind": "Pod", "namespace": NAMESPACE, "name": "p"}}],
    }),
    Native("networking.k8s.io/v1", "IngressClass", "ingressclasses", {
        "spec": {"controller": "example.com/ingress", "parameters": {
            "apiGroup": "private.example.com", "kind": "Parameters", "name": "p", "scope": "Namespace",
            "namespace": NAMESPACE}},
    }, namespaced=False),
    Native("networking.k8s.io/v1", "Ingress", "ingresses", {
        "spec": {"ingressClassName": "public", "defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}},
    }, change={"spec": {"ingressClassName": "other"}}),
    Native("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", {
        "spec": {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {
            "matchLabels": {"kubernetes.io/metadata.name": NAMESPACE}}}]}]},
    }, change={"spec": {"podSelector": SELECTOR}}),
)  # fmt: skip
CLASSES = (
    Native("node.k8s.io/v1", "RuntimeClass", "runtimeclasses", {"handler": "h"}, namespaced=False),
    Native("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", {"value": 10}, namespaced=False,
           change={"description": "changed"}),
    Native("resource.k8s.io/v1", "DeviceClass", "deviceclasses", {"spec": {}}, namespaced=False),
    Native("resource.k8s.io/v1", "ResourceClaim", "resourceclaims", {"spec": DEVICES}),
    Native("resource.k8s.io/v1", "ResourceClaimTemplate", "resourceclaimtemplates", {"spec": {"spec": DEVICES}}),
    Native("resource.k8s.io/v1", "ResourceSlice", "resourceslices", {
        "spec": {"driver": "d.example.com", "nodeName": "n",
                 "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}},
    }, namespaced=False),
    Native("storage.k8s.io/v1", "CSIDriver", "csidrivers", {"spec": {"attachRequired": False}}, namespaced=False,
           change={"spec": {"storageCapacity": True}}),
    Native("storage.k8s.io/v1", "CSINode", "csinodes", {
        "spec": {"drivers": [{"name": "d", "nodeID": "n", "topologyKeys": []}]},
    }, namespaced=False),
    Native("storage.k8s.io/v1", "CSIStorageCapacity", "csistoragecapacities", {
        "storageClassName": "gold", "capacity": "1Gi", "nodeTopology": SELECTOR,
    }, change={"capacity": "2Gi"}),
    Native("storage.k8s.io/v1", "StorageClass", "storageclasses", {"provisioner": "example.com/p"}, namespaced=False,
           change={"allowVolumeExpansion": True}),
    Native("storage.k8s.io/v1", "VolumeAttachment", "volumeattachments", {
        "spec": {"attacher": "d", "nodeName": "n", "source": {"persistentVolumeName": "v"}},
    }, namespaced=False),
    Native("storage.k8s.io/v1", "VolumeAttributesClass", "volumeattributesclasses", {
        "driverName": "d", "parameters": {"iops": "1"},
    }, namespaced=False),
)  # fmt: skip
NATIVES = (*CORE, *APPS, *NETWORK, *CLASSES)
