"""The flags of `kcp start` that say what a workspace may take of what all share."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.limits.file import LimitsFileError, read_limits
from proxy.limits.values import LimitSettings, WorkspaceLimits

_DEFAULT = WorkspaceLimits()
_MANY = click.IntRange(min=0)


def _limit(name: str, text: str) -> Callable[[Any], Any]:
    default = getattr(_DEFAULT, name.replace("-", "_"))
    return click.option(f"--workspace-{name}", type=_MANY, default=default, show_default=True, help=text)


_OPTIONS = [
    click.option(
        "--shard-requests-in-flight",
        type=click.IntRange(min=1),
        default=LimitSettings().shard_requests,
        show_default=True,
        help="Requests that are sent to a shard at once, in all; workspaces take turns for more. Expensive ones count "
        "up to four times. This and what follows is divided among the workers.",
    ),
    _limit(
        "requests-in-flight",
        "Of these a workspace's, an eighth while others ask as well; further ones wait. 0: no limit, here and below.",
    ),
    _limit("queued-requests", "Requests of a workspace that wait; who sends more gets 429."),
    _limit("requests-per-second", "Requests of a workspace, on average, beyond which it gets 429."),
    _limit("watches", "Watches of a workspace at once."),
    _limit("streams", "Logs, exec, attach and port-forward of a workspace at once."),
    _limit("request-megabytes", "MiB of all bodies of a workspace's requests under way."),
    _limit("unread-megabytes", "MiB of a workspace's answers that clients leave unread."),
    _limit("crds", "CustomResourceDefinitions of a workspace; further ones are forbidden."),
    _limit("objects", "Objects of all types of a workspace; further ones are forbidden."),
    click.option(
        "--workspace-limits-file",
        "limits_file",
        type=click.Path(exists=True, dir_okay=False, resolve_path=True),
        help="YAML with limits of single workspaces (docs/operations.md); read again when it changes.",
    ),
]


def limit_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags; the command gets them as ``shares``, LimitSettings but for the number of workers."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        given = {name: values.pop(name) for name in list(values) if name.startswith("workspace_")}
        limits = WorkspaceLimits(**{name.removeprefix("workspace_"): value for name, value in given.items()})
        file = values.pop("limits_file")
        if file:
            try:
                read_limits(Path(file))
            except LimitsFileError as error:
                raise click.ClickException(f"--workspace-limits-file: {error}") from error
        shares = LimitSettings(shard_requests=values.pop("shard_requests_in_flight"), workspace=limits, file=file)
        return command(**values, shares=shares)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped
