"""Flags of every program that syncs: how it tells what it does."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from proxy.logs import CONSOLE, FORMATS, formatter

Command = TypeVar("Command", bound=Callable[..., Any])

_OPTIONS = (
    click.option(
        "--metrics-bind-address",
        default="off",
        show_default=True,
        metavar="[HOST]:PORT",
        help="Serve /metrics, /livez and /readyz; off for not at all.",
    ),
    click.option(
        "--metrics-token-file",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Holds the bearer token that scrapes of /metrics need.",
    ),
    click.option(
        "--log-format", type=click.Choice(FORMATS), default=CONSOLE, show_default=True, help="Form of the logs."
    ),
    click.option(
        "-v", "--verbosity", type=int, default=2, show_default=True, help="0 errors, 2 what is done, 4 details."
    ),
)


def observed(command: Command) -> Command:
    """Gives a command ``metrics_bind_address``, ``metrics_token_file``, ``log_format`` and ``verbosity``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def start_logging(log_format: str, verbosity: int) -> None:
    """To standard error."""
    level = logging.DEBUG if verbosity > 3 else logging.INFO if verbosity > 1 else logging.WARNING
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(log_format))
    logging.basicConfig(level=level, handlers=[handler])
