"""Query parameters: only those that the verb knows go on, selectors with their names mapped."""

from __future__ import annotations

import re

from proxy.kube.errors import StatusError
from proxy.mapping.names import map_crd_name
from proxy.mapping.paths import RequestInfo
from proxy.mapping.rbac import GROUP as RBAC
from proxy.mapping.rbac import map_role_label
from proxy.mapping.scopes import CRDS, PrivateScopes, resource_is_cluster_scoped
from proxy.mapping.token import LABEL

_ALL = frozenset({"timeout"})
_LISTS = _ALL | {"labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "timeoutSeconds"}
_WRITES = _ALL | {"dryRun", "fieldManager", "fieldValidation"}
_DELETES = _ALL | {
    "dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy",
    "ignoreStoreReadErrorWithClusterBreakingPotential",
}  # fmt: skip
ALLOWED = {
    "get": _ALL | {"resourceVersion", "includeObject"},
    "list": _LISTS | {"limit", "continue", "includeObject", "allowWatchBookmarks", "sendInitialEvents"},
    "watch": _LISTS | {"watch", "limit", "continue", "allowWatchBookmarks", "sendInitialEvents", "includeObject"},
    "create": _WRITES,
    "update": _WRITES,
    "patch": _WRITES | {"force"},
    "delete": _DELETES,
    "deletecollection": _LISTS | _DELETES | {"limit", "continue", "watch", "allowWatchBookmarks", "sendInitialEvents"},
}
"""A kube-apiserver ignores keys that it does not know; here they are dropped, so that none can gain a meaning."""
REFUSED = frozenset({"shardSelector"})
"""Known keys that would change an answer and cannot be honoured: dropping them would answer another question."""

_KEY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?/)?[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_VALUE = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?"
_REQUIREMENT = re.compile(
    rf"\s*(?:"
    rf"(?P<not>!\s*)?(?P<exists>{_KEY})"
    rf"|(?P<key>{_KEY})\s*(?P<op>==|!=|=|>|<)\s*(?P<value>{_VALUE})?"
    rf"|(?P<setkey>{_KEY})\s+(?P<setop>in|notin)\s*\((?P<values>[^()]*)\)"
    rf")\s*(?:,|\Z)"
)
METADATA_NAME = "kubernetes.io/metadata.name"
_EXACT_NAME = re.compile(r"\s*metadata\.name==?([^=\\%/!]+)\Z")
NAMESPACE_FIELDS = frozenset({"metadata.namespace", "involvedObject.namespace", "regarding.namespace"})


def map_query(info: RequestInfo, prefix: str, scopes: PrivateScopes) -> list[tuple[str, str]]:
    """The parameters for the shard. Raises StatusError 400 for selectors that cannot be read."""
    allowed = ALLOWED[info.verb]
    mapped: list[tuple[str, str]] = []
    seen: set[str] = set()
    for key, value in info.query:
        if key in REFUSED and value:
            raise StatusError(400, f'query parameter "{key}" is not supported in a workspace')
        if key not in allowed or (key in seen and key != "dryRun"):
            continue
        seen.add(key)
        if key == "labelSelector" and value.strip():
            value = map_label_selector(value, info, prefix)
        elif key == "fieldSelector" and value:
            value = map_field_selector(
                value,
                prefix,
                cluster_scoped=resource_is_cluster_scoped(info.group, info.resource, scopes),
                crds=(info.group, info.resource) == CRDS,
            )
        elif key == "includeObject" and value == "None":
            value = "Metadata"  # which workspace a row belongs to is read from its object
        mapped.append((key, value))
    return mapped


def map_label_selector(selector: str, info: RequestInfo, prefix: str) -> str:
    """The selector written anew: what the shard has mapped or put into labels is mapped, the internal label refused.

    Grammar: ``k8s.io/apimachinery/pkg/labels.Parse``. Raises StatusError 400.
    """
    position = 0
    parts: list[str] = []
    while position < len(selector):
        match = _REQUIREMENT.match(selector, position)
        if match is None or (match.end() == len(selector) and selector[-1] == ","):
            return _unparsable(selector)
        key = match["exists"] or match["key"] or match["setkey"]
        if key == LABEL:
            raise _reserved()
        before = ""
        if (info.group, info.resource) == ("", "namespaces") and key == METADATA_NAME:
            before = prefix
        elif (info.group, info.resource) == (RBAC, "clusterroles"):
            key = map_role_label(key, prefix)
        if match["exists"]:
            parts.append(("!" if match["not"] else "") + key)
        elif match["key"]:
            value = match["value"] or ""
            parts.append(key + match["op"] + (before + value if value else ""))
        else:
            values = [value.strip() for value in match["values"].split(",")]
            if any(value and not re.fullmatch(_VALUE, value) for value in values):
                return _unparsable(selector)
            joined = ",".join(before + value if value else "" for value in values)
            parts.append(f"{key} {match['setop']} ({joined})")
        position = match.end()
    return ",".join(parts)


def _unparsable(selector: str) -> str:
    """The shard says what is wrong with it. Were it right to the shard, it could but narrow what is confined."""
    if LABEL in selector:
        raise _reserved()
    return selector


def _reserved() -> StatusError:
    return StatusError(400, f'unable to parse requirement: label key "{LABEL}" is reserved')


def map_field_selector(selector: str, prefix: str, *, cluster_scoped: bool, crds: bool = False) -> str:
    """``metadata.name=foo,metadata.namespace!=x``; values may escape ``,`` ``=`` and ``\\`` with a backslash.

    Grammar: ``k8s.io/apimachinery/pkg/fields.ParseSelector``. Raises StatusError 400.
    """
    terms = []
    if re.fullmatch(r"(?:[^\\]|\\.)*", selector, re.DOTALL) is None:
        return selector  # it ends within an escape
    for term in re.findall(r"(?:[^,\\]|\\.)+", selector, re.DOTALL):
        match = re.match(r"\s*([A-Za-z0-9.\[\]/_-]+)(==|!=|=)(.*)\Z", term, re.DOTALL)
        if match is None:
            if not term.strip():
                continue
            return selector  # the shard says what is wrong with it
        field, operator, value = match.groups()
        if value and field in NAMESPACE_FIELDS:
            value = prefix + value
        elif value and field == "metadata.name" and cluster_scoped:
            value = map_crd_name(value, prefix) if crds else prefix + value
        terms.append(field + operator + value)
    return ",".join(terms)


def name_in_field_selector(info: RequestInfo) -> str:
    """The one name that a list or watch is restricted to, which authorization then looks at (as RequestInfo does)."""
    for term in info.first("fieldSelector").split(","):
        match = _EXACT_NAME.match(term)
        if match and match[1] not in (".", ".."):
            return match[1]
    return ""
