"""Two connections made one: what comes in at either leaves at the other, unread, as fast as that takes it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from proxy.kube.reading import Reading, Scratch

LINGER = 30.0
"""Seconds that one side gets to take what the other has said last."""


class Pipe:
    """``ended`` is called once, when both connections are closed. With ``one_way`` nothing goes from ``left`` to
    ``right``: what comes from there is thrown away."""

    __slots__ = ("_ended", "_halves", "_open", "last_activity")

    def __init__(
        self,
        left: asyncio.Transport,
        right: asyncio.Transport,
        ended: Callable[[], object],
        *,
        one_way: bool = False,
        scratch: Scratch | None = None,
    ) -> None:
        """``scratch``: the event loop's, or one of its own."""
        self._ended = ended
        self._open = 2
        scratch = scratch or Scratch()
        first, second = _Half(self, left, scratch, deaf=one_way), _Half(self, right, scratch)
        first.other, second.other = second, first
        self._halves = (first, second)
        self.last_activity = time.monotonic()
        for half in self._halves:
            half.own.set_protocol(half)
        for half in self._halves:
            if half.own.is_closing():
                half.other.finish()
            else:
                resume(half.own)

    def close(self) -> None:
        for half in self._halves:
            with contextlib.suppress(AttributeError):  # asyncio's TLS before Python 3.11.5, of what has ended already
                half.own.abort()

    def closed(self) -> None:
        """One of the two is."""
        self._open -= 1
        if self._open == 0:
            self._ended()


class _Half(Reading):
    """What is done with the bytes of one connection."""

    __slots__ = ("_deaf", "_finishing", "_pipe", "other", "own")

    def __init__(self, pipe: Pipe, own: asyncio.Transport, scratch: Scratch, *, deaf: bool = False) -> None:
        super().__init__(scratch)
        self._pipe = pipe
        self._deaf = deaf
        self._finishing = False
        self.own = own
        self.other: _Half

    def data_received(self, data: bytes) -> None:
        self._pipe.last_activity = time.monotonic()
        if not self._deaf and not self.other.own.is_closing():
            self.other.own.write(data)

    def pause_writing(self) -> None:
        pause(self.other.own)

    def resume_writing(self) -> None:
        if self._finishing:
            self.own.close()
        else:
            resume(self.other.own)

    def eof_received(self) -> bool:
        return False  # TLS knows no half of a connection

    def connection_lost(self, exc: Exception | None) -> None:
        self.other.finish()
        self._pipe.closed()

    def finish(self) -> None:
        """Nothing more is to be said here: close when all has been taken."""
        own = self.own
        if own.is_closing() or self._finishing:
            return
        self._finishing = True
        if own.get_write_buffer_size() == 0:
            own.close()
            return
        own.set_write_buffer_limits(high=0)
        asyncio.get_running_loop().call_later(LINGER, own.abort)


def pause(transport: asyncio.Transport) -> None:
    """Read nothing from it for now.

    Not even the end of the connection: the TLS of asyncio and uvloop, when it has seen that, throws away what was not
    read yet. So nothing is taken from the socket as long as there is anything unread.
    """
    if transport.is_closing():
        return
    transport.pause_reading()
    if hasattr(transport, "set_read_buffer_limits"):
        transport.set_read_buffer_limits(high=1, low=0)


def resume(transport: asyncio.Transport) -> None:
    """Go on reading after `pause`.

    What is unread already comes first: TLS hands it over in a callback of its own, and were the socket read before
    that, the connection's end could be all that is left there. TLS reads on by itself when nothing is unread.
    """
    if transport.is_closing():
        return
    transport.resume_reading()
    if hasattr(transport, "set_read_buffer_limits"):
        asyncio.get_running_loop().call_soon(_at_large, transport)


def _at_large(transport: asyncio.Transport) -> None:
    """Read ahead again, if nothing has paused it meanwhile."""
    if not transport.is_closing() and transport.is_reading():
        transport.set_read_buffer_limits()  # type: ignore[attr-defined]
