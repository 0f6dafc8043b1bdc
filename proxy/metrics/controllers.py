"""What controllers know and do, as metrics: queues, new workspaces, physical clusters, imported APIs.

Names of clusters are the tenants' own, so clusters are counted and not named.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from datetime import datetime

from proxy.kube.client import Object
from proxy.kube.informer import Informer
from proxy.kube.tally import Tallies
from proxy.metrics.snapshot import COUNTER, GAUGE, HISTOGRAM, Family

READY_STATES = {"True": "ready", "False": "not-ready"}
AGE_BOUNDS = (30.0, 60.0, 120.0, 300.0, 3600.0)
"""Seconds since a heartbeat; a syncer's heart beats every 20, and 60 without make a cluster not Ready."""


def queue_families(tallies: Tallies) -> list[Family]:
    depth = Family("kcp_workqueue_depth", GAUGE, "Keys that wait for a controller or are worked on.", ("name",))
    adds = Family("kcp_workqueue_adds", COUNTER, "Keys that a controller was given to reconcile.", ("name",))
    retries = Family("kcp_workqueue_retries", COUNTER, "Reconciliations that failed and are tried again.", ("name",))
    created = Family(
        "kcp_workspace_creation_duration_seconds",
        HISTOGRAM,
        "From the moment that controllers hear of a new workspace until it is Ready.",
        bounds=tallies.created.bounds,
        buckets={(): tallies.created.counts},
    )
    work = Family("kcp_workqueue_work_duration_seconds", HISTOGRAM, "How long reconciliations take.", ("name",))
    for name, tally in sorted(tallies.queues.items()):
        depth.values[(name,)] = tally.depth
        adds.values[(name,)] = tally.added
        retries.values[(name,)] = tally.retried
        work.bounds = tally.work.bounds
        work.buckets[(name,)] = tally.work.counts
    return [depth, adds, retries, work, created]


def age_of(cluster: Object, now: float) -> float | None:
    """Seconds since the last heartbeat of a WorkloadCluster, None if there was none."""
    heartbeat = (cluster.get("status") or {}).get("lastSyncerHeartbeatTime")
    if not heartbeat:
        return None
    return max(0.0, now - datetime.fromisoformat(heartbeat.replace("Z", "+00:00")).timestamp())


def state_of(cluster: Object) -> str:
    """ready, not-ready or unknown."""
    conditions = (cluster.get("status") or {}).get("conditions") or ()
    ready = next((entry.get("status") for entry in conditions if entry.get("type") == "Ready"), None)
    return READY_STATES.get(str(ready), "unknown")


def cluster_families(clusters: Mapping[str, Informer]) -> Iterable[Family]:
    """``clusters``: for each shard, the informer of its WorkloadClusters."""
    count = Family("kcp_workload_clusters", GAUGE, "Physical clusters by state.", ("shard", "state"))
    oldest = Family(
        "kcp_workload_cluster_heartbeat_age_seconds", GAUGE, "Time since the oldest of the last heartbeats.", ("shard",)
    )
    ages = Family(
        "kcp_workload_clusters_by_heartbeat_age",
        GAUGE,
        "Physical clusters whose last heartbeat is at most so many seconds ago.",
        ("shard", "within"),
    )
    synced = Family(
        "kcp_workload_cluster_resources", GAUGE, "API resources that physical clusters sync, added up.", ("shard",)
    )
    now = time.time()
    for shard, informer in clusters.items():
        states = dict.fromkeys(("ready", "not-ready", "unknown"), 0)
        known = list(informer.store.values())
        for obj in known:
            states[state_of(obj)] += 1
        beaten = [age for obj in known if (age := age_of(obj, now)) is not None]
        count.values.update({(shard, state): number for state, number in states.items()})
        oldest.values[(shard,)] = max(beaten, default=0.0)
        for bound in AGE_BOUNDS:
            ages.values[(shard, f"{bound:g}")] = sum(age <= bound for age in beaten)
        synced.values[(shard,)] = sum(len((obj.get("status") or {}).get("syncedResources") or ()) for obj in known)
    return [count, oldest, ages, synced]
