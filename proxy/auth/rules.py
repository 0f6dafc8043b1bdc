"""RBAC rules, compiled for matching: what a SelfSubjectRulesReview returns, decided as k8s.io's rbac authorizer does.

Source of the semantics: ``RuleAllows`` of k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac and the helpers
``VerbMatches``, ``APIGroupMatches``, ``ResourceMatches``, ``ResourceNameMatches``, ``NonResourceURLMatches``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from proxy.mapping.request import Attributes

ALL = "*"


class Rules:
    """The rules of one user at one place (a namespace, or the cluster scope) of one workspace, names mapped."""

    __slots__ = ("_non_resource", "_resource")

    def __init__(
        self, resource_rules: Iterable[Mapping[str, Any]] = (), non_resource_rules: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._resource = [
            (
                frozenset(rule.get("verbs") or ()),
                frozenset(rule.get("apiGroups") or ()),
                frozenset(rule.get("resources") or ()),
                frozenset(rule.get("resourceNames") or ()),
            )
            for rule in resource_rules
        ]
        self._non_resource = [
            (frozenset(rule.get("verbs") or ()), tuple(rule.get("nonResourceURLs") or ()))
            for rule in non_resource_rules
        ]

    def allow(self, attributes: Attributes) -> bool:
        if not attributes.is_resource:
            return any(
                (ALL in verbs or attributes.verb in verbs) and any(_url_matches(url, attributes.path) for url in urls)
                for verbs, urls in self._non_resource
            )
        combined = attributes.resource
        if attributes.subresource:
            combined = f"{attributes.resource}/{attributes.subresource}"
        for verbs, groups, resources, names in self._resource:
            if ALL not in verbs and attributes.verb not in verbs:
                continue
            if ALL not in groups and attributes.group not in groups:
                continue
            if (
                ALL not in resources
                and combined not in resources
                and not (attributes.subresource and f"*/{attributes.subresource}" in resources)
            ):
                continue
            if not names or attributes.name in names:
                return True
        return False


def _url_matches(rule: str, path: str) -> bool:
    if rule in (ALL, path):
        return True
    return rule.endswith(ALL) and path.startswith(rule.rstrip(ALL))
