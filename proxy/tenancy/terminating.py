"""What a namespace that is being deleted says of itself: the conditions that Kubernetes' namespace controller writes.

Types, reasons and messages are those of
``k8s.io/kubernetes/pkg/controller/namespace/deletion/status_condition_utils.go``, but that pods that are waited for are
told as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from proxy.kube.client import Object
from proxy.mapping.detours import without_urls
from proxy.tenancy.kinds import Kind

REMAINING = "NamespaceFinalizersRemaining"
"""Its message names the finalizers."""
FINE: Mapping[str, tuple[str, str]] = {
    "NamespaceDeletionDiscoveryFailure": ("ResourcesDiscovered", "All resources successfully discovered"),
    "NamespaceDeletionGroupVersionParsingFailure": (
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed",
    ),
    "NamespaceDeletionContentFailure": (
        "ContentDeleted",
        "All content successfully deleted, may be waiting on finalization",
    ),
    "NamespaceContentRemaining": ("ContentRemoved", "All content successfully removed"),
    REMAINING: ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
}
"""Type → reason and message while nothing is wrong, in the order in which they are written."""


class Left(NamedTuple):
    """What there still is of a kind."""

    kind: Kind
    number: int
    finalizers: Mapping[str, int]
    """In how many of them each is."""
    failure: str = ""
    """Why it is not known whether there is something."""


def conditions(before: Sequence[Object], left: Sequence[Left], *, undiscovered: str = "", now: str) -> list[Object]:
    """``before`` brought up to date. ``undiscovered``: why it is not known what there may be; ``now`` as the API writes
    times."""
    wrong = _wrong(left, undiscovered)
    made = {item["type"]: item for item in before}
    for kind, (reason, message) in FINE.items():
        status = "True" if kind in wrong else "False"
        reason, message = wrong.get(kind, (reason, message))
        old: Mapping[str, Any] = made.get(kind, {})
        since = old["lastTransitionTime"] if old.get("status") == status else now
        made[kind] = {
            "type": kind, "status": status, "lastTransitionTime": since, "reason": reason, "message": message,
        }  # fmt: skip
    return list(made.values())


def _wrong(left: Sequence[Left], undiscovered: str) -> dict[str, tuple[str, str]]:
    found = {}
    if undiscovered:
        found["NamespaceDeletionDiscoveryFailure"] = ("DiscoveryFailed", undiscovered)
    # What a shard says that cannot reach the proxy has the address by which it asks for conversions.
    failures = sorted(without_urls(each.failure.encode()).decode() for each in left if each.failure)
    if failures:
        message = f"Failed to delete all resource types, {len(failures)} remaining: {', '.join(failures)}"
        found["NamespaceDeletionContentFailure"] = ("ContentDeletionFailed", message)
    remaining = sorted(f"{_called(each.kind)} has {each.number} resource instances" for each in left if each.number)
    if remaining:
        message = f"Some resources are remaining: {', '.join(remaining)}"
        found["NamespaceContentRemaining"] = ("SomeResourcesRemain", message)
    finalizers: Counter[str] = Counter()
    for each in left:
        finalizers.update(each.finalizers)
    if finalizers:
        named = ", ".join(f"{name} in {count} resource instances" for name, count in sorted(finalizers.items()))
        message = f"Some content in the namespace has finalizers remaining: {named}"
        found[REMAINING] = ("SomeFinalizersRemain", message)
    return found


def _called(kind: Kind) -> str:
    return f"{kind.resource.plural}.{kind.resource.group}"
