"""Audit policies: which requests are recorded, and how much of them.

The file is a ``Policy`` of ``audit.k8s.io/v1`` as kube-apiserver's ``--audit-policy-file`` reads it, matched as by
k8s.io/apiserver's policy checker: the first rule that matches counts, without one nothing is recorded. A rule may name
``workspaces`` as well.
https://kubernetes.io/docs/reference/config-api/apiserver-audit.v1/
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from proxy.auth.identity import User
from proxy.mapping.paths import RequestInfo

API_VERSION = "audit.k8s.io/v1"


class PolicyError(ValueError):
    """A policy that cannot be used: one line that names the file and the fault."""


class Level(enum.IntEnum):
    """How much is recorded. Names as in the API."""

    NONE = 0
    METADATA = 1
    REQUEST = 2
    REQUEST_RESPONSE = 3


LEVELS = {
    "None": Level.NONE,
    "Metadata": Level.METADATA,
    "Request": Level.REQUEST,
    "RequestResponse": Level.REQUEST_RESPONSE,
}
LEVEL_NAMES = {level: name for name, level in LEVELS.items()}
RECEIVED, STARTED, COMPLETE, PANIC = "RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"
STAGES = frozenset({RECEIVED, STARTED, COMPLETE, PANIC})


class Verdict(NamedTuple):
    """What a policy says of one request."""

    level: Level
    omitted: frozenset[str]
    """Stages that are not recorded."""
    managed_fields: bool
    """Whether recorded objects keep their managedFields."""


@dataclass(frozen=True, slots=True)
class GroupResources:
    """An entry of a rule's ``resources``."""

    group: str
    resources: tuple[str, ...]
    names: frozenset[str]

    def match(self, info: RequestInfo) -> bool:
        if self.group != info.group:
            return False
        if not self.resources:
            return True
        if self.names and info.name not in self.names:
            return False
        combined = f"{info.resource}/{info.subresource}" if info.subresource else info.resource
        for wanted in self.resources:
            if wanted in (combined, "*"):
                return True
            if info.subresource and wanted in (f"*/{info.subresource}", f"{info.resource}/*"):
                return True
            if wanted == f"{info.resource}/*":
                return True
        return False


@dataclass(frozen=True, slots=True)
class Rule:
    """Empty sets match everything."""

    verdict: Verdict
    users: frozenset[str]
    groups: frozenset[str]
    verbs: frozenset[str]
    namespaces: frozenset[str]
    resources: tuple[GroupResources, ...]
    urls: tuple[str, ...]
    workspaces: tuple[str, ...]

    def match(self, info: RequestInfo, user: User | None, workspace: str) -> bool:
        if self.users and (user is None or user.name not in self.users):
            return False
        if self.groups and (user is None or self.groups.isdisjoint(user.groups)):
            return False
        if self.verbs and info.verb not in self.verbs:
            return False
        if self.workspaces and not any(_begins(workspace, wanted) for wanted in self.workspaces):
            return False
        if self.namespaces or self.resources:
            if not info.is_resource or (self.namespaces and info.namespace not in self.namespaces):
                return False
            return not self.resources or any(entry.match(info) for entry in self.resources)
        if self.urls:
            return not info.is_resource and any(_begins(info.path, url) for url in self.urls)
        return True


def _begins(value: str, wanted: str) -> bool:
    """``wanted`` is the whole value, or with ``*`` at its end the beginning."""
    return value.startswith(wanted[:-1]) if wanted.endswith("*") else value == wanted


@dataclass(frozen=True, slots=True)
class Policy:
    """``verdict()`` says what is recorded of a request."""

    rules: tuple[Rule, ...]

    def verdict(self, info: RequestInfo, user: User | None, workspace: str) -> Verdict:
        for rule in self.rules:
            if rule.match(info, user, workspace):
                return rule.verdict
        return NOTHING

    @property
    def responses(self) -> bool:
        """Whether bodies of answers are recorded at all."""
        return any(rule.verdict.level is Level.REQUEST_RESPONSE for rule in self.rules)

    @property
    def arrivals(self) -> bool:
        """Whether the stage RequestReceived is recorded at all."""
        return any(rule.verdict.level and RECEIVED not in rule.verdict.omitted for rule in self.rules)


NOTHING = Verdict(Level.NONE, STAGES, True)
_METADATA = {"apiVersion": API_VERSION, "kind": "Policy", "omitStages": [RECEIVED], "rules": [{"level": "Metadata"}]}

_POLICY_FIELDS = frozenset({"apiVersion", "kind", "metadata", "omitStages", "omitManagedFields", "rules"})
_RULE_LISTS = ("users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "workspaces", "omitStages")
_RULE_FIELDS = frozenset({"level", "resources", "omitManagedFields", *_RULE_LISTS})


def load(path: str | Path) -> Policy:
    """Raises PolicyError."""
    try:
        text = Path(path).read_text()
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except (OSError, UnicodeDecodeError) as error:
        raise PolicyError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    except yaml.YAMLError as error:
        raise PolicyError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    return parse(content, str(path))


def parse(content: Any, label: str) -> Policy:
    """``label`` names the source in errors. Raises PolicyError."""
    _known(content, _POLICY_FIELDS, label)
    if content.get("apiVersion") != API_VERSION or content.get("kind") != "Policy":
        raise PolicyError(f"{label}: wanted kind Policy of {API_VERSION}")
    rules = content.get("rules")
    if not isinstance(rules, list) or not rules:
        raise PolicyError(f"{label}: a policy needs rules")
    omitted = _stages(_strings(content, "omitStages", label), label)
    managed = not _flag(content, "omitManagedFields", label, default=False)
    return Policy(tuple(_rule(rule, omitted, managed, f"{label}: rule {at}") for at, rule in enumerate(rules, 1)))


def _rule(rule: Any, omitted: frozenset[str], managed: bool, label: str) -> Rule:
    _known(rule, _RULE_FIELDS, label)
    level = rule.get("level")
    if level not in LEVELS:
        raise PolicyError(f"{label}: level {level!r} is none of {', '.join(LEVELS)}")
    lists = {key: _strings(rule, key, label) for key in _RULE_LISTS}
    urls = lists["nonResourceURLs"]
    resources = rule.get("resources") or []
    if not isinstance(resources, list):
        raise PolicyError(f"{label}: resources is not a list")
    if urls and (resources or lists["namespaces"]):
        raise PolicyError(f"{label}: nonResourceURLs stand beside resources or namespaces")
    if any("*" in url[:-1] or not url.startswith(("/", "*")) for url in urls):
        raise PolicyError(f"{label}: nonResourceURLs begin with / and may end with *")
    keep = not _flag(rule, "omitManagedFields", label, default=not managed)
    return Rule(
        verdict=Verdict(LEVELS[level], omitted | _stages(lists["omitStages"], label), keep),
        users=frozenset(lists["users"]),
        groups=frozenset(lists["userGroups"]),
        verbs=frozenset(lists["verbs"]),
        namespaces=frozenset(lists["namespaces"]),
        resources=tuple(_resources(entry, label) for entry in resources),
        urls=urls,
        workspaces=lists["workspaces"],
    )


def _resources(entry: Any, label: str) -> GroupResources:
    _known(entry, frozenset({"group", "resources", "resourceNames"}), f"{label}: resources")
    group = entry.get("group") or ""
    if not isinstance(group, str) or "/" in group:
        raise PolicyError(f"{label}: {group!r} is no API group (without a version)")
    names = _strings(entry, "resourceNames", label)
    resources = _strings(entry, "resources", label)
    if names and not resources:
        raise PolicyError(f"{label}: resourceNames need resources")
    return GroupResources(group, resources, frozenset(names))


def _known(value: Any, fields: frozenset[str], label: str) -> None:
    if not isinstance(value, Mapping):
        raise PolicyError(f"{label}: not an object")
    unknown = sorted(str(key) for key in value if key not in fields)
    if unknown:
        raise PolicyError(f"{label}: unknown field {unknown[0]}")


def _strings(value: Mapping[str, Any], key: str, label: str) -> tuple[str, ...]:
    found = value.get(key) or []
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise PolicyError(f"{label}: {key} is not a list of strings")
    return tuple(found)


def _flag(value: Mapping[str, Any], key: str, label: str, *, default: bool) -> bool:
    found = value.get(key)
    if found is not None and not isinstance(found, bool):
        raise PolicyError(f"{label}: {key} is neither true nor false")
    return default if found is None else found


def _stages(names: tuple[str, ...], label: str) -> frozenset[str]:
    for name in names:
        if name not in STAGES:
            raise PolicyError(f"{label}: stage {name} is none of {', '.join(sorted(STAGES))}")
    return frozenset(names)


METADATA_OF_ALL = parse(_METADATA, "default policy")
"""What counts without a file: who did what and with which result, no bodies."""
