"""What limits of workspaces have done: waits, refusals, and the room that is left."""

from __future__ import annotations

from heapq import nlargest

from proxy.metrics.snapshot import HISTOGRAM, MAX, Family, counter, gauge
from proxy.server.admission import BOUNDS, Admission
from proxy.server.objects import ObjectLimit

FULLEST = 100
"""Workspaces of a worker; which of them are shown is decided when workers are added up (`proxy.metrics.busiest`)."""


def families_of(admission: Admission) -> list[Family]:
    queues = admission.queues
    return [
        counter(
            "kcp_proxy_limited_requests",
            "Requests refused because their workspace had too much, objects or what is under way, by what it was.",
            "reason",
            values={(reason,): count for reason, count in admission.rejected.items()},
        ),
        Family(
            "kcp_proxy_queue_seconds",
            HISTOGRAM,
            "How long requests waited for room at their shard; those that need not wait are not counted.",
            bounds=BOUNDS,
            buckets={(): list(admission.waits)},
        ),
        gauge(
            "kcp_proxy_queued_requests",
            "Requests that wait for room at their shard.",
            "shard",
            values={(shard,): queue.waiting for shard, queue in queues.items()},
        ),
        gauge(
            "kcp_proxy_shard_seats",
            "Room for requests in flight to a shard (expensive ones take up to four): taken, and in all.",
            *("shard", "state"),
            values={
                (shard, state): value
                for shard, queue in queues.items()
                for state, value in (("taken", queue.taken), ("all", queue.seats))
            },
        ),
    ]


def objects_of(objects: ObjectLimit) -> list[Family]:
    fullest = nlargest(FULLEST, objects.known(), key=lambda known: known[1] / max(known[2], 1))
    return [
        gauge(
            "kcp_workspace_objects",
            "Objects of the busiest workspaces, of those that were counted: then, and what was made since.",
            "workspace",
            merge=MAX,
            values={(path,): count for path, count, _ in fullest},
        ),
        counter(
            "kcp_proxy_object_counts",
            "How often objects of a workspace were counted.",
            "result",
            values={(result,): count for result, count in objects.counts.items()},
        ),
    ]
