"""Which kinds and resources are cluster-scoped: a name of those carries the prefix, a name in a namespace does not."""

from __future__ import annotations

from typing import Protocol

from proxy.mapping.registrations import GROUPS_OF_KINDS, GROUPS_OF_RESOURCES

CLUSTER_SCOPED = {
    "": {"namespaces": "Namespace", "nodes": "Node", "persistentvolumes": "PersistentVolume"},
    "admissionregistration.k8s.io": {
        "mutatingadmissionpolicies": "MutatingAdmissionPolicy",
        "mutatingadmissionpolicybindings": "MutatingAdmissionPolicyBinding",
        "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
        "validatingadmissionpolicies": "ValidatingAdmissionPolicy",
        "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
        "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
    },
    "apiextensions.k8s.io": {"customresourcedefinitions": "CustomResourceDefinition"},
    "apiregistration.k8s.io": {"apiservices": "APIService"},
    "certificates.k8s.io": {
        "certificatesigningrequests": "CertificateSigningRequest",
        "clustertrustbundles": "ClusterTrustBundle",
    },
    "flowcontrol.apiserver.k8s.io": {
        "flowschemas": "FlowSchema",
        "prioritylevelconfigurations": "PriorityLevelConfiguration",
    },
    "networking.k8s.io": {"ingressclasses": "IngressClass", "ipaddresses": "IPAddress", "servicecidrs": "ServiceCIDR"},
    "node.k8s.io": {"runtimeclasses": "RuntimeClass"},
    "rbac.authorization.k8s.io": {"clusterroles": "ClusterRole", "clusterrolebindings": "ClusterRoleBinding"},
    "resource.k8s.io": {"deviceclasses": "DeviceClass", "resourceslices": "ResourceSlice"},
    "scheduling.k8s.io": {"priorityclasses": "PriorityClass"},
    "storage.k8s.io": {
        "csidrivers": "CSIDriver",
        "csinodes": "CSINode",
        "storageclasses": "StorageClass",
        "volumeattachments": "VolumeAttachment",
        "volumeattributesclasses": "VolumeAttributesClass",
    },
    "tenancy.kcp.dev": {
        "workspaces": "Workspace",
        "clusterworkspaces": "ClusterWorkspace",
        "clusterworkspacetypes": "ClusterWorkspaceType",
        "clusterworkspaceshards": "ClusterWorkspaceShard",
        "workspacemoves": "WorkspaceMove",
    },
    "workload.kcp.dev": {"workloadclusters": "WorkloadCluster", "placements": "Placement"},
    "apiresource.kcp.dev": {
        "apiresourceimports": "APIResourceImport",
        "negotiatedapiresources": "NegotiatedAPIResource",
    },
}
"""Native group → resource → kind."""

_RESOURCES = frozenset((group, resource) for group, table in CLUSTER_SCOPED.items() for resource in table)
_KINDS = frozenset((group, kind) for group, table in CLUSTER_SCOPED.items() for kind in table.values())


CRDS = ("apiextensions.k8s.io", "customresourcedefinitions")
"""The one cluster-scoped resource whose names do not begin with the prefix: it stands before their group."""


class PrivateScopes(Protocol):
    """What only the workspace's own CRDs tell; group plain."""

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool: ...
    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool: ...
    def kind_of(self, group: str, resource: str) -> str:
        """Empty where it is not known."""
        ...

    def shared_group(self, group: str, resource: str) -> str:
        """Group on the shard of a type that the workspace shares with others (`proxy.mapping.shared`); else empty."""
        ...

    def shared_group_of_kind(self, group: str, kind: str) -> str: ...


class NoCRDs:
    """A workspace without CRDs of its own."""

    def resource_is_cluster_scoped(self, group: str, resource: str) -> bool:
        return False

    def kind_is_cluster_scoped(self, group: str, kind: str) -> bool:
        return False

    def kind_of(self, group: str, resource: str) -> str:
        return ""

    def shared_group(self, group: str, resource: str) -> str:
        return GROUPS_OF_RESOURCES.get((group, resource), "")

    def shared_group_of_kind(self, group: str, kind: str) -> str:
        return GROUPS_OF_KINDS.get((group, kind), "")


def resource_is_cluster_scoped(group: str, resource: str, private: PrivateScopes) -> bool:
    return (group, resource) in _RESOURCES or private.resource_is_cluster_scoped(group, resource)


def kind_is_cluster_scoped(group: str, kind: str, private: PrivateScopes) -> bool:
    return (group, kind) in _KINDS or private.kind_is_cluster_scoped(group, kind)
