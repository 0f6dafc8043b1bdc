"""How many questions at once may wait for a workspace's conversion webhooks.

Whoever reads an object that has to be converted waits for its webhook, and the shard's garbage collector, which has so
many workers for all workspaces, reads them one by one. So a webhook that answers soon may be asked a lot at once, and
one that does not holds few: further questions are told so.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AT_ONCE = 8
"""Questions of one workspace to which its webhooks owe an answer, in one worker; others wait for their turn."""
SLOW_AT_ONCE = 2
"""The same of a workspace whose webhooks are slow; others fail at once."""
SOON = 1.0
"""Seconds: an answer after more is slow, and so long is waited for a turn."""
REMEMBERED = 60.0
"""Seconds for which one slow answer counts."""


class Impatient(Exception):
    """Too many wait already."""


class _Turns:
    """Of one workspace."""

    __slots__ = ("freed", "slow_until", "under_way")

    def __init__(self) -> None:
        self.under_way = 0
        self.slow_until = 0.0
        self.freed = asyncio.Condition()

    @property
    def slow(self) -> bool:
        return time.monotonic() < self.slow_until

    @property
    def free(self) -> bool:
        return self.under_way < (SLOW_AT_ONCE if self.slow else AT_ONCE)

    def was_slow(self) -> None:
        self.slow_until = time.monotonic() + REMEMBERED


class Patience:
    """Of one worker."""

    def __init__(self) -> None:
        self._turns: dict[str, _Turns] = {}

    @asynccontextmanager
    async def turn(self, token: str) -> AsyncIterator[None]:
        """While a webhook of the workspace with that ``token`` is asked. Raises Impatient, after `SOON` at most."""
        turns = self._turns.get(token)
        if turns is None:
            self._forget()
            turns = self._turns[token] = _Turns()
        if not turns.free:
            await self._wait(turns)
        turns.under_way += 1
        began = time.monotonic()
        try:
            yield
        finally:
            turns.under_way -= 1
            if time.monotonic() - began > SOON:
                turns.was_slow()
            async with turns.freed:
                turns.freed.notify()

    async def _wait(self, turns: _Turns) -> None:
        if turns.slow:
            raise Impatient
        try:
            async with asyncio.timeout(SOON), turns.freed:
                await turns.freed.wait_for(lambda: turns.free)
        except TimeoutError:
            turns.was_slow()  # none of those under way was answered meanwhile, or far too few
            raise Impatient from None

    def _forget(self) -> None:
        """Workspaces of which nothing is under way, and nothing to be remembered."""
        idle = [token for token, turns in self._turns.items() if not turns.under_way and not turns.slow]
        for token in idle:
            del self._turns[token]
