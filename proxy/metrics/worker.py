"""All metrics of one worker, and the Unix socket where they are read.

Who connects gets one snapshot (`proxy.metrics.snapshot`) and the end of the connection.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from proxy.admission.counts import BOUNDS, Counts
from proxy.audit.auditor import Auditor
from proxy.metrics.limits import families_of, objects_of
from proxy.metrics.requests import RequestMetrics
from proxy.metrics.snapshot import HISTOGRAM, MAX, Family, Labels, address, counter, encode, gauge
from proxy.server.admission import Admission
from proxy.server.handshakes import Handshakes
from proxy.server.objects import ObjectLimit
from proxy.server.pool import Pool
from proxy.server.tunnels import Tunnels
from proxy.server.watches import Watches
from proxy.tenancy.index import PHASES, WorkspaceIndex

LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)
LAG_EVERY = 0.25
"""Seconds between looks at how late the event loop is."""


class LoopLag:
    """How late the event loop runs what is due: what blocks it shows here."""

    def __init__(self) -> None:
        self._counts = [0.0] * (len(LAG_BOUNDS) + 2)

    async def run(self) -> None:
        while True:
            due = time.perf_counter() + LAG_EVERY
            await asyncio.sleep(LAG_EVERY)
            late = max(0.0, time.perf_counter() - due)
            self._counts[sum(late > bound for bound in LAG_BOUNDS)] += 1
            self._counts[-1] += late

    def family(self) -> Family:
        return Family(
            "kcp_proxy_event_loop_lag_seconds",
            HISTOGRAM,
            "How late an event loop of the proxy runs what is due.",
            bounds=LAG_BOUNDS,
            buckets={(): self._counts},
        )


class WorkerMetrics:
    """``run()`` serves snapshots at ``path`` until cancelled."""

    def __init__(
        self,
        path: Path,
        *,
        requests: RequestMetrics,
        admission: Admission,
        objects: ObjectLimit,
        index: WorkspaceIndex,
        pools: Iterable[Pool],
        connections: Callable[[], int],
        handshakes: Handshakes,
        tunnels: Tunnels,
        watches: Watches,
        documents: Callable[[], int],
        unready: Callable[[], str | None],
        webhooks: Counts,
        auditor: Auditor | None,
    ) -> None:
        self._webhooks = webhooks
        self._path = path
        self._requests = requests
        self._admission = admission
        self._objects = objects
        self._index = index
        self._pools = list(pools)
        self._connections = connections
        self._handshakes = handshakes
        self._tunnels = tunnels
        self._watches = watches
        self._documents = documents
        self._unready = unready
        self._auditor = auditor
        self._lag = LoopLag()

    async def run(self) -> None:
        """Raises OSError where the socket cannot be made."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        server = await asyncio.start_unix_server(self._answer, address(self._path))
        self._path.chmod(0o600)
        async with server, asyncio.TaskGroup() as group:
            group.create_task(self._lag.run())
            group.create_task(server.serve_forever())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(encode(self.families(), self._unready()))
            await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()

    def families(self) -> list[Family]:
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return [
            *self._requests.families(),
            *families_of(self._admission),
            *objects_of(self._objects),
            self._lag.family(),
            self._workspaces(),
            self._shards(),
            *self._shard_connections(),
            counter(
                "kcp_proxy_tls_handshakes",
                "TLS handshakes of clients by their result.",
                "result",
                values={(result,): count for result, count in self._handshakes.counts.items()},
            ),
            gauge(
                "kcp_proxy_openapi_cache_bytes",
                "Memory of OpenAPI documents that are kept.",
                values={(): self._documents()},
            ),
            gauge(
                "kcp_proxy_tasks",
                "Tasks of the workers' event loops: what is under way and what always runs.",
                values={(): len(asyncio.all_tasks())},
            ),
            gauge("kcp_proxy_client_connections", "Open connections of clients.", values={(): self._connections()}),
            counter(
                "kcp_proxy_cpu_seconds",
                "CPU time of the proxy's workers.",
                "mode",
                values={("user",): usage.ru_utime, ("system",): usage.ru_stime},
            ),
            gauge(
                "kcp_proxy_tunnels_waiting",
                "Tunnels of syncers that wait for a request.",
                values={(): self._tunnels.waiting},
            ),
            counter(
                "kcp_proxy_tunnel_requests",
                "Requests to pods (logs, exec, port-forward) by whether there was a tunnel to their cluster.",
                "result",
                values={("reached",): self._tunnels.reached, ("away",): self._tunnels.away},
            ),
            *_shared_watches(self._watches),
            *_calls(self._webhooks),
            *(_audit(self._auditor) if self._auditor is not None else ()),
        ]

    def _workspaces(self) -> Family:
        """Every worker knows all of them."""
        counts: dict[Labels, float] = {(phase, shard): 0 for phase in PHASES for shard in self._index.shards}
        for workspace in self._index.all():
            key = (workspace.phase, workspace.shard)
            counts[key] = counts.get(key, 0) + 1
        return gauge("kcp_workspaces", "Workspaces by phase and shard.", "phase", "shard", merge=MAX, values=counts)

    def _shards(self) -> Family:
        missing = set(self._index.missing_shards())
        return gauge(
            "kcp_shard_up",
            "Whether the workspaces of a shard can be followed.",
            "shard",
            merge=MAX,
            values={(shard,): float(shard not in missing) for shard in self._index.shards},
        )

    def _shard_connections(self) -> list[Family]:
        now = gauge("kcp_proxy_shard_connections", "Connections to shards.", "shard", "state")
        opened = counter("kcp_proxy_shard_connections_opened", "Connections made to shards.", "shard")
        reused = counter("kcp_proxy_shard_connections_reused", "Requests that went out on a kept connection.", "shard")
        failures = counter(
            "kcp_proxy_shard_failures",
            "Requests that a shard did not answer, by what its connection did.",
            "shard",
            "reason",
        )
        for pool in self._pools:
            shard = pool.shard
            now.values[(shard, "active")] = pool.active
            now.values[(shard, "idle")] = pool.size - pool.active
            opened.values[(shard,)] = pool.made
            reused.values[(shard,)] = pool.taken
            failures.values.update({(shard, reason): count for reason, count in pool.failures.items()})
        return [now, opened, reused, failures]


def _shared_watches(watches: Watches) -> tuple[Family, ...]:
    return (
        gauge(
            "kcp_proxy_shared_watch_clients",
            "Watches of clients that share requests to shards, or may.",
            values={(): watches.clients},
        ),
        gauge(
            "kcp_proxy_shared_watch_requests",
            "Requests to shards that these have.",
            values={(): watches.feeds},
        ),
        counter(
            "kcp_proxy_shared_watch_joins",
            "How clients came to their request: opened it, opened it with the state of things first, joined one that "
            "there was, moved to one when they knew enough.",
            "way",
            values={(way,): count for way, count in watches.counts.items()},
        ),
    )


def _calls(counts: Counts) -> tuple[Family, ...]:
    return (
        counter(
            "kcp_admission_webhook_calls",
            "Questions to webhooks of workspaces by what came of them; failed: no answer, or none to be used.",
            *("type", "result"),
            values=counts.results,
        ),
        Family(
            "kcp_admission_webhook_seconds",
            HISTOGRAM,
            "How long webhooks of workspaces took.",
            labels=("type",),
            bounds=BOUNDS,
            buckets={kind: list(found) for kind, found in counts.durations.items()},
        ),
    )


def _audit(auditor: Auditor) -> list[Family]:
    writers = auditor.writers
    return [
        counter(
            "kcp_audit_events",
            "Audit events that were written.",
            "sink",
            values={(writer.name,): writer.written for writer in writers},
        ),
        counter(
            "kcp_audit_dropped",
            "Audit events that were lost because they could not be written in time.",
            "sink",
            values={(writer.name,): writer.dropped for writer in writers},
        ),
    ]
