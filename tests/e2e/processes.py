"""What runs on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def processes(*words: str) -> list[int]:
    """Ids of processes in whose command line all ``words`` stand, in containers too."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if all(word in line for word in words):
            found.append(int(entry.parent.name))
    return found


def ancestors(pid: int) -> Iterator[int]:
    """Its parent, the parent's parent and so on."""
    while pid > 1:
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return
        yield pid
