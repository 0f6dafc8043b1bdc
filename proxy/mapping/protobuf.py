"""Kubernetes protobuf bodies: which fields of which kinds are mapped.

Envelope: ``k8s\\0`` and a runtime.Unknown {1: TypeMeta {1 apiVersion, 2 kind}, 2: raw, 3: contentEncoding}.
Field numbers: the ``generated.proto`` files of k8s.io/api, apimachinery and apiextensions-apiserver, 1.36.
"""

from __future__ import annotations

from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.objects import Context, map_object, special
from proxy.mapping.paths import RequestInfo
from proxy.mapping.registrations import KINDS
from proxy.mapping.wire import BYTES, Field, Schema, WireError, decode, encode, field, fields

MAGIC = b"k8s\x00"

_OWNER: Schema = {1: Field("kind"), 3: Field("name"), 5: Field("apiVersion")}
_META: Schema = {
    1: Field("name"),
    2: Field("generateName"),
    3: Field("namespace"),
    6: Field("resourceVersion"),
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
_AGGREGATION: Schema = {
    1: Field(
        "clusterRoleSelectors",
        {1: Field("matchLabels", map=True), 2: Field("matchExpressions", {1: Field("key")}, repeated=True)},
        repeated=True,
    )
}
_REFERENCE: Schema = {2: Field("namespace")}
_CLIENT: Schema = {1: Field("service", {}), 2: Field("caBundle", base64=True), 3: Field("url")}
_CONVERSION: Schema = {1: Field("strategy"), 2: Field("webhook", {2: Field("clientConfig", _CLIENT)})}

CRD_GROUP, RBAC = "apiextensions.k8s.io", "rbac.authorization.k8s.io"
AUTHENTICATION, AUTHORIZATION = "authentication.k8s.io", "authorization.k8s.io"

SPECIAL: dict[tuple[str, str, str], tuple[str, Schema]] = {
    (RBAC, "roles", ""): ("Role", _ROLE),
    (RBAC, "clusterroles", ""): ("ClusterRole", _ROLE | {3: Field("aggregationRule", _AGGREGATION)}),
    (RBAC, "rolebindings", ""): ("RoleBinding", _BINDING),
    (RBAC, "clusterrolebindings", ""): ("ClusterRoleBinding", _BINDING),
    (AUTHORIZATION, "subjectaccessreviews", ""): ("SubjectAccessReview", _REVIEW),
    (AUTHORIZATION, "localsubjectaccessreviews", ""): ("LocalSubjectAccessReview", _REVIEW),
    (AUTHORIZATION, "selfsubjectaccessreviews", ""): (
        "SelfSubjectAccessReview",
        _OBJECT | {2: Field("spec", {1: Field("resourceAttributes", _ATTRIBUTES)})},
    ),
    (AUTHORIZATION, "selfsubjectrulesreviews", ""): (
        "SelfSubjectRulesReview",
        _OBJECT | {2: Field("spec", {1: Field("namespace")})},
    ),
    (AUTHENTICATION, "tokenreviews", ""): (
        "TokenReview",
        _OBJECT | {2: Field("spec", {2: Field("audiences", repeated=True)})},
    ),
    ("", "serviceaccounts", "token"): (
        "TokenRequest",
        _OBJECT | {2: Field("spec", {1: Field("audiences", repeated=True)})},
    ),
    ("", "resourcequotas", ""): (
        "ResourceQuota",
        _OBJECT
        | {
            2: Field("spec", {1: Field("hard", map=True, raw=True)}),
            3: Field("status", {1: Field("hard", map=True, raw=True), 2: Field("used", map=True, raw=True)}),
        },
    ),
    ("", "events", ""): (
        "Event",
        _OBJECT | {2: Field("involvedObject", _REFERENCE), 13: Field("related", _REFERENCE)},
    ),
    ("events.k8s.io", "events", ""): (
        "Event",
        _OBJECT | {8: Field("regarding", _REFERENCE), 9: Field("related", _REFERENCE)},
    ),
    (CRD_GROUP, "customresourcedefinitions", ""): (
        "CustomResourceDefinition",
        _OBJECT | {2: Field("spec", {1: Field("group"), 9: Field("conversion", _CONVERSION)})},
    ),
}
"""By group, resource and subresource, as `objects.RULES`: the kind that a body must be of, and its mapped fields."""

PLAIN = frozenset(
    {
        "ConfigMap", "ControllerRevision", "CronJob", "CSIDriver", "CSINode", "CSIStorageCapacity", "DaemonSet",
        "Deployment", "DeviceClass", "EndpointSlice", "Endpoints", "Eviction", "HorizontalPodAutoscaler", "Ingress",
        "IngressClass", "Job", "Lease", "LimitRange", "Namespace", "NetworkPolicy", "PersistentVolume",
        "PersistentVolumeClaim", "Pod", "PodDisruptionBudget", "PodTemplate", "PriorityClass", "ReplicaSet",
        "ReplicationController", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice", "RuntimeClass", "Scale",
        "Secret", "SelfSubjectReview", "Service", "ServiceAccount", "StatefulSet", "StorageClass",
        "VolumeAttachment", "VolumeAttributesClass", *KINDS.values(),
    }
)  # fmt: skip
"""Kinds of which only the metadata is mapped."""

_TYPE_META: Schema = {1: Field("apiVersion"), 2: Field("kind")}


def map_protobuf(body: bytes, context: Context) -> bytes:
    """The body for the shard. Raises StatusError 400 for a malformed one, 415 for a kind that is not in the tables."""
    try:
        type_meta, content = open_envelope(body)
        kind = decode(type_meta, _TYPE_META).get("kind", "")
        if context.info.verb in ("delete", "deletecollection"):
            if kind != "DeleteOptions":
                raise WireError(f"it is of kind {kind[:80]}, not DeleteOptions")
            mapped = content
        else:
            schema = schema_of(context.info, kind)
            mapped = encode(content, schema, map_object(decode(content, schema), context))
    except WireError as error:
        raise StatusError(400, f"the body is not a valid protobuf message: {error}") from None
    return MAGIC + field(1, type_meta) + field(2, mapped)


def open_envelope(body: bytes) -> tuple[bytes, bytes]:
    """TypeMeta and content of a runtime.Unknown. Raises WireError for anything but one object in the clear."""
    if not body.startswith(MAGIC):
        raise WireError("wrong prefix")
    parts: dict[int, list[bytes]] = {}
    for number, kind, _, content in fields(body[len(MAGIC) :]):
        if kind != BYTES:
            raise WireError("unexpected field in the envelope")
        parts.setdefault(number, []).append(content)
    if len(parts.get(1, ())) != 1 or len(parts.get(2, ())) > 1 or any(parts.get(3, ())) or parts.keys() - {1, 2, 3, 4}:
        raise WireError("not one object")
    return parts[1][0], parts.get(2, [b""])[0]


def schema_of(info: RequestInfo, kind: str) -> Schema:
    """The fields of a body that are mapped. Raises StatusError 415 for a kind that does not belong there."""
    entry = special(SPECIAL, info)
    if entry is not None and entry[0] == kind:
        return entry[1]
    if entry is None and kind in PLAIN and info.group in NATIVE_GROUPS:
        return _OBJECT
    raise StatusError(
        415, f'protobuf bodies of kind "{kind[:80]}" are not accepted for {info.resource or "this resource"}; send JSON'
    )
