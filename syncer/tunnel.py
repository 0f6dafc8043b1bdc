"""Tunnels to the workspace: connections that wait there for a user who wants to reach into a pod.

The syncer is the client that opens them and the server of the one request that each of them brings. It carries out
nothing but what is in `ALLOWED`, only in namespaces that it has made for the workspace, and with its own rights on the
cluster: whoever speaks on the other side reaches nothing else. `proxy/server/tunnels.py` is that other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any, TypeVar

import orjson

from proxy.kube.client import Client
from proxy.kube.errors import StatusError
from proxy.kube.pipe import Pipe
from proxy.kube.streams import Dialer, Peer, headers_of, status_of
from syncer.namespaces import Namespaces

log = logging.getLogger(__name__)

PROTOCOL = "kcp-tunnel"
INSTANCE = b"kcp-instance"
"""Header of the answer: which proxy, of several behind one address, has the tunnel."""
WAITING = 2
"""Tunnels that wait at each proxy, whichever of its workers they land in."""
ENOUGH = 8
"""Connections in a row that are one too many where they land: by then all proxies should be known."""
LOOK = 30.0
"""Seconds until one is opened to see whether there is a new proxy."""
MOST = 256
"""Those that are in use at a time."""
SOONEST, LATEST = 0.1, 10.0
"""Seconds between attempts to open one."""
ANSWER_TIMEOUT = 30.0
"""Seconds for the workspace to accept one."""
ALLOWED = re.compile(
    rb"(?P<method>GET|POST) /api/v1/namespaces/(?P<namespace>[a-z0-9-]+)/pods/(?P<pod>[a-z0-9][a-z0-9.-]*)/"
    rb"(?P<what>log|exec|attach|portforward)(?P<query>\?[!-~]*)? HTTP/1\.1\Z"
)
"""The request line of what is carried out; namespaces as they are called in the workspace."""
HEADERS = frozenset(
    {b"accept", b"connection", b"content-length", b"sec-websocket-extensions", b"sec-websocket-key",
     b"sec-websocket-protocol", b"sec-websocket-version", b"upgrade", b"user-agent", b"x-stream-protocol-version"}
)  # fmt: skip
"""That go on to the API server; no credentials are among them but the syncer's own."""
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
"""Go's net/http ends lines where there is but a line feed."""
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
BAD_GATEWAY = "BadGateway"
AT_ONCE = 1.0
"""Seconds: a tunnel that ends unused within that has not been of service."""

Result = TypeVar("Result")


class Tunnel:
    """``seen(what, code)`` is called for each request; ``waits(count)`` when tunnels come to wait, or are used."""

    def __init__(
        self,
        above: Client,
        below: Client,
        *,
        cluster: str,
        namespaces: Namespaces,
        seen: Callable[[str, int], object],
        waits: Callable[[int], object],
    ) -> None:
        self._above = above
        self._below = below
        self._cluster = cluster
        self._namespaces = namespaces
        self._seen = seen
        self._waits = waits
        self._dial_above = Dialer(above.connection)
        self._dial_below = Dialer(below.connection)
        self._room = asyncio.Semaphore(MOST)
        self._waiting: Counter[str] = Counter()
        """By proxy; one that is known and has none stands here as well."""
        self._lacking = asyncio.Event()
        self._complaint = ""

    async def run(self) -> None:
        """Keep tunnels open until cancelled."""
        async with asyncio.TaskGroup() as group:
            await self._keep(group)

    async def _keep(self, group: asyncio.TaskGroup) -> None:
        """Open tunnels until each proxy has enough of them. Where a connection lands is not ours to say, so those that
        are one too many are closed again, and after some of these in a row all proxies should be known."""
        delay = SOONEST
        vain, look = 0, True
        while True:
            if vain >= ENOUGH or (not look and self._enough()):
                if vain >= ENOUGH:
                    self._waiting = +self._waiting  # proxies that were not met once are no more
                vain, look = 0, False
                self._lacking.clear()
                try:
                    async with asyncio.timeout(LOOK):
                        await self._lacking.wait()
                except TimeoutError:
                    vain, look = ENOUGH - 1, True
            await self._room.acquire()
            try:
                tunnel, proxy = await self._open()
            except BaseException as error:
                self._room.release()
                if not isinstance(error, OSError | StatusError):
                    raise
                self._complain(str(error) or type(error).__name__)
                await asyncio.sleep(delay * random.uniform(0.5, 1.0))
                delay = min(delay * 2, LATEST)
                continue
            self._complain("")
            delay = SOONEST
            if self._waiting[proxy] >= WAITING:
                tunnel.transport.close()
                self._room.release()
                vain += 1
                continue
            if proxy not in self._waiting:
                vain, look = 0, True
            self._count(proxy, 1)
            group.create_task(self._serve(tunnel, proxy))

    def _enough(self) -> bool:
        return bool(self._waiting) and all(count >= WAITING for count in self._waiting.values())

    def _count(self, proxy: str, change: int) -> None:
        self._waiting[proxy] += change
        self._waits(sum(self._waiting.values()))
        if change < 0:
            self._lacking.set()

    def _complain(self, what: str) -> None:
        if what and what != self._complaint:
            log.warning("tunnel to the workspace: %s", what)
        elif not what and self._complaint:
            log.info("tunnel to the workspace: works again")
        self._complaint = what

    async def _open(self) -> tuple[Peer, str]:
        """A tunnel, and the proxy that has it. Raises OSError, and StatusError where the workspace refuses it."""
        tunnel = await self._dial_above.open()
        try:
            path = f"{self._dial_above.path}/apis/workload.kcp.dev/v1alpha1/workloadclusters/{self._cluster}/tunnel"
            token = self._above.connection.bearer()
            lines = [
                f"POST {path} HTTP/1.1",
                f"Host: {self._dial_above.host}",
                "Connection: Upgrade",
                f"Upgrade: {PROTOCOL}",
                "User-Agent: kcp-syncer",
                "Content-Length: 0",
                *([f"Authorization: Bearer {token}"] if token else []),
            ]
            tunnel.transport.write("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
            async with asyncio.timeout(ANSWER_TIMEOUT):
                answer = await tunnel.head()
                code = status_of(answer)
                if code != 101:
                    raise StatusError.of_body(code, _decoded(await tunnel.body(answer)))
        except BaseException:
            tunnel.transport.abort()
            raise
        named = (value for name, value in headers_of(answer[1:]) if name == INSTANCE)
        return tunnel, next(named, b"").decode("latin-1")[:64]

    async def _serve(self, tunnel: Peer, proxy: str) -> None:
        """Wait for the request that comes through it, and carry that out."""
        began = time.monotonic()
        try:
            head = await tunnel.head()
        except ConnectionError:
            head = None  # it has waited for long enough: a new one proves anew who we are
            if time.monotonic() - began < AT_ONCE:
                await asyncio.sleep(AT_ONCE)
        except BaseException:
            tunnel.transport.abort()
            raise
        finally:
            self._count(proxy, -1)
        if head is None:
            self._room.release()
        else:
            await self._use(tunnel, head)

    async def _use(self, tunnel: Peer, head: list[bytes]) -> None:
        """Carry out the request whose head that is."""
        what, code = "other", 0
        try:
            tunnel.transport.write(CONTINUE)
            request = ALLOWED.match(head[0])
            if request is None:
                raise StatusError(403, "a tunnel serves requests to pods alone")
            what = request["what"].decode()
            wanted = self._request(request, head)
            async with self._connected() as cluster:
                cluster.transport.write(wanted)
                answer = await _unless_ended(tunnel, cluster.head())
                code = status_of(answer)
                if code in (401, 403):
                    raise await self._refusal(cluster, answer)
                tunnel.transport.write(b"\r\n".join([*answer, b"", cluster.unread]))
                # Nothing that comes after a request is part of it, unless the API server has agreed to that.
                await _joined(tunnel, cluster, one_way=code != 101)
        except StatusError as error:
            code = error.code
            body = orjson.dumps(error.status())
            kind = b"Content-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
            tunnel.transport.write(b"HTTP/1.1 %d Refused\r\n%b\r\n%b" % (code, kind, body))
        except OSError as error:
            log.debug("%s through the tunnel: %s", what, error)
            tunnel.transport.abort()
        except Exception:
            log.exception("%s through the tunnel", what)
            tunnel.transport.abort()
        finally:
            self._seen(what, code)
            tunnel.transport.close()
            self._room.release()

    @contextlib.asynccontextmanager
    async def _connected(self) -> AsyncIterator[Peer]:
        """A connection to the cluster's API server. Raises StatusError 502."""
        try:
            cluster = await self._dial_below.open()
        except OSError as error:
            message = f"the API server of cluster {self._cluster} cannot be reached: {error or type(error).__name__}"
            raise StatusError(502, message, reason=BAD_GATEWAY) from error
        try:
            yield cluster
        finally:
            cluster.transport.abort()

    def _request(self, request: re.Match[bytes], head: list[bytes]) -> bytes:
        """What the API server is sent. Raises StatusError 404 for a namespace that is not synced, or not by us."""
        namespace = request["namespace"].decode()
        physical = self._namespaces.below(namespace)
        if not self._namespaces.is_synced(namespace) or not self._namespaces.is_ours(physical):
            pod = request["pod"].decode()
            message = f'pods "{pod}" not found: namespace {namespace} does not run on cluster {self._cluster}'
            raise StatusError(404, message, details={"name": pod, "kind": "pods"})
        if any(_CONTROL.search(line) for line in head):
            raise StatusError(400, "a header has a control character in it")
        headers = [(name, value) for name, value in headers_of(head[1:]) if name in HEADERS]
        if any(value != b"0" for name, value in headers if name == b"content-length"):
            raise StatusError(400, "such a request has no body")
        if not any(name == b"upgrade" for name, _ in headers):
            headers = [header for header in headers if header[0] != b"connection"] + [(b"connection", b"close")]
        headers.append((b"host", self._dial_below.host.encode()))
        token = self._below.connection.bearer()
        if token:
            headers.append((b"authorization", f"Bearer {token}".encode()))
        line = b"%b %b/api/v1/namespaces/%b/pods/%b/%b%b HTTP/1.1\r\n" % (
            request["method"],
            self._dial_below.path.encode(),
            physical.encode(),
            request["pod"],
            request["what"],
            request["query"] or b"",
        )
        return line + b"".join(b"%b: %b\r\n" % header for header in headers) + b"\r\n"

    async def _refusal(self, cluster: Peer, answer: list[bytes]) -> StatusError:
        said = StatusError.of_body(status_of(answer), _decoded(await cluster.body(answer)))
        message = f"cluster {self._cluster} does not let its syncer do that: {said}"
        return StatusError(502, message, reason=BAD_GATEWAY)


async def _unless_ended(tunnel: Peer, work: Coroutine[Any, Any, Result]) -> Result:
    """The result of ``work``. Raises ConnectionError when the tunnel ends before."""
    task = asyncio.create_task(work)
    both: list[asyncio.Future[Any]] = [task, tunnel.ended]
    try:
        await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise ConnectionError("nobody waits for the answer any more")
    finally:
        task.cancel()


async def _joined(tunnel: Peer, cluster: Peer, *, one_way: bool) -> None:
    """Until both connections are closed."""
    if tunnel.ended.done() or cluster.ended.done():
        return  # all that it had to say has been passed on already
    ended = asyncio.Event()
    pipe = Pipe(tunnel.transport, cluster.transport, ended.set, one_way=one_way)
    try:
        await ended.wait()
    finally:
        pipe.close()


def _decoded(body: bytes) -> object:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return body.decode("utf-8", "replace")
