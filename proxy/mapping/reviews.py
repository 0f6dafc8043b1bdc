"""What is asked rather than stored: access reviews, token requests and token reviews."""

from __future__ import annotations

from proxy.mapping.names import (
    DEFAULT_AUDIENCE,
    map_api_group,
    map_cluster_name,
    map_crd_name,
    map_group,
    map_user,
)
from proxy.mapping.scopes import CRDS, PrivateScopes, resource_is_cluster_scoped
from proxy.mapping.shape import Object, mapping, text, texts

AUTHORIZATION = "authorization.k8s.io"
AUTHENTICATION = "authentication.k8s.io"

REVIEWS = frozenset(
    {
        (AUTHORIZATION, "subjectaccessreviews"),
        (AUTHORIZATION, "selfsubjectaccessreviews"),
        (AUTHORIZATION, "selfsubjectrulesreviews"),
        (AUTHENTICATION, "tokenreviews"),
        (AUTHENTICATION, "selfsubjectreviews"),
    }
)
"""Cluster-scoped resources that are asked, not stored: they have no names."""


def map_access_review(review: Object, prefix: str, scopes: PrivateScopes) -> None:
    spec = mapping(review, "spec")
    if spec is None:
        return
    if text(spec, "user"):
        spec["user"] = map_user(spec["user"], prefix)
    groups = texts(spec, "groups")
    if groups:
        spec["groups"] = [map_group(group, prefix) for group in groups]
    wanted = mapping(spec, "resourceAttributes")
    if wanted is not None:
        _resource_attributes(wanted, prefix, scopes)


def _resource_attributes(wanted: Object, prefix: str, scopes: PrivateScopes) -> None:
    group, resource = text(wanted, "group"), text(wanted, "resource")
    if text(wanted, "namespace"):
        wanted["namespace"] = prefix + wanted["namespace"]
    name = text(wanted, "name")
    if name and (group, resource) == CRDS:
        wanted["name"] = map_crd_name(name, prefix)
    elif name and resource_is_cluster_scoped(group, resource, scopes):
        wanted["name"] = map_cluster_name(name, prefix, resource, group)
    if group and group != "*":
        wanted["group"] = map_api_group(group, prefix)


def map_rules_review(review: Object, prefix: str) -> None:
    spec = mapping(review, "spec")
    if spec is not None and text(spec, "namespace"):
        spec["namespace"] = prefix + spec["namespace"]


def map_audiences(request: Object, prefix: str) -> None:
    """Of a TokenRequest or TokenReview. Absence means the server's own audience: a shard's would open the shard itself,
    so there is always one."""
    if request.get("spec") is None:
        request["spec"] = {}
    spec = mapping(request, "spec")
    if spec is not None and (spec.get("audiences") in (None, []) or texts(spec, "audiences")):
        spec["audiences"] = [prefix + audience for audience in texts(spec, "audiences") or [DEFAULT_AUDIENCE]]
