"""Write the dashboards."""

from __future__ import annotations

from grafana.boards import BOARDS
from grafana.panels import DASHBOARDS, text

if __name__ == "__main__":
    for board in BOARDS:
        (DASHBOARDS / f"{board.name}.json").write_text(text(board))
