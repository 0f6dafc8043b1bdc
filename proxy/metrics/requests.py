"""What one worker counts of its requests: an `Observer` of plain numbers.

Labels are bounded whatever tenants do: resources beyond `MOST_RESOURCES` share one value, workspaces stand in no label
but of the busiest few.
"""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

from proxy.metrics.busiest import Busiest
from proxy.metrics.snapshot import CLASSES, HISTOGRAM, Family, Labels, counter, gauge
from proxy.server.messages import (
    DISCOVERY,
    DOCUMENT,
    ENTRY,
    GATE,
    IDENTITY,
    MAPPING,
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


MOST_KINDS = 4096
"""Kinds of requests that are counted apart between two looks."""


class _Kind(NamedTuple):
    """What is counted of a request, but for its size and time: those that are alike in it are counted by one number,
    which is added to all that it concerns when somebody looks."""

    verb: str
    group: str
    resource: str
    status: int
    shard: str
    step: str
    asked: tuple[str, ...]
    allowed: bool | None
    identity: str
    """Key of ``_identities``; empty where the request did not come so far."""
    refused_here: bool


class RequestMetrics:
    """``families()`` is what was counted so far."""

    def __init__(self, shards: Sequence[str], *, busiest: int = 0) -> None:
        """``busiest``: how many workspaces are shown by name, those with the most requests."""
        self._busiest = Busiest(busiest) if busiest else None
        self._shards = tuple(shards)
        self._resources: dict[tuple[str, str], str] = {}
        self._kinds: dict[tuple[object, ...], int] = {}
        """By what makes a `_Kind`."""
        self._counts: dict[Labels, int] = {}
        by_verb = [(verb, shard) for verb in (*VERBS, OTHER) for shard in shards]
        self._total: dict[Labels, list[float]] = {labels: _empty() for labels in by_verb}
        self._shard: dict[Labels, list[float]] = {labels: _empty() for labels in by_verb}
        self._in_flight = 0
        self._endless: dict[int, Request] = {}
        """Those that go on, by `id`."""
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
        self._unrewritten = dict.fromkeys(("request", "response"), 0)

    # Observer

    def arrived(self, request: Request) -> None:
        self._in_flight += 1

    def decided(self, request: Request) -> None:
        pass

    def streaming(self, request: Request) -> None:
        self._endless[id(request)] = request

    def finished(self, request: Request) -> None:
        record = request.record
        info, user, status, shard = record.info, record.user, record.status, record.shard
        if info is None:
            verb, group, resource = request.method.decode("latin-1").lower(), "", ""
        else:
            verb, group, resource = info.verb, info.group, info.resource
        if verb not in VERBS and (info is None or not info.is_resource):
            verb = OTHER
        if user is None:
            identity = "refused" if status == 401 else ""
        elif user.anonymous:
            identity = "anonymous"
        else:
            identity = "serviceaccount" if user.workspace_token else "user"
        asked_shard = record.shard_seconds
        refused_here = status >= 400 and not asked_shard
        # A plain tuple: it is made for each request.
        kind = (
            verb, group, resource, status, shard, record.step, record.asked, record.allowed, identity, refused_here,
        )  # fmt: skip
        kinds = self._kinds
        if kind in kinds:
            kinds[kind] += 1
        else:
            if len(kinds) >= MOST_KINDS:
                self._add_up()
            kinds[kind] = 1
        self._in_flight -= 1
        self._received += len(request.body)
        self._sent += record.sent
        if record.cut:
            self._cut += 1
        seconds = time.perf_counter() - record.began
        if record.streaming:
            self._endless.pop(id(request), None)
        elif shard:
            _observe(self._total, (verb, shard), seconds)
            if asked_shard:
                _observe(self._shard, (verb, shard), asked_shard)
        if record.unrewritten:
            self._unrewritten["response"] += 1
        if self._busiest is not None and record.workspace:
            self._busiest.count(record, seconds, len(request.body))

    def malformed(self, status: int) -> None:
        key = (OTHER, "", str(status), "")
        self._counts[key] = self._counts.get(key, 0) + 1

    def _add_up(self) -> None:
        """Into the numbers that are shown."""
        for values, count in self._kinds.items():
            kind = _Kind(*values)  # type: ignore[arg-type]
            resource = self._resource(kind.group, kind.resource) if kind.resource else ""
            key = (kind.verb, resource, str(kind.status), kind.shard)
            self._counts[key] = self._counts.get(key, 0) + count
            if kind.identity:
                self._identities[kind.identity] += count
            self._decisions["none" if kind.allowed is None else "allow" if kind.allowed else "forbid"] += count
            self._answered[kind.step] += count
            if kind.refused_here:
                self._refused[kind.step] += count
                if kind.step == GATE or (kind.step == MAPPING and kind.status >= 500):
                    self._unrewritten["request"] += count
            for step in kind.asked:
                self._asked[step] += count
        self._kinds.clear()

    def _resource(self, group: str, resource: str) -> str:
        key = (group, resource)
        found = self._resources.get(key)
        if found is None:
            if len(self._resources) >= MOST_RESOURCES:
                return OTHER
            found = self._resources[key] = f"{resource}.{group}" if group else resource
        return found

    def families(self) -> list[Family]:
        self._add_up()
        by_verb = ("verb", "shard")
        return [
            self._responses(),
            self._caches(),
            self._under_way(),
            counter(
                "kcp_proxy_refusals",
                "Requests that were answered with 400 or more here, by the step that they came to; shard: it could "
                "not be reached; gate: what the mapping made was not confined to the workspace, a fault of kcp.",
                "step", values={(step,): count for step, count in self._refused.items()},
            ),
            counter(
                "kcp_proxy_rewrite_errors",
                "Requests or answers of shards that could not be rewritten, or not safely: faults of kcp.",
                "direction", values={(direction,): count for direction, count in self._unrewritten.items()},
            ),
            counter(
                "kcp_proxy_requests", "Requests by verb, resource, code (0: the client left) and shard.",
                "verb", "resource", "code", "shard", values=self._counts,
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
            counter(
                "kcp_proxy_requests_cut", "Requests whose connection ended before the answer did.",
                values={(): self._cut},
            ),
            counter("kcp_proxy_received_bytes", "Bytes of requests' bodies.", values={(): self._received}),
            counter(
                "kcp_proxy_sent_bytes", "Bytes of answers' bodies, before compression; of watches, as they go.",
                values={(): self._sent + sum(request.record.sent for request in self._endless.values())},
            ),
            counter(
                "kcp_proxy_authentication", "Requests by what their credentials said of who asks.",
                "result", values={(key,): value for key, value in self._identities.items()},
            ),
            counter(
                "kcp_proxy_authorization", "Requests by what they were allowed (none: it was not asked).",
                "decision", values={(key,): value for key, value in self._decisions.items()},
            ),
            *(self._busiest.families() if self._busiest is not None else ()),
        ]  # fmt: skip

    def _under_way(self) -> Family:
        values: dict[Labels, float] = {(kind,): 0 for kind in KINDS}
        for request in self._endless.values():
            values[(_kind(request),)] += 1
        values[("short",)] = self._in_flight - len(self._endless)
        return gauge(
            "kcp_proxy_requests_in_flight", "Requests being answered; all but short ones have no foreseeable end.",
            "kind", values=values,
        )  # fmt: skip

    def _responses(self) -> Family:
        """Few series that are there from the start: what alerts count on."""
        values: dict[Labels, float] = {(name, shard): 0 for name in CLASSES for shard in ("", *self._shards)}
        for (_, _, code, shard), count in self._counts.items():
            key = (CLASSES[int(code) // 100], shard)
            values[key] = values.get(key, 0) + count
        return counter(
            "kcp_proxy_responses",
            "Requests by the first digit of the code, and shard (empty: no workspace was concerned).",
            "class", "shard", values=values,
        )  # fmt: skip

    def _caches(self) -> Family:
        values: dict[Labels, float] = {}
        for cache, steps in CACHES.items():
            lookups = sum(self._answered[step] for step in steps)
            values[(cache, "miss")] = misses = self._asked[cache]
            values[(cache, "hit")] = max(0, lookups - misses)
        return counter(
            "kcp_proxy_cache_lookups",
            "Requests that could go by what was known already (hit), or had to wait for a shard (miss).",
            "cache", "result", values=values,
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
