"""What limits of workspaces have done: waits, refusals, and the room that is left."""

from __future__ import annotations

from proxy.metrics.snapshot import HISTOGRAM, Family, counter, gauge
from proxy.server.admission import BOUNDS, Admission


def families_of(admission: Admission) -> list[Family]:
    queues = admission.queues
    return [
        counter(
            "kcp_proxy_limited_requests",
            "Requests that were refused with 429 because their workspace had too much under way, by what it was.",
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
