"""What dashboards are made of, and how that looks in Grafana's JSON.

https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DASHBOARDS = Path(__file__).parent / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH, HEIGHT, STAT_HEIGHT = 24, 8, 4
"""Of Grafana's grid, of a panel, and of one with a number."""
GREEN = ((None, "green"),)

Thresholds = tuple[tuple[float | None, str], ...]


@dataclass(frozen=True, slots=True)
class Query:
    """One line, or several that differ in their labels."""

    expression: str
    legend: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture."""

    title: str
    description: str
    unit: str
    queries: tuple[Query, ...]
    thresholds: Thresholds
    width: int
    stat: bool = False
    """A number instead of lines."""
    stacked: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """Chosen at the top of the dashboard, out of a label's values."""

    name: str
    label: str
    query: str
    every: bool = False
    """Whether all of them can be chosen at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """One dashboard; its uid is ``kcp-<name>`` for ever, so that links stay."""

    name: str
    title: str
    description: str
    rows: tuple[Row, ...]
    variables: tuple[Variable, ...] = ()


def text(board: Board) -> str:
    """The dashboard's file."""
    return json.dumps(render(board), indent=1, ensure_ascii=False) + "\n"


def render(board: Board) -> dict[str, Any]:
    return {
        "uid": f"kcp-{board.name}",
        "title": f"kcp / {board.title}",
        "description": board.description,
        "tags": ["kcp"],
        "schemaVersion": 39,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "templating": {"list": [_datasource(), *map(_variable, board.variables)]},
        "annotations": {"list": [_firing()]},
        "links": [
            {"title": "kcp", "type": "dashboards", "tags": ["kcp"], "asDropdown": True, "keepTime": True, "url": ""}
        ],
        "panels": _panels(board.rows),
    }


def _datasource() -> dict[str, Any]:
    return {
        "name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": {},
        "hide": 0,
    }  # fmt: skip


def _variable(variable: Variable) -> dict[str, Any]:
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": variable.query, "refId": variable.name},
        "definition": variable.query,
        "refresh": 2,
        "sort": 1,
        "includeAll": variable.every,
        "allValue": ".*" if variable.every else None,
        "multi": variable.every,
        "current": {"text": "All", "value": "$__all"} if variable.every else {},
        "hide": 0,
    }


def _firing() -> dict[str, Any]:
    return {
        "name": "Alerts",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": 'ALERTS{alertname=~"Kcp.+", alertstate="firing"}',
        "titleFormat": "{{alertname}}",
        "step": "30s",
    }


def _panels(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    y = 0
    for row in rows:
        grid = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        found.append({"id": len(found) + 1, "type": "row", "title": row.title, "collapsed": False, "gridPos": grid,
                      "panels": []})  # fmt: skip
        x, y, bottom = 0, y + 1, y + 1
        for panel in row.panels:
            if x + panel.width > WIDTH:
                x, y = 0, bottom
            height = STAT_HEIGHT if panel.stat else HEIGHT
            found.append(_panel(panel, len(found) + 1, {"x": x, "y": y, "w": panel.width, "h": height}))
            x, bottom = x + panel.width, max(bottom, y + height)
        y = bottom
    return found


def _panel(panel: Panel, number: int, grid: dict[str, int]) -> dict[str, Any]:
    targets = [
        {
            "refId": chr(ord("A") + place),
            "datasource": SOURCE,
            "expr": query.expression,
            "legendFormat": query.legend,
            "instant": panel.stat,
            "range": not panel.stat,
        }
        for place, query in enumerate(panel.queries)
    ]
    steps = [{"color": color, "value": value} for value, color in panel.thresholds]
    defaults: dict[str, Any] = {"unit": panel.unit, "min": 0, "thresholds": {"mode": "absolute", "steps": steps}}
    options: dict[str, Any]
    if panel.stat:
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    else:
        stacking = {"mode": "normal" if panel.stacked else "none", "group": "A"}
        shown = "dashed" if len(steps) > 1 else "off"
        defaults["custom"] = {
            "drawStyle": "line", "lineWidth": 1, "fillOpacity": 25 if panel.stacked else 8, "showPoints": "never",
            "spanNulls": False, "stacking": stacking, "thresholdsStyle": {"mode": shown},
        }  # fmt: skip
        options = {
            "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
            "tooltip": {"mode": "multi", "sort": "desc"},
        }
    return {
        "id": number,
        "type": "stat" if panel.stat else "timeseries",
        "title": panel.title,
        "description": panel.description,
        "datasource": SOURCE,
        "gridPos": grid,
        "targets": targets,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
    }
