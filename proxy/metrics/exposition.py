"""One scrape for the whole of kcp: all workers together, the processes, and the controllers' view of clusters.

Counters of a worker that died are kept: what was last read of it counts on.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from proxy.metrics.busiest import cut
from proxy.metrics.snapshot import COUNTER, HISTOGRAM, Family, Snapshot, add, address, counter, decode, gauge, lasting

log = logging.getLogger(__name__)

PATIENCE = 2.0
"""Seconds that a scrape waits for a worker."""


@dataclass(frozen=True, slots=True)
class WorkerSource:
    """Where a worker is read."""

    name: str
    socket: Path
    pid: Callable[[], int | None]


class Workers:
    """``read()`` adds up what all workers have counted, now and before they died."""

    def __init__(self, sources: Iterable[WorkerSource], *, busiest: int = 0, optional: Iterable[str] = ()) -> None:
        """``busiest``: how many workspaces may be named; ``optional``: workers that may be absent."""
        self._sources = list(sources)
        self._optional = frozenset(optional)
        self._busiest = busiest
        self._gone: dict[str, Family] = {}
        self._last: dict[str, tuple[int | None, list[Family]]] = {}

    async def read(self) -> list[Family]:
        answers = await asyncio.gather(*(self._read(source) for source in self._sources))
        merged: dict[str, Family] = {}
        add(merged, self._gone.values())
        up = 0
        for source, (pid, snapshot) in zip(self._sources, answers, strict=True):
            known = self._last.get(source.name)
            if snapshot is None:  # between two lives, or too busy to answer: what it said last still counts
                if known is not None:
                    add(merged, lasting(known[1]))
                continue
            if known is not None and known[0] != pid:
                add(merged, lasting(known[1]))
            self._count_on(source.name, pid)
            self._last[source.name] = (pid, snapshot.families)
            add(merged, snapshot.families)
            up += 1
        merged["kcp_proxy_workers"] = gauge("kcp_proxy_workers", "Workers of the proxy that answer.", values={(): up})
        cut(merged, self._busiest)
        return list(merged.values())

    async def remember(self, name: str) -> None:
        """What this worker has counted until now, as it is about to end."""
        for source in self._sources:
            if source.name == name:
                pid, snapshot = await self._read(source)
                if snapshot is not None:
                    self._count_on(name, pid)
                    self._last[name] = (pid, snapshot.families)

    async def problems(self) -> dict[str, str | None]:
        """What keeps each worker from serving, in a line, by its name; None if nothing does."""
        found: dict[str, str | None] = {}
        answers = await asyncio.gather(*(self._read(source) for source in self._sources))
        for source, (pid, snapshot) in zip(self._sources, answers, strict=True):
            if pid is None and source.name in self._optional:
                continue
            silent = "it does not run" if pid is None else f"no answer in {PATIENCE:g} s"
            found[source.name] = silent if snapshot is None else snapshot.problem
        return found

    def _count_on(self, name: str, pid: int | None) -> None:
        """Keep what the process before this one had counted."""
        known = self._last.get(name)
        if known is not None and known[0] != pid:
            add(self._gone, lasting(known[1]))

    async def _read(self, source: WorkerSource) -> tuple[int | None, Snapshot | None]:
        pid = source.pid()
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await asyncio.open_unix_connection(address(source.socket), limit=1 << 24)
                try:
                    return pid, decode(await reader.read())
                finally:
                    writer.close()
        except (OSError, ValueError, TimeoutError) as error:
            log.debug("metrics of %s: %s", source.name, error)
            return pid, None


def process_families(processes: Mapping[str, int | None], restarts: Mapping[str, int]) -> list[Family]:
    """CPU, memory and restarts of kcp's processes, by name; from proc(5)."""
    cpu = counter("kcp_process_cpu_seconds", "CPU time of a process since its start.", "process")
    memory = gauge("kcp_process_resident_memory_bytes", "Resident memory of a process.", "process")
    up = gauge("kcp_process_up", "Whether a process runs.", "process")
    restarted = counter("kcp_process_restarts", "How often a process was started again.", "process")
    ticks, page = os.sysconf("SC_CLK_TCK"), os.sysconf("SC_PAGE_SIZE")
    for name, pid in processes.items():
        up.values[(name,)] = 0
        restarted.values[(name,)] = restarts.get(name, 0)
        if pid is None:
            continue
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        up.values[(name,)] = 1
        cpu.values[(name,)] = (int(fields[11]) + int(fields[12])) / ticks
        memory.values[(name,)] = int(fields[21]) * page
    return [cpu, memory, up, restarted]


class _Collected(Collector):
    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        return (_metric(family) for family in self._families)


def _metric(family: Family) -> Metric:
    if family.kind == HISTOGRAM:
        histogram = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        for labels, counts in family.buckets.items():
            buckets = []
            total = 0.0
            for bound, count in zip([*map(str, family.bounds), "+Inf"], counts[:-1], strict=True):
                total += count
                buckets.append((bound, total))
            histogram.add_metric(labels, buckets, counts[-1])
        return histogram
    kind = CounterMetricFamily if family.kind == COUNTER else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in family.values.items():
        metric.add_metric(labels, value)
    return metric


def expose(families: Iterable[Family], accept: str) -> tuple[bytes, str]:
    """Text and its content type, as OpenMetrics or Prometheus' own format, whatever ``accept`` prefers."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(sorted(families, key=lambda family: family.name)))
    encoder, content_type = choose_encoder(accept)
    return encoder(registry), content_type
