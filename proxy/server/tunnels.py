"""Tunnels to physical clusters: connections that their syncers have opened and that wait for a request.

A syncer asks a proxy to switch a connection to ``kcp-tunnel``. From then on the proxy is the client on it: it sends one
HTTP/1.1 request, which the syncer carries out at its own cluster's API server, answers ``100 Continue`` at once and
then whatever comes from there; a 101 makes both ends of the connection the user's and the cluster's own. A tunnel
serves one request. The syncer opens another as soon as one is taken.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

from proxy.kube.errors import StatusError
from proxy.kube.reading import Scratch
from proxy.server.messages import Forward, Header
from proxy.server.replies import BAD_GATEWAY
from proxy.server.upstream import Sink, Upstream, request_bytes

log = logging.getLogger(__name__)

PROTOCOL = b"kcp-tunnel"
INSTANCE = b"kcp-instance"
"""Header of the answer to who opens one: names the workers that share their tunnels. Of several proxies behind one
address each needs its own."""
Key = tuple[str, str]
"""Token of a workspace and name of a WorkloadCluster."""
PATIENCE = 3.0
"""Seconds that a request waits for a tunnel."""
LOOK = 0.1
"""Seconds between looks at what siblings have."""
ACKNOWLEDGED = 5.0
"""Seconds in which a syncer must say that it has got a request: a host that has lost its power says nothing."""
MAX_AGE = 240.0
"""Seconds that a tunnel may wait. A new one proves anew that its syncer may open it."""
MAX_WAITING = 16
"""Tunnels of one cluster that wait."""
MAX_ASKING = 128
"""Requests that wait for a tunnel to one cluster."""
MAX_HEAD = 64 * 1024
"""Bytes before an answer's body: who answers here is a tenant."""


class Tunnel(Upstream):
    """One of them, as the connection that an answer comes from."""

    __slots__ = ("_read",)

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        self._read = 0
        self._reused = True  # it has lain idle: what is lost unheard may be asked again

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._sink is not None and not self._head_done:
            self._read += len(data)
            if self._read > MAX_HEAD:
                self._bad_gateway("answers without end")

    def unheard(self, now: float) -> bool:
        """Whether it is time that the syncer had said something."""
        return self._sink is not None and not self._heard and now - self._began > ACKNOWLEDGED


class Cluster:
    """What is owned by one worker of the tunnels of one cluster."""

    def __init__(self, tunnels: Tunnels, key: Key) -> None:
        self.tunnels = tunnels
        self.key = key
        self.shard = key[1]
        self.scratch = tunnels.scratch
        self.waiting: deque[Tunnel] = deque()
        self.asking = 0
        self.arrived = asyncio.Event()

    # as the owner of connections

    def put(self, upstream: Upstream) -> None:
        upstream.close()

    def lost(self, upstream: Upstream, *, unanswered: bool) -> None:
        if isinstance(upstream, Tunnel):
            if upstream in self.waiting:
                self.waiting.remove(upstream)
            self.tunnels.active.discard(upstream)
        self.tunnels.tidy(self)

    # as the way of a request

    def send(self, forward: Forward, sink: Sink, *, fresh: bool = False) -> None:
        if not fresh:
            sink = _Named(sink, self)
        try:
            request = request_bytes(forward, b"cluster")
        except StatusError as error:
            sink.failed(error)
            return
        self.tunnels.start(self._send(forward, sink, request))

    async def _send(self, forward: Forward, sink: Sink, request: bytes) -> None:
        try:
            tunnel = await self.tunnels.take(self)
        except StatusError as error:
            self.tunnels.away += 1
            sink.failed(error)
            return
        if not sink.bind(tunnel):
            tunnel.close()  # a syncer opens others
            return
        self.tunnels.reached += 1
        self.tunnels.active.add(tunnel)
        tunnel.begin(forward, sink, request)


class Tunnels:
    """Of one worker; ``ask(cluster)`` gives one of a sibling's, or None. ``instance``: names it and its siblings."""

    def __init__(self, instance: str = "") -> None:
        self.instance = instance
        self.ask: Callable[[Cluster], Awaitable[Tunnel | None]] | None = None
        self._clusters: dict[Key, Cluster] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.scratch = Scratch()
        self.active: set[Tunnel] = set()
        """Those on which an answer is awaited, or comes in."""
        self.reached = 0
        """Requests for which there was a tunnel."""
        self.away = 0
        """Those for which there was none."""

    @property
    def waiting(self) -> int:
        """Tunnels that wait for a request."""
        return sum(len(cluster.waiting) for cluster in self._clusters.values())

    def cluster(self, token: str, name: str) -> Cluster:
        key = (token, name)
        found = self._clusters.get(key)
        return Cluster(self, key) if found is None else found

    def room(self, token: str, name: str) -> bool:
        """Whether another tunnel is of use."""
        return len(self.cluster(token, name).waiting) < MAX_WAITING

    def accept(self, token: str, name: str, transport: asyncio.Transport) -> None:
        """A syncer's connection, from which nothing is to be read until it is asked something."""
        if transport.is_closing():
            return
        cluster = self._clusters.setdefault((token, name), self.cluster(token, name))
        tunnel = Tunnel(cluster)
        transport.set_protocol(tunnel)
        tunnel.connection_made(transport)
        tunnel.idle_since = time.monotonic()
        cluster.waiting.append(tunnel)
        cluster.arrived.set()

    def pop(self, token: str, name: str) -> Tunnel | None:
        """The one that has waited for the longest time: a syncer may let go of the newest, being one too many."""
        waiting = self.cluster(token, name).waiting
        while waiting:
            tunnel = waiting.popleft()
            if not tunnel.transport.is_closing():
                return tunnel
        return None

    async def take(self, cluster: Cluster) -> Tunnel:
        """Raises StatusError 504 where there is none for a while."""
        cluster = self._clusters.setdefault(cluster.key, cluster)
        if cluster.asking >= MAX_ASKING:
            raise StatusError(429, f"too many requests wait for cluster {cluster.key[1]}")
        cluster.asking += 1
        deadline = time.monotonic() + PATIENCE
        try:
            while True:
                cluster.arrived.clear()
                tunnel = self.pop(*cluster.key)
                if tunnel is None and self.ask is not None:
                    tunnel = await self.ask(cluster)
                if tunnel is not None:
                    return tunnel
                if time.monotonic() > deadline:
                    raise _away(cluster.key[1])
                try:
                    async with asyncio.timeout(LOOK):
                        await cluster.arrived.wait()
                except TimeoutError:
                    pass
        finally:
            cluster.asking -= 1
            self.tidy(cluster)

    def start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def tidy(self, cluster: Cluster) -> None:
        """Forget a cluster of which there is nothing."""
        if not (cluster.waiting or cluster.asking) and self._clusters.get(cluster.key) is cluster:
            del self._clusters[cluster.key]

    def sweep(self, now: float) -> None:
        """Every few seconds: what waits too long, and who does not acknowledge."""
        for cluster in list(self._clusters.values()):
            for tunnel in [tunnel for tunnel in cluster.waiting if now - tunnel.idle_since > MAX_AGE]:
                cluster.waiting.remove(tunnel)
                tunnel.close()
            self.tidy(cluster)
        for tunnel in [tunnel for tunnel in self.active if tunnel.unheard(now)]:
            tunnel.timed_out()

    def close(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        waiting = [tunnel for cluster in self._clusters.values() for tunnel in cluster.waiting]
        for tunnel in [*waiting, *self.active]:
            tunnel.abandon()


class _Named:
    """A sink to which what goes wrong is told in terms of the cluster."""

    __slots__ = ("_cluster", "_sink", "_tunnel")
    lines = b""
    """Ids of requests and traces are nothing to the cluster."""

    def __init__(self, sink: Sink, cluster: Cluster) -> None:
        self._sink = sink
        self._cluster = cluster
        self._tunnel: Upstream | None = None

    def bind(self, upstream: Upstream) -> bool:
        self._tunnel = upstream
        return self._sink.bind(upstream)

    def head(self, status: int, headers: list[Header]) -> None:
        self._sink.head(status, headers)

    def data(self, chunk: bytes, done: bool) -> None:
        self._sink.data(chunk, done)

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        self._sink.whole(status, fields, body)

    def upgraded(self, headers: list[Header], rest: bytes) -> None:
        if isinstance(self._tunnel, Tunnel):
            self._cluster.tunnels.active.discard(self._tunnel)
        self._sink.upgraded(headers, rest)

    def failed(self, error: StatusError) -> None:
        name = self._cluster.key[1]
        if self._tunnel is None:
            self._sink.failed(error)
        elif error.code == 504:
            self._sink.failed(_away(name))
        else:
            message = f"the connection to cluster {name} broke before it had answered"
            self._sink.failed(StatusError(502, message, reason=BAD_GATEWAY))


def _away(cluster: str) -> StatusError:
    # Not 503: clients would ask again, for a minute.
    return StatusError(
        504,
        f"cluster {cluster} cannot be reached: its syncer is away, or was not given --tunnel "
        "(kubectl kcp workload sync)",
    )
