"""What a shard asks about a write, in the workspace's words.

``admission.k8s.io/v1`` AdmissionReview; the same fields as ``k8s.io/apiserver/pkg/admission.Attributes``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import orjson

from proxy.kube.client import Object
from proxy.mapping.detours import without_detours
from proxy.mapping.stream import strip_bytes


class GroupVersionKind(NamedTuple):
    group: str
    version: str
    kind: str


class GroupVersionResource(NamedTuple):
    group: str
    version: str
    resource: str


@dataclass(slots=True)
class Review:
    """One write, plain names. Mutating plugins put another ``object`` there."""

    operation: str
    """CREATE, UPDATE, DELETE or CONNECT."""
    kind: GroupVersionKind
    resource: GroupVersionResource
    subresource: str
    name: str
    namespace: str
    """Of a namespace, its own name."""
    user: Object
    """``userInfo``."""
    object: Object | None
    old_object: Object | None
    dry_run: bool
    options: Object | None
    warnings: list[str] = field(default_factory=list)
    """For the client."""


def review_of(body: bytes, token: str, user: Object) -> tuple[str, Review]:
    """The shard's uid of the question, and what it asks. Raises ValueError, KeyError, TypeError for no question."""
    request: Object = orjson.loads(strip_bytes(without_detours(body, token), token))["request"]
    kind, resource = request["kind"], request["resource"]
    return request["uid"], Review(
        operation=request["operation"],
        kind=GroupVersionKind(kind.get("group", ""), kind["version"], kind["kind"]),
        resource=GroupVersionResource(resource.get("group", ""), resource["version"], resource["resource"]),
        subresource=request.get("subResource", ""),
        name=request.get("name", ""),
        namespace=request.get("namespace", ""),
        user=user,
        object=request.get("object"),
        old_object=request.get("oldObject"),
        dry_run=bool(request.get("dryRun")),
        options=request.get("options"),
    )


def answer(uid: str, **response: Any) -> bytes:
    """For the shard."""
    said = {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "response": {"uid": uid, **response}}
    return orjson.dumps(said)
