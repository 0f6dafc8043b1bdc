"""What a shard needs, read from the package data of ``manifests``."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources

import yaml

from proxy.kube.client import Object, Resource
from proxy.mapping.rbac import BOOTSTRAPPING
from proxy.shard.rights import granted

FOLDERS = ("shard", "tenancy", "workload")
"""Folders whose ``*.yaml`` are applied to every shard, but for what lies deeper and files that begin with ``syncer``:
those are templates."""

HASH = "internal.kcp.dev/manifest"
"""Annotation with the hash of the manifest that an object was last made from."""

RESOURCES = {
    "CustomResourceDefinition": Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", False),
    "MutatingAdmissionPolicy": Resource("admissionregistration.k8s.io", "v1", "mutatingadmissionpolicies", False),
    "MutatingAdmissionPolicyBinding": Resource(
        "admissionregistration.k8s.io", "v1", "mutatingadmissionpolicybindings", False
    ),
    "ValidatingAdmissionPolicy": Resource("admissionregistration.k8s.io", "v1", "validatingadmissionpolicies", False),
    "ValidatingAdmissionPolicyBinding": Resource(
        "admissionregistration.k8s.io", "v1", "validatingadmissionpolicybindings", False
    ),
    **{
        f"{kind}WebhookConfiguration": Resource(
            "admissionregistration.k8s.io", "v1", f"{kind.lower()}webhookconfigurations", False
        )
        for kind in ("Mutating", "Validating")
    },
    "FlowSchema": Resource("flowcontrol.apiserver.k8s.io", "v1", "flowschemas", False),
    "PriorityLevelConfiguration": Resource("flowcontrol.apiserver.k8s.io", "v1", "prioritylevelconfigurations", False),
    "ClusterRole": Resource("rbac.authorization.k8s.io", "v1", "clusterroles", False),
    "ClusterRoleBinding": Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", False),
}


class ManifestError(Exception):
    """A manifest of the package that cannot be applied; names the file."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """One object to apply."""

    resource: Resource
    obj: Object
    """With annotation `HASH`, but for Kubernetes' own."""

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def hash(self) -> str:
        return str(self.obj["metadata"]["annotations"][HASH])

    @property
    def is_kubernetes_own(self) -> bool:
        """One that a server makes itself, later than we need it: made where it is missing, and never changed."""
        return _is_kubernetes_own(self.obj)

    @property
    def is_crd(self) -> bool:
        return self.resource.plural == "customresourcedefinitions"

    def __str__(self) -> str:
        return f"{self.obj['kind']} {self.name}"


def load_manifests() -> list[Manifest]:
    """All objects of `FOLDERS`, in the order of folders and files. Raises ManifestError."""
    return [manifest for folder in FOLDERS for manifest in _load_folder(folder)]


def _load_folder(folder: str) -> Iterator[Manifest]:
    files = (file for file in resources.files("manifests").joinpath(folder).iterdir() if file.is_file())
    for file in sorted(files, key=lambda file: file.name):
        if not file.name.endswith(".yaml") or file.name.startswith("syncer"):
            continue
        label = f"manifests/{folder}/{file.name}"
        try:
            documents = list(yaml.load_all(file.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
        except yaml.YAMLError as error:
            raise ManifestError(f"{label}: {error}") from error
        for document in documents:
            if document is not None:
                yield from (make_manifest(obj, label) for obj in granted(document))


def make_manifest(obj: Object, label: str = "object") -> Manifest:
    """A manifest of ``obj``; ``label`` names its origin in errors."""
    kind = obj.get("kind")
    resource = RESOURCES.get(str(kind))
    if resource is None or obj.get("apiVersion") != resource.api_version:
        raise ManifestError(f"{label}: {obj.get('apiVersion')} {kind} is not a kind that shards get")
    obj = copy.deepcopy(obj)
    digest = hashlib.sha256(json.dumps(obj, sort_keys=True).encode()).hexdigest()[:24]
    if not _is_kubernetes_own(obj):
        obj["metadata"].setdefault("annotations", {})[HASH] = digest
    return Manifest(resource, obj)


def _is_kubernetes_own(obj: Object) -> bool:
    return BOOTSTRAPPING in (obj["metadata"].get("labels") or {})
