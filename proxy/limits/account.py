"""What one workspace has of a worker, and what its requests are expected to cost."""

from __future__ import annotations

from proxy.limits.fair import Flow
from proxy.limits.values import MEGABYTE, WorkspaceLimits

NO_LIMIT = 1 << 62
BLOCK = 64 * 1024
"""Bytes of a body or an answer that cost as much as a small request."""
SHARD_TIME = 0.01
"""Seconds of a shard that do."""
PER_SEAT = 4.0
"""Cost for which one seat is taken."""
WIDEST = 4
"""Seats of the most expensive request."""
UNKNOWN = PER_SEAT * WIDEST
"""Cost of a list of which nothing is known yet: as in a kube-apiserver, the most."""
FADES = 0.2
"""How much of the way to a smaller cost an estimate goes with each request."""
MOST_KINDS = 256
"""Kinds of requests whose cost is remembered."""
FEW = 8
"""Of the seats that a workspace may have alone, one in so many is its while others ask as well."""
BURST = 2
"""Seconds of its rate that a workspace may ask for at once, after it was silent."""


class Account(Flow):
    """Of one workspace at one shard."""

    __slots__ = ("_limits", "_stamp", "_tokens", "costs", "received", "streams", "unread", "used", "watches")

    def __init__(self, limits: WorkspaceLimits) -> None:
        super().__init__(0, 0)
        self._tokens = float(BURST * limits.requests_per_second)
        self._stamp = 0.0
        self.limits = limits
        self.watches = 0
        self.streams = 0
        self.received = 0
        """Bytes of bodies of requests that wait or are under way."""
        self.unread = 0
        """Bytes of answers that are written, and not taken by clients."""
        self.costs: dict[str, float] = {}
        """Of lists and documents, as they were lately."""
        self.used = True
        """Since somebody looked."""

    @property
    def limits(self) -> WorkspaceLimits:
        return self._limits

    @limits.setter
    def limits(self, limits: WorkspaceLimits) -> None:
        self._limits = limits
        self.most = limits.requests_in_flight or NO_LIMIT
        self.few = -(-limits.requests_in_flight // FEW) or NO_LIMIT
        self.longest = limits.queued_requests or NO_LIMIT
        self.shares = max(limits.shares, 1)

    @property
    def idle(self) -> bool:
        """Whether nothing is known of it that would be lost."""
        return not (self.taken or self.queue or self.watches or self.streams or self.received or self.unread)

    def early(self, now: float) -> float:
        """Seconds by which a request comes too early for the rate; 0 takes one from it."""
        rate = self._limits.requests_per_second
        if not rate:
            return 0.0
        self._tokens = min(self._tokens + (now - self._stamp) * rate, float(BURST * rate))
        self._stamp = now
        if self._tokens < 1:
            return (1 - self._tokens) / rate
        self._tokens -= 1
        return 0.0

    def too_much_received(self, size: int) -> bool:
        """Whether a body of ``size`` bytes would be too much beside the others; alone none is."""
        limit = self._limits.request_megabytes
        return bool(limit and self.received and self.received + size > limit * MEGABYTE)

    def too_much_unread(self) -> bool:
        limit = self._limits.unread_megabytes
        return bool(limit and self.unread > limit * MEGABYTE)

    def expected(self, kind: str) -> float:
        """Cost of a request of that kind."""
        return self.costs.get(kind, UNKNOWN)

    def width(self, cost: float) -> int:
        """Seats for a request of that cost."""
        return min(1 + int(cost / PER_SEAT), WIDEST, self.most) if cost >= PER_SEAT else 1

    def learn(self, kind: str, sent: int, seconds: float) -> None:
        """A request of that kind was answered with ``sent`` bytes, after ``seconds`` of the shard: what is more than
        expected counts at once, what is less by and by."""
        cost = answer_cost(sent, seconds)
        before = self.costs.get(kind)
        if before is None:
            if len(self.costs) >= MOST_KINDS:
                self.costs.clear()
        elif cost < before:
            cost = before + (cost - before) * FADES
        self.costs[kind] = cost


def answer_cost(sent: int, seconds: float) -> float:
    """Of a request that was answered with ``sent`` bytes, after ``seconds`` of the shard."""
    return 1.0 + sent / BLOCK + seconds / SHARD_TIME
