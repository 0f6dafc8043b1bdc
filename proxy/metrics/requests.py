"""What one worker counts of its requests: an `Observer` of plain numbers.

Labels are bounded whatever tenants do: resources beyond `MOST_RESOURCES` share one value, workspaces stand in no label
but of the busiest few.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from heapq import nlargest

from proxy.metrics.snapshot import COUNTER, GAUGE, HISTOGRAM, Family, Labels
from proxy.server.messages import Request

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
OTHER = "other"
MOST_RESOURCES = 200
"""Resources with a label value of their own, in each worker."""
MOST_WORKSPACES = 65536
"""Workspaces whose requests are counted one by one."""


class RequestMetrics:
    """``families()`` is what was counted so far."""

    def __init__(self, shards: Sequence[str], *, busiest: int = 0) -> None:
        """``busiest``: how many workspaces are shown by name, those with the most requests."""
        self._busiest = busiest
        self._resources: dict[tuple[str, str], str] = {}
        self._counts: dict[Labels, int] = {}
        self._total: dict[Labels, list[float]] = {(verb, shard): _empty() for verb in VERBS for shard in shards}
        self._shard: dict[Labels, list[float]] = {(verb, shard): _empty() for verb in VERBS for shard in shards}
        self._in_flight = 0
        self._watches = 0
        self._received = 0
        self._sent = 0
        self._cut = 0
        self._identities = dict.fromkeys(("user", "serviceaccount", "anonymous", "refused"), 0)
        self._decisions = dict.fromkeys(("allow", "forbid", "none"), 0)
        self._workspaces: dict[str, int] = {}

    # Observer

    def arrived(self, request: Request) -> None:
        self._in_flight += 1

    def decided(self, request: Request) -> None:
        pass

    def streaming(self, request: Request) -> None:
        self._watches += 1

    def finished(self, request: Request) -> None:
        record = request.record
        info = record.info
        verb = request.method.decode("latin-1").lower() if info is None else info.verb
        if verb not in VERBS:
            verb = OTHER if info is None or not info.is_resource else verb
        resource = self._resource(info.group, info.resource) if info is not None and info.is_resource else ""
        key = (verb, resource, str(record.status), record.shard)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._in_flight -= 1
        self._received += len(request.body)
        self._sent += record.sent
        if record.cut:
            self._cut += 1
        if record.streaming:
            self._watches -= 1
        elif record.shard:
            _observe(self._total, (verb, record.shard), time.perf_counter() - record.began)
            if record.shard_seconds:
                _observe(self._shard, (verb, record.shard), record.shard_seconds)
        self._count_access(request)
        if record.workspace and self._busiest:
            counted = self._workspaces
            if record.workspace in counted or len(counted) < MOST_WORKSPACES:
                counted[record.workspace] = counted.get(record.workspace, 0) + 1

    def malformed(self, status: int) -> None:
        key = (OTHER, "", str(status), "")
        self._counts[key] = self._counts.get(key, 0) + 1

    def _count_access(self, request: Request) -> None:
        record = request.record
        user = record.user
        if user is None:
            if record.status == 401:
                self._identities["refused"] += 1
        elif user.anonymous:
            self._identities["anonymous"] += 1
        else:
            self._identities["serviceaccount" if user.workspace_token else "user"] += 1
        allowed = record.allowed
        self._decisions["none" if allowed is None else "allow" if allowed else "forbid"] += 1

    def _resource(self, group: str, resource: str) -> str:
        key = (group, resource)
        found = self._resources.get(key)
        if found is None:
            if len(self._resources) >= MOST_RESOURCES:
                return OTHER
            found = self._resources[key] = f"{resource}.{group}" if group else resource
        return found

    def families(self) -> list[Family]:
        by_verb = ("verb", "shard")
        short = self._in_flight - self._watches
        busiest = nlargest(self._busiest, self._workspaces.items(), key=lambda item: item[1])
        return [
            Family(
                "kcp_proxy_requests", COUNTER, "Requests by verb, resource, code (0: the client left) and shard.",
                ("verb", "resource", "code", "shard"), values=dict(self._counts),
            ),
            Family(
                "kcp_proxy_request_duration_seconds", HISTOGRAM,
                "From a request's arrival to the end of its answer; watches excepted.",
                by_verb, BOUNDS, buckets=dict(self._total),
            ),
            Family(
                "kcp_proxy_shard_duration_seconds", HISTOGRAM,
                "The part of a request's duration that was spent waiting for the shard to begin its answer.",
                by_verb, BOUNDS, buckets=dict(self._shard),
            ),
            Family(
                "kcp_proxy_requests_in_flight", GAUGE, "Requests being answered; watches are endless.",
                ("kind",), values={("short",): short, ("watch",): self._watches},
            ),
            Family(
                "kcp_proxy_requests_cut", COUNTER, "Requests whose connection ended before the answer did.",
                values={(): self._cut},
            ),
            Family(
                "kcp_proxy_received_bytes", COUNTER, "Bytes of requests' bodies.", values={(): self._received}
            ),
            Family(
                "kcp_proxy_sent_bytes", COUNTER, "Bytes of answers' bodies, before compression.",
                values={(): self._sent},
            ),
            Family(
                "kcp_proxy_authentication", COUNTER, "Requests by what their credentials said of who asks.",
                ("result",), values={(key,): value for key, value in self._identities.items()},
            ),
            Family(
                "kcp_proxy_authorization", COUNTER, "Requests by what they were allowed (none: it was not asked).",
                ("decision",), values={(key,): value for key, value in self._decisions.items()},
            ),
            Family(
                "kcp_proxy_workspace_requests", COUNTER, "Requests of the busiest workspaces.",
                ("workspace",), values={(path,): count for path, count in busiest},
            ),
        ]  # fmt: skip


def _empty() -> list[float]:
    """Counts of all buckets, the infinite one too, and the sum."""
    return [0.0] * (len(BOUNDS) + 2)


def _observe(histograms: dict[Labels, list[float]], key: Labels, seconds: float) -> None:
    counts = histograms.get(key)
    if counts is None:
        counts = histograms[key] = _empty()
    counts[bisect_left(BOUNDS, seconds)] += 1
    counts[-1] += seconds
