"""What a pod takes: CPU, memory, storage, huge pages, extended resources, as requested and as limited.

After ``k8s.io/kubernetes/pkg/quota/v1/evaluator/core/pods.go`` and ``k8s.io/component-helpers/resource/helpers.go``. A
pod that has ended, or whose time to end is over, takes nothing, but is there.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from proxy.kube.times import parse_time
from proxy.quota.quantity import Amounts, Quantity, amounts, count, greatest, parse, total
from proxy.quota.scopes import Object, Requirement, selects

NUMBER = "count/pods"
"""Of all that there are."""
RUNNING = "pods"
"""Of those that have not ended."""
_PLAIN = ("cpu", "memory", "ephemeral-storage")
_KEYS = frozenset({NUMBER, RUNNING, *_PLAIN, *(f"{part}.{name}" for part in ("requests", "limits") for name in _PLAIN)})
_HUGE = "hugepages-"
_DEVICE_CLASS = "deviceclass.resource.kubernetes.io/"
"""Before the name of a device class, an extended resource that needs no other name."""
_REQUESTS = "requests."


def matches(key: str) -> bool:
    """Whether a quota that limits ``key`` is about pods."""
    if key in _KEYS or key.startswith((_HUGE, _REQUESTS + _HUGE, _REQUESTS + _DEVICE_CLASS)):
        return True
    return key.startswith(_REQUESTS) and not _is_native(key)


def usage(pod: Object, now: datetime.datetime) -> Amounts:
    """Raises ValueError where an amount is none."""
    if not runs(pod, now):
        return {NUMBER: count(1)}
    requests, limits = _of_pod(pod, "requests"), _of_pod(pod, "limits")
    return {NUMBER: count(1), RUNNING: count(1), **dict(_named(requests, limits))}


def _named(requests: Amounts, limits: Amounts) -> Iterator[tuple[str, Quantity]]:
    """As quotas call them."""
    for name, amount in requests.items():
        if name in _PLAIN or name.startswith(_HUGE):
            yield name, amount
            yield _REQUESTS + name, amount
        elif name.startswith(_DEVICE_CLASS) or not (_is_native(name) or name.startswith(_REQUESTS)):
            yield _REQUESTS + name, amount
    for name, amount in limits.items():
        if name in _PLAIN:
            yield f"limits.{name}", amount


def runs(pod: Object, now: datetime.datetime) -> bool:
    if (pod.get("status") or {}).get("phase") in ("Failed", "Succeeded"):
        return False
    end = ends(pod)
    return end is None or now <= end


def ends(pod: Object) -> datetime.datetime | None:
    """When it takes nothing any more, whatever becomes of it; None while it is not being deleted."""
    meta = pod["metadata"]
    began, grace = parse_time(meta.get("deletionTimestamp")), meta.get("deletionGracePeriodSeconds")
    if began is None or grace is None:
        return None
    return began + datetime.timedelta(seconds=grace)


def _of_pod(pod: Object, part: str) -> dict[str, Quantity]:
    """``part``: requests or limits."""
    spec, status = pod["spec"], pod.get("status") or {}
    stuck = any(
        item["type"] == "PodResizePending" and item.get("reason") == "Infeasible"
        for item in status.get("conditions") or ()
    )
    known = {
        item["name"]: item
        for key in ("containerStatuses", "initContainerStatuses")
        for item in status.get(key) or ()
        if item.get("resources") is not None
    }
    found = total(_of_container(item, known, part, stuck) for item in spec.get("containers") or ())
    started: dict[str, Quantity] = {}  # what runs beside all that come after it
    most: dict[str, Quantity] = {}
    for item in spec.get("initContainers") or ():
        stays = item.get("restartPolicy") == "Always"
        own = _of_container(item, known if stays else {}, part, stuck)
        if stays:
            found, started = total((found, own)), total((started, own))
            most = greatest((most, started))
        else:
            most = greatest((most, total((own, started))))
    found = greatest((found, most))
    for name, value in ((spec.get("resources") or {}).get(part) or {}).items():
        if name in ("cpu", "memory") or name.startswith(_HUGE):
            found[name] = parse(value)
    overhead = amounts(spec.get("overhead"))
    if part == "limits":
        overhead = {name: amount for name, amount in overhead.items() if name in found and found[name].nanos}
    return total((found, overhead))


def _of_container(container: Object, known: Mapping[str, Any], part: str, stuck: bool) -> Amounts:
    """While it is resized, the most of what it has, what it may have, and what it is to have if it can get it."""
    wanted = amounts((container.get("resources") or {}).get(part))
    status = known.get(container["name"])
    if status is None:
        return wanted
    parts = [] if stuck else [wanted]
    parts.append(amounts(status["resources"].get(part)))
    if part == "requests":
        parts.append(amounts(status.get("allocatedResources")))
    return greatest(parts)


def within(requirement: Requirement, pod: Object) -> bool:
    match requirement.scope:
        case "Terminating":
            return _has_deadline(pod)
        case "NotTerminating":
            return not _has_deadline(pod)
        case "BestEffort":
            return _takes_what_is_left(pod)
        case "NotBestEffort":
            return not _takes_what_is_left(pod)
        case "PriorityClass":
            name = pod["spec"].get("priorityClassName")
            return selects(requirement, [name] if name else [])
        case "CrossNamespacePodAffinity":
            return any("namespaceSelector" in term or term.get("namespaces") for term in _affinity_terms(pod))
    return False


def facts(pod: Object) -> tuple[bool, bool, datetime.datetime | None]:
    """What of its scopes may change, and when it ends."""
    return _has_deadline(pod), _takes_what_is_left(pod), ends(pod)


def _has_deadline(pod: Object) -> bool:
    seconds = pod["spec"].get("activeDeadlineSeconds")
    return seconds is not None and seconds >= 0


def _takes_what_is_left(pod: Object) -> bool:
    known = (pod.get("status") or {}).get("qosClass")
    if known:
        return bool(known == "BestEffort")
    spec = pod["spec"]
    if spec.get("resources") is not None:
        asked = [spec["resources"]]
    else:
        containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
        asked = [item.get("resources") or {} for item in containers]
    given = (amounts(each.get(part)) for each in asked for part in ("requests", "limits"))
    return not any(each[name].nanos > 0 for each in given for name in ("cpu", "memory") if name in each)


def _affinity_terms(pod: Object) -> Iterable[Object]:
    affinity = pod["spec"].get("affinity") or {}
    for kind in ("podAffinity", "podAntiAffinity"):
        terms = affinity.get(kind) or {}
        yield from terms.get("requiredDuringSchedulingIgnoredDuringExecution") or ()
        for weighted in terms.get("preferredDuringSchedulingIgnoredDuringExecution") or ():
            yield weighted["podAffinityTerm"]


def _is_native(name: str) -> bool:
    """No extended resource."""
    return "/" not in name or "kubernetes.io/" in name
