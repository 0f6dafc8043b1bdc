"""The transport before a real kube-apiserver."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import signal
import ssl
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.server.settings import Limits
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.shard.pki import Authority, private_folder
from tests.integration.eventually import eventually
from tests.integration.transport_front import Transport, transport

CONFIGMAPS = Resource("", "v1", "configmaps")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
NAMESPACE = "of-transport"
LIST = f"/api/v1/namespaces/{NAMESPACE}/configmaps?labelSelector=large"
ONE = f"/api/v1/namespaces/{NAMESPACE}/configmaps/o-1"
ITEMS = 300
VALUE = "v" * 10_000


def config_map(name: str, value: str = "v") -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": value}}


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    return ("\r\n".join([f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *headers]) + "\r\n\r\n").encode()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def filled(shard: ControlPlane) -> ControlPlane:
    """The shard with a namespace whose list is 3 MiB."""
    async with shard.client() as client:
        await client.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}})
        for number in range(ITEMS):
            large = config_map(f"o-{number}", VALUE)
            large["metadata"]["labels"] = {"large": "yes"}
            await client.create(CONFIGMAPS, large, NAMESPACE)
    return shard


@pytest.fixture(scope="module")
def front(filled: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Transport]:
    with transport(filled, tmp_path_factory.mktemp("transport")) as running:
        yield running


@pytest_asyncio.fixture
async def client(front: Transport) -> AsyncIterator[Client]:
    async with front.client() as client:
        yield client


async def read_head(reader: asyncio.StreamReader) -> tuple[int, dict[str, str]]:
    lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:] if line)
    return int(lines[0].split()[1]), headers


async def read_chunked(reader: asyncio.StreamReader) -> bytes:
    body = b""
    while size := int(await reader.readline(), 16):
        body += await reader.readexactly(size)
        assert await reader.readexactly(2) == b"\r\n"
    assert await reader.readline() == b"\r\n"
    return body


async def test_objects(client: Client) -> None:
    made = await client.create(CONFIGMAPS, config_map("one"), "default")
    made["data"] = {"k": "changed"}
    await client.replace(CONFIGMAPS, made)
    assert (await client.get(CONFIGMAPS, "one", "default"))["data"] == {"k": "changed"}
    with pytest.raises(StatusError) as conflict:
        await client.create(CONFIGMAPS, config_map("one"), "default")
    assert conflict.value.reason == "AlreadyExists"
    await client.delete(CONFIGMAPS, "one", "default")
    with pytest.raises(StatusError) as gone:
        await client.get(CONFIGMAPS, "one", "default")
    assert gone.value.code == 404


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
async def test_large_list_is_whole(front: Transport, filled: ControlPlane, encoding: str) -> None:
    tls = aiohttp.TCPConnector(ssl=front.tls())
    async with aiohttp.ClientSession(connector=tls) as session, filled.client() as direct:
        async with session.get(front.url + LIST, headers={"Accept-Encoding": encoding}) as answer:
            assert answer.headers.get("Content-Encoding", "identity") == encoding
            got = await answer.json()
        wanted = await direct.request("GET", LIST)
    assert got["items"] == wanted["items"]
    assert len(got["items"]) == ITEMS


async def test_head_has_no_body(front: Transport) -> None:
    reader, writer = await front.connect()
    for path in (LIST, ONE):
        writer.write(request(path, method="HEAD"))
        status, headers = await read_head(reader)
        assert (status, headers["content-type"]) == (200, "application/json")
    writer.write(request("/version"))
    status, headers = await read_head(reader)
    assert b"gitVersion" in await reader.readexactly(int(headers["content-length"]))
    writer.close()


async def test_pipelined(front: Transport) -> None:
    reader, writer = await front.connect()
    names = [f"o-{number}" for number in range(30)]
    writer.write(b"".join(request(ONE.replace("o-1", name)) for name in names))
    for name in names:
        status, headers = await read_head(reader)
        body = await reader.readexactly(int(headers["content-length"]))
        assert (status, json.loads(body)["metadata"]["name"]) == (200, name)
    writer.close()


async def test_watch(client: Client) -> None:
    listed = await client.list(CONFIGMAPS, "default")
    version = listed["metadata"]["resourceVersion"]
    seen: list[tuple[str, str]] = []

    async def follow() -> None:
        async for event in client.watch(CONFIGMAPS, "default", resource_version=version):
            seen.append((event["type"], event["object"]["metadata"]["name"]))
            if event["type"] == "DELETED":
                return

    following = asyncio.create_task(follow())
    await client.create(CONFIGMAPS, config_map("watched"), "default")
    await client.delete(CONFIGMAPS, "watched", "default")
    await asyncio.wait_for(following, 10)
    assert seen == [("ADDED", "watched"), ("DELETED", "watched")]


async def test_client_that_goes_frees_the_upstream(front: Transport, filled: ControlPlane) -> None:
    opened = []
    before = front.connections_to(filled.port)
    for _ in range(30):
        reader, writer = await front.connect()
        writer.write(request(f"{LIST}&watch=true"))
        assert (await read_head(reader))[0] == 200
        opened.append(writer)
    assert front.connections_to(filled.port) >= 30
    for writer in opened:
        writer.transport.abort()

    async def freed() -> bool:
        return front.connections_to(filled.port) <= before

    await eventually(freed, timeout=60)


async def test_slow_readers_cost_little_and_hinder_nobody(front: Transport, client: Client) -> None:
    before = front.memory()
    opened = []
    for _ in range(100):
        # With the usual buffer the kernels of both sides would hold a list whole.
        reader, writer = await front.connect(receive_buffer=8192)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(request(LIST))
        opened.append((reader, writer))
    took = []
    for _ in range(20):
        began = time.monotonic()
        await client.get(CONFIGMAPS, "o-1", NAMESPACE)
        took.append(time.monotonic() - began)
    assert sorted(took)[10] < 1
    used = [0.0]
    while (now := front.memory()) - used[-1] > 1:  # until nothing more comes
        used.append(now)
        await asyncio.sleep(2)
    assert now - before < 150, "a hundred lists of 3 MiB lie in memory"
    for reader, writer in opened[::10]:
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        status, headers = await read_head(reader)
        assert (status, headers["transfer-encoding"]) == (200, "chunked")
        assert len(json.loads(await read_chunked(reader))["items"]) == ITEMS
    for _, writer in opened:
        writer.transport.abort()


async def test_body_too_large_is_told_while_it_is_sent(front: Transport) -> None:
    reader, writer = await front.connect()
    size = 8 * 1024 * 1024
    writer.write(request(LIST, f"Content-Length: {size}", "Content-Type: application/json", method="POST"))
    try:
        for _ in range(size // 65536):
            writer.write(b" " * 65536)
            await writer.drain()
    except ConnectionError:
        pytest.fail("the connection was reset before the refusal could be read")
    status, headers = await read_head(reader)
    body = json.loads(await reader.readexactly(int(headers["content-length"])))
    assert (status, body["message"]) == (413, "Request entity too large: limit is 3145728")
    writer.close()


async def test_largest_body_goes_through(client: Client) -> None:
    with pytest.raises(StatusError) as refused:
        await client.create(CONFIGMAPS, config_map("big", "x" * (3 * 1024 * 1024 - 200)), "default")
    assert "x" * 100 not in refused.value.message
    assert refused.value.code == 422, "the kube-apiserver itself has looked at it"


class TestTLS:
    async def peer(self, front: Transport, authority: Authority | None) -> str:
        pair = authority.client("someone", user="someone") if authority else None
        connector = aiohttp.TCPConnector(ssl=front.tls(pair))
        async with aiohttp.ClientSession(connector=connector) as session, session.get(f"{front.url}/peer") as answer:
            return await answer.text()

    async def test_client_certificate_is_handed_on(self, front: Transport) -> None:
        authority = front.client_authority
        pem = authority.client("someone", user="someone").cert_file.read_text()
        assert await self.peer(front, authority) == hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()

    async def test_none_is_needed(self, front: Transport) -> None:
        assert await self.peer(front, None) == hashlib.sha256(b"").hexdigest()

    async def test_foreign_one_is_refused(self, front: Transport, tmp_path: Path) -> None:
        with pytest.raises((aiohttp.ClientError, ConnectionError, ssl.SSLError)):
            await self.peer(front, Authority(private_folder(tmp_path / "foreign"), "clients"))

    async def test_protocol_is_agreed_on(self, front: Transport) -> None:
        context = front.tls()
        context.set_alpn_protocols(["h2", "http/1.1"])
        _, writer = await asyncio.open_connection("127.0.0.1", front.port, ssl=context)
        assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == "http/1.1"
        writer.close()


class TestEnd:
    async def test_in_good_order(self, filled: ControlPlane, tmp_path: Path) -> None:
        with transport(filled, tmp_path) as front:
            watching, watch = await front.connect()
            watch.write(request(f"{LIST}&watch=true&resourceVersion=0&fieldSelector=metadata.name=o-1"))
            assert (await read_head(watching))[0] == 200
            idle, idler = await front.connect()
            idler.write(request("/version"))
            await read_head(idle)
            _, halves = await front.connect()
            halves.write(b"GET / HTTP/1.1\r\n")
            await asyncio.sleep(0.3)
            began = time.monotonic()
            front.process.send_signal(signal.SIGTERM)
            events = await asyncio.wait_for(read_chunked(watching), 3)  # ended, not cut
            assert json.loads(events)["object"]["metadata"]["name"] == "o-1"
            assert await asyncio.to_thread(front.process.wait, 5) == 0
            assert time.monotonic() - began < 4
            for writer in (watch, idler, halves):
                writer.transport.abort()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def fragile(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[ControlPlane, Transport]]:
    """A shard that may be harmed, and a transport that waits only two seconds for it."""
    settings = ControlPlaneSettings(folder=tmp_path_factory.mktemp("fragile"), durable=False, controllers=())
    async with ControlPlane(settings) as plane:
        with transport(plane, tmp_path_factory.mktemp("before"), Limits(answer_timeout=2.0)) as front:
            yield plane, front


def apiserver(plane: ControlPlane) -> int:
    pid = plane.processes["kube-apiserver"].pid
    assert pid is not None
    return pid


async def test_shard_dies_and_comes_back(fragile: tuple[ControlPlane, Transport]) -> None:
    plane, front = fragile
    reader, writer = await front.connect()
    writer.write(request("/api/v1/namespaces/default/configmaps?watch=true"))
    assert (await read_head(reader))[0] == 200
    connector = aiohttp.TCPConnector(ssl=front.tls())
    async with aiohttp.ClientSession(connector=connector) as session:
        for answer in await asyncio.gather(*(session.get(f"{front.url}/version") for _ in range(4))):
            await answer.read()
        os.kill(apiserver(plane), signal.SIGKILL)
        with pytest.raises((asyncio.IncompleteReadError, ConnectionError, ValueError)):
            await asyncio.wait_for(read_chunked(reader), 5)  # the watch is cut, not ended
        async with session.get(f"{front.url}/version") as answer:
            status = await answer.json()
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
            assert (status["kind"], status["reason"]) == ("Status", "ServiceUnavailable")

        async def back() -> bool:
            async with session.get(f"{front.url}/api/v1/namespaces/default/configmaps") as answer:
                assert answer.status in (200, 403, 503), await answer.text()
                return answer.status == 200

        await eventually(back, timeout=60, interval=0.2)
    writer.close()


async def test_shard_that_hangs(fragile: tuple[ControlPlane, Transport]) -> None:
    plane, front = fragile
    async with front.client() as client:
        await client.request("GET", "/version")
        pid = apiserver(plane)
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(StatusError) as late:
                await client.request("GET", "/version")
        finally:
            os.kill(pid, signal.SIGCONT)
        assert (late.value.code, late.value.reason) == (504, "Timeout")

        async def back() -> bool:
            return bool(await client.request("GET", "/version"))

        await eventually(back, StatusError, timeout=30)
