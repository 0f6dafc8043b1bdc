"""`kcp top`: the busiest workspaces and the physical clusters, live."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import orjson
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from proxy.cli.administered import root_flag
from proxy.cli.installation import Cluster, Installation, NotThere, Sample
from proxy.kube.config import ConfigError

FILE_WIDTH = 200
"""Columns of what goes into a file or a pipe."""
WIDTHS = {"CLUSTER": 8, "STATE": 9, "IN/S": 9, "OUT/S": 9}
"""Of columns, at the least."""
LATE = 60.0
"""Seconds of lag that are pointed out."""
REQUESTS = "kcp_proxy_workspace_requests_total"
SECONDS = "kcp_proxy_workspace_request_duration_seconds"
BYTES = "kcp_proxy_workspace_bytes_total"


@dataclass(frozen=True, slots=True)
class Load:
    """Of one workspace between two scrapes."""

    workspace: str
    requests: float
    """Per second, as all that follow but the mean."""
    failed: float
    received: float
    sent: float
    mean: float | None
    """Seconds; None where no short request ended."""


def loads(before: Sample, now: Sample, seconds: float) -> list[Load]:
    """The busiest first."""
    changed: dict[str, dict[str, float]] = {}
    for (name, labels), value in now.items():
        inside = dict(labels)
        workspace = inside.get("workspace")
        if workspace is None or not name.startswith(("kcp_proxy_workspace_",)):
            continue
        known = changed.setdefault(workspace, {})
        key = {
            REQUESTS: "failed" if inside.get("class") == "5xx" else "good",
            BYTES: inside.get("direction", ""),
            f"{SECONDS}_sum": "seconds",
            f"{SECONDS}_count": "short",
        }.get(name)
        if key is not None:
            # one that was not among the busiest before has no earlier value: what it has is taken for nothing new
            known[key] = known.get(key, 0.0) + max(0.0, value - before.get((name, labels), value))
    found = [
        Load(
            workspace=workspace,
            requests=(known.get("good", 0.0) + known.get("failed", 0.0)) / seconds,
            failed=known.get("failed", 0.0) / seconds,
            received=known.get("in", 0.0) / seconds,
            sent=known.get("out", 0.0) / seconds,
            mean=known["seconds"] / known["short"] if known.get("short") else None,
        )
        for workspace, known in changed.items()
    ]
    return sorted(found, key=lambda load: (-load.requests, load.workspace))


def totals(sample: Sample) -> dict[str, float]:
    """Of the whole installation."""
    found = dict.fromkeys(("workspaces", "watches", "workers", "shards", "shards_up"), 0.0)
    for (name, labels), value in sample.items():
        if name == "kcp_workspaces":
            found["workspaces"] += value
        elif name == "kcp_proxy_requests_in_flight" and dict(labels)["kind"] != "short":
            found["watches"] += value
        elif name == "kcp_proxy_workers":
            found["workers"] = value
        elif name == "kcp_shard_up":
            found["shards"] += 1
            found["shards_up"] += value
    return found


@dataclass(frozen=True, slots=True)
class View:
    """What is shown."""

    totals: dict[str, float]
    workspaces: list[Load]
    clusters: list[Cluster]
    problems: list[str]


@click.command(
    epilog="""\b
Examples:
  kcp top                      until Ctrl+C
  kcp top --once -o json       one measurement, for programs"""
)
@root_flag
@click.option(
    "--metrics-token-file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="As given to `kcp start`.",
)  # fmt: skip
@click.option("--interval", type=click.FloatRange(0.2, 60), default=2.0, show_default=True, help="Seconds.")
@click.option("-n", "count", type=click.IntRange(1, 1000), default=20, show_default=True, help="Rows of each table.")
@click.option("--once", is_flag=True, help="Measure one interval, print it, end.")
@click.option("-o", "--output", type=click.Choice(("table", "json")), default="table", show_default=True)
def top(
    root_directory: Path, metrics_token_file: Path | None, interval: float, count: int, once: bool, output: str
) -> None:
    """Show the busiest workspaces, and how far syncing with physical clusters lags.

    \b
    HEARD      when its syncer was heard of last
    DOWN, UP   what the slowest change took since the heartbeat before, to the cluster and from it
    OLDEST     for how long one waits that is not on the other side yet
    """
    token = metrics_token_file.read_text().strip() if metrics_token_file else None
    once = once or output == "json" or not sys.stdout.isatty()
    try:
        with contextlib.suppress(KeyboardInterrupt):
            asyncio.run(_run(root_directory, token, interval, count, once, output))
    except (NotThere, ConfigError) as error:
        raise click.ClickException(str(error)) from error


async def _run(root: Path, token: str | None, interval: float, count: int, once: bool, output: str) -> None:
    async with Installation(root) as kcp:
        before, then = await kcp.scrape(token), time.monotonic()
        console = Console(width=None if sys.stdout.isatty() else FILE_WIDTH)
        live = Live(Text("measuring"), console=console, screen=True) if not once else None
        with live or contextlib.nullcontext():
            while True:
                await asyncio.sleep(interval)
                now, at = await kcp.scrape(token), time.monotonic()
                clusters, problems = await kcp.clusters()
                view = View(totals(now), loads(before, now, at - then), clusters, problems)
                if live is not None:
                    live.update(picture(view, count))
                elif output == "json":
                    click.echo(orjson.dumps(asdict(view), option=orjson.OPT_INDENT_2).decode())
                    return
                else:
                    console.print(picture(view, count))
                    return
                before, then = now, at


def picture(view: View, count: int) -> Group:
    """Two tables and a line."""
    summary = view.totals
    line = (
        f"{sum(load.requests for load in view.workspaces):.0f} requests/s   {summary['workspaces']:.0f} workspaces   "
        f"{summary['watches']:.0f} watches   {summary['workers']:.0f} workers   "
        f"shards {summary['shards_up']:.0f}/{summary['shards']:.0f}"
    )
    busy = _table("WORKSPACE", numbers=("REQ/S", "5XX/S", "MEAN", "IN/S", "OUT/S"))
    for load in view.workspaces[:count]:
        mean = f"{load.mean * 1000:.1f} ms" if load.mean is not None else "-"
        values = (f"{load.requests:.1f}", f"{load.failed:.1f}", mean, size(load.received), size(load.sent))
        busy.add_row(load.workspace, *values, style="red" if load.failed else None)
    there = _table("CLUSTER", "WORKSPACE", "STATE", numbers=("HEARD", "SYNCED", "FAILED", "DOWN", "UP", "OLDEST"))
    for cluster in sorted(view.clusters, key=trouble, reverse=True)[:count]:
        age = f"{cluster.heartbeat:.0f} s" if cluster.heartbeat is not None else "never"
        lags = (duration(cluster.lag.get(way)) for way in ("down", "up", "oldest"))
        there.add_row(
            cluster.name, cluster.workspace, cluster.state, age, str(cluster.synced), str(cluster.failed), *lags,
            style="red" if cluster.state != "ready" else "yellow" if trouble(cluster) > (False, LATE) else None,
        )  # fmt: skip
    problems = [Text(problem, style="red") for problem in view.problems]
    parts: list[Any] = [Text(line), *problems, Text(), busy, Text()]
    return Group(*parts, there if view.clusters else Text("no physical clusters"))


def _table(*names: str, numbers: Sequence[str]) -> Table:
    """A line for each row, whatever the width: names are shortened, numbers are not."""
    table = Table(box=None, pad_edge=False, collapse_padding=True)
    for title in names:
        table.add_column(title, overflow="ellipsis", min_width=WIDTHS.get(title))  # no spaces, so one line
    for title in numbers:
        table.add_column(title, justify="right", no_wrap=True, min_width=WIDTHS.get(title, 6))
    return table


def trouble(cluster: Cluster) -> tuple[bool, float]:
    """What is to be looked at first: silent clusters, then those that lag most."""
    return cluster.state != "ready", max(cluster.lag.values(), default=0.0)


def duration(seconds: float | None) -> str:
    """Seconds for people."""
    if seconds is None:
        return "-"
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.0f} s"


def size(number: float) -> str:
    """Bytes for people."""
    for unit in ("B", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}" if unit == "B" else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"
