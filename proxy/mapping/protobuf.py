"""Kubernetes protobuf bodies: which fields of which kinds are mapped.

Envelope: ``k8s\\0`` and a runtime.Unknown {1: TypeMeta {1 apiVersion, 2 kind}, 2: raw, 3: contentEncoding}.
Field numbers: the ``generated.proto`` files of k8s.io/api, apimachinery and apiextensions-apiserver, 1.36.
"""

from __future__ import annotations

from proxy.kube.errors import StatusError
from proxy.mapping.objects import Context, map_object
from proxy.mapping.wire import BYTES, Field, Schema, WireError, decode, encode, field, fields

MAGIC = b"k8s\x00"

_OWNER: Schema = {1: Field("kind"), 3: Field("name"), 5: Field("apiVersion")}
_META: Schema = {
    1: Field("name"),
    2: Field("generateName"),
    3: Field("namespace"),
    11: Field("labels", map=True),
    13: Field("ownerReferences", _OWNER, repeated=True),
    17: Field("managedFields", {3: Field("apiVersion")}, repeated=True),
}
_OBJECT: Schema = {1: Field("metadata", _META)}
_RULE: Schema = {
    2: Field("apiGroups", repeated=True),
    3: Field("resources", repeated=True),
    4: Field("resourceNames", repeated=True),
}
_SUBJECT: Schema = {1: Field("kind"), 3: Field("name"), 4: Field("namespace")}
_ROLE: Schema = _OBJECT | {2: Field("rules", _RULE, repeated=True)}
_BINDING: Schema = _OBJECT | {
    2: Field("subjects", _SUBJECT, repeated=True),
    3: Field("roleRef", {2: Field("kind"), 3: Field("name")}),
}
_ATTRIBUTES: Schema = {1: Field("namespace"), 3: Field("group"), 5: Field("resource"), 7: Field("name")}
_REVIEW: Schema = _OBJECT | {
    2: Field(
        "spec",
        {1: Field("resourceAttributes", _ATTRIBUTES), 3: Field("user"), 4: Field("groups", repeated=True)},
    )
}
_REFERENCE: Schema = {2: Field("namespace")}

SPECIAL: dict[str, Schema] = {
    "Role": _ROLE,
    "ClusterRole": _ROLE,
    "RoleBinding": _BINDING,
    "ClusterRoleBinding": _BINDING,
    "SubjectAccessReview": _REVIEW,
    "LocalSubjectAccessReview": _REVIEW,
    "SelfSubjectAccessReview": _OBJECT | {2: Field("spec", {1: Field("resourceAttributes", _ATTRIBUTES)})},
    "SelfSubjectRulesReview": _OBJECT | {2: Field("spec", {1: Field("namespace")})},
    "TokenRequest": _OBJECT | {2: Field("spec", {1: Field("audiences", repeated=True)})},
    "TokenReview": _OBJECT | {2: Field("spec", {2: Field("audiences", repeated=True)})},
    "ResourceQuota": _OBJECT
    | {
        2: Field("spec", {1: Field("hard", map=True)}),
        3: Field("status", {1: Field("hard", map=True), 2: Field("used", map=True)}),
    },
    "CustomResourceDefinition": _OBJECT
    | {2: Field("spec", {1: Field("group"), 9: Field("conversion", {1: Field("strategy")})})},
}
EVENTS: dict[str, Schema] = {
    "v1": _OBJECT | {2: Field("involvedObject", _REFERENCE), 13: Field("related", _REFERENCE)},
    "events.k8s.io/v1": _OBJECT | {8: Field("regarding", _REFERENCE), 9: Field("related", _REFERENCE)},
}
WITHOUT_METADATA: dict[str, Schema] = {"DeleteOptions": {}}
PLAIN = frozenset(
    {
        "ConfigMap", "ControllerRevision", "CronJob", "CSIDriver", "CSINode", "CSIStorageCapacity", "DaemonSet",
        "Deployment", "EndpointSlice", "Endpoints", "Eviction", "HorizontalPodAutoscaler", "Ingress", "IngressClass",
        "Job", "Lease", "LimitRange", "Namespace", "NetworkPolicy", "PersistentVolume", "PersistentVolumeClaim", "Pod",
        "PodDisruptionBudget", "PodTemplate", "PriorityClass", "ReplicaSet", "ReplicationController", "ResourceClaim",
        "ResourceClaimTemplate", "RuntimeClass", "Scale", "Secret", "SelfSubjectReview", "Service", "ServiceAccount",
        "StatefulSet", "StorageClass", "VolumeAttributesClass",
    }
)  # fmt: skip
"""Kinds of which only the metadata is mapped."""

_TYPE_META: Schema = {1: Field("apiVersion"), 2: Field("kind")}


def map_protobuf(body: bytes, context: Context) -> bytes:
    """The body for the shard. Raises StatusError 400 for a malformed one, 415 for a kind that is not in the tables."""
    if not body.startswith(MAGIC):
        raise StatusError(400, "the body is not a Kubernetes protobuf message: wrong prefix")
    try:
        envelope = fields(body[len(MAGIC) :])
        type_meta = [content for number, kind, _, content in envelope if number == 1 and kind == BYTES]
        raw = [content for number, kind, _, content in envelope if number == 2 and kind == BYTES]
        encodings = [content for number, _, _, content in envelope if number == 3 and content]
        if len(type_meta) != 1 or len(raw) > 1 or encodings:
            raise WireError("not one object")
        kind = decode(type_meta[0], _TYPE_META)
        schema = schema_of(kind.get("apiVersion", ""), kind.get("kind", ""))
        content = raw[0] if raw else b""
        mapped = encode(content, schema, map_object(decode(content, schema), context))
    except WireError as error:
        raise StatusError(400, f"the body is not a valid protobuf message: {error}") from None
    return MAGIC + field(1, type_meta[0]) + field(2, mapped)


def schema_of(api_version: str, kind: str) -> Schema:
    """The fields of a kind that are mapped. Raises StatusError 415 for one that is unknown here."""
    if kind == "Event" and api_version in EVENTS:
        return EVENTS[api_version]
    schema = SPECIAL.get(kind) or (_OBJECT if kind in PLAIN else WITHOUT_METADATA.get(kind))
    if schema is None:
        raise StatusError(
            415, f'protobuf bodies of kind "{kind[:80]}" ({api_version[:80]}) are not accepted; send JSON'
        )
    return schema
