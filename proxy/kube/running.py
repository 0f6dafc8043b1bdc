"""Work that is started again whenever it fails."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)


async def keep_running(name: str, run: Callable[[], Awaitable[None]], *, last_delay: float = 30.0) -> None:
    """Run it again, later each time, whenever it fails: nothing of its state is kept here."""
    delay = 0.5
    while True:
        began = time.monotonic()
        try:
            await run()
            log.error("%s ended; starting again", name)
        except Exception:
            log.exception("%s failed; starting again", name)
        if time.monotonic() - began > last_delay:
            delay = 0.5
        await asyncio.sleep(delay * random.uniform(0.8, 1.2))
        delay = min(delay * 2, last_delay)
