"""Listen, serve, and stop in good order."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import Iterable, Sequence

from proxy.kube.reading import Scratch
from proxy.server.accepting import Acceptor
from proxy.server.alive import keepalive
from proxy.server.front import Front
from proxy.server.handshakes import Handshakes
from proxy.server.messages import Forward, Gateway, Observer
from proxy.server.pool import Pool, ShardEndpoint
from proxy.server.replies import unavailable
from proxy.server.settings import ServerSettings
from proxy.server.tls import ServerTls
from proxy.server.tunnels import Tunnels
from proxy.server.upstream import Sink
from proxy.server.watches import Watches

log = logging.getLogger(__name__)

SWEEP = 5.0
"""Seconds between looks at what is overdue."""
GRACE = 3.0
"""Seconds that requests under way get at the end; watches are cut at once, their clients resume elsewhere."""


def listen(address: str, port: int, gone_timeout: float) -> socket.socket:
    """A listening socket that other workers share. ``gone_timeout``: as `Limits`'. Raises OSError."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family == socket.AF_INET6:
        listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    keepalive(listener, gone_timeout)  # accepted connections inherit it
    try:
        listener.bind((address, port))
        listener.listen(2048)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


class Server:
    """One worker's server: ``await start()``, then ``await stop()``."""

    def __init__(
        self,
        gateway: Gateway,
        settings: ServerSettings,
        endpoints: Iterable[ShardEndpoint],
        observers: Sequence[Observer] = (),
        tunnels: Tunnels | None = None,
    ) -> None:
        self._tunnels = tunnels or Tunnels()
        self._gateway = gateway
        self._settings = settings
        self._observers = tuple(observers)
        self._pools = {
            shard.name: Pool(shard, settings.limits.answer_timeout, settings.limits.gone_timeout) for shard in endpoints
        }
        self.watches = Watches(self._send)
        """Of clients, as far as they may share requests to shards."""
        self._connections: set[Front] = set()
        self.handshakes = Handshakes()
        """Of clients."""
        self._acceptor: Acceptor | None = None
        self._sweeper: asyncio.Task[None] | None = None

    @property
    def pools(self) -> Iterable[Pool]:
        """One for each shard."""
        return self._pools.values()

    def connections(self) -> int:
        """Of clients, open now."""
        return len(self._connections)

    def fronts(self) -> Iterable[Front]:
        """Connections of clients, open now."""
        return self._connections

    def _send(self, forward: Forward, sink: Sink) -> None:
        pool = self._pools.get(forward.shard)
        if pool is None:
            sink.failed(unavailable(forward.shard, "it is not known here"))
        else:
            pool.send(forward, sink)

    async def start(self) -> None:
        settings = self._settings
        tls = ServerTls(settings, self.handshakes)
        scratch = Scratch()
        self._acceptor = Acceptor(
            listen(settings.bind_address, settings.port, settings.limits.gone_timeout),
            tls.context,
            lambda: Front(
                self._gateway, self._pools, settings.limits, self._connections, self._observers, self.watches, scratch
            ),
        )
        self._sweeper = asyncio.create_task(self._sweep(tls))

    async def _sweep(self, tls: ServerTls) -> None:
        while True:
            await asyncio.sleep(SWEEP)
            tls.refresh()
            now = time.monotonic()
            every: list[Front | Pool | Tunnels] = [*self._connections, *self._pools.values(), self._tunnels]
            for swept in every:
                try:
                    swept.sweep(now)
                except Exception:
                    log.exception("a connection could not be looked after")

    async def stop(self, grace: float = GRACE) -> None:
        """No new connections; requests under way get ``grace`` seconds."""
        if self._acceptor is not None:
            self._acceptor.close()
        if self._sweeper is not None:
            self._sweeper.cancel()
        for front in list(self._connections):
            front.drain()
        deadline = time.monotonic() + grace
        while self._connections and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        self.watches.close()
        for pool in self._pools.values():
            pool.close()
        self._tunnels.close()
