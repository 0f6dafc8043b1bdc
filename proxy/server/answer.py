"""The way back to a client: the framing of one answer.

An answer is either `Answer.whole` in one write, or begun with `Answer.begin` and continued piece by piece, one write
for each: chunked, or until the end of the connection for clients of HTTP/1.0, or nothing but a head for HEAD.
"""

from __future__ import annotations

import time
import uuid
import zlib
from typing import Protocol

from proxy.server.http1 import Parsed
from proxy.server.messages import Header, Reply

REASONS = {
    200: b"OK", 201: b"Created", 202: b"Accepted", 204: b"No Content", 206: b"Partial Content", 304: b"Not Modified",
    400: b"Bad Request", 401: b"Unauthorized", 403: b"Forbidden", 404: b"Not Found", 405: b"Method Not Allowed",
    406: b"Not Acceptable", 408: b"Request Timeout", 409: b"Conflict", 410: b"Gone", 413: b"Request Entity Too Large",
    414: b"URI Too Long", 415: b"Unsupported Media Type", 417: b"Expectation Failed", 422: b"Unprocessable Entity",
    429: b"Too Many Requests", 431: b"Request Header Fields Too Large", 500: b"Internal Server Error",
    501: b"Not Implemented", 502: b"Bad Gateway", 503: b"Service Unavailable", 504: b"Gateway Timeout",
    505: b"HTTP Version Not Supported",
}  # fmt: skip
STATUS_LINES = {code: b"HTTP/1.1 %d %b\r\n" % (code, reason) for code, reason in REASONS.items()}
BODYLESS = frozenset({204, 304})
CACHE_CONTROL = b"cache-control: no-cache, private\r\n"
GZIP_LEVEL = 1
"""As a kube-apiserver's ``defaultGzipContentEncodingLevel``: three quarters of the gain for a fraction of the cost."""
GZIP_FROM = 128 * 1024
"""Bytes of a body, as ``defaultGzipThresholdBytes``."""
GZIPPED = b"content-encoding: gzip\r\nvary: Accept-Encoding\r\n"
_GZIP_WINDOW = 31  # zlib's 15 bits, plus 16 for the gzip wrapper


class Connection(Protocol):
    """What an answer needs of its client's connection."""

    def write(self, data: bytes) -> None: ...
    def finished(self) -> None:
        """The answer is complete, unless the connection is cut."""
        ...


class Answer:
    """To one request."""

    __slots__ = ("_close_delimited", "_connection", "_gzip", "_pending", "begun", "head_only", "parsed", "record")

    def __init__(self, connection: Connection, parsed: Parsed) -> None:
        self._connection = connection
        self._close_delimited = False
        self._gzip: zlib._Compress | None = None
        self._pending = b""
        self.parsed = parsed
        self.record = parsed.request.record
        self.head_only = parsed.request.method == b"HEAD"
        self.begun = False
        """Whether the client has got its beginning, so that it can no longer be another one."""

    def reply(self, reply: Reply) -> None:
        """A whole answer made here."""
        self.record.status = reply.status
        headers = reply.headers
        if self.record.audit_id:
            headers = [*headers, (b"audit-id", self.record.audit_id)]
        self.whole(head_of(reply.status, headers), reply.body, bodyless=reply.status in BODYLESS)

    def whole(self, head: bytes, body: bytes, *, bodyless: bool = False, compress: bool = False) -> None:
        """``head`` is the status line and headers but those of framing, each with its line break.

        ``compress``: a body worth it, if the client takes gzip.
        """
        self.begun = True
        self.record.body = body
        self.record.sent = len(body)
        if compress and len(body) > GZIP_FROM and accepts_gzip(self.parsed):
            packer = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            body = packer.compress(body) + packer.flush()
            head += GZIPPED
        if bodyless:
            data = b"%b%b\r\n" % (head, self._persistence())
        else:
            sent = b"" if self.head_only else body
            data = b"%b%bcontent-length: %d\r\n\r\n%b" % (head, self._persistence(), len(body), sent)
        connection = self._connection
        connection.write(data)
        connection.finished()

    def begin(self, head: bytes, *, compress: bool = False) -> None:
        """Of unknown length; the head leaves with the first piece. ``compress``: if the client takes gzip."""
        self.begun = True
        if self.parsed.http10:
            self._close_delimited = True
            self.parsed.keep = False
        elif compress and not self.head_only and accepts_gzip(self.parsed):
            self._gzip = zlib.compressobj(GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW)
            head += GZIPPED
        framing = b"\r\n" if self._close_delimited or self.head_only else b"transfer-encoding: chunked\r\n\r\n"
        self._pending = head + self._persistence() + framing

    def piece(self, data: bytes, done: bool) -> None:
        """One write for what there is, and the end of the answer with ``done``."""
        record = self.record
        record.sent += len(data)
        if record.pieces is not None:
            record.pieces.append(data)
        if self._gzip is not None:
            data = self._gzip.compress(data)
            if done:
                data += self._gzip.flush()
        if self.head_only:
            data = b""
        elif not self._close_delimited:
            data = chunk_of(data, done)
        if self._pending:
            data = self._pending + data
            self._pending = b""
        connection = self._connection
        connection.write(data)
        if done:
            connection.finished()

    def piece_as(self, data: bytes, chunk: bytes) -> None:
        """`piece`, of an answer that goes on, where its chunk was made before, for several answers."""
        if self._pending or self._gzip is not None or self.head_only or self._close_delimited:
            self.piece(data, False)
            return
        record = self.record
        record.sent += len(data)
        if record.pieces is not None:
            record.pieces.append(data)
        self._connection.write(chunk)

    def _persistence(self) -> bytes:
        if not self.parsed.keep:
            return b"connection: close\r\n"
        return b"connection: keep-alive\r\n" if self.parsed.http10 else b""


def head_of(status: int, headers: list[Header]) -> bytes:
    """Status line and headers of an answer made here, with those that every answer of a kube-apiserver has."""
    parts = [status_line(status)]
    parts += [b"%b: %b\r\n" % header for header in headers]
    names = {name for name, _ in headers}
    if b"audit-id" not in names:
        parts.append(b"audit-id: %b\r\n" % str(uuid.uuid4()).encode())
    if b"cache-control" not in names:
        parts.append(CACHE_CONTROL)
    if b"date" not in names:
        parts.append(b"date: %b\r\n" % http_date(time.time()))
    return b"".join(parts)


def own_fields(audit_id: bytes) -> bytes:
    """Header lines of one answer whose others are those of several."""
    return b"audit-id: %b\r\ndate: %b\r\n" % (audit_id or str(uuid.uuid4()).encode(), http_date(time.time()))


def status_line(status: int) -> bytes:
    return STATUS_LINES.get(status) or b"HTTP/1.1 %d Status\r\n" % status


def http_date(seconds: float) -> bytes:
    """RFC 9110 section 5.6.7; the names are English whatever the locale."""
    moment = time.gmtime(seconds)
    day = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")[moment.tm_wday]
    month = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")[moment.tm_mon - 1]
    clock = f"{moment.tm_hour:02}:{moment.tm_min:02}:{moment.tm_sec:02}"
    return f"{day}, {moment.tm_mday:02} {month} {moment.tm_year} {clock} GMT".encode()


def accepts_gzip(parsed: Parsed) -> bool:
    """As k8s.io/apiserver's ``negotiateContentEncoding``: the plain word, without a quality."""
    return b"gzip" in [token.strip() for token in parsed.request.header(b"accept-encoding").split(b",")]


def chunk_of(data: bytes, done: bool = False) -> bytes:
    """In the chunked coding of HTTP/1.1, ``done`` with its end."""
    body = b"%x\r\n%b\r\n" % (len(data), data) if data else b""
    return body + b"0\r\n\r\n" if done else body
