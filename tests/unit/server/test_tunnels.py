"""From a user's connection through a tunnel to a cluster and back: the proxy's side and the syncer's, over sockets.

The cluster is a server that writes down what it is asked and does what the test says; the gateways let everything
through. What comes of it on real clusters is seen in tests/e2e/workloads.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import cast

import orjson
import pytest

from proxy.kube.client import Client
from proxy.kube.config import Connection
from proxy.kube.streams import Dialer, Peer
from proxy.server import tunnels as module
from proxy.server.front import Front
from proxy.server.handover import Handover
from proxy.server.messages import Decision, Forward, Request, Switch
from proxy.server.settings import Limits
from proxy.server.tunnels import INSTANCE, Tunnels
from syncer import tunnel as syncers
from syncer.namespaces import Namespaces
from syncer.tunnel import WAITING, Tunnel
from tests.integration.eventually import eventually

TOKEN, CLUSTER = "k23456723", "east"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n\r\n"
LOG = "/api/v1/namespaces/words/pods/words-1/log?follow=true"
EXEC = "/api/v1/namespaces/words/pods/words-1/exec?command=ls"
MANY = b"0123456789abcdef" * (1 << 19)


class Passes:
    """The gateway of one worker."""

    def __init__(self, tunnels: Tunnels) -> None:
        self.tunnels = tunnels

    def decide(self, request: Request) -> Decision:
        if request.method == b"POST" and request.target.endswith(b"/tunnel"):
            headers = [(INSTANCE, self.tunnels.instance.encode())]
            return Switch(b"kcp-tunnel", lambda transport: self.tunnels.accept(TOKEN, CLUSTER, transport), headers)
        upgrade = bool(request.header(b"upgrade"))
        hop = [(b"connection", b"Upgrade"), (b"upgrade", b"SPDY/3.1")] if upgrade else []
        return Forward(
            "main", request.method, request.target, [(b"user-agent", b"test"), *hop], streaming=True,
            idempotent=not upgrade, way=self.tunnels.cluster(TOKEN, CLUSTER), upgrade=upgrade,
        )  # fmt: skip


class Ours:
    """Namespaces of one syncer."""

    def below(self, namespace: str) -> str:
        return f"kcp-{namespace}"

    def is_synced(self, namespace: str) -> bool:
        return namespace == "words"

    def is_ours(self, physical: str) -> bool:
        return physical == "kcp-words"


Act = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def answers(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


class World:
    """Two workers, a cluster, and a syncer where one was started."""

    def __init__(self) -> None:
        self.asked: list[bytes] = []
        """Heads of what the cluster was asked."""
        self.act: Act = answers
        self.codes: list[tuple[str, int]] = []
        self.tunnels: list[Tunnels] = []
        self.ports: list[int] = []
        self.cluster = 0
        self.gone = asyncio.Event()
        """Set when a connection to the cluster has ended."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.append(await reader.readuntil(b"\r\n\r\n"))
        try:
            await self.act(reader, writer)
        except ConnectionError:
            pass
        finally:
            self.gone.set()
            writer.close()

    @asynccontextmanager
    async def syncer(self, worker: int = 0) -> AsyncIterator[None]:
        """One whose connections land at that worker."""
        above = Client(Connection(f"http://127.0.0.1:{self.ports[worker]}/clusters/root:team", token="above"))
        below = Client(Connection(f"http://127.0.0.1:{self.cluster}", token="below"))
        tunnel = Tunnel(
            above, below, cluster=CLUSTER, namespaces=cast(Namespaces, Ours()),
            seen=lambda what, code: self.codes.append((what, code)), waits=lambda count: None,
        )  # fmt: skip
        task = asyncio.create_task(tunnel.run())

        async def waits() -> bool:
            return self.tunnels[worker].waiting == WAITING

        try:
            await eventually(waits, timeout=10)
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def user(self, worker: int, target: str, *, upgrade: bool = False) -> Peer:
        user = await Dialer(Connection(f"http://127.0.0.1:{self.ports[worker]}")).open()
        hop = "Connection: Upgrade\r\nUpgrade: SPDY/3.1\r\n" if upgrade else ""
        user.transport.write(f"GET {target} HTTP/1.1\r\nHost: kcp\r\nAuthorization: Bearer u\r\n{hop}\r\n".encode())
        return user

    async def asks(self, worker: int, target: str) -> tuple[int, bytes]:
        """Status and body, of an answer that has a length or chunks."""
        user = await self.user(worker, target)
        head = await user.head()
        code = int(head[0].split()[1])
        if b"transfer-encoding: chunked" in head:
            while not user.unread.endswith(b"0\r\n\r\n"):
                await user.more()
            body = b"".join(re.findall(rb"[0-9a-f]+\r\n(.*?)\r\n", user.unread, re.DOTALL))
        else:
            body = await user.body(head)
        user.transport.abort()
        return code, body


@pytest.fixture
async def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(module, "PATIENCE", 0.5)
    loop = asyncio.get_running_loop()
    made = World()
    cluster = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.cluster = cluster.sockets[0].getsockname()[1]
    running, servers = [], [cluster]
    fronts: set[Front] = set()
    for number in range(2):
        tunnels = Tunnels()
        running.append(asyncio.create_task(Handover(tunnels, tmp_path, f"worker-{number}").run()))
        gateway = Passes(tunnels)
        server = await loop.create_server(partial(Front, gateway, {}, Limits(), fronts), "127.0.0.1", 0)
        made.tunnels.append(tunnels)
        made.ports.append(server.sockets[0].getsockname()[1])
        servers.append(server)
    yield made
    for front in list(fronts):
        front.cut()
    for tunnels in made.tunnels:
        tunnels.close()
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)
    for server in servers:
        server.close()


@pytest.mark.parametrize("worker", [0, 1])
async def test_an_answer(world: World, worker: int) -> None:
    """Whichever worker the user meets."""
    async with world.syncer():
        for _ in range(5):
            assert await world.asks(worker, LOG) == (200, b"hello")
    head = world.asked[0]
    assert head.startswith(b"GET /api/v1/namespaces/kcp-words/pods/words-1/log?follow=true HTTP/1.1\r\n")
    assert b"authorization: Bearer below\r\n" in head, "the syncer's own rights"
    assert b"Bearer u" not in b"".join(world.asked)
    assert b"connection: close\r\n" in head
    assert set(world.codes) == {("log", 200)}


@pytest.mark.parametrize("worker", [0, 1])
async def test_a_conversation(world: World, worker: int) -> None:
    """After 101 bytes go both ways, whatever they are, until one side ends it."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCH + b"first")
        writer.write(await reader.readexactly(len(MANY)))
        await writer.drain()
        assert await reader.readexactly(3) == b"end"

    world.act = echo
    async with world.syncer():
        user = await world.user(worker, EXEC, upgrade=True)
        head = await user.head()
        assert head[0] == b"HTTP/1.1 101 Switching Protocols"
        assert b"upgrade: SPDY/3.1" in head
        user.transport.write(MANY)
        got = bytearray()
        while len(got) < len(MANY) + 5:
            await user.more()
            got += user.unread
            user.unread = b""
        assert bytes(got) == b"first" + MANY
        user.transport.write(b"end")
        while not user.ended.done():
            await user.more()
    assert b"upgrade: SPDY/3.1\r\n" in world.asked[0]


async def test_a_user_who_leaves_frees_the_cluster(world: World) -> None:
    """Before there is an answer, in the midst of one, and in a conversation."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\nline\n")
        await reader.read()

    async def switched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(SWITCH)
        await reader.read()

    async with world.syncer():
        for act, upgrade in ((silent, False), (endless, False), (switched, True)):
            world.act = act
            world.gone.clear()
            count = len(world.asked)
            user = await world.user(1, EXEC if upgrade else LOG, upgrade=upgrade)
            if act is silent:
                await eventually(partial(_more, world.asked, count), timeout=5)
            else:
                await user.head()
            user.transport.abort()
            await asyncio.wait_for(world.gone.wait(), 5)


async def _more(items: list[bytes], count: int) -> bool:
    return len(items) > count


async def test_what_follows_a_request_is_no_part_of_it(world: World) -> None:
    """Another request on the user's connection is answered by the proxy; never does it reach the cluster as it is."""
    heard = bytearray()

    async def listens(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        try:
            async with asyncio.timeout(0.5):
                heard.extend(await reader.read())
        except TimeoutError:
            pass
        writer.write(b"0\r\n\r\n")

    world.act = listens
    async with world.syncer():
        user = await world.user(0, LOG)
        user.transport.write(b"GET /api/v1/secrets HTTP/1.1\r\nHost: kcp\r\n\r\n")
        await user.head()
        while b"HTTP/1.1 403" not in user.unread:
            await user.more()
    assert heard == b""
    assert len(world.asked) == 1


@pytest.mark.parametrize(
    ("request_line", "code"),
    [
        ("GET /api/v1/secrets", 403),
        ("GET /api/v1/namespaces/words/secrets/x", 403),
        ("DELETE /api/v1/namespaces/words/pods/words-1", 403),
        ("GET /api/v1/namespaces/words/pods/words-1/proxy", 403),
        ("GET /api/v1/namespaces/words/pods/../log", 403),
        ("GET /api/v1/namespaces/words/pods/words-1/log/../../x", 403),
        ("GET /api/v1/namespaces/kcp-words/pods/words-1/log", 404),
        ("GET /api/v1/namespaces/kube-system/pods/words-1/log", 404),
    ],
)
async def test_a_syncer_serves_nothing_else(world: World, request_line: str, code: int) -> None:
    """Whoever is at the other end of its tunnels."""
    async with world.syncer():
        assert (await _through(world, f"{request_line} HTTP/1.1\r\n\r\n"))[0] == code
    assert world.asked == []


@pytest.mark.parametrize(
    "header", ["user-agent: x\nImpersonate-User: admin", "user-agent: x\rX: y", "content-length: 5", "accept: \0"]
)
async def test_a_syncer_passes_on_no_odd_headers(world: World, header: str) -> None:
    async with world.syncer():
        assert (await _through(world, f"GET {LOG} HTTP/1.1\r\n{header}\r\n\r\n"))[0] == 400
        secret = f"GET {LOG} HTTP/1.1\r\nAuthorization: Bearer x\r\nImpersonate-User: admin\r\n\r\n"
        assert (await _through(world, secret))[0] == 200
    assert b"mpersonate" not in world.asked[0]
    assert world.asked[0].count(b"Bearer") == 1


async def _through(world: World, request: str) -> tuple[int, bytes]:
    """What a tunnel answers to bytes of any kind."""
    tunnel = world.tunnels[0].pop(TOKEN, CLUSTER)
    assert tunnel is not None
    peer = Peer()
    tunnel.transport.set_protocol(peer)
    peer.connection_made(tunnel.transport)
    tunnel.transport.write(request.encode())
    assert (await peer.head())[0] == b"HTTP/1.1 100 Continue"
    head = await peer.head()
    return int(head[0].split()[1]), await peer.body(head)


async def test_a_cluster_that_is_away(world: World) -> None:
    """Without a syncer; with one whose API server is away; and after it has come back."""
    code, body = await world.asks(0, LOG)
    assert code == 504
    assert "cluster east cannot be reached" in orjson.loads(body)["message"]
    assert world.tunnels[0].away == 1
    async with world.syncer():
        port, world.cluster = world.cluster, 1
        assert (await world.asks(0, LOG))[0] == 200
    async with world.syncer():
        code, body = await world.asks(0, LOG)
        assert (code, orjson.loads(body)["reason"]) == (502, "BadGateway")
        assert "the API server of cluster east cannot be reached" in orjson.loads(body)["message"]
    world.cluster = port
    async with world.syncer(worker=1):
        assert await world.asks(0, LOG) == (200, b"hello")


async def test_a_syncer_without_rights(world: World) -> None:
    async def refuses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        status = b'{"kind":"Status","message":"pods is forbidden","code":403}'
        writer.write(b"HTTP/1.1 403 Forbidden\r\nContent-Length: %d\r\n\r\n%b" % (len(status), status))

    world.act = refuses
    async with world.syncer():
        code, body = await world.asks(0, LOG)
    assert code == 502, "it is not the user who lacks them"
    assert "does not let its syncer do that: pods is forbidden" in orjson.loads(body)["message"]


async def test_an_answer_that_breaks_off(world: World) -> None:
    async def breaks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    world.act = breaks
    async with world.syncer():
        code, body = await world.asks(0, LOG)
    assert code == 502
    assert "broke before it had answered" in orjson.loads(body)["message"]


async def test_one_who_does_not_acknowledge(world: World) -> None:
    """A host that has lost its power: the connection is there, and nobody answers."""
    dead = await Dialer(Connection(f"http://127.0.0.1:{world.ports[0]}")).open()
    dead.transport.write(b"POST /x/tunnel HTTP/1.1\r\nHost: kcp\r\nContent-Length: 0\r\n\r\n")
    await dead.head()
    user = await world.user(0, LOG)
    await dead.head()
    world.tunnels[0].sweep(asyncio.get_running_loop().time() + 1)
    assert not user.unread
    world.tunnels[0].sweep(asyncio.get_running_loop().time() + 60)
    assert (await user.head())[0].startswith(b"HTTP/1.1 504")


async def test_a_head_without_end(world: World) -> None:
    """Who answers is a tenant."""
    tenant = await Dialer(Connection(f"http://127.0.0.1:{world.ports[0]}")).open()
    tenant.transport.write(b"POST /x/tunnel HTTP/1.1\r\nHost: kcp\r\nContent-Length: 0\r\n\r\n")
    await tenant.head()
    user = await world.user(0, LOG)
    await tenant.head()
    tenant.transport.write(b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 20_000)
    assert (await user.head())[0].startswith(b"HTTP/1.1 502")
    await asyncio.wait_for(tenant.ended, 5)


async def test_tunnels_are_renewed_and_bounded(world: World) -> None:
    """What waits for long is let go of, so that its syncer proves anew that it may; and nobody opens without end."""
    async with world.syncer():
        before = world.tunnels[0].pop(TOKEN, CLUSTER)
        assert before is not None
        before.close()
        world.tunnels[0].sweep(asyncio.get_running_loop().time() + module.MAX_AGE + 1)
        assert world.tunnels[0].waiting == 0

        async def again() -> bool:
            return world.tunnels[0].waiting == WAITING

        await eventually(again, timeout=10)
    many = [await Dialer(Connection(f"http://127.0.0.1:{world.ports[0]}")).open() for _ in range(module.MAX_WAITING)]
    for peer in many:
        assert world.tunnels[0].room(TOKEN, CLUSTER)
        peer.transport.write(b"POST /x/tunnel HTTP/1.1\r\nHost: kcp\r\nContent-Length: 0\r\n\r\n")
        await peer.head()
    assert not world.tunnels[0].room(TOKEN, CLUSTER)
    for peer in many:
        peer.transport.abort()

    async def forgotten() -> bool:
        return not world.tunnels[0]._clusters

    await eventually(forgotten, timeout=5)


async def test_every_proxy_behind_one_address_gets_its_own(world: World) -> None:
    """Nobody says how many there are, nor where a connection lands; one that comes later is met as well."""
    proxies = [Tunnels(f"proxy-{number}") for number in range(3)]
    met = proxies[:2]
    connections = 0

    def land() -> Front:
        nonlocal connections
        connections += 1
        return Front(Passes(random.choice(met)), {}, Limits(), set())

    server = await asyncio.get_running_loop().create_server(land, "127.0.0.1", 0)
    world.ports[0] = server.sockets[0].getsockname()[1]
    world.tunnels[0] = proxies[0]

    async def covered() -> bool:
        return [proxy.waiting for proxy in met] == [WAITING] * len(met)

    random.seed(7)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(syncers, "LOOK", 0.1)
        async with world.syncer():
            await eventually(covered, timeout=10)
            met.append(proxies[2])
            await eventually(covered, timeout=10)
            for proxy in proxies:
                tunnel = proxy.pop(TOKEN, CLUSTER)
                assert tunnel is not None
                tunnel.abandon()
            await eventually(covered, timeout=10)
            # One that has gone is not looked for without end.
            gone = met.pop()
            gone.close()
            await asyncio.sleep(0.5)
            before = connections
            await asyncio.sleep(1.0)
            assert connections - before < 25
            await eventually(covered, timeout=10)
    server.close()
    for proxy in proxies:
        proxy.close()


async def test_one_proxy_is_not_asked_without_need(world: World) -> None:
    """A tunnel that is used is followed by another, and that is all."""
    opened = 0
    accept = world.tunnels[0].accept

    def count(token: str, name: str, transport: asyncio.Transport) -> None:
        nonlocal opened
        opened += 1
        accept(token, name, transport)

    async with world.syncer():
        await asyncio.sleep(0.3)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(world.tunnels[0], "accept", count)
            for _ in range(5):
                assert (await world.asks(0, LOG))[0] == 200
            await asyncio.sleep(0.3)
    assert opened == 5
