"""Reads of connections, all into one buffer, from which each takes what it was sent.

To a protocol that takes bytes, uvloop's TLS hands one object for all that is there, put together from one of 256 KiB
for each record (16 KiB at most), made and then cut to size. Read into a buffer, a long answer takes half of that time.
"""

from __future__ import annotations

import asyncio

SIZE = 128 * 1024
"""Bytes that are read at once."""


class Scratch:
    """The buffer of one event loop: it is filled and read within one of the loop's callbacks, so that it holds nothing
    for anybody in between."""

    __slots__ = ("view",)

    def __init__(self) -> None:
        self.view = memoryview(bytearray(SIZE))


class Reading(asyncio.BufferedProtocol):
    """A protocol whose `data_received` gets what was read, as that of an `asyncio.Protocol` does."""

    __slots__ = ("_view",)

    def __init__(self, scratch: Scratch) -> None:
        self._view = scratch.view

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._view

    def buffer_updated(self, nbytes: int) -> None:
        self.data_received(self._view[:nbytes].tobytes())

    def data_received(self, data: bytes) -> None:
        raise NotImplementedError
