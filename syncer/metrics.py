"""What the syncer counts, and where it is read: ``/metrics``, ``/livez`` and ``/readyz`` on an address of its own.

| name | labels | |
|---|---|---|
| ``kcp_syncer_lag_seconds`` | direction, resource | histogram: from a change on one side until it is on the other |
| ``kcp_syncer_objects`` | resource | objects that stand below as they are asked for above |
| ``kcp_syncer_conflicts`` | resource | objects whose place below is taken by somebody else's |
| ``kcp_syncer_queue_depth`` | resource | objects that wait or are worked on |
| ``kcp_syncer_oldest_pending_seconds`` | resource | age of the oldest change that is not on the other side yet |
| ``kcp_syncer_retries_total`` | resource | attempts that failed |
| ``kcp_syncer_requests_total`` | side, method, code | requests to the workspace (above) and to the cluster (below) |
| ``kcp_syncer_connected`` | side | 1 while all watches of the side are open, where it works for several: of one |
| ``kcp_syncer_leading`` | | how many clusters this syncer is the one to work for: 1, or 0 while it stands by |
| ``kcp_syncer_token_expiry_timestamp_seconds`` | | when its token of the workspace ends |
| ``kcp_syncer_events_dropped_total`` | | Events that were not written to the workspace |
| ``kcp_syncer_build_info`` | version, python | 1 |
| ``kcp_syncer_tunnels_waiting`` | | tunnels that wait for a user who wants to reach into a pod |
| ``kcp_syncer_tunnel_requests_total`` | subresource, code | requests that came through a tunnel; code 0: broken off |

``direction`` is ``down`` (what is asked for) or ``up`` (status).
"""

from __future__ import annotations

import platform
import time
from collections import Counter as Tally
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Protocol

from aiohttp import web
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from proxy.kube.bearer import TokenFile
from proxy.release import own_version

BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
SIDES = ("above", "below")
DIRECTIONS = ("down", "up")
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")


class Kind(Protocol):
    """One API resource that is synced."""

    @property
    def name(self) -> str: ...
    @property
    def objects(self) -> int: ...
    @property
    def conflicts(self) -> int: ...
    @property
    def depth(self) -> int: ...
    @property
    def oldest(self) -> float | None:
        """When the oldest change was seen that is not on the other side yet, by `time.monotonic`."""

    @property
    def synced(self) -> bool:
        """Whether both sides are known."""

    def connected(self, side: str) -> bool: ...


class Level:
    """A number that is what it was set to last."""

    def __init__(self) -> None:
        self.value = 0.0

    def set(self, value: float) -> None:
        self.value = value


class Registry:
    """Of one process. What is counted is the sum of all that it syncs; what is there now is read of each."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.pairs: list[Metrics] = []
        """Of a workspace and a cluster each."""
        self.lag = Histogram(
            "kcp_syncer_lag_seconds",
            "From the event of a change on one side until it is on the other.",
            ("direction", "resource"),
            registry=self.registry,
            buckets=BUCKETS,
        )
        self.retries = self._counter("kcp_syncer_retries", "Attempts that failed.", "resource")
        self.requests = self._counter("kcp_syncer_requests", "Requests to either side.", "side", "method", "code")
        self.dropped = self._counter("kcp_syncer_events_dropped", "Events that were not written to the workspace.")
        self.tunnel_requests = self._counter(
            "kcp_syncer_tunnel_requests", "Requests that came through a tunnel.", "subresource", "code"
        )
        for side in SIDES:
            for method in METHODS:
                self.requests.labels(side, method, "0")
        build = Gauge(
            "kcp_syncer_build_info", "Versions of the syncer and Python.", ("version", "python"), registry=self.registry
        )
        build.labels(own_version(), platform.python_version()).set(1)
        ProcessCollector(registry=self.registry)
        self.registry.register(_Pairs(self.pairs))

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)


class Metrics:
    """Of one workspace and one cluster."""

    def __init__(self, process: Registry | None = None) -> None:
        """``process``: where it counts; for itself alone if there is none."""
        self.process = process or Registry()
        self.kinds: list[Kind] = []
        self.leading = Level()
        self.knows_leader = Level()
        """1 where the workspace could be asked at last who the one is."""
        self.token_expiry = Level()
        self.tunnels = Level()
        self.lag = self.process.lag
        self.retries = self.process.retries
        self.requests = self.process.requests
        self.dropped = self.process.dropped
        self.tunnel_requests = self.process.tunnel_requests
        self._slowest = dict.fromkeys(DIRECTIONS, 0.0)
        """Since they were asked for."""

    @contextmanager
    def read(self) -> Iterator[None]:
        """While this is counted among what is there now."""
        self.process.pairs.append(self)
        try:
            yield
        finally:
            self.process.pairs.remove(self)

    @property
    def registry(self) -> CollectorRegistry:
        return self.process.registry

    def met(self, resource: str) -> None:
        """What is counted of a resource begins at nought, before there is anything to count."""
        self.retries.labels(resource)
        for direction in DIRECTIONS:
            self.lag.labels(direction, resource)

    def arrived(self, direction: str, resource: str, seconds: float) -> None:
        """A change is on the other side, ``seconds`` after it was seen."""
        self.lag.labels(direction, resource).observe(seconds)
        self._slowest[direction] = max(self._slowest[direction], seconds)

    def slowest(self) -> dict[str, float | None]:
        """Seconds that the slowest changes took since this was asked for, by direction, None if nothing changed; and,
        ``oldest``, for how long one waits already."""
        found: dict[str, float | None] = {key: seconds or None for key, seconds in self._slowest.items()}
        self._slowest = dict.fromkeys(DIRECTIONS, 0.0)
        since = min((kind.oldest for kind in self.kinds if kind.oldest is not None), default=None)
        return {**found, "oldest": 0.0 if since is None else time.monotonic() - since}

    def connected(self, side: str) -> bool:
        """Whether all watches of that side are open."""
        return bool(self.kinds) and all(kind.connected(side) for kind in self.kinds)


class _Pairs(Collector):
    def __init__(self, pairs: list[Metrics]) -> None:
        self._pairs = pairs

    def collect(self) -> Iterator[Metric]:
        now = time.monotonic()
        objects, conflicts, depth = Tally[str](), Tally[str](), Tally[str]()
        oldest: dict[str, float] = {}
        for kind in (kind for pair in self._pairs for kind in pair.kinds):
            objects[kind.name] += kind.objects
            conflicts[kind.name] += kind.conflicts
            depth[kind.name] += kind.depth
            age = 0.0 if kind.oldest is None else now - kind.oldest
            oldest[kind.name] = max(oldest.get(kind.name, 0.0), age)
        told: tuple[tuple[str, str, Mapping[str, float]], ...] = (
            ("objects", "Objects that stand below as they are asked for above.", objects),
            ("conflicts", "Objects whose place below is taken by somebody else's.", conflicts),
            ("queue_depth", "Objects that wait or are worked on.", depth),
            ("oldest_pending_seconds", "Age of the oldest change that is not on the other side yet.", oldest),
        )
        for name, text, values in told:
            family = GaugeMetricFamily(f"kcp_syncer_{name}", text, labels=("resource",))
            for resource, value in values.items():
                family.add_metric((resource,), value)
            yield family
        connected = GaugeMetricFamily("kcp_syncer_connected", "Whether all watches are open.", labels=("side",))
        for side in SIDES:
            # Of many, whose owners may do as they like, none at all is what is wrong with this process.
            connected.add_metric((side,), float(any(pair.connected(side) for pair in self._pairs)))
        yield connected
        text = "Clusters that this syncer is the one to work for."
        yield GaugeMetricFamily("kcp_syncer_leading", text, sum(pair.leading.value for pair in self._pairs))
        ends = [pair.token_expiry.value for pair in self._pairs if pair.token_expiry.value]
        text = "When the syncer's token of the workspace ends, the first one of several."
        yield GaugeMetricFamily("kcp_syncer_token_expiry_timestamp_seconds", text, min(ends, default=0.0))
        text = "Tunnels that wait for a request."
        yield GaugeMetricFamily("kcp_syncer_tunnels_waiting", text, sum(pair.tunnels.value for pair in self._pairs))


def ready(metrics: Metrics) -> dict[str, bool]:
    """What has to hold for ``/readyz``. A syncer that stands by for another is ready for that; one that knows of no
    other, as it does not reach the workspace, is not."""
    if not metrics.leading.value:
        return {"standing-by": bool(metrics.knows_leader.value)}
    return {
        "kinds-known": bool(metrics.kinds) and all(kind.synced for kind in metrics.kinds),
        **{f"{side}-connected": metrics.connected(side) for side in SIDES},
    }


@asynccontextmanager
async def serve(
    registry: CollectorRegistry,
    checks: Callable[[], Mapping[str, bool]],
    host: str,
    port: int,
    token_file: Path | None = None,
) -> AsyncIterator[int]:
    """Answer scrapes and probes; the port. ``checks``: what has to hold for ``/readyz``. ``token_file``: holds the
    bearer token that scrapes need. Raises OSError where the address cannot be used."""
    scrapers = TokenFile(token_file)

    async def scrape(request: web.Request) -> web.Response:
        if not scrapers.allows(request.headers.get("Authorization", "")):
            return web.Response(text="Unauthorized\n", status=401, headers={"WWW-Authenticate": 'Bearer realm="kcp"'})
        encoder, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encoder(registry), headers={"Content-Type": content_type})

    async def live(request: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def check(request: web.Request) -> web.Response:
        found = checks()
        good = all(found.values())
        lines = [f"[{'+' if holds else '-'}]{name} {'ok' if holds else 'failed'}" for name, holds in found.items()]
        verbose = "verbose" in request.query or not good
        return web.Response(text="\n".join(lines) + "\n" if verbose else "ok", status=200 if good else 503)

    application = web.Application()
    application.add_routes([web.get("/metrics", scrape), web.get("/livez", live), web.get("/readyz", check)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
