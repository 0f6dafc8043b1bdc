"""Requests of each workspace, of which the busiest are shown: a label's values stay bounded whatever tenants do."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from heapq import nlargest

from proxy.metrics.snapshot import CLASSES, COUNTER, HISTOGRAM, Family
from proxy.server.messages import Record

BOUNDS = (0.01, 0.1, 1.0)
"""Seconds."""
MOST = 8192
"""Workspaces that are counted; beyond, the less busy half is forgotten."""
REQUESTS = "kcp_proxy_workspace_requests"


class _Load:
    __slots__ = ("classes", "durations", "received", "sent")

    def __init__(self) -> None:
        self.classes = [0, 0, 0, 0, 0, 0]
        self.durations = [0.0] * (len(BOUNDS) + 2)
        self.received = 0
        self.sent = 0


class Busiest:
    """``families()`` shows the ``shown`` workspaces with the most requests; 0 counts nothing."""

    def __init__(self, shown: int) -> None:
        self._shown = shown
        self._loads: dict[str, _Load] = {}

    def count(self, record: Record, seconds: float, received: int) -> None:
        """A request that has ended, ``seconds`` after it came, with ``received`` bytes of body."""
        load = self._loads.get(record.workspace)
        if load is None:
            load = self._add(record.workspace)
        load.classes[record.status // 100] += 1
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
        return nlargest(count, self._loads.items(), key=lambda item: sum(item[1].classes))

    def families(self) -> list[Family]:
        """A few more than are shown: which are the busiest of all workers is decided when these are added up."""
        requests = Family(
            REQUESTS, COUNTER, "Requests of the busiest workspaces, by the first digit of the code.",
            ("workspace", "class"),
        )  # fmt: skip
        durations = Family(
            "kcp_proxy_workspace_request_duration_seconds", HISTOGRAM,
            "Durations of the busiest workspaces' requests; watches excepted.", ("workspace",), BOUNDS,
        )  # fmt: skip
        traffic = Family(
            "kcp_proxy_workspace_bytes", COUNTER, "Bytes of bodies, of the busiest workspaces.",
            ("workspace", "direction"),
        )  # fmt: skip
        for path, load in self._first(4 * self._shown):
            for name, count in zip(CLASSES, load.classes, strict=True):
                requests.values[(path, name)] = count
            durations.buckets[(path,)] = load.durations
            traffic.values[(path, "in")] = load.received
            traffic.values[(path, "out")] = load.sent
        return [requests, durations, traffic]


def cut(families: Iterable[Family], shown: int) -> None:
    """Leave the ``shown`` busiest workspaces in what several workers counted together."""
    found = list(families)
    totals: dict[str, float] = {}
    for family in found:
        if family.name == REQUESTS:
            for labels, value in family.values.items():
                totals[labels[0]] = totals.get(labels[0], 0) + value
    kept = set(nlargest(shown, totals, key=lambda path: totals[path]))
    for family in found:
        if family.labels[:1] == ("workspace",):
            family.values = {labels: value for labels, value in family.values.items() if labels[0] in kept}
            family.buckets = {labels: counts for labels, counts in family.buckets.items() if labels[0] in kept}
