"""Connections of the plugins: HTTP/1.1, one to each server, kept while the program runs.

By the standard library: a plugin runs for a tenth of a second, and others take as long to be imported.
"""

from __future__ import annotations

import http.client
import select
import ssl
import urllib.parse
from collections.abc import Mapping

CONNECT_TIMEOUT, READ_TIMEOUT = 10.0, 60.0
"""Seconds."""


class Unreachable(Exception):
    """There is no answer; a few words why."""


class Servers:
    """``tls``: for https; ``name``: that their certificates are for, if another than the URL's host."""

    def __init__(self, tls: ssl.SSLContext, name: str | None) -> None:
        self._tls = tls
        self._name = name
        self._open: dict[str, http.client.HTTPConnection] = {}
        """By URL without its path."""

    def ask(self, method: str, url: str, body: bytes | None, headers: Mapping[str, str]) -> tuple[int, bytes]:
        """Status and body of the answer; redirects are answers. Raises Unreachable."""
        parts = urllib.parse.urlsplit(url)
        place = f"{parts.scheme}://{parts.netloc}"
        target = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
        try:
            connection = self._connected(place, parts)
            connection.request(method, target, body, dict(headers))
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException, ValueError) as error:
            self._open.pop(place, None)
            raise Unreachable(_reason(error)) from error

    def _connected(self, place: str, parts: urllib.parse.SplitResult) -> http.client.HTTPConnection:
        found = self._open.get(place)
        if found is not None and found.sock is not None and not select.select([found.sock], [], [], 0)[0]:
            return found  # what can be read from a connection that waits for nothing is its end
        host = parts.hostname or ""
        made: http.client.HTTPConnection
        if parts.scheme == "https":
            made = _Https(host, parts.port, self._tls, self._name or host)
        else:
            made = http.client.HTTPConnection(host, parts.port, timeout=CONNECT_TIMEOUT)
        made.connect()
        made.sock.settimeout(READ_TIMEOUT)
        self._open[place] = made
        return made


class _Https(http.client.HTTPSConnection):
    """Takes the certificate for ``name``, whatever the host is called."""

    def __init__(self, host: str, port: int | None, tls: ssl.SSLContext, name: str) -> None:
        super().__init__(host, port, timeout=CONNECT_TIMEOUT, context=tls)
        self._tls = tls
        self._name = name

    def connect(self) -> None:
        http.client.HTTPConnection.connect(self)
        self.sock = self._tls.wrap_socket(self.sock, server_hostname=self._name)


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    if isinstance(error, TimeoutError):
        return "it does not answer in time"
    said = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return " ".join(said.split()) or type(error).__name__
