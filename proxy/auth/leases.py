"""How long what was learnt is good: until a moment, and as long as nothing has changed that it rests on.

What changes has an `Epoch`; whoever changes it ends that one and begins another. So a decision can be used again
without asking anew, and no longer than asking anew would give the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Epoch:
    """The time between two changes of something."""

    __slots__ = ("over",)

    def __init__(self) -> None:
        self.over = False


class Lease(NamedTuple):
    until: float
    """Monotonic seconds."""
    epochs: tuple[Epoch, ...]

    def good(self, now: float) -> bool:
        if self.until <= now:
            return False
        for epoch in self.epochs:  # noqa: SIM110
            if epoch.over:
                return False
        return True


FOR_GOOD = Lease(float("inf"), ())


def both(leases: Iterable[Lease]) -> Lease:
    """What rests on all of them."""
    every = tuple(leases)
    epochs = {id(epoch): epoch for lease in every for epoch in lease.epochs}
    return Lease(min(lease.until for lease in every), tuple(epochs.values()))
