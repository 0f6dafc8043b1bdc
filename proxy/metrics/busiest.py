"""Requests of each workspace, of which the busiest are shown: a label's values stay bounded whatever tenants do."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from heapq import nlargest

from proxy.metrics.snapshot import CLASSES, HISTOGRAM, Family, counter, gauge
from proxy.server.messages import Record

BOUNDS = (0.01, 0.1, 1.0)
"""Seconds."""
MOST = 8192
"""Workspaces that are counted; beyond, the less busy half is forgotten."""
HALF_LIFE = 300.0
"""Seconds after which a request counts half for who is busy."""
RANK = "rank"
"""Requests by workspace as they count for that: for `cut`, which does not let it out."""


class _Load:
    __slots__ = ("classes", "counted", "durations", "rank", "received", "sent", "total")

    def __init__(self) -> None:
        self.classes = [0, 0, 0, 0, 0, 0]
        self.durations = [0.0] * (len(BOUNDS) + 2)
        self.received = 0
        self.sent = 0
        self.total = 0
        self.rank = 0.0
        self.counted = 0
        """Of ``total``, what is in ``rank``."""


class Busiest:
    """``families()`` shows the ``shown`` workspaces with the most requests of late."""

    def __init__(self, shown: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._shown = shown
        self._clock = clock
        self._ranked = clock()
        self._loads: dict[str, _Load] = {}

    def count(self, record: Record, seconds: float, received: int) -> None:
        """A request that has ended, ``seconds`` after it came, with ``received`` bytes of body."""
        load = self._loads.get(record.workspace)
        if load is None:
            load = self._add(record.workspace)
        load.classes[record.status // 100] += 1
        load.total += 1
        load.received += received
        load.sent += record.sent
        if not record.streaming:
            load.durations[bisect_left(BOUNDS, seconds)] += 1
            load.durations[-1] += seconds

    def _add(self, workspace: str) -> _Load:
        if len(self._loads) >= MOST:
            self._loads = dict(self._first(MOST // 2))
        load = self._loads[workspace] = _Load()
        return load

    def _first(self, count: int) -> Iterable[tuple[str, _Load]]:
        now = self._clock()
        kept = 0.5 ** ((now - self._ranked) / HALF_LIFE)
        self._ranked = now
        for load in self._loads.values():
            load.rank = load.rank * kept + load.total - load.counted
            load.counted = load.total
        return nlargest(count, self._loads.items(), key=lambda item: item[1].rank)

    def families(self) -> list[Family]:
        """A few more than are shown: which are the busiest of all workers is decided when these are added up."""
        requests = counter(
            "kcp_proxy_workspace_requests",
            "Requests of the busiest workspaces, by the first digit of the code.",
            *("workspace", "class"),
        )
        durations = Family(
            "kcp_proxy_workspace_request_duration_seconds", HISTOGRAM,
            "Durations of the busiest workspaces' requests; watches excepted.", ("workspace",), BOUNDS,
        )  # fmt: skip
        traffic = counter(
            "kcp_proxy_workspace_bytes", "Bytes of bodies, of the busiest workspaces.", "workspace", "direction"
        )
        ranks = gauge(RANK, "", "workspace")
        for path, load in self._first(4 * self._shown):
            ranks.values[(path,)] = load.rank
            for name, count in zip(CLASSES, load.classes, strict=True):
                requests.values[(path, name)] = count
            durations.buckets[(path,)] = load.durations
            traffic.values[(path, "in")] = load.received
            traffic.values[(path, "out")] = load.sent
        return [requests, durations, traffic, ranks]


def cut(families: dict[str, Family], shown: int) -> None:
    """Leave the ``shown`` busiest workspaces in what several workers counted together. ``families`` by their names."""
    ranked = families.pop(RANK, None)
    ranks = ranked.values if ranked is not None else {}
    named = [family for family in families.values() if family.labels[:1] == ("workspace",)]
    # Workers that died have left counters and no ranks.
    paths = {labels[:1] for family in named for labels in (*family.values, *family.buckets)}
    kept = {path for (path,) in nlargest(shown, paths, key=lambda path: ranks.get(path, 0.0))}
    for family in named:
        family.values = {labels: value for labels, value in family.values.items() if labels[0] in kept}
        family.buckets = {labels: counts for labels, counts in family.buckets.items() if labels[0] in kept}
