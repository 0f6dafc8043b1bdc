"""Workspaces of one shard that are being removed: which begin, and when each is looked at again.

Thousands may be deleted at once. Kubernetes' own controller looks at a namespace, and at all types of the shard for
it, some seconds after that began to end: so few begin at a time that those are gone by then.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

AT_ONCE = 64
"""Workspaces that begin within `LATELY`, less those whose namespaces are gone."""
LATELY = 4.0
"""Seconds. What takes longer, as something has finalizers, holds nobody up. Kubernetes' controller waits for five
(``k8s.io/kubernetes/pkg/controller/namespace``)."""
LOOKS = 50
"""A second, at most, at what is left: the shard needs its time for that itself."""
FIRST, LAST = 0.2, 10.0
"""Seconds from one look at a workspace to the next: alone, and as one of many."""


class Departures:
    """By token."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._begun: dict[str, float] = {}
        """And when."""
        self._lately: dict[str, float] = {}
        """Those of them that count, in this order."""
        self._waiting: set[str] = set()

    def begins(self, token: str) -> bool:
        """Whether it has begun, or does so now."""
        if token in self._begun:
            return True
        now = self._clock()
        while self._lately and next(iter(self._lately.values())) <= now - LATELY:
            del self._lately[next(iter(self._lately))]
        if len(self._lately) >= AT_ONCE:
            return False
        self._begun[token] = self._lately[token] = now
        self._waiting.discard(token)
        return True

    def emptied(self, token: str) -> None:
        """Its namespaces are gone: another may begin."""
        self._lately.pop(token, None)

    def gone(self, token: str) -> None:
        self._begun.pop(token, None)
        self._waiting.discard(token)
        self._lately.pop(token, None)

    def takes_long(self, token: str) -> bool:
        """Whether somebody may wonder what keeps it."""
        return self._clock() - self._begun.get(token, -math.inf) > LATELY

    def again(self, token: str) -> float:
        """Seconds until it is to be looked at again."""
        if token not in self._begun:
            self._waiting.add(token)
        among = self._begun if token in self._begun else self._waiting
        return max(FIRST, min(len(among) / LOOKS, LAST))
