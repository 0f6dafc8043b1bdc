"""Audit policies: which rule counts, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from proxy.audit.policy import COMPLETE, METADATA_OF_ALL, RECEIVED, STARTED, Level, Policy, PolicyError, load, parse
from proxy.auth.identity import User
from proxy.mapping.paths import parse as parse_path

ALICE = User("alice", ("dev", "system:authenticated"))


def policy(*rules: dict[str, Any], **more: Any) -> Policy:
    return parse({"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "rules": list(rules), **more}, "p")


def level(rules: Policy, target: str, *, method: str = "GET", user: User | None = ALICE, at: str = "root:a") -> Level:
    return rules.verdict(parse_path(method.encode(), target.encode()), user, at).level


PODS = "/api/v1/namespaces/n/pods"


@pytest.mark.parametrize(
    ("rule", "target", "matches"),
    [
        ({}, PODS, True),
        ({"users": ["alice"]}, PODS, True),
        ({"users": ["bob"]}, PODS, False),
        ({"userGroups": ["ops", "dev"]}, PODS, True),
        ({"userGroups": ["ops"]}, PODS, False),
        ({"verbs": ["list"]}, PODS, True),
        ({"verbs": ["get"]}, PODS, False),
        ({"verbs": ["get"]}, f"{PODS}/x", True),
        ({"namespaces": ["n"]}, PODS, True),
        ({"namespaces": ["m"]}, PODS, False),
        ({"namespaces": [""]}, "/api/v1/nodes", True),
        ({"namespaces": ["n"]}, "/healthz", False),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, PODS, True),
        ({"resources": [{"group": "", "resources": ["pods"]}]}, f"{PODS}/x/log", False),
        ({"resources": [{"group": "", "resources": ["pods/log"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"group": "", "resources": ["pods/*"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, f"{PODS}/x/log", True),
        ({"resources": [{"group": "", "resources": ["*/log"]}]}, f"{PODS}/x/status", False),
        ({"resources": [{"group": "", "resources": ["*"]}]}, f"{PODS}/x/status", True),
        ({"resources": [{"group": ""}]}, f"{PODS}/x/status", True),
        ({"resources": [{"group": "apps"}]}, PODS, False),
        ({"resources": [{"group": "apps"}, {"group": ""}]}, PODS, True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["x"]}]}, f"{PODS}/x", True),
        ({"resources": [{"group": "", "resources": ["pods"], "resourceNames": ["x"]}]}, f"{PODS}/y", False),
        ({"resources": [{"group": ""}]}, "/version", False),
        ({"nonResourceURLs": ["/healthz*"]}, "/healthz/ping", True),
        ({"nonResourceURLs": ["/healthz"]}, "/healthz/ping", False),
        ({"nonResourceURLs": ["*"]}, "/version", True),
        ({"nonResourceURLs": ["*"]}, PODS, False),
        ({"workspaces": ["root:a"]}, PODS, True),
        ({"workspaces": ["root:b", "root:*"]}, PODS, True),
        ({"workspaces": ["root:b"]}, PODS, False),
        ({"workspaces": ["root"]}, PODS, False),
    ],
)
def test_a_rule(rule: dict[str, Any], target: str, matches: bool) -> None:
    expected = Level.METADATA if matches else Level.NONE
    assert level(policy({"level": "Metadata", **rule}), target) is expected


def test_the_first_rule_that_matches_counts() -> None:
    rules = policy(
        {"level": "None", "users": ["alice"]}, {"level": "Request", "verbs": ["list"]}, {"level": "Metadata"}
    )
    assert level(rules, PODS) is Level.NONE
    assert level(rules, PODS, user=User("bob")) is Level.REQUEST
    assert level(rules, PODS, method="POST", user=None) is Level.METADATA
    assert level(policy({"level": "Metadata", "users": ["alice"]}), PODS, user=None) is Level.NONE


def test_stages_and_managed_fields() -> None:
    rules = policy(
        {"level": "Request", "verbs": ["get"], "omitStages": ["ResponseStarted"], "omitManagedFields": False},
        {"level": "Metadata"},
        omitStages=["RequestReceived"],
        omitManagedFields=True,
    )
    first = rules.verdict(parse_path(b"GET", b"/api/v1/nodes/x"), ALICE, "")
    assert (set(first.omitted), first.managed_fields) == ({RECEIVED, STARTED}, True)
    second = rules.verdict(parse_path(b"GET", b"/api/v1/nodes"), ALICE, "")
    assert (set(second.omitted), second.managed_fields) == ({RECEIVED}, False)
    assert not rules.arrivals
    assert not rules.responses
    assert policy({"level": "RequestResponse"}).responses
    assert policy({"level": "Metadata"}).arrivals
    assert not policy({"level": "None"}).arrivals


def test_without_a_file_everything_is_recorded_once() -> None:
    found = METADATA_OF_ALL.verdict(parse_path(b"GET", b"/version"), None, "")
    assert (found.level, COMPLETE in found.omitted, RECEIVED in found.omitted) == (Level.METADATA, False, True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "not an object"),
        ({"apiVersion": "audit.k8s.io/v1beta1", "kind": "Policy", "rules": [{"level": "None"}]}, "wanted kind Policy"),
        ({"rules": []}, "needs rules"),
        ({"rule": []}, "unknown field rule"),
        ({"rules": [{"level": "Everything"}]}, "rule 1: level 'Everything' is none of None, Metadata"),
        ({"rules": [{"level": "None"}, {"level": "None", "verb": ["get"]}]}, "rule 2: unknown field verb"),
        ({"rules": [{"level": "None", "verbs": "get"}]}, "rule 1: verbs is not a list of strings"),
        ({"rules": [{"level": "None", "omitStages": ["Begun"]}]}, "stage Begun is none of"),
        ({"rules": [{"level": "None", "resources": [{"group": "apps/v1"}]}]}, "'apps/v1' is no API group"),
        ({"rules": [{"level": "None", "resources": [{"resourceNames": ["x"]}]}]}, "resourceNames need resources"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/a"], "namespaces": ["n"]}]}, "nonResourceURLs stand"),
        ({"rules": [{"level": "None", "nonResourceURLs": ["/a*b"]}]}, "may end with"),
        ({"rules": [{"level": "None", "omitManagedFields": "yes"}]}, "neither true nor false"),
    ],
)
def test_faults(content: Any, message: str, tmp_path: Path) -> None:
    if isinstance(content, dict):
        content = {"apiVersion": "audit.k8s.io/v1", "kind": "Policy", **content}
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(content))
    with pytest.raises(PolicyError, match=f"policy.yaml.*{message}"):
        load(file)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(PolicyError, match="No such file"):
        load(tmp_path / "none")
    (tmp_path / "bad").write_text("a: [")
    with pytest.raises(PolicyError, match="not valid YAML"):
        load(tmp_path / "bad")
