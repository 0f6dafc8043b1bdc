"""Requests out of bytes: llhttp's strict parser, and the bounds on what one request may be.

No sockets here: bytes go in, requests come out. What llhttp leaves open is closed here: exactly one Host, only
``chunked`` as transfer coding and only in HTTP/1.1, no trailers among the headers, no body in an upgrade, and no part
of a request (a header, a chunk extension) of unlimited size.
"""

from __future__ import annotations

import re
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

import httptools

from proxy.kube.errors import StatusError
from proxy.server.heads import Heads
from proxy.server.messages import Header, Record, Request
from proxy.server.settings import Limits

_OF_INTEREST = frozenset({b"host", b"content-length", b"transfer-encoding", b"expect", b"audit-id"})
_AUDIT_ID = re.compile(rb"[!-~]{1,64}\Z")
QUESTIONS = b"/admission/"
"""What paths begin with at which shards ask (`proxy.admission.callback`)."""
_CHUNK_OVERHEAD = 8
"""Bytes of framing allowed for each byte of a chunked body: one-byte chunks take five."""


class Refused(Exception):
    """A request that is not understood or beyond the limits. Where the next one begins is not known then."""

    def __init__(self, status: StatusError) -> None:
        super().__init__(status.message)
        self.status = status


@dataclass(slots=True)
class Parsed:
    """A request, and what decides the framing of its answer."""

    request: Request
    keep: bool
    """Whether the connection goes on afterwards."""
    http10: bool
    """A client that does not know chunks."""


class RequestParser:
    """Of one connection: after `feed`, complete requests stand in `requests`."""

    __slots__ = (
        "_audit_id", "_body", "_body_size", "_bound", "_chunk", "_chunked", "_head_done", "_headers", "_heads",
        "_http10", "_limits", "_most", "_parser", "_peer", "_peer_cert", "_raw", "_switched", "_target", "began",
        "beyond", "receiving", "requests", "wants_continue",
    )  # fmt: skip

    def __init__(self, limits: Limits, peer_cert: bytes | None = None, peer: str = "") -> None:
        self._limits = limits
        self._peer_cert = peer_cert
        self._peer = peer
        self._parser: Any = httptools.HttpRequestParser(self)
        self._heads = Heads()
        self._chunk = 0
        self._head_done = False
        self.requests: deque[Parsed] = deque()
        self.beyond = b""
        """What was read after a request that asks for another protocol."""
        self._switched = False
        """Whether there was one: it is the last."""
        self.receiving = False
        """Whether a request has begun and is not yet whole."""
        self.began = 0.0
        """When it did, or when its predecessor was answered (monotonic seconds)."""
        self.wants_continue = False
        """It waits for ``100 Continue`` before it sends its body."""

    @property
    def head_complete(self) -> bool:
        return self._head_done

    def close(self) -> None:
        """Nothing more comes. Breaks the circle of references that the parser's callbacks are."""
        self.requests.clear()
        self.receiving = False
        self._parser = None

    def again(self, data: bytes) -> Parsed | None:
        """The request that ``data`` is, where its head has been here before (`Heads`); None if ``data`` must be fed."""
        if self.receiving or self.requests:
            return None
        found = self._heads.find(data)
        if found is None or len(found[1]) > self._limits.target:
            return None
        head, target = found
        key = head.key(self._peer_cert)
        record = Record(audit_id=head.audit_id)
        return Parsed(Request(b"GET", target, head.headers, b"", self._peer_cert, self._peer, record, key), True, False)

    def feed(self, data: bytes) -> None:
        """Raises `Refused`; requests that were complete before the fault are in `requests` nevertheless."""
        if self._switched:
            self.beyond += data
            return
        between = not self.receiving
        self._chunk = len(data)
        if self.receiving:
            self._bound += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as switch:
            # The request is there, marked as the last one; what follows it is not ours to read.
            self._switched = True
            self.beyond = data[switch.args[0] :]
        except httptools.HttpParserCallbackError as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                raise cause from None
            raise
        except httptools.HttpParserError as error:
            raise Refused(StatusError(400, f"the request is not valid HTTP: {error}")) from None
        if self.receiving:
            self._raw += len(data)
            self._check_overhead()
        elif between and len(self.requests) == 1 and self.requests[0].keep and not self._http10:
            self._heads.keep(data, self.requests[0].request)

    def _check_overhead(self) -> None:
        """llhttp collects a header, a trailer or a chunk extension of any length: end it from outside."""
        limits = self._limits
        if not self._head_done:
            if self._raw > limits.target + limits.headers:
                raise Refused(_headers_too_large())
        elif self._chunked:
            allowed = limits.target + limits.headers + _CHUNK_OVERHEAD * self._body_size
            if self._raw - self._body_size > allowed:
                raise Refused(StatusError(400, "the chunks of the request are not in proportion to its body"))

    # llhttp callbacks

    def on_message_begin(self) -> None:
        self.receiving = True
        self.began = time.monotonic()
        self._target = b""
        self._headers: list[Header] = []
        self._head_done = False
        self._audit_id = b""
        self._chunked = False
        self._body: list[bytes] = []
        self._body_size = 0
        # This read may begin with the end of the request before: an upper and a lower bound of what belongs to this.
        self._bound = self._chunk
        self._raw = -self._chunk

    def on_url(self, url: bytes) -> None:
        self._target += url
        if len(self._target) > self._limits.target:
            raise Refused(StatusError(414, "the request's target is too long", reason="RequestURITooLong"))

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_done:
            self._headers.append((name.lower(), value.rstrip(b" \t")))

    def on_headers_complete(self) -> None:
        self._head_done = True
        headers = self._headers
        limits = self._limits
        if len(headers) > limits.header_count or (
            self._bound > limits.headers and sum(len(name) + len(value) for name, value in headers) > limits.headers
        ):
            raise Refused(_headers_too_large())
        version = self._parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise Refused(StatusError(505, f"HTTP/{version} is not spoken here", reason="HTTPVersionNotSupported"))
        self._http10 = version == "1.0"
        self._most = limits.question if self._target.startswith(QUESTIONS) else limits.body
        hosts = 0
        has_body = False
        for name, value in headers:
            if name not in _OF_INTEREST:
                continue
            if name == b"host":
                hosts += 1
            elif name == b"content-length":
                has_body = has_body or value != b"0"
                if int(value) > self._most:
                    raise Refused(too_large(self._most))
            elif name == b"transfer-encoding":
                has_body = self._chunked = True
                if value.lower() != b"chunked" or self._http10:
                    raise Refused(StatusError(501, "transfer coding other than chunked", reason="NotImplemented"))
            elif name == b"audit-id":
                self._audit_id = value if _AUDIT_ID.match(value) else b""
            elif value.lower() == b"100-continue":
                self.wants_continue = not self._http10
            else:
                raise Refused(StatusError(417, "unknown expectation", reason="ExpectationFailed"))
        if hosts > 1 or (hosts == 0 and not self._http10):
            raise Refused(StatusError(400, "exactly one Host header is needed"))
        if has_body and self._parser.should_upgrade():
            raise Refused(StatusError(400, "a request with a body cannot upgrade the connection"))

    def on_body(self, body: bytes) -> None:
        self.wants_continue = False
        self._body_size += len(body)
        if self._body_size > self._most:
            raise Refused(too_large(self._most))
        self._body.append(body)

    def on_message_complete(self) -> None:
        self.receiving = False
        self.wants_continue = False
        parser = self._parser
        pieces = self._body
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        record = Record(audit_id=self._audit_id)
        target = self._origin_form()
        request = Request(parser.get_method(), target, self._headers, body, self._peer_cert, self._peer, record)
        # Where an upgrade is not taken, the answer is the plain one, and the last on this connection.
        keep = parser.should_keep_alive() and not parser.should_upgrade()
        self.requests.append(Parsed(request, keep, self._http10))

    def _origin_form(self) -> bytes:
        """Path and query, also of an absolute URL (RFC 9112 section 3.2.2); raises for anything else."""
        target = self._target
        if target.startswith((b"http://", b"https://")):
            _, slash, rest = target.partition(b"://")[2].partition(b"/")
            target = slash + rest
        if not target.startswith(b"/") or b"#" in target:
            raise Refused(StatusError(400, "the request's target is not a path"))
        return target


def too_large(limit: int) -> StatusError:
    """As a kube-apiserver (``limitedReadBody``) says it."""
    return StatusError(413, f"Request entity too large: limit is {limit}", reason="RequestEntityTooLarge")


def _headers_too_large() -> StatusError:
    return StatusError(431, "the request's headers are too large", reason="RequestHeadersTooLarge")
