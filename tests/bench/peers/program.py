"""What the peers in Python have in common: flags and the loop."""

from __future__ import annotations

import argparse
from asyncio import Runner
from collections.abc import Callable, Coroutine
from typing import Any

import uvloop


def run(serve: Callable[[argparse.Namespace], Coroutine[Any, Any, None]]) -> None:
    """Serve until killed, as the flags say."""
    parser = argparse.ArgumentParser()
    for flag in ("listen", "cert", "key", "server", "ca", "tokens"):
        parser.add_argument(f"--{flag}", required=True)
    with Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parser.parse_args()))
