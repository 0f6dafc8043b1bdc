"""Query parameters: only those that the verb knows go on, selectors with their names mapped."""

from __future__ import annotations

import re

from proxy.kube.errors import StatusError
from proxy.mapping.names import map_namespace
from proxy.mapping.paths import RequestInfo
from proxy.mapping.scopes import PrivateScopes, resource_is_cluster_scoped
from proxy.mapping.token import LABEL

_LISTS = frozenset({"labelSelector", "fieldSelector", "resourceVersion", "resourceVersionMatch", "timeoutSeconds"})
_WRITES = frozenset({"dryRun", "fieldManager", "fieldValidation"})
ALLOWED = {
    "get": frozenset({"resourceVersion", "includeObject"}),
    "list": _LISTS | {"limit", "continue", "includeObject"},
    "watch": _LISTS | {"watch", "limit", "continue", "allowWatchBookmarks", "sendInitialEvents", "includeObject"},
    "create": _WRITES,
    "update": _WRITES,
    "patch": _WRITES | {"force"},
    "delete": frozenset({"dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"}),
    "deletecollection": _LISTS
    | {"limit", "continue", "dryRun", "gracePeriodSeconds", "orphanDependents", "propagationPolicy"},
}
"""A kube-apiserver ignores keys that it does not know; here they are dropped, so that none can gain a meaning."""

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
NAMESPACE_FIELDS = frozenset({"metadata.namespace", "involvedObject.namespace", "regarding.namespace"})


def map_query(info: RequestInfo, prefix: str, scopes: PrivateScopes) -> list[tuple[str, str]]:
    """The parameters for the shard. Raises StatusError 400 for selectors that cannot be read."""
    allowed = ALLOWED[info.verb]
    mapped: list[tuple[str, str]] = []
    seen: set[str] = set()
    for key, value in info.query:
        if key not in allowed or (key in seen and key != "dryRun"):
            continue
        seen.add(key)
        if key == "labelSelector" and value:
            value = map_label_selector(value, prefix)
        elif key == "fieldSelector" and value:
            value = map_field_selector(value, prefix, resource_is_cluster_scoped(info.group, info.resource, scopes))
        elif key == "includeObject" and value == "None":
            value = "Metadata"  # which workspace a row belongs to is read from its object
        mapped.append((key, value))
    return mapped


def map_label_selector(selector: str, prefix: str) -> str:
    """Names that the shard wrote into labels are mapped, the internal label is refused, all else stays as it is."""
    position = 0
    parts: list[str] = []
    while position < len(selector):
        match = _REQUIREMENT.match(selector, position)
        if match is None or match.end() == position:
            raise _unparsable(selector)
        key = match["exists"] or match["key"] or match["setkey"]
        if key == LABEL:
            raise StatusError(400, f'unable to parse requirement: label key "{LABEL}" is reserved')
        if match["exists"]:
            parts.append(("!" if match["not"] else "") + key)
        elif match["key"]:
            parts.append(key + match["op"] + _label_value(key, match["value"] or "", prefix))
        else:
            values = [value.strip() for value in match["values"].split(",")]
            if any(value and not re.fullmatch(_VALUE, value) for value in values):
                raise _unparsable(selector)
            joined = ",".join(_label_value(key, value, prefix) for value in values)
            parts.append(f"{key} {match['setop']} ({joined})")
        position = match.end()
    if selector.rstrip().endswith(","):
        raise _unparsable(selector)
    return ",".join(parts)


def _label_value(key: str, value: str, prefix: str) -> str:
    return prefix + value if key == METADATA_NAME and value else value


def _unparsable(selector: str) -> StatusError:
    return StatusError(400, f'unable to parse requirement: "{selector[:200]}" is not a label selector')


def map_field_selector(selector: str, prefix: str, cluster_scoped: bool) -> str:
    """``metadata.name=foo,metadata.namespace!=x``; values may escape ``,`` ``=`` and ``\\`` with a backslash."""
    terms = []
    for term in re.findall(r"(?:[^,\\]|\\.)+", selector, re.DOTALL):
        match = re.match(r"\s*([A-Za-z0-9.\[\]/_-]+)(==|!=|=)(.*)\Z", term, re.DOTALL)
        if match is None:
            if not term.strip():
                continue
            raise StatusError(400, f'invalid selector: "{selector[:200]}"; can\'t understand "{term[:100]}"')
        field, operator, value = match.groups()
        if value and (field in NAMESPACE_FIELDS):
            value = map_namespace(value, prefix)
        elif value and field == "metadata.name" and cluster_scoped:
            value = prefix + value
        terms.append(field + operator + value)
    return ",".join(terms)


def name_in_field_selector(info: RequestInfo) -> str:
    """The one name that a list or watch is restricted to, which authorization then looks at (as RequestInfo does)."""
    match = re.fullmatch(r"metadata\.name==?([^,=\\]+)", info.first("fieldSelector"))
    return match.group(1) if match else ""
