"""Clients and shards whose machine vanishes: nothing comes of them any more, not even the end of their connections."""

from __future__ import annotations

import asyncio
import ipaddress
import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from proxy.kube.client import Client, Object, Resource
from proxy.kube.config import write_kubeconfig
from proxy.kube.errors import StatusError
from proxy.server.settings import Limits
from proxy.shard.control_plane import ControlPlane
from tests.faults.relay import Relay
from tests.integration.eventually import eventually
from tests.integration.transport_front import Transport, transport

CONFIGMAPS = Resource("", "v1", "configmaps")
PATIENCE = 6.0
WATCHES = 10
"""Of each kind."""
CLIENT = """
import http.client, ssl, sys
host, port, number, path = sys.argv[1:]
kept = []
for _ in range(int(number)):
    connection = http.client.HTTPSConnection(host, int(port), context=ssl._create_unverified_context())
    connection.request("GET", path)
    answer = connection.getresponse()
    kept.append((answer, answer.readline()))
print("watching", flush=True)
sys.stdin.read()
"""
NUMBERS = itertools.count()
RELAY = """
import asyncio, sys
from tests.faults.relay import Relay

async def main(host, target, port):
    async with Relay((target, int(port)), host=host) as relay:
        print(relay.port, flush=True)
        await asyncio.Event().wait()

asyncio.run(main(*sys.argv[1:]))
"""
WITH_NETWORKS = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("ip"), reason="needs root for a network of its own"
)


@dataclass
class Machine:
    """A network of its own on this machine, with one link to it."""

    name: str
    here: str
    """Address of this machine on the link."""
    there: str

    def run(self, *command: str) -> subprocess.Popen[bytes]:
        inside = ["ip", "netns", "exec", self.name, *command]
        return subprocess.Popen(inside, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def vanish(self) -> None:
        """What is sent to it goes nowhere, and nothing comes of it."""
        link = json.loads(_ip("-j", "-n", self.name, "link", "show", "dev", "eth0"))[0]
        _ip("neigh", "replace", self.there, "lladdr", link["address"], "nud", "permanent", "dev", self.name)
        _ip("-n", self.name, "addr", "flush", "dev", "eth0")

    def come_back(self) -> None:
        _ip("-n", self.name, "addr", "add", f"{self.there}/30", "dev", "eth0")


def _ip(*arguments: str) -> str:
    return subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True).stdout


@contextmanager
def machine() -> Iterator[Machine]:
    number = next(NUMBERS)
    name = f"kcp{os.getpid()}-{number}"[:15]
    # Of the range for tests between networks (RFC 2544), which nobody else has here.
    network = ipaddress.ip_network("198.18.0.0/16")
    here = network[4 * ((os.getpid() + number) % 16000) + 1]
    made = Machine(name, str(here), str(here + 1))
    _ip("netns", "add", name)
    _ip("link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", name)
    try:
        _ip("addr", "add", f"{made.here}/30", "dev", name)
        _ip("link", "set", name, "up")
        _ip("-n", name, "addr", "add", f"{made.there}/30", "dev", "eth0")
        _ip("-n", name, "link", "set", "eth0", "up")
        yield made
    finally:
        _ip("link", "delete", name)
        _ip("netns", "delete", name)


@WITH_NETWORKS
async def test_watches_of_a_machine_that_vanishes_end(shard: ControlPlane, tmp_path: Path) -> None:
    limits = Limits(gone_timeout=PATIENCE)
    with ExitStack() as stack:
        there = stack.enter_context(machine())
        front = stack.enter_context(transport(shard, tmp_path, limits, address=there.here))
        _, before = await _open(front, shard)
        # Nothing happens in the one namespace, in the other one something is under way when they vanish.
        processes = [
            there.run(
                sys.executable, "-c", CLIENT, there.here, str(front.port), str(WATCHES),
                f"/api/v1/namespaces/{namespace}/configmaps?watch=true",
            )
            for namespace in ("kube-system", "default")
        ]  # fmt: skip
        for process in processes:
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            assert await asyncio.to_thread(process.stdout.readline) == b"watching\n"

        async def all_of_them() -> bool:
            """And nobody else: whoever looked whether the transport listens is gone."""
            return (await _open(front, shard))[0] == 2 * WATCHES

        await eventually(all_of_them)
        there.vanish()
        body: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "half-open-"}}
        async with shard.client() as direct:
            await direct.create(CONFIGMAPS, body, "default")
        began = time.monotonic()

        async def none() -> bool:
            return (await _open(front, shard))[0] == 0

        await eventually(none, timeout=60)
        assert time.monotonic() - began > PATIENCE / 2

        async def free() -> bool:
            return (await _open(front, shard))[1] <= before + 1

        await eventually(free, timeout=60)


@WITH_NETWORKS
@pytest.mark.parametrize("asked", ["list", "watch"])
async def test_a_shard_on_a_machine_that_vanishes(shard: ControlPlane, tmp_path: Path, asked: str) -> None:
    """Some watch is open, and something is ``asked`` after it has gone."""
    limits = Limits(gone_timeout=PATIENCE, answer_timeout=PATIENCE)
    with ExitStack() as stack:
        there = stack.enter_context(machine())
        async with Relay(("127.0.0.1", shard.port), host=there.here) as beside:
            process = there.run(sys.executable, "-c", RELAY, there.there, there.here, str(beside.port))
            stack.callback(process.wait)
            stack.callback(process.kill)
            assert process.stdout is not None
            port = int(await asyncio.to_thread(process.stdout.readline))
            config = yaml.safe_load(shard.kubeconfig.read_text())
            config["clusters"][0]["cluster"] |= {
                "server": f"https://{there.there}:{port}",
                "tls-server-name": "127.0.0.1",
            }
            write_kubeconfig(tmp_path / "there.kubeconfig", config)
            kubeconfig = tmp_path / "there.kubeconfig"
            front = stack.enter_context(transport(shard, tmp_path, limits, kubeconfig=kubeconfig))
            async with front.client() as client:
                version = (await client.list(CONFIGMAPS, "default"))["metadata"]["resourceVersion"]
                watching = asyncio.create_task(_watch(client, version))

                async def both() -> bool:
                    """One connection is the watch's, one is kept for what is asked next."""
                    await client.list(CONFIGMAPS, "default")
                    return await _connected(front, port, 2)

                await eventually(both)
                there.vanish()
                began = time.monotonic()
                if asked == "list":  # on the connection that was kept
                    with pytest.raises(StatusError) as failure:
                        await client.list(CONFIGMAPS, "default")
                    assert failure.value.code in (503, 504)
                else:
                    await _watch(client, version)
                await watching
                assert time.monotonic() - began < 60
                await eventually(lambda: _connected(front, port, 0))
                there.come_back()
                await eventually(lambda: client.list(CONFIGMAPS, "default"), StatusError)


async def _watch(client: Client, version: str) -> None:
    """Until it ends."""
    try:
        async for _ in client.watch(CONFIGMAPS, "default", resource_version=version):
            pass
    except StatusError:
        pass


async def _connected(front: Transport, port: int, count: int) -> bool:
    return front.connections_to(port) == count


async def _open(front: Transport, shard: ControlPlane) -> tuple[int, int]:
    """Connections of the transport: of clients, and to the shard."""
    clients = 0
    for line in Path(f"/proc/{front.process.pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        clients += fields[3] == "01" and int(fields[1].rpartition(":")[2], 16) == front.port
    return clients, front.connections_to(shard.port)
