"""Connections to one shard, kept and used again."""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from dataclasses import dataclass

from proxy.auth.identity import AUTHENTICATED, GROUP_HEADER, USER_HEADER
from proxy.kube.errors import StatusError
from proxy.kube.readiness import ROLES_HOOK
from proxy.kube.reading import Scratch
from proxy.server.alive import keepalive
from proxy.server.exchange import Buffered
from proxy.server.messages import Forward
from proxy.server.replies import unavailable
from proxy.server.upstream import Sink, Upstream, request_bytes

log = logging.getLogger(__name__)

MAX_IDLE = 45.0
"""Seconds a kept connection may be used again after its last answer: half of kube-apiserver's own idle timeout, so that
it is not closed at the moment it is taken."""
MAX_KEPT = 256
CONNECT, TLS, CLOSED, TIMEOUT = FAILURES = ("connect", "tls", "closed", "timeout")
CONNECT_TIMEOUT = 10.0
READY = f"/readyz?exclude={ROLES_HOOK}".encode()
ASKER = b"kcp-proxy"
"""Name under which a shard is asked whether it is ready."""


@dataclass(frozen=True, slots=True)
class ShardEndpoint:
    """Where a shard is and how it knows the proxy."""

    name: str
    host: str
    port: int
    tls: ssl.SSLContext | None
    server_hostname: str | None = None
    authorization: bytes | None = None
    """Value of an Authorization header, for shards that know the proxy by token."""


class Pool:
    """Taken last in, first out, so that the idle ones age away.

    A shard that went away is asked nothing until it says that it is ready again: a kube-apiserver listens seconds
    before it knows its custom resources and its users' rights, and would say that they have none.
    """

    def __init__(self, endpoint: ShardEndpoint, answer_timeout: float, gone_timeout: float = 60.0) -> None:
        """``answer_timeout``: seconds that a shard may be silent, except in a watch; ``gone_timeout``: after which its
        host is known to have gone, in a watch as well."""
        self.endpoint = endpoint
        self.shard = endpoint.name
        self._host = f"{_bracketed(endpoint.host)}:{endpoint.port}".encode()
        self._answer_timeout = answer_timeout
        self._gone_timeout = gone_timeout
        self._idle: list[Upstream] = []
        self.scratch = Scratch()
        self._active: set[Upstream] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self.made = 0
        """Connections that were made so far."""
        self.taken = 0
        """Requests that went out on a kept connection."""
        self.failures = dict.fromkeys(FAILURES, 0)
        """Requests that a connection was no good for, by what was the matter."""
        self._doubtful = False
        """Whether the shard was seen to go away and has not been heard to be ready since."""

    @property
    def size(self) -> int:
        """Connections there are, idle ones included."""
        return len(self._idle) + len(self._active)

    @property
    def active(self) -> int:
        """Requests that are being answered."""
        return len(self._active)

    def send(self, forward: Forward, sink: Sink, *, fresh: bool = False) -> None:
        """Send on a kept connection, else (or if ``fresh``) on a new one. All that comes of it is told to ``sink``."""
        try:
            request = request_bytes(forward, self._host, sink.lines)
        except StatusError as error:
            sink.failed(error)
            return
        upstream = None if fresh or self._doubtful else self._take()
        if upstream is not None:
            self.taken += 1
            self._begin(upstream, forward, sink, request)
            return
        task = asyncio.get_running_loop().create_task(self._connect(forward, sink, request))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    def _take(self) -> Upstream | None:
        oldest = time.monotonic() - MAX_IDLE
        while self._idle:
            upstream = self._idle.pop()
            if upstream.idle_since > oldest and not upstream.transport.is_closing():
                return upstream
            upstream.close()
        return None

    def _begin(self, upstream: Upstream, forward: Forward, sink: Sink, request: bytes) -> None:
        if sink.bind(upstream):
            self._active.add(upstream)
            upstream.begin(forward, sink, request)
        else:
            self.put(upstream)

    async def _connect(self, forward: Forward, sink: Sink, request: bytes) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                if self._doubtful:
                    await self._await_word()
                upstream = self._take() or await self.open()
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            log.debug("shard %s: %s", self.shard, error)
            self.failures[TLS if isinstance(error, ssl.SSLError) else CONNECT] += 1
            self._doubtful = True
            sink.failed(unavailable(self.shard, "it cannot be reached"))
            return
        except StatusError as error:
            sink.failed(error)
            return
        except asyncio.CancelledError:
            sink.failed(unavailable(self.shard, "the proxy is about to end"))
            raise
        self._begin(upstream, forward, sink, request)

    async def _await_word(self) -> None:
        """Ask the shard whether it is ready. Raises OSError where it cannot be asked, StatusError 503 if it is not."""
        endpoint = self.endpoint
        headers = [(USER_HEADER, ASKER), (GROUP_HEADER, AUTHENTICATED.encode())]
        if endpoint.authorization is not None:
            headers.append((b"authorization", endpoint.authorization))
        question = Forward(self.shard, b"GET", READY, headers)
        sink = Buffered()
        try:
            self._begin(await self.open(), question, sink, request_bytes(question, self._host))
            answer = await sink.result
        except StatusError:
            raise unavailable(self.shard, "it is starting") from None
        finally:
            sink.cancel()
        if answer.status != 200:
            raise unavailable(self.shard, "it is starting")
        self._doubtful = False

    async def open(self) -> Upstream:
        """A new connection. Raises OSError."""
        endpoint = self.endpoint
        transport, upstream = await asyncio.get_running_loop().create_connection(
            lambda: Upstream(self),
            endpoint.host,
            endpoint.port,
            ssl=endpoint.tls,
            server_hostname=(endpoint.server_hostname or endpoint.host) if endpoint.tls else None,
        )
        keepalive(transport.get_extra_info("socket"), self._gone_timeout)
        self.made += 1
        return upstream

    def put(self, upstream: Upstream) -> None:
        self._active.discard(upstream)
        upstream.idle_since = time.monotonic()
        if len(self._idle) < MAX_KEPT:
            self._idle.append(upstream)
        else:
            upstream.close()

    def lost(self, upstream: Upstream, *, unanswered: bool) -> None:
        self._active.discard(upstream)
        if upstream in self._idle:
            self._idle.remove(upstream)
            unanswered = True
        elif unanswered:
            self.failures[CLOSED] += 1
        if unanswered:
            self._doubtful = True

    def sweep(self, now: float) -> None:
        """Every few seconds: shards that are silent too long, connections that lay idle too long."""
        for upstream in [active for active in self._active if active.overdue(now, self._answer_timeout)]:
            self.failures[TIMEOUT] += 1
            upstream.timed_out()
        # Keepalive does not find out about those to which something is under way, a watch asked for at that moment say.
        for upstream in [active for active in self._active if active.has_vanished(self._gone_timeout)]:
            upstream.transport.abort()
        for upstream in [kept for kept in self._idle if now - kept.idle_since > MAX_IDLE]:
            self._idle.remove(upstream)
            upstream.close()

    def close(self) -> None:
        for upstream in [*self._idle, *self._active]:
            upstream.abandon()
        for task in list(self._connecting):
            task.cancel()


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
