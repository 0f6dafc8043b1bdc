"""A dashboard drawn from a Prometheus, for where no Grafana renders it: its own queries, units, thresholds and layout.

``python -m tests.monitoring.picture`` makes the README's; needs matplotlib (the extra ``picture``).
"""

from __future__ import annotations

import json
import math
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grafana.panels import DASHBOARDS, WIDTH

BACKGROUND, PANEL, BORDER, GRID = "#111217", "#181b1f", "#25272e", "#2a2d34"
TEXT, DIM = "#d0d1d6", "#8e9098"
COLORS = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#fade2a")
STATES = {"green": "#73bf69", "orange": "#ff9830", "red": "#f2495c"}
UNIT_WIDTH, UNIT_HEIGHT, HEADER, GAP = 56, 26, 56, 8
"""Pixels: of the layout's grid, of the line above it, between panels."""
STEP = 2
"""Seconds between points."""
MOST = 6
"""Lines of a panel."""


@dataclass(frozen=True, slots=True)
class Line:
    """One series: seconds before now (negative) and values."""

    name: str
    at: Sequence[float]
    values: Sequence[float]


@dataclass(frozen=True, slots=True)
class Source:
    """A Prometheus, looked at over the last ``span`` seconds."""

    url: str
    now: float
    span: int
    variables: Mapping[str, str]

    def lines(self, panel: Mapping[str, Any]) -> list[Line]:
        """Of all queries of a panel, those with the largest values first. Raises OSError."""
        found = [line for target in panel["targets"] for line in self._ask(target["expr"], target["legendFormat"])]
        return sorted(found, key=lambda line: -max(line.values, default=0.0))[:MOST]

    def _ask(self, expression: str, legend: str) -> list[Line]:
        for name, value in self.variables.items():
            expression = expression.replace(f"${name}", value)
        query = {"query": expression, "start": self.now - self.span, "end": self.now, "step": STEP}
        with urllib.request.urlopen(f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(query)}") as answer:
            results = json.load(answer)["data"]["result"]
        lines = []
        for result in results:
            points = [(float(at) - self.now, float(value)) for at, value in result["values"]]
            points = [(at, value) for at, value in points if not math.isnan(value)]
            lines.append(Line(_named(legend, result["metric"]), [at for at, _ in points], [v for _, v in points]))
        return lines


def _named(legend: str, labels: Mapping[str, str]) -> str:
    for name, value in labels.items():
        legend = legend.replace("{{" + name + "}}", value or "none")
    return legend


def readable(value: float, unit: str) -> str:
    """As Grafana writes it, roughly."""
    if unit == "percentunit":
        return f"{value * 100:.3g}%"
    if unit == "s":
        return f"{value * 1000:.3g} ms" if 0 < abs(value) < 1 else f"{value:.3g} s"
    if unit in ("bytes", "Bps"):
        power = min(int(math.log(value, 1024)), 3) if value >= 1 else 0
        return f"{value / 1024**power:.3g} {('B', 'KiB', 'MiB', 'GiB')[power]}" + ("/s" if unit == "Bps" else "")
    return f"{value:.3g}" + {"reqps": " req/s", "ops": "/s"}.get(unit, "")


class Picture:
    """Of one dashboard: ``save`` writes a PNG."""

    def __init__(self, source: Source, board: str = "overview") -> None:
        from matplotlib.figure import Figure

        self._source = source
        self._board: dict[str, Any] = json.loads((DASHBOARDS / f"{board}.json").read_text())
        bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in self._board["panels"])
        self._width, self._height = WIDTH * UNIT_WIDTH + GAP, bottom * UNIT_HEIGHT + HEADER + GAP
        self._figure = Figure(figsize=(self._width / 100, self._height / 100), dpi=100, facecolor=BACKGROUND)

    def save(self, target: Path) -> None:
        """Raises OSError."""
        title: dict[str, Any] = {"color": TEXT, "fontsize": 15, "va": "center", "fontweight": "bold"}
        self._figure.text(2 * GAP / self._width, 1 - HEADER / 2 / self._height, self._board["title"], **title)
        minutes = f"last {self._source.span // 60} minutes"
        self._figure.text(
            1 - 2 * GAP / self._width, 1 - HEADER / 2 / self._height, minutes, color=DIM, fontsize=10, ha="right",
            va="center",
        )  # fmt: skip
        for panel in self._board["panels"]:
            place = panel["gridPos"]
            left, top = place["x"] * UNIT_WIDTH + GAP, HEADER + place["y"] * UNIT_HEIGHT
            width, height = place["w"] * UNIT_WIDTH - GAP, place["h"] * UNIT_HEIGHT - GAP
            if panel["type"] == "row":
                self._text(left + GAP, top + height / 2, f"▾ {panel['title']}", fontsize=10, fontweight="bold")
                continue
            self._frame(left, top, width, height)
            self._text(left + 12, top + 16, panel["title"], fontsize=9.5)
            draw = self._stat if panel["type"] == "stat" else self._lines
            draw(panel, left, top, width, height)
        self._pack(target)

    def _pack(self, target: Path) -> None:
        """A palette of few colors is enough, and a third of the size."""
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from PIL import Image

        canvas = FigureCanvasAgg(self._figure)
        canvas.draw()
        image = Image.frombytes("RGBA", canvas.get_width_height(), bytes(canvas.buffer_rgba())).convert("RGB")
        image.quantize(96, dither=Image.Dither.NONE).save(target, optimize=True)

    def _box(self, left: float, top: float, width: float, height: float) -> Any:
        """Axes at these pixels, counted from the top."""
        box = (left / self._width, 1 - (top + height) / self._height, width / self._width, height / self._height)
        return self._figure.add_axes(box, facecolor="none")

    def _text(self, left: float, top: float, text: str, **look: Any) -> None:
        look = {"color": TEXT, "va": "center"} | look
        self._figure.text(left / self._width, 1 - top / self._height, text, **look)

    def _frame(self, left: float, top: float, width: float, height: float) -> None:
        axes = self._box(left, top, width, height)
        axes.set(xticks=[], yticks=[], facecolor=PANEL)
        for spine in axes.spines.values():
            spine.set_color(BORDER)

    def _stat(self, panel: Mapping[str, Any], left: float, top: float, width: float, height: float) -> None:
        """The last value, in the color of its threshold, above its course."""
        defaults = panel["fieldConfig"]["defaults"]
        lines = [line for line in self._source.lines(panel) if line.values]
        if not lines:
            self._text(left + width / 2, top + height / 2, "no data", color=DIM, ha="center", fontsize=12)
            return
        value = lines[0].values[-1]
        steps = defaults["thresholds"]["steps"]
        color = STATES[[step["color"] for step in steps if step["value"] is None or value >= step["value"]][-1]]
        axes = self._box(left + 1, top + height * 0.62, width - 2, height * 0.37)
        axes.axis("off")
        axes.plot(lines[0].at, lines[0].values, color=color, linewidth=1.2)
        axes.fill_between(lines[0].at, lines[0].values, color=color, alpha=0.18, linewidth=0)
        axes.set(xlim=(-self._source.span, 0), ylim=(0, max(*lines[0].values, 1e-9) * 1.15))
        text = readable(value, defaults["unit"])
        self._text(left + width / 2, top + height * 0.45, text, color=color, ha="center", fontsize=21)

    def _lines(self, panel: Mapping[str, Any], left: float, top: float, width: float, height: float) -> None:
        defaults = panel["fieldConfig"]["defaults"]
        lines = self._source.lines(panel)
        axes = self._box(left + 68, top + 34, width - 84, height - 34 - 50)
        highest = self._plot(axes, lines, stacked=defaults["custom"]["stacking"]["mode"] == "normal")
        axes.set(xlim=(-self._source.span, 0), ylim=(0, highest * 1.1 or 1))
        axes.set_xticks(range(-self._source.span, 1, 60))
        axes.xaxis.set_major_formatter(lambda at, _: f"{at / 60:.0f} min" if at else "now")
        axes.yaxis.set_major_formatter(lambda value, _: readable(value, defaults["unit"]))
        axes.locator_params(axis="y", nbins=4)
        axes.grid(color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
        axes.tick_params(colors=DIM, labelsize=7.5, length=0, pad=5)
        for spine in axes.spines.values():
            spine.set_visible(False)
        self._legend(lines, left + 14, top + height - 14, width - 24)

    @staticmethod
    def _plot(axes: Any, lines: Sequence[Line], *, stacked: bool) -> float:
        """The highest point."""
        below: dict[float, float] = {}
        highest = 0.0
        for line, color in zip(lines, COLORS, strict=False):
            floor = [below.get(round(at), 0.0) for at in line.at]
            values = [value + under for value, under in zip(line.values, floor, strict=True)]
            axes.plot(line.at, values, color=color, linewidth=1.3)
            axes.fill_between(line.at, values, floor, color=color, alpha=0.25 if stacked else 0.06, linewidth=0)
            if stacked:
                below.update({round(at): value for at, value in zip(line.at, values, strict=True)})
            highest = max(highest, *values, 0.0) if values else highest
        return highest

    def _legend(self, lines: Sequence[Line], left: float, top: float, width: float) -> None:
        """One line of names, as many as have room."""
        at = left
        for line, color in zip(lines, COLORS, strict=False):
            needed = 22 + 6.0 * len(line.name)
            if at + needed > left + width:
                break
            self._text(at, top - 1, "▬", color=color, fontsize=8)
            self._text(at + 14, top, line.name, color=DIM, fontsize=8)
            at += needed + 6


def draw(url: str, target: Path, *, board: str = "overview", span: int = 240) -> None:
    """Write a PNG. ``span``: seconds until now. Raises OSError."""
    variables = {"__rate_interval": "20s", "workspace": "root:default", "shard": ".*"}
    Picture(Source(url, time.time(), span, variables), board).save(target)
