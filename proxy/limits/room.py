"""How many objects a workspace may still make, by what was counted last and what was made since.

Deletions are not seen: they show when it is counted anew, which is when nothing is left.
"""

from __future__ import annotations

import math

UNCOUNTED = 100
"""One in so many of a limit may be made before anything is counted."""
AT_ONCE = 8
"""Objects that may be made after a count at least, where what is left is divided among several kcps."""
LOW = 4
"""When less than one in so many of what was left is left, it is time to count anew."""


class Room:
    """Of one workspace, as one worker knows it. ``made``: a tally of all that workers of this kcp have made in it,
    which only grows."""

    __slots__ = ("at", "base", "counted", "failure", "limit", "of", "part", "path", "slot", "version")

    def __init__(self, path: str, slot: int, made: int) -> None:
        self.path = path
        self.slot = slot
        """Where the tally stands."""
        self.base = made
        """The tally as the last count began."""
        self.counted: int | None = None
        self.at = -math.inf
        """When that was tried last, by a monotonic clock."""
        self.failure = ""
        """What kept it from being done, in a few words."""
        self.limit = 0
        self.version = -1
        """Of the limits, as ``limit`` was read."""
        self.part, self.of = 1, 1
        """Of what was left then, this kcp's part: others before the same shard make objects as well."""

    @property
    def full(self) -> bool:
        """Whether the last count found no room."""
        return self.counted is not None and self.counted >= self.limit

    def count_is(self, counted: int, base: int, part: int, of: int) -> None:
        self.counted, self.base, self.failure = counted, base, ""
        self.part, self.of = part, max(part, of)

    def granted(self, workers: int) -> int:
        """Objects that may be made after the last count, or without any by one of ``workers``."""
        if self.counted is None:
            return self.limit // UNCOUNTED // workers
        left = self.limit - self.counted
        if left <= 0:
            return 0
        if self.of == self.part:
            return left
        # What the others make meanwhile is not seen. So a part of much is not kept for later, when little may be left.
        most = max(self.limit // UNCOUNTED, AT_ONCE)
        return max(min(left * self.part // self.of, most), 1)

    def left(self, made: int, workers: int) -> int:
        return self.granted(workers) - made + self.base

    def is_low(self, left: int, workers: int) -> bool:
        """Whether with ``left`` it is time to count anew."""
        return left * LOW < self.granted(workers)

    def used(self, made: int) -> int:
        """Objects that there are, as far as that is known."""
        return (self.counted or 0) + made - self.base

    def told(self) -> int:
        """The same as somebody is told for whom no room is left: what was counted, and no tally, which may be of two
        workspaces."""
        return max(self.counted or 0, self.limit)
