"""The workload APIs as the controllers see them."""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Iterator
from typing import Any

from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.times import parse_time

CLUSTERS = Resource("workload.kcp.dev", "v1alpha1", "workloadclusters", namespaced=False)
PLACEMENTS = Resource("workload.kcp.dev", "v1alpha1", "placements", namespaced=False)
IMPORTS = Resource("apiresource.kcp.dev", "v1alpha1", "apiresourceimports", namespaced=False)
NEGOTIATED = Resource("apiresource.kcp.dev", "v1alpha1", "negotiatedapiresources", namespaced=False)
BINDINGS = Resource("internal.kcp.dev", "v1alpha1", "typebindings", namespaced=False)
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CRDS = Resource("apiextensions.k8s.io", "v1", "customresourcedefinitions", namespaced=False)

ALWAYS = (
    Resource("", "v1", "configmaps"),
    Resource("", "v1", "secrets"),
    Resource("", "v1", "serviceaccounts"),
)
"""Kinds that every workspace has and syncers take down."""

CLUSTER_LABEL = "workloads.kcp.dev/cluster"
"""On namespaces and what is in them: the WorkloadCluster that runs it."""
OPT_OUT = "experimental.workloads.kcp.dev/scheduling-disabled"

READY, HEARTBEAT = "Ready", "HeartbeatHealthy"
CONNECTED = "Connected"
"""Of clusters that kcp syncs itself (`proxy.push`)."""
AHEAD = datetime.timedelta(minutes=1)
"""By how much a date may lie ahead, as clocks of several kcps differ."""


def now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


def stamp(moment: datetime.datetime | None = None) -> str:
    return (moment or now()).strftime("%Y-%m-%dT%H:%M:%SZ")


@contextlib.contextmanager
def not_there() -> Iterator[None]:
    """What is gone by now needs nothing any more."""
    try:
        yield
    except StatusError as error:
        if error.code != 404:
            raise


def conditions_of(obj: Object) -> list[dict[str, Any]]:
    return list((obj.get("status") or {}).get("conditions") or ())


def is_true(obj: Object, kind: str) -> bool:
    return any(item["type"] == kind and item["status"] == "True" for item in conditions_of(obj))


def with_condition(
    conditions: list[dict[str, Any]],
    kind: str,
    status: bool,
    reason: str = "",
    message: str = "",
    *,
    severity: str = "",
) -> list[dict[str, Any]]:
    """``conditions`` with one set, in order of type; its time changes only with its status, or where it lies ahead: the
    clock was wrong then, and who waits by it would wait for as long as it was.

    ``severity``: of a False condition, where its API knows severities (that of WorkloadClusters does).
    """
    value = "True" if status else "False"
    before = next((item for item in conditions if item["type"] == kind), None)
    since = parse_time(before.get("lastTransitionTime")) if before is not None and before["status"] == value else None
    kept = since is not None and since <= now() + AHEAD
    item: dict[str, Any] = {
        "type": kind,
        "status": value,
        "lastTransitionTime": before["lastTransitionTime"] if before is not None and kept else stamp(),
    }
    optional = {"severity": "" if status else severity, "reason": reason, "message": message}
    item |= {key: text for key, text in optional.items() if text}
    return sorted([*(other for other in conditions if other["type"] != kind), item], key=lambda entry: entry["type"])
