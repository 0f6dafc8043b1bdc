"""What controllers count of their work, as metrics: queues, and how long new workspaces take."""

from __future__ import annotations

from proxy.kube.tally import Tallies
from proxy.metrics.snapshot import HISTOGRAM, Family, counter, gauge


def queue_families(tallies: Tallies) -> list[Family]:
    depth = gauge("kcp_workqueue_depth", "Keys that wait for a controller or are worked on.", "name")
    adds = counter("kcp_workqueue_adds", "Keys that a controller was given to reconcile.", "name")
    retries = counter("kcp_workqueue_retries", "Reconciliations that failed and are tried again.", "name")
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
