"""``python -m grafana.picture URL OUT.png``: the overview drawn from a Prometheus by the dashboard's own queries.

For where no Grafana is at hand; needs matplotlib (``pip install matplotlib``).
"""

from __future__ import annotations

import json
import math
import sys
import time
import urllib.parse
import urllib.request
from functools import partial
from typing import Any

from grafana.boards import BOARDS
from grafana.panels import Panel

INK, GRID, FACE, PANEL = "#d8d9da", "#2c3235", "#111217", "#181b1f"
COLORS = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#96d98d")
SPAN, STEP = 240, 2
"""Seconds that are shown, and between points."""


def ask(url: str, expression: str, now: float) -> list[dict[str, Any]]:
    """A range query. Raises OSError."""
    expression = expression.replace("$__rate_interval", "20s").replace("$workspace", "root:default")
    expression = expression.replace("$shard", ".*")
    query = {"query": expression, "start": now - SPAN, "end": now, "step": STEP}
    with urllib.request.urlopen(f"{url}/api/v1/query_range?{urllib.parse.urlencode(query)}") as answer:
        found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return found


def legend(template: str, labels: dict[str, str]) -> str:
    for name, value in labels.items():
        template = template.replace("{{" + name + "}}", value or "none")
    return template


def readable(value: float, unit: str) -> str:
    """As Grafana writes it, roughly."""
    if unit == "percentunit":
        return f"{value * 100:.3g} %"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if value < 1 else f"{value:.3g} s"
    return f"{value:.3g}" + {"reqps": " req/s", "Bps": " B/s"}.get(unit, "")


def _tick(unit: str, value: float, position: int) -> str:
    return readable(value, unit)


def series(url: str, panel: Panel, now: float) -> list[tuple[str, list[float], list[float]]]:
    found = []
    for query in panel.queries:
        for result in ask(url, query.expression, now):
            points = [(float(at) - now, float(value)) for at, value in result["values"]]
            points = [(at, value) for at, value in points if not math.isnan(value)]
            found.append((legend(query.legend, result["metric"]), [p[0] for p in points], [p[1] for p in points]))
    return sorted(found, key=lambda one: -max(one[2], default=0.0))[:8]


def draw(url: str, target: str, name: str = "overview") -> None:
    """Write a PNG of the first panels of a board."""
    import matplotlib.pyplot as plt

    board = next(board for board in BOARDS if board.name == name)
    stats = [panel for row in board.rows for panel in row.panels if panel.stat]
    lines = [panel for row in board.rows for panel in row.panels if not panel.stat][:9]
    now = time.time()
    plt.rcParams.update({"font.size": 8, "text.color": INK, "xtick.color": INK, "ytick.color": INK})
    figure = plt.figure(figsize=(13, 9), facecolor=FACE)
    grid = figure.add_gridspec(
        4, 18, height_ratios=[0.55, 1, 1, 1], hspace=0.5, wspace=2.2, left=0.06, right=0.985, bottom=0.04
    )
    for place, panel in enumerate(stats):
        width = 18 // len(stats)
        axis = figure.add_subplot(grid[0, place * width : (place + 1) * width], facecolor=PANEL)
        axis.set(xticks=[], yticks=[])
        axis.set_title(panel.title, color=INK, fontsize=9, loc="left")
        values = [one[2][-1] for one in series(url, panel, now) if one[2]]
        text = readable(values[0], panel.unit) if values else "no data"
        axis.text(0.5, 0.45, text, ha="center", va="center", fontsize=17, color=COLORS[0], transform=axis.transAxes)
    for place, panel in enumerate(lines):
        row, column = divmod(place, 3)
        axis = figure.add_subplot(grid[row + 1, column * 6 : column * 6 + 6], facecolor=PANEL)
        axis.set_title(panel.title, color=INK, fontsize=9, loc="left")
        axis.grid(color=GRID, linewidth=0.5)
        for one, color in zip(series(url, panel, now), COLORS, strict=False):
            axis.plot(one[1], one[2], color=color, linewidth=1.2, label=one[0])
        axis.set_ylim(bottom=0, top=axis.get_ylim()[1] * 1.35 or 1)  # room for the legend
        axis.yaxis.set_major_formatter(partial(_tick, panel.unit))
        axis.xaxis.set_major_formatter(lambda value, _: f"{value:.0f} s")
        axis.legend(fontsize=6, ncols=3, frameon=False, labelcolor=INK, loc="upper left")
        for spine in axis.spines.values():
            spine.set_color(GRID)
    figure.suptitle(f"kcp / {board.title}", color=INK, fontsize=12, x=0.06, ha="left", y=0.965)
    figure.savefig(target, dpi=76, facecolor=FACE)


if __name__ == "__main__":
    draw(*sys.argv[1:])
