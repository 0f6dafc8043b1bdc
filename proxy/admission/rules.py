"""Whether a rule of a webhook, or of a policy, is about a request.

Follows ``k8s.io/apiserver/pkg/admission/plugin/webhook/predicates/rules``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.admission.review import GroupVersionResource, Review

NAMESPACES = GroupVersionResource("", "v1", "namespaces")


def matches(rule: Mapping[str, Any], review: Review, resource: GroupVersionResource | None = None) -> bool:
    """``rule``: a RuleWithOperations, a policy's may name objects; ``resource``: what the request is about, if it is
    taken for another one."""
    resource = resource or review.resource
    return (
        _scope(rule.get("scope") or "*", review, resource)
        and _named(rule.get("operations") or (), review.operation)
        and _named(rule.get("apiGroups") or (), resource.group)
        and _named(rule.get("apiVersions") or (), resource.version)
        and _resource(rule.get("resources") or (), resource.resource, review.subresource)
        and review.name in (rule.get("resourceNames") or (review.name,))
    )


def could_match(rule: Mapping[str, Any], resource: str) -> bool:
    """Whether a rule may be about a resource, in some group, or about a subresource of it."""
    names = {part.partition("/")[0] for part in rule.get("resources") or ()}
    return not names.isdisjoint({"*", resource})


def _named(names: Sequence[str], name: str) -> bool:
    return "*" in names or name in names


def _scope(scope: str, review: Review, resource: GroupVersionResource) -> bool:
    cluster = resource == NAMESPACES or not review.namespace
    return scope == "*" or cluster == (scope == "Cluster")


def _resource(names: Sequence[str], resource: str, subresource: str) -> bool:
    for name in names:
        of, _, sub = name.partition("/")
        if of in ("*", resource) and sub in ("*", subresource):
            return True
    return False
