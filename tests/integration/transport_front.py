"""The transport before a real shard, in a process of its own: with a gateway that lets everything through.

What a gateway decides is tested elsewhere; here is what the transport makes of any decision. ``/peer`` answers with the
digest of the client certificate, every other path goes to the shard as one privileged user.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import uvloop

from proxy.kube.client import Client
from proxy.kube.config import Connection
from proxy.mapping.watching import terms_of
from proxy.server.compose import endpoint_of
from proxy.server.messages import Decision, Forward, Reply, Request, Share
from proxy.server.serve import Server
from proxy.server.settings import Limits, ServerSettings, ShardSettings
from proxy.shard.addresses import free_port
from proxy.shard.control_plane import ControlPlane
from proxy.shard.pki import Authority, KeyPair, private_folder
from tests.integration.privileged import privileged_as

SHARD = "main"
IDENTITY = tuple((name.lower().encode(), value.encode()) for name, value in privileged_as("transport").items())
PASSED_ON = frozenset({b"accept", b"content-type"})


class PassThrough:
    """A gateway that lets everything through, unchanged. ``shared``: watches may be shared."""

    def __init__(self, authorization: bytes, *, shared: bool = False) -> None:
        self._shared = shared
        self._identity = (*IDENTITY, (b"authorization", authorization))

    def decide(self, request: Request) -> Decision:
        if request.target == b"/peer":
            return Reply(200, [], hashlib.sha256(request.peer_cert or b"").hexdigest().encode())
        headers = [header for header in request.headers if header[0] in PASSED_ON]
        forward = Forward(
            SHARD, request.method, request.target, [*headers, *self._identity], request.body,
            streaming=b"watch=true" in request.target, idempotent=request.method in (b"GET", b"HEAD"),
        )  # fmt: skip
        terms = terms_of(request.target) if self._shared and forward.streaming else None
        if terms is not None:
            forward.share = Share(terms.subject, terms, lambda target: replace(forward, target=target, share=None))
        return forward


async def serve(settings: ServerSettings, *, shared: bool) -> None:
    """Until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    [endpoint] = [endpoint_of(shard) for shard in settings.shards]
    server = Server(PassThrough(endpoint.authorization or b"", shared=shared), settings, [endpoint])
    await server.start()
    await stop.wait()
    await server.stop()


@dataclass
class Transport:
    """One that runs."""

    process: subprocess.Popen[bytes]
    url: str
    ca: bytes
    client_authority: Authority

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def client(self) -> Client:
        return Client(Connection(self.url, ca_data=self.ca))

    def tls(self, pair: KeyPair | None = None) -> ssl.SSLContext:
        """A client's TLS, with a certificate of its own if ``pair`` is given."""
        context = ssl.create_default_context(cadata=self.ca.decode())
        if pair is not None:
            context.load_cert_chain(pair.cert_file, pair.key_file)
        return context

    async def connect(self, *, receive_buffer: int = 0) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """``receive_buffer``: bytes that the kernel may hold for the client; 0: as it likes."""
        connection = socket.socket()
        connection.setblocking(False)
        if receive_buffer:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.port))
        return await asyncio.open_connection(sock=connection, ssl=self.tls(), server_hostname="127.0.0.1")

    def memory(self) -> float:
        """Resident MiB."""
        for line in Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                return int(line.split()[1]) / 1024
        raise AssertionError("no longer there")

    def connections_to(self, port: int) -> int:
        """Open TCP connections of the process to ``port``, from /proc."""
        folder = Path(f"/proc/{self.process.pid}/fd")
        sockets = set()
        for link in folder.iterdir():
            try:
                target = os.readlink(link)
            except FileNotFoundError:
                continue  # closed meanwhile
            if target.startswith("socket:["):
                sockets.add(target[8:-1])
        count = 0
        for line in Path(f"/proc/{self.process.pid}/net/tcp").read_text().splitlines()[1:]:
            fields = line.split()
            established = fields[3] == "01"
            if established and int(fields[2].rpartition(":")[2], 16) == port and fields[9] in sockets:
                count += 1
        return count


def settings_before(plane: ControlPlane, folder: Path, address: str = "127.0.0.1") -> tuple[ServerSettings, bytes]:
    """For a proxy before ``plane``, its one shard `SHARD`; and the PEM of its CA."""
    serving = Authority(private_folder(folder / "serving"), "serving")
    pair = serving.server("server", [address])
    port = free_port()
    settings = ServerSettings(
        bind_address=address,
        port=port,
        cert_file=str(pair.cert_file),
        key_file=str(pair.key_file),
        external_url=f"https://{address}:{port}",
        shards=(ShardSettings(SHARD, str(plane.kubeconfig)),),
    )
    return settings, serving.cert


@contextmanager
def transport(
    plane: ControlPlane,
    folder: Path,
    limits: Limits | None = None,
    *,
    shared: bool = False,
    address: str = "127.0.0.1",
    kubeconfig: Path | None = None,
) -> Iterator[Transport]:
    """The transport before ``plane``; listens when it is given out. ``shared``: watches are, where they may be.
    ``kubeconfig``: of another way to it."""
    clients = Authority(private_folder(folder / "clients"), "clients")
    settings, ca = settings_before(plane, folder, address)
    if kubeconfig is not None:
        settings = replace(settings, shards=(ShardSettings(SHARD, str(kubeconfig)),))
    settings = replace(settings, client_ca_file=str(clients.cert_file), limits=limits or settings.limits)
    file = folder / "transport.json"
    settings.write(file)
    listening, told = os.pipe()
    command = [sys.executable, "-m", __name__, str(file), str(told), *(["shared"] if shared else [])]
    process = subprocess.Popen(command, pass_fds=(told,))
    os.close(told)
    try:
        with os.fdopen(listening, "rb") as answer:
            assert answer.read() == b"listening"
        yield Transport(process, settings.external_url, ca, clients)
    finally:
        process.kill()
        process.wait()


async def main(file: Path, tell: int, *, shared: bool) -> None:
    settings = ServerSettings.read(file)
    serving = asyncio.create_task(serve(settings, shared=shared))
    while True:
        try:
            _, writer = await asyncio.open_connection(settings.bind_address, settings.port)
        except OSError:
            await asyncio.sleep(0.01)
            continue
        writer.close()
        break
    os.write(tell, b"listening")
    os.close(tell)
    await serving


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(Path(sys.argv[1]), int(sys.argv[2]), shared="shared" in sys.argv[3:]))
