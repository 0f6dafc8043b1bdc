"""RBAC rules, compiled for matching: what a SelfSubjectRulesReview returns, decided as k8s.io's rbac authorizer does.

Source of the semantics: ``RuleAllows`` of k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac and the helpers
``VerbMatches``, ``APIGroupMatches``, ``ResourceMatches``, ``ResourceNameMatches``, ``NonResourceURLMatches``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from proxy.mapping.request import Attributes

ALL = "*"

Names = frozenset[str] | None
"""Of groups or resources; None stands for all."""
ResourceRule = tuple[Names, Names, frozenset[str]]
"""Groups, resources (``pods``, ``pods/log``, ``*/log``), names of objects (empty: all)."""
UrlRule = tuple[str, ...]

T = TypeVar("T")


class Rules:
    """The rules of one user at one place (a namespace, or the cluster scope) of one workspace, names mapped."""

    __slots__ = ("__weakref__", "_any_resource_verb", "_any_url_verb", "_resources", "_urls")

    def __init__(
        self, resource_rules: Iterable[Mapping[str, Any]] = (), non_resource_rules: Iterable[Mapping[str, Any]] = ()
    ) -> None:
        self._resources, self._any_resource_verb = _by_verb(resource_rules, _resource_rule)
        self._urls, self._any_url_verb = _by_verb(non_resource_rules, _url_rule)

    def allow(self, attributes: Attributes, *, any_name: bool = False) -> bool:
        """Whether some rule allows what the mapped ``attributes`` ask for; ``any_name``: for every object."""
        verb, group, resource, subresource, _, name, is_resource, path = attributes
        if not is_resource:
            return any(_url_matches(url, path) for urls in self._urls.get(verb, self._any_url_verb) for url in urls)
        any_parent = ""
        if subresource:
            resource = f"{resource}/{subresource}"
            any_parent = f"*/{subresource}"
        for groups, resources, names in self._resources.get(verb, self._any_resource_verb):
            if groups is not None and group not in groups:
                continue
            if resources is not None and resource not in resources and not (any_parent and any_parent in resources):
                continue
            if not names or (name in names and not any_name):
                return True
        return False


def _by_verb(
    rules: Iterable[Mapping[str, Any]], compiled: Callable[[Mapping[str, Any]], T]
) -> tuple[dict[str, list[T]], list[T]]:
    """For each verb that is named the rules that hold for it, and those that hold for any other."""
    pairs = [(frozenset(rule.get("verbs") or ()), compiled(rule)) for rule in rules]
    named = frozenset[str]().union(*(verbs for verbs, _ in pairs)) - {ALL}
    by_verb = {verb: [rule for verbs, rule in pairs if verb in verbs or ALL in verbs] for verb in named}
    return by_verb, [rule for verbs, rule in pairs if ALL in verbs]


def _resource_rule(rule: Mapping[str, Any]) -> ResourceRule:
    return _names(rule, "apiGroups"), _names(rule, "resources"), frozenset(rule.get("resourceNames") or ())


def _names(rule: Mapping[str, Any], key: str) -> Names:
    names = frozenset(rule.get(key) or ())
    return None if ALL in names else names


def _url_rule(rule: Mapping[str, Any]) -> UrlRule:
    return tuple(rule.get("nonResourceURLs") or ())


def _url_matches(rule: str, path: str) -> bool:
    if rule in (ALL, path):
        return True
    return rule.endswith(ALL) and path.startswith(rule.rstrip(ALL))
