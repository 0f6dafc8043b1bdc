"""Copies of an etcd's folder, made while it does not run: backups."""

from __future__ import annotations

import shutil
from pathlib import Path


def copy(folder: Path, to: Path) -> None:
    """In place of what is there."""
    shutil.rmtree(to, ignore_errors=True)
    shutil.copytree(folder, to, ignore=_sockets)


def _sockets(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if Path(folder, name).is_socket()]
