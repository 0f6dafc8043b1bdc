"""An answer of a shard that is worked on as it comes, with back-pressure."""

from __future__ import annotations

import asyncio
import time

from proxy.kube.errors import StatusError
from proxy.server.messages import Header, Record, Response
from proxy.server.upstream import Upstream

WAITING = 4
"""How many times what is enough for one piece may wait, until the shard has to."""


class Incoming:
    """The sink of `proxy.server.exchange.Assembly.open`."""

    def __init__(self, record: Record, enough: int) -> None:
        """``enough``: bytes of a piece; the last one has less. A shard sends long answers two KiB at a time."""
        self.lines = record.lines()
        self._record = record
        self._asked = time.perf_counter()
        self._enough = enough
        self._response: Response | None = None
        self._pieces: list[bytes] = []
        self._size = 0
        self._done = False
        self._wanted = True
        self._error: StatusError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._upstream: Upstream | None = None

    async def begun(self) -> Response:
        """Its status and headers. Raises StatusError 503 when the shard cannot be reached."""
        while self._response is None:
            await self._wait()
        return self._response

    async def more(self) -> bytes:
        """What has come of its body; nothing at its end. Raises StatusError when it breaks off."""
        while not (self._done or self._size >= self._enough):
            await self._wait()
        data = b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        if self._upstream is not None:
            self._upstream.resume()
        return data

    def cancel(self) -> None:
        """Nobody wants it any more."""
        self._wanted = False
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.abandon()

    async def _wait(self) -> None:
        error, self._error = self._error, None
        if error is not None:
            try:
                raise error
            finally:
                del error  # or it, and the frame that it came from, would know each other in a circle
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    # Sink

    def bind(self, upstream: Upstream) -> bool:
        self._upstream = upstream if self._wanted else None
        return self._wanted

    def head(self, status: int, headers: list[Header]) -> None:
        self._record.shard_seconds += time.perf_counter() - self._asked
        self._response = Response(status, headers, b"")
        self._wake()

    def whole(self, status: int, fields: bytes, body: bytes) -> None:
        lines = [line.partition(b": ") for line in fields.splitlines()]
        self.head(status, [(name.lower(), value) for name, _, value in lines])
        self.data(body, True)

    def data(self, chunk: bytes, done: bool) -> None:
        if chunk:
            self._pieces.append(chunk)
            self._size += len(chunk)
        if done:
            self._done = True
            self._upstream = None
        elif self._size >= self._enough * WAITING and self._upstream is not None:
            self._upstream.pause()
        if done or self._size >= self._enough:
            self._wake()

    def upgraded(self, headers: list[Header], rest: bytes) -> None:
        self.cancel()  # nobody has asked for that

    def failed(self, error: StatusError) -> None:
        self._upstream = None
        self._error = error
        self._wake()
