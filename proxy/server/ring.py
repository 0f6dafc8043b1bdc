"""The latest events of a watch, for whoever comes back to it or comes late."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from proxy.mapping.watching import Line

SHARE = 16 * 1024
"""Bytes that are kept for each client of a watch, and once more."""
MOST = 1024 * 1024
"""Bytes, however many they are."""


class Ring:
    """All events with versions from above ``floor`` up to ``position``, in order."""

    __slots__ = ("_lines", "_size", "floor", "position")

    def __init__(self, version: int) -> None:
        self._lines: deque[Line] = deque()
        self._size = 0
        self.floor = version
        self.position = version

    def add(self, line: Line, clients: int) -> None:
        """The next one. ``clients``: how many there are. A bookmark is not kept: it says how far all is known.

        Raises ValueError where the order is broken.
        """
        if line.version < self.position or (line.version == self.position and not line.bookmark):
            raise ValueError(f"version {line.version} after {self.position}")
        self.position = line.version
        if line.bookmark:
            return
        self._lines.append(line)
        self._size += len(line.text)
        limit = min(SHARE * (clients + 1), MOST)
        while self._size > limit:
            oldest = self._lines.popleft()
            self._size -= len(oldest.text)
            self.floor = oldest.version

    def covers(self, version: int) -> bool:
        """Whether every event after that version is here, or is yet to come."""
        return version >= self.floor

    def since(self, version: int) -> Sequence[Line]:
        """What is here of after that version, which is covered."""
        found = []
        for line in reversed(self._lines):
            if line.version <= version:
                break
            found.append(line)
        found.reverse()
        return found
