"""The dashboards: who uses kcp and what fails, one workspace, the proxy's insides, shards, syncing.

Each is a file of ``grafana/boards``: rows of panels, with queries by the legends of their lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from grafana.panels import GREEN, WIDTH, Board, Panel, Query, Row, Thresholds, Variable

FOLDER = Path(__file__).parent / "boards"


def read(name: str) -> Board:
    """A board's file. Raises ValueError for what is none."""
    shape = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    try:
        return Board(
            name=name,
            title=shape["title"],
            description=shape["description"],
            rows=tuple(Row(row["title"], tuple(map(_panel, row["panels"]))) for row in shape["rows"]),
            variables=tuple(Variable(**variable) for variable in shape.get("variables", ())),
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"{name}.yaml: {error}") from error


def _panel(shape: Mapping[str, Any]) -> Panel:
    look = dict(shape["look"])
    thresholds: Thresholds = GREEN
    if "limits" in look:  # green below both
        orange, red = look.pop("limits")
        thresholds = (*GREEN, (orange, "orange"), (red, "red"))
    elif "wanted" in look:  # red below it
        thresholds = ((None, "red"), (look.pop("wanted"), "green"))
    queries = tuple(Query(expression, legend) for legend, expression in shape["queries"].items())
    width = look.pop("width", WIDTH // 3)
    return Panel(
        title=shape["title"],
        description=shape["description"],
        queries=queries,
        thresholds=thresholds,
        width=width,
        **look,
    )


BOARDS = tuple(map(read, ("overview", "workspace", "proxy", "shards", "syncing")))
