"""RBAC objects: who (subjects), which role, and what rules are about.

All of it is evaluated by the shard against all workspaces, so nothing here may be left as a client wrote it.
"""

from __future__ import annotations

from collections.abc import Iterable

from proxy.kube.errors import StatusError
from proxy.mapping.names import map_api_group, map_crd_name, map_group, map_user
from proxy.mapping.scopes import CRDS, PrivateScopes, resource_is_cluster_scoped
from proxy.mapping.shape import Object, mapping, mappings, text, texts
from proxy.mapping.token import LABEL

GROUP = "rbac.authorization.k8s.io"
BOOTSTRAPPING = "kubernetes.io/bootstrapping"
"""Label of what a server makes itself."""
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
"""Labels by which a shard's own aggregation controller, where it runs, collects rules into its own roles."""


def map_role(role: Object, prefix: str, scopes: PrivateScopes) -> None:
    for rule in mappings(role, "rules"):
        groups, resources, names = texts(rule, "apiGroups"), texts(rule, "resources"), texts(rule, "resourceNames")
        if names:
            rule["resourceNames"] = _resource_names(names, groups, resources, prefix, scopes)
        if groups:
            rule["apiGroups"] = [group if group == "*" else map_api_group(group, prefix) for group in groups]
    aggregation = mapping(role, "aggregationRule")
    for selector in mappings(aggregation, "clusterRoleSelectors") if aggregation else ():
        labels = mapping(selector, "matchLabels") or {}
        if LABEL in labels:
            raise _unprocessable(f'label "{LABEL}" is reserved')
        # Aggregation looks at all ClusterRoles of a shard; only this workspace's may contribute.
        selector["matchLabels"] = {LABEL: prefix[:-1]} | {
            map_role_label(key, prefix): value for key, value in labels.items()
        }
        for expression in mappings(selector, "matchExpressions"):
            expression["key"] = map_role_label(text(expression, "key"), prefix)


def map_role_label(key: str, prefix: str) -> str:
    """Label of a ClusterRole: one that would feed a shard's own roles is disarmed by the prefix, which answers lose."""
    return prefix + key if key.startswith(AGGREGATE) else key


def _resource_names(
    names: list[str], groups: list[str], resources: list[str], prefix: str, scopes: PrivateScopes
) -> list[str]:
    """A name of a cluster-scoped object carries the prefix, one of a namespaced object does not; where a rule is for
    both, or for all, it names both forms."""
    plain = [resource.partition("/")[0] for resource in resources]
    if not groups or not plain or "*" in groups or "*" in plain:
        cluster_scoped, namespaced = True, True
    else:
        scoped = {resource_is_cluster_scoped(group, resource, scopes) for group in groups for resource in plain}
        cluster_scoped, namespaced = True in scoped, False in scoped
    mapped: list[str] = []
    for name in names:
        if namespaced:
            mapped.append(name)
        if cluster_scoped:
            mapped.append(map_crd_name(name, prefix) if CRDS[1] in plain else prefix + name)
    return mapped


def merge_rules(sources: Iterable[list[Object]]) -> list[Object]:
    """All rules once, in order: what aggregation makes of the rules of several roles."""
    rules: list[Object] = []
    for source in sources:
        rules += [rule for rule in source if rule not in rules]
    return rules


def map_binding(binding: Object, prefix: str, *, complete: bool) -> None:
    """``complete``: not a patch. A kind that there is not is the shard's to refuse then; in a patch it may be that it
    stands elsewhere."""
    for subject in mappings(binding, "subjects"):
        map_subject(subject, prefix, complete=complete)
    role = mapping(binding, "roleRef")
    if role and text(role, "name"):
        kind = text(role, "kind")
        if not kind:
            if complete:
                return
            raise _unprocessable("roleRef.kind: Required value")
        if kind != "Role":
            role["name"] = prefix + role["name"]


def map_subject(subject: Object, prefix: str, *, complete: bool) -> None:
    kind, name, namespace = text(subject, "kind"), text(subject, "name"), text(subject, "namespace")
    if kind == "User" and name:
        subject["name"] = map_user(name, prefix)
    elif kind == "Group" and name:
        subject["name"] = map_group(name, prefix)
    elif not kind and name and not complete:
        raise _unprocessable("subjects.kind: Required value")
    elif kind not in ("", "ServiceAccount") and name:
        subject["name"] = prefix + name  # the shard will say what it thinks of the kind
    if namespace:
        subject["namespace"] = prefix + namespace


def _unprocessable(why: str) -> StatusError:
    return StatusError(422, f"the body of the request is invalid: {why}")
