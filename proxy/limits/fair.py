"""Start-time fair queuing of requests to one shard (Goyal, Vin, Cheng 1996).

A *seat* is room for one cheap request in flight. While there are seats, requests take them and nothing is reckoned.
Where none is left, each *flow* (a workspace's requests) waits in a queue of its own, and the one that has been served
least, by cost and shares, is next: a flow's tag is the virtual time at which its last request would have been done, or
now, if that is over. So whoever asks for little comes next, however much others ask for, and no credit is saved up.

A flow has a bound of its own on seats, so that one alone leaves room: others need not wait until something of it ends.
While others ask as well, the bound is narrow: what makes their requests slow is not that they wait here, but how much
else a shard has to do at the same time.

Work for a request does not depend on how many flows there are; that of one that waits grows with the logarithm of the
flows that wait for a seat.
"""

from __future__ import annotations

import heapq
import itertools
from collections import OrderedDict
from collections.abc import Callable

COMPETES = 1.0
"""Seconds for which a flow counts as one that asks, after its last request; longer while requests of it wait."""
LONGEST = 5.0
"""Seconds that a flow rests at most: what takes very long may have waited for something else than the shard."""


class Waiter:
    """A request in a queue."""

    __slots__ = ("cost", "flow", "start", "width")

    def __init__(self, flow: Flow, width: int, cost: float, start: Callable[[], None]) -> None:
        self.flow = flow
        self.width = width
        self.cost = cost
        self.start = start


class Flow:
    """Requests that are served as one. ``most``: seats at once, ``few``: while others ask; ``longest``: requests that
    may wait."""

    __slots__ = ("few", "finish", "listed", "longest", "most", "queue", "shares", "taken")

    def __init__(self, most: int, longest: int, shares: int = 1, few: int | None = None) -> None:
        self.most = most
        self.few = most if few is None else few
        self.longest = longest
        self.shares = shares
        self.taken = 0
        """Seats."""
        self.queue: OrderedDict[Waiter, None] = OrderedDict()
        self.finish = 0.0
        self.listed = False
        """Whether it is among those that wait for a seat of all."""


class FairQueue:
    """``seats`` at once, for all flows."""

    def __init__(self, seats: int) -> None:
        self.seats = seats
        self.taken = 0
        self.waiting = 0
        """Requests."""
        self.competition = False
        """Whether more than one flow asks."""
        self._last: Flow | None = None
        self._asked = self._changed = 0.0
        self._virtual = 0.0
        self._ready: list[tuple[float, int, Flow]] = []
        """Flows with something to serve and room of their own, by tag."""
        self._numbers = itertools.count()

    def asks(self, flow: Flow, now: float) -> None:
        """It has a request, ``now`` seconds by some clock."""
        others_wait = self.waiting > len(flow.queue)
        if flow is not self._last:
            self.competition = others_wait or (self._last is not None and now - self._asked <= COMPETES)
            self._last = flow
            self._changed = now
        elif self.competition and not others_wait and now - self._changed > COMPETES:
            self.competition = False
            self._list(flow)  # there is room again
            self._serve()
        self._asked = now

    def room(self, flow: Flow, width: int) -> bool:
        """Whether ``flow`` may have so many seats more; one request it may always have, and rests behind it."""
        return not flow.taken or flow.taken + width <= (flow.few if self.competition else flow.most)

    def take(self, flow: Flow, width: int) -> bool:
        """Take ``width`` seats at once, if nobody has to wait; they are to be given back."""
        if self._ready or flow.queue:
            return False
        taken = flow.taken
        most = flow.few if self.competition else flow.most
        if (taken and taken + width > most) or (self.taken and self.taken + width > self.seats):
            return False
        flow.taken = taken + width
        self.taken += width
        return True

    def wait(self, flow: Flow, width: int, cost: float, start: Callable[[], None]) -> Waiter | None:
        """Wait for ``width`` seats, of which ``start`` tells; None if too many wait already. ``cost`` in any unit."""
        if len(flow.queue) >= flow.longest:
            return None
        waiter = Waiter(flow, width, cost, start)
        flow.queue[waiter] = None
        self.waiting += 1
        self._list(flow)
        self._serve()
        return waiter

    def leave(self, waiter: Waiter) -> bool:
        """It waits no longer. False if it has seats already, which are to be given back."""
        flow = waiter.flow
        if waiter not in flow.queue:
            return False
        del flow.queue[waiter]
        self.waiting -= 1
        self._list(flow)  # the next one may be narrower
        self._serve()
        return True

    def give(self, flow: Flow, width: int, *, rests: bool = False) -> None:
        """Give ``width`` seats back, to others alone if ``flow`` ``rests``: until `rested` they count as its own."""
        self.taken -= width
        self.rested(flow, 0 if rests else width)

    def rested(self, flow: Flow, width: int) -> None:
        """``flow`` may have so many seats again."""
        flow.taken -= width
        if self.waiting:
            self._list(flow)
            self._serve()

    def rest(self, flow: Flow, width: int, held: float) -> float:
        """Seconds for which ``flow`` has to rest after it has ``held`` so many seats, as many seconds: while others
        ask, one wide request has more than its flow may have, and pays for it. On the average it has what it may."""
        return min(held * (width / flow.few - 1), LONGEST) if self.competition and width > flow.few else 0.0

    def _list(self, flow: Flow) -> None:
        if not flow.listed and flow.queue and self.room(flow, next(iter(flow.queue)).width):
            flow.listed = True
            heapq.heappush(self._ready, (max(self._virtual, flow.finish), next(self._numbers), flow))

    def _serve(self) -> None:
        ready = self._ready
        while ready:
            tag, _, flow = ready[0]
            waiter = next(iter(flow.queue), None)
            if waiter is not None and self.taken and self.taken + waiter.width > self.seats:
                return
            heapq.heappop(ready)
            flow.listed = False
            if waiter is None or not self.room(flow, waiter.width):
                continue
            del flow.queue[waiter]
            self.waiting -= 1
            self._virtual = tag
            flow.finish = tag + waiter.cost / flow.shares
            flow.taken += waiter.width
            self.taken += waiter.width
            self._list(flow)
            waiter.start()
