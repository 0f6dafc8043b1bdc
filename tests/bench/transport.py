"""``python -m tests.bench.transport``: the transport alone, before a real kube-apiserver.

Its gateway decides nothing: it sends each request as it is, as one user. What this costs is the floor under what a
request through the proxy can cost; ``make bench`` measures the whole.
"""

from __future__ import annotations

import asyncio
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import click
import uvloop

from proxy.kube.client import Client, Resource
from proxy.kube.config import load_kubeconfig
from proxy.mapping.watching import terms_of
from proxy.server.compose import endpoint_of
from proxy.server.messages import Decision, Forward, Request, Share
from proxy.server.serve import Server
from proxy.server.settings import ServerSettings, ShardSettings
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.shard.pki import Authority
from tests.bench.load import Result, Target, connect, run
from tests.bench.system import cpu_seconds, memory_mib

CONFIGMAPS = Resource("", "v1", "configmaps")
IDENTITY = [
    (b"impersonate-user", b"bench"), (b"impersonate-group", b"system:masters"), (b"accept", b"application/json"),
]  # fmt: skip
SMALL = "/api/v1/namespaces/default/configmaps/small"
LIST = "/api/v1/namespaces/default/configmaps?labelSelector=l"


class PassThrough:
    """A gateway that lets everything through, unchanged."""

    def __init__(self, authorization: bytes) -> None:
        self._identity = [*IDENTITY, (b"authorization", authorization)]

    def decide(self, request: Request) -> Decision:
        headers = self._identity
        content_type = request.header(b"content-type")
        if content_type:
            headers = [*headers, (b"content-type", content_type)]
        forward = Forward(
            "shard", request.method, request.target, headers, request.body,
            streaming=b"watch=true" in request.target, idempotent=request.method == b"GET",
        )  # fmt: skip
        terms = terms_of(request.target) if forward.streaming else None
        if terms is not None:
            forward.share = Share(terms.subject, terms, lambda target: replace(forward, target=target, share=None))
        return forward


async def serve(settings: ServerSettings) -> None:
    """Until killed."""
    [endpoint] = [endpoint_of(shard) for shard in settings.shards]
    server = Server(PassThrough(endpoint.authorization or b""), settings, [endpoint])
    await server.start()
    await asyncio.Event().wait()


@contextmanager
def proxy(plane: ControlPlane, folder: Path) -> Iterator[tuple[subprocess.Popen[bytes], Target]]:
    """The transport before ``plane`` in a process of its own."""
    (folder / "serving").mkdir(mode=0o700)
    authority = Authority(folder / "serving", "bench-ca")
    pair = authority.server("server", ["127.0.0.1"])
    shard = ShardSettings("shard", str(plane.kubeconfig))
    port = free_port()
    settings = ServerSettings(
        "127.0.0.1", port, str(pair.cert_file), str(pair.key_file), f"https://127.0.0.1:{port}", (shard,)
    )
    file = folder / "transport.json"
    settings.write(file)
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.transport", "--serve", str(file)])
    tls = ssl.create_default_context(cadata=authority.cert.decode())
    try:
        yield process, Target("transport", settings.external_url, tls)
    finally:
        process.kill()
        process.wait()


async def measure(rounds: int, profile: str) -> None:
    with tempfile.TemporaryDirectory(prefix="kcp-bench-") as name:
        folder = Path(name)
        plane_settings = ControlPlaneSettings(folder=folder / "shard", durable=False, controllers=())
        async with ControlPlane(plane_settings) as plane, plane.client() as client:
            await fill(client)
            connection = load_kubeconfig(plane.kubeconfig)
            tls, known_by = connection.ssl_context(), (("authorization", f"Bearer {connection.token}"),)
            assert tls is not None
            with proxy(plane, folder) as (process, target):
                await reachable(target)
                targets = (Target("direct", plane.connection.server, tls, known_by), target)
                for connections, requests in ((1, 1000), (8, 4000), (32, 4000)):
                    await compare("small GET", targets, SMALL, connections, requests, rounds, process.pid)
                await compare("LIST 1000 x 1 KiB", targets, LIST, 4, 60, rounds, process.pid)
                if profile:
                    command = ["py-spy", "record", "-p", str(process.pid), "-d", "5", "-r", "400", "-f", "raw", "-o"]
                    spy = await asyncio.create_subprocess_exec(*command, profile)
                    await run(target, lambda _: target.request("GET", SMALL), connections=16, requests=10_000)
                    await spy.wait()
                await watches("each of its own", target, process.pid, 500, "labelSelector=none%3D{n}")
            other = folder / "other"  # a process that has freed memory takes none
            other.mkdir()
            version = (await client.list(CONFIGMAPS, "kube-system"))["metadata"]["resourceVersion"]
            with proxy(plane, other) as (process, target):
                await reachable(target)
                await watches("of the same", target, process.pid, 500, f"resourceVersion={version}")


async def compare(
    work: str, targets: tuple[Target, ...], path: str, connections: int, requests: int, rounds: int, pid: int
) -> None:
    found: dict[str, list[Result]] = {target.name: [] for target in targets}
    used = 0.0
    for target in targets:
        await run(target, _always(target.request("GET", path)), connections=connections, requests=connections * 5)
    for _ in range(rounds):
        for target in targets:
            before = cpu_seconds(pid)
            request = target.request("GET", path)
            found[target.name].append(await run(target, _always(request), connections=connections, requests=requests))
            if target is targets[-1]:
                used += cpu_seconds(pid) - before
    for name, results in found.items():
        rates = [result.rate for result in results]
        p50 = statistics.median(result.percentile(0.5) for result in results) * 1000
        line = f"{work:18} {name:10} {connections:3} connections: {statistics.median(rates):7.0f} requests/s"
        line += f" (min {min(rates):.0f}), p50 {p50:.2f} ms"
        if name == targets[-1].name:
            line += f", {used / (rounds * requests) * 10_000:.2f} CPU s per 10,000"
        print(line, flush=True)


def _always(request: bytes) -> Callable[[int], bytes]:
    return lambda number: request


async def watches(what: str, target: Target, pid: int, count: int, query: str) -> None:
    """What an idle watch takes in the proxy. ``{n}`` in ``query`` stands for its number."""
    before = memory_mib(pid)
    opened = []
    for number in range(count):
        connection = await connect(target)
        connection.on_data = lambda data: None
        path = f"/api/v1/namespaces/kube-system/configmaps?watch=true&{query}"
        connection.start(target.request("GET", path.replace("{n}", str(number))))
        opened.append(connection)
    await asyncio.sleep(2)
    print(f"{count} idle watches, {what}: {(memory_mib(pid) - before) * 1024 / count:.0f} KiB each")
    for connection in opened:
        connection.transport.abort()


async def reachable(target: Target) -> None:
    while True:
        try:
            connection = await connect(target)
            connection.transport.close()
            return
        except OSError:
            await asyncio.sleep(0.05)


async def fill(client: Client) -> None:
    value = "v" * 900
    for number in range(1000):
        name, labels = (f"o-{number}", {"l": "1"})
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": value}}
        await client.create(CONFIGMAPS, {"apiVersion": "v1", "kind": "ConfigMap"} | body, "default")
    small = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "small"}, "data": {"k": value}}
    await client.create(CONFIGMAPS, small, "default")


@click.command()
@click.option("--rounds", default=5, show_default=True)
@click.option("--profile", default="", help="File for a profile by py-spy.")
@click.option("--serve", "settings", default="", hidden=True)
def main(rounds: int, profile: str, settings: str) -> None:
    """Measure the transport alone."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(ServerSettings.read(Path(settings))) if settings else measure(rounds, profile))


if __name__ == "__main__":
    main()
