"""Reads of connections, all into one buffer, from which each takes what it was sent.

For a protocol that takes bytes, uvloop's TLS makes an object of 256 KiB for each record (16 KiB at most), and cuts it
to size: cheap where such memory lies ready, and dear where it is given back each time (`proxy.cli.workers`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from weakref import ref

SIZE = 128 * 1024
"""Bytes that are mostly enough for what is there to be read."""


class Scratch:
    """The buffer of connections on one event loop: it is filled and read within one of the loop's callbacks, so that it
    holds nothing for anybody in between."""

    __slots__ = ("_usual", "view")

    def __init__(self) -> None:
        self._usual = self.view = memoryview(bytearray(SIZE))

    def get_buffer(self, sizehint: int) -> memoryview:
        """For all that is there, of which uvloop's TLS tells the size: what it had to leave for another read would be
        lost where the connection's end comes first."""
        self.view = self._usual if sizehint <= SIZE else memoryview(bytearray(sizehint))
        return self.view


class Reading(asyncio.BufferedProtocol):
    """A protocol whose `data_received` gets what was read, as that of an `asyncio.Protocol` does."""

    __slots__ = ("__weakref__", "scratch")

    def __init__(self, scratch: Scratch) -> None:
        self.scratch = scratch

    # uvloop's TLS keeps these two for as long as it lives, also when it has another protocol or none. A method of ours
    # would be a circle: it knows the protocol, that its transport, and that its TLS.

    @property
    def get_buffer(self) -> Callable[[int], memoryview]:
        return self.scratch.get_buffer

    @property
    def buffer_updated(self) -> Callable[[int], None]:
        scratch, weak = self.scratch, ref(self)

        def updated(nbytes: int) -> None:
            reading = weak()
            if reading is not None:
                reading.data_received(scratch.view[:nbytes].tobytes())

        return updated

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError
