"""What is known of physical clusters and of the APIs that they have brought, as metrics.

Names of clusters are the tenants' own, so clusters are counted and not named.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from proxy.kube.client import Object
from proxy.kube.informer import Informer
from proxy.kube.times import parse_time
from proxy.metrics.snapshot import Family, Labels, gauge

READY_STATES = {"True": "ready", "False": "not-ready"}
AGE_BOUNDS = (30.0, 60.0, 120.0, 300.0, 3600.0)
"""Seconds since a heartbeat; a syncer's heart beats every 20, and 60 without make a cluster not Ready."""
LAGS = ("down", "up", "oldest")
"""What the slowest change took, each way, and how long the oldest one waits that is not on the other side yet."""
IMPORT_STATES = ("pending", "incompatible", "unpublished", "published")
"""Of an APIResourceImport: not looked at yet; other clusters' or a CRD's schema says otherwise; agreed, and not served;
served."""


def age_of(cluster: Object, now: float) -> float | None:
    """Seconds since the last heartbeat of a WorkloadCluster, None if there was none."""
    heartbeat = parse_time(_status(cluster).get("lastSyncerHeartbeatTime"))
    return None if heartbeat is None else max(0.0, now - heartbeat.timestamp())


def state_of(cluster: Object) -> str:
    """ready, not-ready or unknown."""
    return READY_STATES.get(_conditions(cluster).get("Ready", ""), "unknown")


def lag_of(cluster: Object) -> dict[str, float]:
    """Seconds, as told by the last heartbeat of a WorkloadCluster: those of `LAGS` that are known."""
    told = _status(cluster).get("lagMilliseconds") or {}
    return {key: told[key] / 1000 for key in LAGS if key in told}


def import_state(imported: Object) -> str:
    """One of `IMPORT_STATES`."""
    conditions = _conditions(imported)
    if conditions.get("Compatible") != "True":
        return "incompatible" if "Compatible" in conditions else "pending"
    return "published" if conditions.get("Available") == "True" else "unpublished"


def import_family(imports: Mapping[str, Informer]) -> Family:
    """``imports``: for each shard, the informer of its APIResourceImports."""
    values: dict[Labels, float] = {(shard, state): 0 for shard in imports for state in IMPORT_STATES}
    for shard, informer in imports.items():
        for obj in list(informer.store.values()):
            values[(shard, import_state(obj))] += 1
    return gauge("kcp_api_imports", "APIs of physical clusters, by what came of them.", "shard", "state", values=values)


def cluster_families(clusters: Mapping[str, Informer]) -> Iterable[Family]:
    """``clusters``: for each shard, the informer of its WorkloadClusters."""
    count = gauge("kcp_workload_clusters", "Physical clusters by state.", "shard", "state")
    oldest = gauge(
        "kcp_workload_cluster_heartbeat_age_seconds", "Time since the oldest of the last heartbeats.", "shard"
    )
    ages = gauge(
        "kcp_workload_clusters_by_heartbeat_age",
        "Physical clusters whose last heartbeat is at most so many seconds ago.",
        *("shard", "within"),
    )
    synced = gauge("kcp_workload_cluster_resources", "API resources that physical clusters sync, added up.", "shard")
    objects = gauge(
        "kcp_workload_cluster_objects",
        "Objects on physical clusters as they are asked for, and those that cannot be; of the last heartbeats.",
        *("shard", "state"),
    )
    lag = gauge(
        "kcp_workload_cluster_sync_lag_seconds",
        "What the slowest of all changes took between the last two heartbeats; oldest: for how long one waits already.",
        *("shard", "direction"),
    )
    now = time.time()
    for shard, informer in clusters.items():
        states = dict.fromkeys((*READY_STATES.values(), "unknown"), 0)
        known = list(informer.store.values())
        for obj in known:
            states[state_of(obj)] += 1
        beaten = [age for obj in known if (age := age_of(obj, now)) is not None]
        count.values.update({(shard, state): number for state, number in states.items()})
        oldest.values[(shard,)] = max(beaten, default=0.0)
        for bound in AGE_BOUNDS:
            ages.values[(shard, f"{bound:g}")] = sum(age <= bound for age in beaten)
        synced.values[(shard,)] = sum(len(_status(obj).get("syncedResources") or ()) for obj in known)
        for state in ("synced", "failed"):
            counted = ((_status(obj).get("objects") or {}).get(state, 0) for obj in known)
            objects.values[(shard, state)] = sum(counted)
        lags = [lag_of(obj) for obj in known if state_of(obj) == "ready"]
        for direction in LAGS:
            lag.values[(shard, direction)] = max((each.get(direction, 0.0) for each in lags), default=0.0)
    return [count, oldest, ages, synced, objects, lag]


def _status(obj: Object) -> dict[str, Any]:
    return obj.get("status") or {}


def _conditions(obj: Object) -> dict[str, str]:
    return {item["type"]: item["status"] for item in _status(obj).get("conditions") or ()}
