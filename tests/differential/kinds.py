"""What the sequences are about: resources, and bodies that are right for them."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.differential.step import WORLD

Object = dict[str, Any]
CRD = "apiextensions.k8s.io"
RBAC = "rbac.authorization.k8s.io"
NAMESPACES = (f"{WORLD}a", f"{WORLD}b")
OWN = f"{WORLD}.example.org"
"""Group of the CRDs that sequences make on their way."""


@dataclass(frozen=True, slots=True)
class Kind:
    group: str
    version: str
    plural: str
    kind: str
    content: Callable[[Random], Object]
    """All of a right body but what every object has."""
    namespaced: bool = True
    weight: int = 2
    subresources: tuple[str, ...] = ()
    fields: tuple[str, ...] = ("metadata.name", "metadata.namespace")
    """That field selectors may name."""
    prefix: str = ""
    """Of names, besides the world's."""

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        return f"{root}/namespaces/{namespace}/{self.plural}" if namespace else f"{root}/{self.plural}"

    def name(self, rng: Random) -> str:
        return rng.choice(("x", "u", "z.1")) if self.namespaced else f"{WORLD}-{self.prefix}{rng.choice('xu')}"


def _configmap(rng: Random) -> Object:
    content: Object = {
        "data": {key: rng.choice(("", "1", "ü", "a\nb", "<&>", "x" * 50)) for key in rng.sample("abc", 2)}
    }
    if rng.random() < 0.2:
        content["binaryData"] = {"bin": _b64("\x00\x01")}
    if rng.random() < 0.1:
        content["immutable"] = True
    return content


def _secret(rng: Random) -> Object:
    kind = rng.choice(("Opaque", "Opaque", "kubernetes.io/basic-auth", "kubernetes.io/tls", "example.com/own", None))
    content: Object = {"data": {"username": _b64("u")}}
    if rng.random() < 0.4:
        content["stringData"] = {"password": "p"}
    if kind == "kubernetes.io/tls":
        content["data"] = {"tls.crt": _b64(""), "tls.key": _b64("")}
    return content | ({"type": kind} if kind else {})


def _event(rng: Random) -> Object:
    return {
        "involvedObject": {"kind": "Pod", "namespace": "@ns@", "name": "p", "uid": "u", "apiVersion": "v1"},
        "reason": rng.choice(("Made", "Gone")),
        "message": "it happened",
        "type": rng.choice(("Normal", "Warning")),
        "count": rng.randint(1, 3),
        "source": {"component": "test"},
        "firstTimestamp": "2026-01-02T03:04:05Z",
        "lastTimestamp": "2026-01-02T03:04:05Z",
    }


def _new_event(rng: Random) -> Object:
    return {
        "regarding": {"kind": "Pod", "namespace": "@ns@", "name": "p"},
        "reason": "Made",
        "action": "Making",
        "note": "it happened",
        "type": rng.choice(("Normal", "Warning")),
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingController": "example.com/test",
        "reportingInstance": "test-1",
    }


def _lease(rng: Random) -> Object:
    return {"spec": {"holderIdentity": "me", "leaseDurationSeconds": rng.choice((1, 15, 0, -1)), "leaseTransitions": 1}}


def _quota(rng: Random) -> Object:
    hard = {"configmaps": "1k", "count/widgets.example.com": "500", "count/leases.coordination.k8s.io": "500"}
    return {"spec": {"hard": {key: hard[key] for key in rng.sample(sorted(hard), 2)}}}


def _limits(rng: Random) -> Object:
    item = {
        "type": rng.choice(("Container", "Pod")),
        "max": {"cpu": "2"},
        "min": {"cpu": rng.choice(("1", "3", "100m"))},
    }
    return {"spec": {"limits": [item]}}


def _rules(rng: Random) -> list[Object]:
    rules: list[Object] = [
        {"apiGroups": [""], "resources": ["configmaps", "secrets"], "verbs": ["get", "list"]},
        {"apiGroups": ["example.com"], "resources": ["widgets", "widgets/status"], "verbs": ["*"]},
        {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["x"], "verbs": ["update"]},
        {"apiGroups": ["*"], "resources": ["*"], "verbs": ["watch"]},
        {"apiGroups": ["apps"], "resources": ["deployments/scale"], "verbs": ["patch"]},
    ]
    return rng.sample(rules, rng.randint(1, 3))


def _role(rng: Random) -> Object:
    return {"rules": _rules(rng)}


def _cluster_role(rng: Random) -> Object:
    if rng.random() < 0.15:
        return {"aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"part-of": WORLD}}]}, "rules": []}
    more = [{"nonResourceURLs": ["/metrics", "/x/*"], "verbs": ["get"]}] if rng.random() < 0.3 else []
    names = [{"apiGroups": [RBAC], "resources": ["clusterroles"], "resourceNames": [f"{WORLD}-x"], "verbs": ["bind"]}]
    return {"rules": _rules(rng) + more + (names if rng.random() < 0.3 else [])}


def _subjects(rng: Random) -> list[Object]:
    subjects: list[Object] = [
        {"kind": "User", "name": "alice", "apiGroup": RBAC},
        {"kind": "Group", "name": "system:authenticated", "apiGroup": RBAC},
        {"kind": "ServiceAccount", "name": "default", "namespace": NAMESPACES[0]},
        {"kind": "User", "name": f"system:serviceaccount:{NAMESPACES[1]}:x"},
    ]
    return rng.sample(subjects, rng.randint(0, 3))


def _binding(rng: Random) -> Object:
    role = rng.choice((("Role", "x"), ("ClusterRole", f"{WORLD}-x"), ("ClusterRole", "view")))
    return {"subjects": _subjects(rng), "roleRef": {"apiGroup": RBAC, "kind": role[0], "name": role[1]}}


def _cluster_binding(rng: Random) -> Object:
    name = rng.choice((f"{WORLD}-x", f"{WORLD}-none", "edit"))
    return {"subjects": _subjects(rng), "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": name}}


def _account(rng: Random) -> Object:
    return rng.choice(
        (
            {},
            {"imagePullSecrets": [{"name": "pull"}], "automountServiceAccountToken": False},
            {"secrets": [{"name": "x"}]},
        )
    )


def _widget(rng: Random) -> Object:
    spec: Object = {"size": rng.choice((1, 5, 10)), "colour": rng.choice(("red", "green"))}
    if rng.random() < 0.3:
        spec["parts"] = [{"name": "a", "weight": 1}, {"name": "b", "weight": 2}]
    if rng.random() < 0.2:
        spec["extra"] = {"anything": [1, {"goes": None}]}
    if rng.random() < 0.2:
        spec["max"] = rng.choice((3, 100))
    return {"spec": spec} | ({"status": {"replicas": 3}} if rng.random() < 0.2 else {})


def _gadget(rng: Random) -> Object:
    return {"spec": {"size": rng.randint(0, 3)}, "more": "kept"}


def _none(rng: Random) -> Object:
    return {}


def _crd(rng: Random) -> Object:
    spec = crd_spec(OWN, "things", "Thing", rng.choice(("Namespaced", "Namespaced", "Cluster")))
    if rng.random() < 0.3:
        spec["versions"][0]["subresources"] = {"status": {}}
    if rng.random() < 0.3:
        spec["names"] |= {"shortNames": ["th"], "categories": ["all"], "singular": "thing"}
    if rng.random() < 0.3:
        size = {"type": "integer", "maximum": 2, "description": "how big it is"}
        properties = {"spec": {"type": "object", "properties": {"size": size}}}
        spec["versions"][0]["schema"] = {"openAPIV3Schema": {"type": "object", "properties": properties}}
    return {"spec": spec}


def crd_spec(group: str, plural: str, kind: str, scope: str) -> Object:
    """A CRD with nothing but what it must have."""
    return {
        "group": group,
        "scope": scope,
        "names": {"plural": plural, "kind": kind},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            }
        ],
    }


def _b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


SCALED = ("status", "scale")
EVENT_FIELDS = ("metadata.name", "reason", "type", "involvedObject.kind", "involvedObject.namespace", "source")
KINDS = (
    Kind("", "v1", "configmaps", "ConfigMap", _configmap, weight=8),
    Kind("", "v1", "secrets", "Secret", _secret, weight=4, fields=("metadata.name", "type")),
    Kind("", "v1", "serviceaccounts", "ServiceAccount", _account, subresources=("token",)),
    Kind("", "v1", "events", "Event", _event, weight=3, fields=EVENT_FIELDS),
    Kind("events.k8s.io", "v1", "events", "Event", _new_event, fields=("metadata.name", "reason", "regarding.kind")),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", _lease),
    Kind("", "v1", "resourcequotas", "ResourceQuota", _quota, subresources=("status",)),
    Kind("", "v1", "limitranges", "LimitRange", _limits),
    Kind(RBAC, "v1", "roles", "Role", _role),
    Kind(RBAC, "v1", "rolebindings", "RoleBinding", _binding),
    Kind(RBAC, "v1", "clusterroles", "ClusterRole", _cluster_role, namespaced=False, weight=3),
    Kind(RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", _cluster_binding, namespaced=False),
    Kind("example.com", "v1", "widgets", "Widget", _widget, weight=8, subresources=SCALED),
    Kind("example.com", "v1beta1", "widgets", "Widget", _widget, weight=3, subresources=SCALED),
    Kind("example.com", "v1", "gadgets", "Gadget", _gadget, namespaced=False, weight=4, subresources=("status",)),
    Kind("", "v1", "namespaces", "Namespace", _none, False, 3, ("status", "finalize"), prefix="n"),
    Kind(CRD, "v1", "customresourcedefinitions", "CustomResourceDefinition", _crd, False, 2, ("status",)),
    Kind(OWN, "v1", "things", "Thing", _gadget, weight=4, subresources=("status",)),
    Kind(OWN, "v1", "things", "Thing", _gadget, False, 1),
)
"""CustomResourceDefinitions have names of their own (`generate`)."""

WIDGETS: Object = {
    "apiVersion": f"{CRD}/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "widgets.example.com"},
    "spec": {
        "group": "example.com",
        "scope": "Namespaced",
        "names": {
            "plural": "widgets",
            "singular": "widget",
            "kind": "Widget",
            "shortNames": ["wd"],
            "categories": ["all"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {
                    "status": {},
                    "scale": {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.replicas"},
                },
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size", "description": "How big it is"},
                    {"name": "Parts", "type": "string", "jsonPath": ".spec.parts[*].name", "priority": 1},
                    {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
                ],
                "selectableFields": [{"jsonPath": ".spec.colour"}],
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "required": ["spec"],
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["size"],
                                "x-kubernetes-validations": [
                                    {"rule": "!has(self.max) || self.size <= self.max", "message": "size is above max"}
                                ],
                                "properties": {
                                    "size": {"type": "integer", "minimum": 0, "maximum": 100},
                                    "max": {"type": "integer"},
                                    "colour": {"type": "string", "enum": ["red", "green", "blue"], "default": "blue"},
                                    "immutable": {
                                        "type": "string",
                                        "x-kubernetes-validations": [{"rule": "self == oldSelf"}],
                                    },
                                    "parts": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {"name": {"type": "string"}, "weight": {"type": "integer"}},
                                        },
                                    },
                                    "extra": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
                                    "port": {"x-kubernetes-int-or-string": True},
                                },
                            },
                            "status": {"type": "object", "properties": {"replicas": {"type": "integer"}}},
                        },
                    }
                },
            },
            {
                "name": "v1beta1",
                "served": True,
                "storage": False,
                "deprecated": True,
                "deprecationWarning": "example.com/v1beta1 Widget is old",
                "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": True}},
            },
            {
                "name": "v1alpha1",
                "served": False,
                "storage": False,
                "schema": {"openAPIV3Schema": {"type": "object"}},
            },
        ],
    },
}
GADGETS: Object = {
    "apiVersion": f"{CRD}/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "gadgets.example.com"},
    "spec": crd_spec("example.com", "gadgets", "Gadget", "Cluster"),
}
GADGETS["spec"]["versions"][0]["subresources"] = {"status": {}}
