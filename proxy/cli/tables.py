"""Lists as kubectl prints them."""

from __future__ import annotations

import json
from typing import Any

from proxy.cli.session import say

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"


def print_list(value: dict[str, Any], output: str | None, singular: str) -> None:
    """A Table (``output`` None or wide) or a list (json, yaml, name) to stdout."""
    if output == "json":
        say(json.dumps(value, indent=4))
    elif output == "yaml":
        import yaml

        say(yaml.safe_dump(value, sort_keys=True).rstrip("\n"))
    elif output == "name":
        for item in value.get("items") or ():
            say(f"{singular}/{item['metadata']['name']}")
    else:
        _table(value, wide=output == "wide")


def _table(table: dict[str, Any], *, wide: bool) -> None:
    columns = table.get("columnDefinitions") or []
    rows = table.get("rows") or []
    if not rows:
        say("No resources found", err=True)
        return
    shown = [index for index, column in enumerate(columns) if wide or not column.get("priority")]
    lines = [[columns[index]["name"].upper() for index in shown]]
    lines += [[_cell(row["cells"][index]) for index in shown] for row in rows]
    widths = [max(len(line[index]) for line in lines) for index in range(len(shown))]
    for line in lines:
        say("   ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
