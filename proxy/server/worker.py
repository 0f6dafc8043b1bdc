"""A proxy worker process: ``python -m proxy.server.worker SETTINGS.json [NAME]``.

Any number of workers share the listening address; the kernel spreads connections over them. A worker may be started
before its settings are written: it has loaded everything by then.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import sys
import time
from pathlib import Path

import uvloop

from proxy.kube.config import ConfigError
from proxy.logs import formatter, level_of
from proxy.server.compose import Worker
from proxy.server.settings import ServerSettings, listening_file

POLL = 0.02
"""Seconds between looks for the settings."""


async def run(settings: ServerSettings, name: str) -> None:
    """Serve until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    listening = listening_file(Path(settings.run_folder), name).touch if settings.run_folder else lambda: None
    await Worker(settings, name).run(stop, listening)


def main(arguments: list[str]) -> int:
    if len(arguments) not in (1, 2):
        print("usage: python -m proxy.server.worker SETTINGS.json [NAME]", file=sys.stderr)
        return 2
    file = Path(arguments[0])
    while not file.exists():
        time.sleep(POLL)
    settings = ServerSettings.read(file)
    handler = logging.StreamHandler()
    handler.setFormatter(formatter(settings.log_format))
    logging.basicConfig(level=level_of(settings.verbosity), handlers=[handler])
    # Requests make no reference cycles; a full collection over what lives for good would stop the loop for nothing.
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, arguments[1] if len(arguments) > 1 else "worker"))
    except (OSError, ConfigError, ValueError) as error:
        print(f"proxy worker: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
