"""Connections of the plugins: HTTP/1.1, one to each server, kept while the program runs.

By sockets and llhttp: a plugin runs for a tenth of a second, a seventh of which `http.client`, with the parsers of mail
that it reads headers with, would take to be imported, and other clients more.
"""

from __future__ import annotations

import select
import socket
import ssl
import urllib.parse
from collections.abc import Mapping
from typing import Any

import httptools

from proxy.cli.overrides import ClientError

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0
"""Seconds."""
READ = 2**16


class Servers:
    """``tls``: for https; ``name``: that their certificates are for, if another than the URL's host; ``headers``: of
    all requests."""

    def __init__(self, tls: ssl.SSLContext, name: str | None, headers: Mapping[str, str]) -> None:
        self._tls = tls
        self._name = name
        self._headers = headers
        self._open: dict[str, socket.socket] = {}
        """By URL without its path."""

    def ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer; redirects are answers. Raises ClientError."""
        parts = urllib.parse.urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        try:
            request = _request(method, parts, {**self._headers, **headers}, body)
            connection = self._connected(place, parts)
            connection.sendall(request)
            answer = _Answer()
            while not answer.complete:
                answer.take(connection.recv(READ))
        except (OSError, httptools.HttpParserError, ValueError) as error:
            self._open.pop(place, None)
            raise ClientError(f"the server {parts.netloc} cannot be reached: {_reason(error)}") from error
        if not answer.keeps:
            self._open.pop(place).close()
        return answer.status, b"".join(answer.body)

    def _connected(self, place: str, parts: urllib.parse.SplitResult) -> socket.socket:
        found = self._open.get(place)
        if found is not None and not select.select([found], [], [], 0)[0]:
            return found  # what can be read from a connection that waits for nothing is its end
        host, secure = parts.hostname or "", parts.scheme == "https"
        made = socket.create_connection((host, parts.port or (443 if secure else 80)), CONNECT_TIMEOUT)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if secure:
            made = self._tls.wrap_socket(made, server_hostname=self._name or host)
        made.settimeout(READ_TIMEOUT)
        self._open[place] = made
        return made


def _request(method: str, parts: urllib.parse.SplitResult, headers: Mapping[str, str], body: bytes | None) -> bytes:
    """Raises ValueError for what would be another request, or none."""
    target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    if any(character <= " " or character == "\x7f" for character in target):
        raise ValueError(f"its URL has a space or control character: {target!r}")
    host = {"Host": parts.netloc.rpartition("@")[2]}
    length = {"Content-Length": str(len(body))} if body is not None else {}
    lines = [f"{name}: {value}" for name, value in {**host, **headers, **length}.items()]
    for line in lines:
        if any(character in line for character in "\r\n\0"):
            raise ValueError(f"a line break in header {line.partition(':')[0]}")
    head = f"{method} {target} HTTP/1.1".encode("ascii") + "".join(f"\r\n{line}" for line in lines).encode("latin-1")
    return head + b"\r\n\r\n" + (body or b"")


class _Answer:
    """One answer, as it comes."""

    def __init__(self) -> None:
        self.status = 0
        self.body: list[bytes] = []
        self.complete = False
        self.keeps = False
        """Whether the connection is good for another request."""
        self._bounded = False
        """Whether it says itself where it ends."""
        self._parser: Any = httptools.HttpResponseParser(self)

    def take(self, data: bytes) -> None:
        """Bytes that were read; none where the connection ended. Raises OSError, httptools.HttpParserError."""
        if data:
            self._parser.feed_data(data)
        elif self.status and not self._bounded:
            self.complete = True
        else:
            raise ConnectionResetError("it ended the connection without an answer")

    # llhttp callbacks

    def on_message_begin(self) -> None:
        self._bounded = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._bounded = self._bounded or name.lower() in (b"content-length", b"transfer-encoding")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200:  # others say that the answer is on its way
            self.status = status

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        if self.status:
            self.complete, self.keeps = True, self._parser.should_keep_alive()


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(said.split()) or type(error).__name__
