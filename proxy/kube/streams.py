"""Plain connections to API servers, for what is no request and answer: protocols that a connection is switched to."""

from __future__ import annotations

import asyncio
import socket
import ssl
from urllib.parse import urlsplit

from proxy.kube.client import sockets
from proxy.kube.config import Connection
from proxy.kube.pipe import pause, resume

MAX_HEAD = 64 * 1024
"""Bytes of the head of a request or an answer."""
CONNECT_TIMEOUT = 10.0
"""Seconds."""
_HEAD_END = b"\r\n\r\n"


class Peer(asyncio.Protocol):
    """The other end of a connection that heads of HTTP messages come from, and then what they announce."""

    def __init__(self) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when the connection is."""
        self.unread = b""
        self._wake: asyncio.Future[None] | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.unread += data
        if len(self.unread) > MAX_HEAD and not self._paused:
            self._paused = True
            pause(self.transport)
        self._woken()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended.done():
            self.ended.set_result(None)
        self._woken()

    def _woken(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def more(self) -> None:
        """Wait until more is there to be read. Raises ConnectionError when there is no more."""
        if self.ended.done():
            raise ConnectionError("the connection was closed")
        if self._paused:
            self._paused = False
            resume(self.transport)
        self._wake = asyncio.get_running_loop().create_future()
        await self._wake

    async def head(self) -> list[bytes]:
        """First line and header lines of a message. Raises ConnectionError where the connection ends first, or there
        is no end to it."""
        while _HEAD_END not in self.unread:
            if len(self.unread) > MAX_HEAD:
                raise ConnectionError("too large a head")
            await self.more()
        head, _, self.unread = self.unread.partition(_HEAD_END)
        return head.split(b"\r\n")

    async def body(self, head: list[bytes]) -> bytes:
        """Of a short message that has a length; empty for any other."""
        length = next((value for name, value in headers_of(head[1:]) if name == b"content-length"), b"0")
        size = int(length) if length.isdigit() and len(length) < 6 else 0
        while len(self.unread) < size:
            await self.more()
        return self.unread[:size]


class Dialer:
    """Opens connections to one API server; its TLS context is made once, as that takes milliseconds."""

    def __init__(self, connection: Connection) -> None:
        self._server = urlsplit(connection.server)
        self._name = connection.tls_server_name
        self._sockets = sockets(connection.guard)
        self._tls: ssl.SSLContext | None = connection.ssl_context()
        if self._tls is not None:
            self._tls.set_alpn_protocols(["http/1.1"])

    @property
    def path(self) -> str:
        """Of the server's URL, before every path of the API."""
        return self._server.path.rstrip("/")

    @property
    def host(self) -> str:
        """As in the header ``Host``."""
        return self._server.netloc.rpartition("@")[2]

    async def open(self) -> Peer:
        """Raises OSError (TimeoutError among them)."""
        host = self._server.hostname or ""
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_TIMEOUT):
            connected = await self._connect(host, self._server.port or (443 if self._tls else 80))
            name = (self._name or host) if self._tls else None
            try:
                _, peer = await loop.create_connection(Peer, sock=connected, ssl=self._tls, server_hostname=name)
            except BaseException:
                connected.close()
                raise
        return peer

    async def _connect(self, host: str, port: int) -> socket.socket:
        """To the first address of ``host`` that answers. Raises OSError, for the last one."""
        loop = asyncio.get_running_loop()
        failure: OSError = OSError(f"{host} has no address")
        for address in await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            try:
                made = self._sockets(address)
            except OSError as error:
                failure = error
                continue
            try:
                made.setblocking(False)
                await loop.sock_connect(made, address[4])
            except OSError as error:
                made.close()
                failure = error
            except BaseException:
                made.close()
                raise
            else:
                return made
        raise failure


def headers_of(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Names in lower case, and values, of header lines."""
    pairs = (line.partition(b":") for line in lines)
    return [(name.strip().lower(), value.strip()) for name, _, value in pairs]


def status_of(head: list[bytes]) -> int:
    """Of an answer. Raises ConnectionError for what is none."""
    parts = head[0].split(b" ", 2)
    if len(parts) < 2 or not parts[0].startswith(b"HTTP/1.") or not parts[1].isdigit():
        raise ConnectionError("the answer is no HTTP")
    return int(parts[1])
