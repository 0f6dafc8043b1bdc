"""Has all workers that are started from here on looked at by `tests.wire.tap`, and reads what was noted."""

from __future__ import annotations

import json
import os
from pathlib import Path

SITE = Path(__file__).parent / "site"


class Wire:
    def __init__(self, folder: Path) -> None:
        folder.mkdir(exist_ok=True)
        self._folder = folder
        self._read: dict[Path, int] = {}
        # Of a process's environment, workers are given what begins with PYTHON.
        os.environ["PYTHONPATH"] = os.pathsep.join([str(SITE), *filter(None, [os.environ.get("PYTHONPATH")])])
        os.environ["PYTHONWIRE"] = str(folder)

    def listened(self) -> bool:
        """Whether anything was looked at."""
        return any(self._folder.glob("*.listens"))

    def noted(self) -> list[str]:
        """What was found since the last time, each once."""
        found: list[str] = []
        for file in sorted(self._folder.glob("*.jsonl")):
            with file.open() as lines:
                lines.seek(self._read.get(file, 0))
                found += lines.readlines()
                self._read[file] = lines.tell()
        return [
            f"{note['found']}, {note['request']}: …{note['near']}…" for note in map(json.loads, dict.fromkeys(found))
        ]
