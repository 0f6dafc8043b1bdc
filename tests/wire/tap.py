"""Sees every byte that a worker writes to its clients, as it is given to TLS, and notes what must not be in there.

Loaded into the workers of all kcps that tests start, by ``site/sitecustomize.py``; no part of the product knows of it.
It reads answers as their clients do (chunks put together, gzip unpacked), so that where pieces begin and end hides
nothing. Which workspaces there are it knows from the worker, which follows them on the shards.

What may be there after all stands in `allowed`.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import urllib.parse
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httptools

TOKEN = re.compile(rb"(?=(k[a-z2-7]{8}))")
LABEL = re.compile(rb'(?<!"f:)0\.kcp\.dev/w(?!\\*" is reserved)')
"""The internal label, but for where managedFields of what kcp's controllers have applied name it, or who has written it
(a webhook of the workspace, say) is told that it is reserved: a word of the product that is the same everywhere, and
tells of nobody."""
CANARY = re.compile(rb"canary-([0-9a-f]{8})-[0-9a-f]{8}")
"""A name that nobody guesses, and that says whose it is: no request of another workspace may be answered with it."""
CARRIED = 64
"""Bytes of a piece that are looked at once more with the next one."""
ENCODED = re.compile(rb"eyJ[A-Za-z0-9_-]{16,}")
"""JSON in base64: claims of service accounts' tokens, and continue tokens."""
ESCAPE = re.compile(rb"\\u00([0-7][0-9a-fA-F])")
"""Of a plain character in JSON."""
NEAR = 80
"""Bytes around what was found that are noted."""


def allowed(where: str, own: bool, said: bool) -> bool:
    """An answer may repeat what its request ``said``: what is wrong with it, or the token that is to be reviewed.

    It may hold canaries of its ``own`` workspace. Inside of JSON in base64 a workspace's ``own`` token may stand:
    claims of a service account's token are signed by the shard, and a continue token says where in the shard's store
    a list goes on. To know it is of no use. What else may be there: `LABEL`.
    """
    return said or (where in ("encoded", "canary") and own)


def owner_of(path: str) -> str:
    """What canaries of the workspace at ``path`` have in them."""
    return hashlib.blake2s(path.encode(), digest_size=4).hexdigest()


def decoded(data: bytes) -> Iterator[bytes]:
    """All that is JSON in base64."""
    for match in ENCODED.finditer(data):
        yield base64.urlsafe_b64decode(match[0][: len(match[0]) // 4 * 4])


class Tap:
    """A transport that is looked at. ``workspace_of``: the path of the workspace with a token."""

    def __init__(self, transport: Any, workspace_of: Callable[[str], str | None], note: Callable[[str], None]) -> None:
        self._transport = transport
        self._workspace_of = workspace_of
        self._note = note
        self._target = ""
        self._asked = b""
        self._parser: httptools.HttpResponseParser | None = None
        self._upgraded = False
        self._unpack: Any = None
        self._carried: dict[str, bytes] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def begin(self, method: bytes, target: bytes, body: bytes) -> None:
        """What is written from now on answers this request."""
        self._target = f"{method.decode()} {target.decode('latin-1')}"
        self._asked = target + b"\n" + body
        self._parser = None if method == b"HEAD" else httptools.HttpResponseParser(self)
        self._unpack = None
        self._carried = {}

    def write(self, data: bytes) -> None:
        if not self._upgraded:
            self._look(bytes(data))
        self._transport.write(data)

    def writelines(self, pieces: Any) -> None:
        self.write(b"".join(pieces))

    def _look(self, data: bytes) -> None:
        if self._parser is None:
            self._scan("raw", data)
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._upgraded = True  # what a pod says is no answer of a shard
        except httptools.HttpParserError as error:
            self._note(json.dumps({"request": self._target, "found": "no answer by HTTP", "near": str(error)}))
            self._parser = None

    # as httptools calls it

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-encoding" and value == b"gzip":
            self._unpack = zlib.decompressobj(31)
        self._scan("header", value, whole=True)

    def on_body(self, body: bytes) -> None:
        self._scan("body", self._unpack.decompress(body) if self._unpack is not None else body)

    # what is looked for

    def _scan(self, where: str, data: bytes, *, whole: bool = False) -> None:
        if not whole:
            data = self._carried.get(where, b"") + data
            self._carried[where] = data[-CARRIED:]
        label = LABEL.search(data)
        if label is not None and not allowed(where, False, self._said(label[0])):
            self._found("the internal label", where, data, label.start())
        self._tokens(where, data)
        self._canaries(where, data)
        for text in decoded(data):
            self._tokens("encoded", text)
            self._canaries("encoded", text)

    def _tokens(self, where: str, data: bytes) -> None:
        for match in TOKEN.finditer(data):
            path = self._workspace_of(match[1].decode())
            if path is not None and not allowed(where, self._is_asked(path), self._said(match[1])):
                self._found(f"the token of {path}", where, data, match.start())

    def _canaries(self, where: str, data: bytes) -> None:
        for match in CANARY.finditer(data):
            own = self._asked_of() in (None, match[1].decode())
            if not allowed("canary", own, self._said(match[0])):
                self._found("a name of another workspace", where, data, match.start())

    def _said(self, word: bytes) -> bool:
        plain = ESCAPE.sub(lambda match: bytes([int(match[1], 16)]), urllib.parse.unquote_to_bytes(self._asked))
        return word in plain or any(word in text for text in decoded(plain))

    def _is_asked(self, path: str) -> bool:
        """Whether the request is for that workspace, or, without ``/clusters/``, for who knows which."""
        return self._path() in ("", path)

    def _asked_of(self) -> str | None:
        """`owner_of` whom the request is for; None where that is not known."""
        path = self._path()
        return owner_of(path) if path else None

    def _path(self) -> str:
        _, _, rest = self._target.partition("/clusters/")
        return re.split("[/?]", rest, maxsplit=1)[0].replace("%3A", ":")

    def _found(self, what: str, where: str, data: bytes, at: int) -> None:
        near = data[max(0, at - NEAR) : at + NEAR].decode("latin-1")
        self._note(json.dumps({"request": self._target, "found": f"{what} in {where}", "near": near}))


def listen(folder: Path) -> None:
    """Look at all that this process, a worker, writes to clients; notes go into a file of its own in ``folder``."""
    from proxy.server.front import Front

    made, start = Front.connection_made, Front._start

    def note(line: str) -> None:
        with (folder / f"{os.getpid()}.jsonl").open("a") as file:
            file.write(line + "\n")

    def connection_made(front: Any, transport: Any) -> None:
        index = front._gateway._index

        def workspace_of(token: str) -> str | None:
            workspace = index.by_token(token)
            return None if workspace is None else str(workspace.path)

        made(front, Tap(transport, workspace_of, note))  # type: ignore[arg-type]

    def starts(front: Any, parsed: Any, *rest: Any) -> Any:
        front._transport.begin(parsed.request.method, parsed.request.target, parsed.request.body)
        return start(front, parsed, *rest)

    (folder / f"{os.getpid()}.listens").touch()
    Front.connection_made = connection_made  # type: ignore[method-assign,assignment]
    Front._start = starts  # type: ignore[method-assign,assignment]
