"""What kcp holds: memory, open files, tasks, connections, watches."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.bench.system import System

GAUGES = {
    "tasks": "kcp_proxy_tasks",
    "client connections": "kcp_proxy_client_connections",
    "shard connections": "kcp_proxy_shard_connections",
    "requests in flight": "kcp_proxy_requests_in_flight",
    "queued requests": "kcp_proxy_queued_requests",
    "shared watches": "kcp_proxy_shared_watch_clients",
}
"""Of the workers, by what they tell."""
SLACK = {"tasks": 4, "client connections": 4, "shard connections": 10, "open files": 24}
"""By how much each may be more than before: what kcp itself does at the moment, and connections that are kept. A leak
of one in a thousand requests is more than that."""
KEPT = 90.0
"""Seconds until connections that nobody uses are gone."""


class State:
    """A look at a system."""

    def __init__(self, system: System) -> None:
        self._system = system

    async def now(self) -> dict[str, float]:
        """Counts, by what is counted."""
        url = f"http://127.0.0.1:{self._system.scraped}/metrics"
        text = await asyncio.to_thread(lambda: urlopen(url, timeout=10).read().decode())
        totals: dict[str, float] = {}
        for family in text_string_to_metric_families(text):
            totals[family.name] = sum(sample.value for sample in family.samples)
        found = {name: totals[metric] for name, metric in GAUGES.items()}
        return found | {"open files": sum(map(open_files, self._pids()))}

    def memory(self) -> float:
        """MiB of the workers."""
        return self._system.memory()["proxy"]

    def _pids(self) -> Iterable[int]:
        return self._system.processes()["proxy"]

    async def settled(self, before: dict[str, float]) -> list[str]:
        """What is still more than it was ``before``, once nobody has asked for anything for a while."""
        until = time.monotonic() + KEPT
        while True:
            now = await self.now()
            more = {name: now[name] - before[name] for name in before if now[name] > before[name] + SLACK.get(name, 0)}
            if not more or time.monotonic() > until:
                return [f"{name}: {before[name]:.0f} before, {now[name]:.0f} after" for name in more]
            await asyncio.sleep(1)


def open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())
