"""Waiting in tests: for something that is bound to happen, with a limit that tells when it did not, on a busy machine
too."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
SHORTEST, LONGEST = 0.05, 0.25
"""Seconds between two looks."""


async def eventually(
    call: Callable[[], Awaitable[T]], *failures: type[Exception], timeout: float = 60.0, interval: float | None = None
) -> T:
    """The first true answer of ``call``, whose ``failures`` count as not yet. The last failure is raised at the end.

    Without an ``interval``, the longer it takes the less often is looked, down to four times a second: on both cores
    others are at work.
    """
    deadline = time.monotonic() + timeout
    pause = SHORTEST if interval is None else interval
    while True:
        late = time.monotonic() > deadline
        try:
            answer = await call()
            if answer:
                return answer
        except failures:
            if late:
                raise
        if late:
            raise AssertionError(f"still nothing after {timeout:g} s")
        await asyncio.sleep(pause)
        if interval is None:
            pause = min(1.1 * pause, LONGEST)
