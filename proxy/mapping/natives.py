"""Kinds that a shard serves itself and that a workspace may have for its workloads: which, and what is refused of them.

Names in their fields stay as they are written: a class, a volume, a node, a claim, a scale target. No controller of a
shard follows them, and what admission would (defaults and priorities) is decided by the workspace's own classes.
"""

from __future__ import annotations

from proxy.kube.errors import StatusError

WORKLOADS: frozenset[tuple[str, str]] = frozenset(
    (group, plural)
    for group, plurals in {
        "": (
            "endpoints", "persistentvolumeclaims", "persistentvolumes", "pods", "podtemplates",
            "replicationcontrollers", "services",
        ),
        "apps": ("controllerrevisions", "daemonsets", "deployments", "replicasets", "statefulsets"),
        "autoscaling": ("horizontalpodautoscalers",),
        "batch": ("cronjobs", "jobs"),
        "discovery.k8s.io": ("endpointslices",),
        "networking.k8s.io": ("ingressclasses", "ingresses", "networkpolicies"),
        "node.k8s.io": ("runtimeclasses",),
        "policy": ("poddisruptionbudgets",),
        "resource.k8s.io": ("deviceclasses", "resourceclaims", "resourceclaimtemplates", "resourceslices"),
        "scheduling.k8s.io": ("priorityclasses",),
        "storage.k8s.io": (
            "csidrivers", "csinodes", "csistoragecapacities", "storageclasses", "volumeattachments",
            "volumeattributesclasses",
        ),
    }.items()
    for plural in plurals
)  # fmt: skip
"""By group and plural: what a cluster has for its workloads. The objects that say that a workspace imported a type are
its own to write, so this list decides what a tenant can reach on a shard that all share: kinds of which an object means
nothing to the shard beyond its namespace and its name. That there are no nodes and few controllers keeps the rest of it
inert."""

ALWAYS: frozenset[tuple[str, str]] = frozenset(
    {
        *(("", name) for name in ("configmaps", "limitranges", "resourcequotas", "secrets", "serviceaccounts")),
        ("coordination.k8s.io", "leases"),
    }
)
"""Every workspace has these; to import them changes nothing."""


def importable(group: str, plural: str) -> bool:
    """Whether a native resource may be shown because a workspace says that it imported it."""
    return (group, plural) in WORKLOADS or (group, plural) in ALWAYS


_BY_KUBELET = frozenset({"attach", "exec", "log", "portforward", "proxy"})
_REFUSED = frozenset(
    {("", "bindings", ""), ("", "pods", "binding"), ("", "services", "proxy"), ("", "nodes", "proxy")}
    | {("", "pods", sub) for sub in _BY_KUBELET}
    | {("admissionregistration.k8s.io", "validatingadmissionpolicies", "status")}
)


def hidden(group: str, plural: str, subresource: str) -> bool:
    """Whether discovery does not show it: it acts on nodes, which a shard has none of, or nobody writes it."""
    return (group, plural, subresource) in _REFUSED


def refuse_hidden(group: str, plural: str, subresource: str, name: str) -> None:
    """Raises StatusError for what is `hidden`, as an apiserver does while a pod waits for a node."""
    if group or not hidden(group, plural, subresource):
        return
    elsewhere = "pods run on the workspace's physical clusters: ask there"
    if plural == "pods" and subresource in _BY_KUBELET:
        raise StatusError(400, f"pod {name} does not have a host assigned: {elsewhere}")
    if plural == "services":
        raise StatusError(503, f'no endpoints available for service "{name}": {elsewhere}')
    raise StatusError(
        403,
        f'{plural} "{name}" is forbidden: a workspace has no nodes that a pod could be bound to',
        details={"name": name, "kind": plural},
    )


SYSTEM_CLASSES = frozenset({"system-cluster-critical", "system-node-critical"})
"""PriorityClasses of the shard itself, which all workspaces share: no other may have such a value or such a name."""
PRIORITY_CLASSES = ("scheduling.k8s.io", "priorityclasses")


def is_system_class(group: str, plural: str, name: str) -> bool:
    """Whether it is a PriorityClass of the shard itself, whose name is the same on both sides."""
    return name in SYSTEM_CLASSES and (group, plural) == PRIORITY_CLASSES


def refuse_system_class(verb: str, name: str) -> None:
    """Raises StatusError for a write to a PriorityClass that begins as those of the system do."""
    if not name.startswith("system-"):
        return
    group, plural = PRIORITY_CLASSES
    what = f'{plural}.{group} "{name}"'
    details = {"name": name, "group": group, "kind": plural}
    if name in SYSTEM_CLASSES:
        if verb == "create":
            raise StatusError(409, f"{what} already exists", reason="AlreadyExists", details=details)
        why = "cannot be deleted" if verb == "delete" else "is shared by all workspaces"
        raise StatusError(403, f"{what} is forbidden: this is a system priority class and {why}", details=details)
    why = (
        "Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: "
        f"{name} is not a known system priority class"
    )
    causes = [{"reason": "FieldValueForbidden", "message": why, "field": "metadata.name"}]
    raise StatusError(
        422,
        f'PriorityClass.{group} "{name}" is invalid: metadata.name: {why}',
        details={"name": name, "group": group, "kind": "PriorityClass", "causes": causes},
    )
