"""Matching of RBAC rules: a table after Kubernetes' own tests, and a slow transcription of its code as reference."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.auth.rules import Rules
from proxy.mapping.request import Attributes

Rule = dict[str, list[str]]


def resource(verb: str, group: str, resource: str, subresource: str = "", name: str = "") -> Attributes:
    return Attributes(verb, group, resource, subresource, "", name, True, "")


def url(verb: str, path: str) -> Attributes:
    return Attributes(verb, "", "", "", "", "", False, path)


def rule(verbs: str, groups: str, resources: str, names: str = "") -> Rule:
    made = {"verbs": verbs.split(), "apiGroups": groups.split(","), "resources": resources.split()}
    return made | ({"resourceNames": names.split()} if names else {})


@pytest.mark.parametrize(
    ("given_rule", "asked", "allowed"),
    [
        (rule("get", "", "pods"), resource("get", "", "pods"), True),
        (rule("get", "", "pods"), resource("get", "", "pods", name="x"), True),
        (rule("get", "", "pods"), resource("list", "", "pods"), False),
        (rule("get", "", "pods"), resource("get", "apps", "pods"), False),
        (rule("get", "", "pods"), resource("get", "", "secrets"), False),
        (rule("get", "", "pods"), resource("get", "", "pods", "log"), False),
        (rule("get", "", "pods/log"), resource("get", "", "pods", "log"), True),
        (rule("get", "", "pods/log"), resource("get", "", "pods"), False),
        (rule("get", "", "*/log"), resource("get", "", "pods", "log"), True),
        (rule("get", "", "*/log"), resource("get", "", "pods"), False),
        (rule("get", "", "*/log"), resource("get", "", "pods", "status"), False),
        (rule("get", "", "pods/*"), resource("get", "", "pods", "log"), False),
        (rule("get", "", "*"), resource("get", "", "pods"), True),
        (rule("get", "", "*"), resource("get", "", "pods", "log"), True),
        (rule("*", "", "pods"), resource("whatever", "", "pods"), True),
        (rule("*", "*", "*"), resource("get", "example.com", "things", "status", "x"), True),
        (rule("get", "*", "pods"), resource("get", "example.com", "pods"), True),
        (rule("get", ",apps", "pods"), resource("get", "apps", "pods"), True),
        (rule("get", "", "pods", "a b"), resource("get", "", "pods", name="b"), True),
        (rule("get", "", "pods", "a b"), resource("get", "", "pods", name="c"), False),
        (rule("get list", "", "pods", "a"), resource("list", "", "pods"), False),
        (rule("get", "", "pods", "*"), resource("get", "", "pods", name="a"), False),
        (rule("*", "*", "*"), url("get", "/x"), False),
    ],
)
def test_resource_rules(given_rule: Rule, asked: Attributes, allowed: bool) -> None:
    assert Rules([given_rule]).allow(asked) is allowed


@pytest.mark.parametrize(
    ("urls", "path", "allowed"),
    [
        (["*"], "/anything", True),
        (["/x"], "/x", True),
        (["/x"], "/x/", False),
        (["/x"], "/x/y", False),
        (["/x/*"], "/x/y/z", True),
        (["/x/*"], "/x", False),
        (["/x*"], "/xyz", True),
        (["/x**"], "/xy", True),
        (["/a", "/x*"], "/x", True),
        (["/*/y"], "/x/y", False),
    ],
)
def test_url_rules(urls: list[str], path: str, allowed: bool) -> None:
    rules = Rules(non_resource_rules=[{"verbs": ["get"], "nonResourceURLs": urls}])
    assert rules.allow(url("get", path)) is allowed
    assert not rules.allow(url("post", path))
    assert not rules.allow(resource("get", "", "x"))


def test_rights_to_some_are_no_rights_to_every_object() -> None:
    named = Rules([rule("get", "", "pods", names="x")])
    asked = resource("get", "", "pods", name="x")
    assert named.allow(asked)
    assert not named.allow(asked, any_name=True)
    both = Rules([rule("get", "", "pods", names="x"), rule("get list", "", "pods")])
    assert both.allow(asked, any_name=True)


def test_nothing_allows_nothing() -> None:
    assert not Rules().allow(resource("get", "", "pods"))
    assert not Rules([{"verbs": ["get"]}], [{"verbs": ["get"]}]).allow(resource("get", "", "pods"))


def test_rules_do_not_mix() -> None:
    rules = Rules([rule("get", "", "pods"), rule("*", "apps", "deployments"), rule("list", "", "secrets", "x")])
    assert not rules.allow(resource("list", "", "pods"))
    assert not rules.allow(resource("get", "apps", "pods"))
    assert not rules.allow(resource("get", "", "secrets", name="x"))
    assert rules.allow(resource("patch", "apps", "deployments"))
    assert rules.allow(resource("get", "apps", "deployments")), "a rule for any verb counts beside one that names it"


def reference(rules: list[Rule], asked: Attributes) -> bool:
    """``RulesAllow`` of k8s.io/kubernetes/plugin/pkg/auth/authorizer/rbac, line by line."""
    for candidate in rules:
        if not any(verb in ("*", asked.verb) for verb in candidate["verbs"]):
            continue
        if not asked.is_resource:
            for pattern in candidate.get("nonResourceURLs", []):
                if pattern in ("*", asked.path) or (
                    pattern.endswith("*") and asked.path.startswith(pattern.rstrip("*"))
                ):
                    return True
            continue
        combined = asked.resource + (f"/{asked.subresource}" if asked.subresource else "")
        if not any(group in ("*", asked.group) for group in candidate.get("apiGroups", [])):
            continue
        if not any(
            wanted in ("*", combined) or (asked.subresource and wanted == f"*/{asked.subresource}")
            for wanted in candidate.get("resources", [])
        ):
            continue
        names = candidate.get("resourceNames", [])
        if not names or asked.name in names:
            return True
    return False


def some(*values: str) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(values), min_size=1, max_size=3)


VERBS, GROUPS, KINDS, SUBS, NAMES = ("get", "list"), ("", "a"), ("p", "q"), ("", "log", "status"), ("", "x", "y")
resource_rules = st.fixed_dictionaries(
    {
        "verbs": some(*VERBS, "*"),
        "apiGroups": some(*GROUPS, "*"),
        "resources": some("p", "q", "p/log", "q/status", "*/log", "p/*", "*"),
    },
    optional={"resourceNames": some(*NAMES)},
)
url_rules = st.fixed_dictionaries(
    {"verbs": some(*VERBS, "*"), "nonResourceURLs": some("/a", "/a/*", "/b*", "*", "/*/a")}
)
questions = st.builds(
    resource,
    st.sampled_from(VERBS),
    st.sampled_from(GROUPS),
    st.sampled_from(KINDS),
    st.sampled_from(SUBS),
    st.sampled_from(NAMES),
) | st.builds(url, st.sampled_from(VERBS), st.sampled_from(("/a", "/a/b", "/b", "/bc", "/x/a", "/")))


@given(st.lists(resource_rules, max_size=4), st.lists(url_rules, max_size=3), questions)
def test_as_kubernetes_decides(resources: list[Any], urls: list[Any], asked: Attributes) -> None:
    assert Rules(resources, urls).allow(asked) is reference(resources + urls, asked)
