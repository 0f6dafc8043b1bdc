"""Admission configurations of workspaces: kinds that are native to a client, and that a shard must not obey.

Their objects stand in CRDs of the shard (``manifests/shard/webhooks.yaml``, ``policies.yaml``,
``mutating-policies.yaml``) whose group is one like those of shared types (`proxy.mapping.shared`): confined by the
prefix of their names, and plain again in every answer. What the shard's own kinds of the same names are asked, by dry
runs alone, is whether an object is good (`proxy.server.registering`).
"""

from __future__ import annotations

from proxy.mapping.shared import shared_group

GROUP = "admissionregistration.k8s.io"
VERSION = "v1"
STORED_GROUP = shared_group("admissionkcp", GROUP)
"""On the shard. The identity is no digest: such a CRD follows Kubernetes, in place."""
KINDS = {
    "mutatingadmissionpolicies": "MutatingAdmissionPolicy",
    "mutatingadmissionpolicybindings": "MutatingAdmissionPolicyBinding",
    "mutatingwebhookconfigurations": "MutatingWebhookConfiguration",
    "validatingadmissionpolicies": "ValidatingAdmissionPolicy",
    "validatingadmissionpolicybindings": "ValidatingAdmissionPolicyBinding",
    "validatingwebhookconfigurations": "ValidatingWebhookConfiguration",
}
"""Resource → kind; all are cluster-scoped."""
GROUPS_OF_RESOURCES = {(GROUP, resource): STORED_GROUP for resource in KINDS}
GROUPS_OF_KINDS = {(GROUP, kind): STORED_GROUP for kind in KINDS.values()}


def is_registration(group: str, resource: str) -> bool:
    return group == GROUP and resource in KINDS
