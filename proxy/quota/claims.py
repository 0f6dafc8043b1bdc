"""What claims take: storage, in all and by class, and devices by class.

After ``persistent_volume_claims.go`` and ``resource_claims.go`` of ``k8s.io/kubernetes/pkg/quota/v1/evaluator/core``.
That a device class is an extended resource as well is not looked for: a shard has classes under workspaces' own names,
and its admission does not find them either.
"""

from __future__ import annotations

import datetime

from proxy.quota.quantity import Amounts, Quantity, count, greatest, parse, total
from proxy.quota.scopes import Object, Requirement, selects

VOLUMES = frozenset({"count/persistentvolumeclaims", "persistentvolumeclaims"})
STORAGE = "requests.storage"
_OF_CLASS = ".storageclass.storage.k8s.io/"
_CLASS = "volume.beta.kubernetes.io/storage-class"
"""Annotation that counts more than the field."""
DEVICE_CLAIMS = "count/resourceclaims.resource.k8s.io"
_DEVICES = ".deviceclass.resource.k8s.io/devices"
_MOST = 32
"""Devices that a claim may get."""


def matches_volumes(key: str) -> bool:
    return key in VOLUMES or key == STORAGE or key.endswith((_OF_CLASS + "persistentvolumeclaims", _OF_CLASS + STORAGE))


def volume_usage(claim: Object, now: datetime.datetime) -> Amounts:
    """Raises ValueError where an amount is none."""
    found = dict.fromkeys(VOLUMES, count(1))
    annotations = claim["metadata"].get("annotations") or {}
    name = annotations[_CLASS] if _CLASS in annotations else claim["spec"].get("storageClassName")
    storage = _storage(claim)
    if storage is not None:
        found[STORAGE] = storage
    if name:
        found[f"{name}{_OF_CLASS}persistentvolumeclaims"] = count(1)
        if storage is not None:
            found[f"{name}{_OF_CLASS}{STORAGE}"] = storage
    return found


def _storage(claim: Object) -> Quantity | None:
    requested = ((claim["spec"].get("resources") or {}).get("requests") or {}).get("storage")
    if requested is None:
        return None
    found = parse(requested).whole()
    allocated = ((claim.get("status") or {}).get("allocatedResources") or {}).get("storage")
    if allocated is not None and parse(allocated).nanos > found.nanos:
        return parse(allocated).whole()
    return found


def volume_within(requirement: Requirement, claim: Object) -> bool:
    return requirement.scope == "VolumeAttributesClass" and selects(requirement, classes(claim))


def classes(claim: Object) -> frozenset[str]:
    """VolumeAttributesClasses that it has, or is to have."""
    status = claim.get("status") or {}
    names = (
        claim["spec"].get("volumeAttributesClassName"),
        status.get("currentVolumeAttributesClassName"),
        (status.get("modifyVolumeStatus") or {}).get("targetVolumeAttributesClassName"),
    )
    return frozenset(name for name in names if name)


def matches_devices(key: str) -> bool:
    return key == DEVICE_CLAIMS or key.endswith(_DEVICES)


def device_usage(claim: Object, now: datetime.datetime) -> Amounts:
    requests = ((claim["spec"].get("devices") or {}).get("requests")) or ()
    return {DEVICE_CLAIMS: count(1), **total(map(_of_request, requests))}


def _of_request(request: Object) -> Amounts:
    """Of alternatives the most for each class."""
    if request.get("firstAvailable"):
        return {key: most for key, most in greatest(map(_of_devices, request["firstAvailable"])).items() if most.nanos}
    return _of_devices(request["exactly"]) if request.get("exactly") else {}


def _of_devices(asked: Object) -> Amounts:
    match asked.get("allocationMode"):
        case "ExactCount":
            number = int(asked.get("count") or 0)
        case "All":
            number = _MOST
        case _:
            number = 0
    return {f"{asked['deviceClassName']}{_DEVICES}": count(number)}
