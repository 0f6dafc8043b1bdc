"""Documents that are rendered once and answered many times, with ETag, compressed where the client takes that."""

from __future__ import annotations

import hashlib
import zlib
from typing import Any

import orjson

from proxy.mapping.forms import Form
from proxy.server.messages import Header, Reply, Request
from proxy.server.replies import form_of, in_form

COMPRESS_FROM = 4096
"""Bytes from which a compressed form is kept; below that it saves no packet worth the client's time."""
ONE_YEAR = b"max-age=31536000"


class Document:
    """A body with its headers. ``etag`` (without quotes) is made from the body if none is given."""

    __slots__ = ("_compressed", "_headers", "body", "etag", "readable")

    def __init__(
        self, body: bytes, content_type: str = "application/json", etag: str | None = None, *, readable: bool = False
    ) -> None:
        self.body = body
        self.etag = etag or hashlib.sha256(body).hexdigest().upper()
        self.readable = readable
        """Whether people may have it indented, or as YAML: OpenAPI is compact for everybody."""
        self._compressed: bytes | None = None
        self._headers: tuple[Header, ...] = (
            (b"content-type", content_type.encode()),
            (b"etag", f'"{self.etag}"'.encode()),
            (b"vary", b"Accept"),
            (b"vary", b"Accept-Encoding"),
        )

    @property
    def size(self) -> int:
        """Bytes of memory, the compressed form included."""
        return len(self.body) + (len(self._compressed) if self._compressed else len(self.body) // 8)

    def compress(self) -> bytes:
        """The gzip form, made at the first call."""
        if self._compressed is None:
            packer = zlib.compressobj(level=4, wbits=31)
            self._compressed = packer.compress(self.body) + packer.flush()
        return self._compressed

    def reply(self, request: Request, *, immutable: bool = False) -> Reply:
        """200 or 304. ``immutable``: the request's URL names this very content for good.

        Never ``public``, as a kube-apiserver's discovery is: what a workspace has is nobody else's business, so no
        shared cache may keep it.
        """
        headers = list(self._headers)
        headers.append((b"cache-control", b"private, immutable, " + ONE_YEAR if immutable else b"no-cache, private"))
        known = request.header(b"if-none-match")
        if known and self.etag.encode() in known:
            return Reply(304, headers, b"")
        form = form_of(request) if self.readable else Form.COMPACT
        if form is not Form.COMPACT:
            _, body = in_form(self.body, form)
            if form is Form.YAML:
                headers[0] = (b"content-type", headers[0][1].replace(b"application/json", b"application/yaml"))
            return Reply(200, headers, body)
        if len(self.body) >= COMPRESS_FROM and takes_gzip(request.header(b"accept-encoding")):
            headers.append((b"content-encoding", b"gzip"))
            return Reply(200, headers, self.compress())
        return Reply(200, headers, self.body)


def document(value: Any, content_type: str = "application/json", *, indented: bool = False) -> Document:
    """A JSON document, compact and with the line break that a kube-apiserver writes; ``indented`` and without, as it
    writes what is no API object."""
    options = orjson.OPT_INDENT_2 if indented else orjson.OPT_APPEND_NEWLINE
    return Document(orjson.dumps(value, option=options), content_type, readable=not indented)


def takes_gzip(accept_encoding: bytes) -> bool:
    for part in accept_encoding.split(b","):
        coding, _, weight = part.partition(b";")
        if coding.strip().lower() == b"gzip":
            return weight.replace(b" ", b"") not in (b"q=0", b"q=0.0", b"q=0.00", b"q=0.000")
    return False
