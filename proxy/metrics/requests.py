"""What one worker counts of its requests: an `Observer` of plain numbers.

Labels are bounded whatever tenants do: resources beyond `MOST_RESOURCES` share one value, workspaces stand in no label
but of the busiest few.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence

from proxy.metrics.busiest import Busiest
from proxy.metrics.snapshot import CLASSES, COUNTER, GAUGE, HISTOGRAM, Family, Labels
from proxy.server.messages import (
    DISCOVERY,
    DOCUMENT,
    ENTRY,
    IDENTITY,
    PERMISSION,
    STEPS,
    Request,
)

BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Seconds."""
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
OTHER = "other"
MOST_RESOURCES = 200
"""Resources with a label value of their own, in each worker."""
KINDS = ("watch", "log", "exec", "attach", "portforward", "proxy")
"""Of requests that have no foreseeable end."""
CACHES = {
    IDENTITY: frozenset(STEPS[STEPS.index(IDENTITY) :]),
    ENTRY: frozenset(STEPS[STEPS.index(ENTRY) :]),
    DOCUMENT: frozenset({DOCUMENT}),
    DISCOVERY: frozenset(STEPS[STEPS.index(DISCOVERY) :]),
    PERMISSION: frozenset(STEPS[STEPS.index(PERMISSION) :]),
}
"""What is known from earlier requests → the last steps of those that made use of it, or asked a shard."""


class RequestMetrics:
    """``families()`` is what was counted so far."""

    def __init__(self, shards: Sequence[str], *, busiest: int = 0) -> None:
        """``busiest``: how many workspaces are shown by name, those with the most requests."""
        self._busiest = Busiest(busiest) if busiest else None
        self._shards = tuple(shards)
        self._resources: dict[tuple[str, str], str] = {}
        self._counts: dict[Labels, int] = {}
        self._total: dict[Labels, list[float]] = {(verb, shard): _empty() for verb in VERBS for shard in shards}
        self._shard: dict[Labels, list[float]] = {(verb, shard): _empty() for verb in VERBS for shard in shards}
        self._in_flight = 0
        self._endless = dict.fromkeys(KINDS, 0)
        self._received = 0
        self._sent = 0
        self._cut = 0
        self._identities = dict.fromkeys(("user", "serviceaccount", "anonymous", "refused"), 0)
        self._decisions = dict.fromkeys(("allow", "forbid", "none"), 0)
        self._answered = dict.fromkeys(STEPS, 0)
        """Requests by the last step that they came to."""
        self._refused = dict.fromkeys(STEPS, 0)
        """Those of them that were answered with 400 or more without a shard's having said so."""
        self._asked = dict.fromkeys(STEPS, 0)

    # Observer

    def arrived(self, request: Request) -> None:
        self._in_flight += 1

    def decided(self, request: Request) -> None:
        pass

    def streaming(self, request: Request) -> None:
        self._endless[_kind(request)] += 1

    def finished(self, request: Request) -> None:
        record = request.record
        info = record.info
        verb = request.method.decode("latin-1").lower() if info is None else info.verb
        if verb not in VERBS:
            verb = OTHER if info is None or not info.is_resource else verb
        resource = self._resource(info.group, info.resource) if info is not None and info.is_resource else ""
        seconds = time.perf_counter() - record.began
        key = (verb, resource, str(record.status), record.shard)
        self._counts[key] = self._counts.get(key, 0) + 1
        self._in_flight -= 1
        self._received += len(request.body)
        self._sent += record.sent
        if record.cut:
            self._cut += 1
        if record.streaming:
            self._endless[_kind(request)] -= 1
        elif record.shard:
            _observe(self._total, (verb, record.shard), seconds)
            if record.shard_seconds:
                _observe(self._shard, (verb, record.shard), record.shard_seconds)
        self._count_access(request)
        self._answered[record.step] += 1
        if record.status >= 400 and not record.shard_seconds:
            self._refused[record.step] += 1
        for step in record.asked:
            self._asked[step] += 1
        if self._busiest is not None and record.workspace:
            self._busiest.count(record, seconds, len(request.body))

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
        in_flight: dict[Labels, float] = {(kind,): count for kind, count in self._endless.items()}
        in_flight[("short",)] = self._in_flight - sum(self._endless.values())
        return [
            self._responses(),
            self._caches(),
            Family(
                "kcp_proxy_refusals", COUNTER,
                "Requests that were answered with 400 or more here, by the step that they came to; shard: it could "
                "not be reached; gate: what the mapping made was not confined to the workspace, a fault of kcp.",
                ("step",), values={(step,): count for step, count in self._refused.items()},
            ),
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
                "kcp_proxy_requests_in_flight", GAUGE, "Requests being answered; all but short ones are endless.",
                ("kind",), values=in_flight,
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
            *(self._busiest.families() if self._busiest is not None else ()),
        ]  # fmt: skip

    def _responses(self) -> Family:
        """Few series that are there from the start: what alerts count on."""
        values: dict[Labels, float] = {(name, shard): 0 for name in CLASSES for shard in ("", *self._shards)}
        for (_, _, code, shard), count in self._counts.items():
            key = (CLASSES[int(code) // 100], shard)
            values[key] = values.get(key, 0) + count
        return Family(
            "kcp_proxy_responses", COUNTER,
            "Requests by the first digit of the code, and shard (empty: no workspace was concerned).",
            ("class", "shard"), values=values,
        )  # fmt: skip

    def _caches(self) -> Family:
        values: dict[Labels, float] = {}
        for cache, steps in CACHES.items():
            lookups = sum(self._answered[step] for step in steps)
            values[(cache, "miss")] = misses = self._asked[cache]
            values[(cache, "hit")] = max(0, lookups - misses)
        return Family(
            "kcp_proxy_cache_lookups", COUNTER,
            "Requests that could go by what was known already (hit), or had to wait for a shard (miss).",
            ("cache", "result"), values=values,
        )  # fmt: skip


def _kind(request: Request) -> str:
    info = request.record.info
    return info.subresource if info is not None and info.subresource in KINDS else "watch"


def _empty() -> list[float]:
    """Counts of all buckets, the infinite one too, and the sum."""
    return [0.0] * (len(BOUNDS) + 2)


def _observe(histograms: dict[Labels, list[float]], key: Labels, seconds: float) -> None:
    counts = histograms.get(key)
    if counts is None:
        counts = histograms[key] = _empty()
    counts[bisect_left(BOUNDS, seconds)] += 1
    counts[-1] += seconds
