"""Limits of single workspaces, from a file that may change while kcp runs.

workspaces:                     # the first one that names a workspace counts
- paths: ["root:telcops:*"]     # a path, or what one begins with
  watches: 5000                 # as the flag --workspace-watches; what is not here is as the flags say
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from proxy.limits.values import WorkspaceLimits

log = logging.getLogger(__name__)

NAMES = {field.name.replace("_", "-"): field.name for field in dataclasses.fields(WorkspaceLimits)}
MOST = 1_000_000_000


class LimitsFileError(ValueError):
    """File, place and fault in a line."""


@dataclass(frozen=True, slots=True)
class Override:
    """What is different for some workspaces."""

    paths: tuple[str, ...]
    values: dict[str, int]
    """By the names of fields of WorkspaceLimits."""

    def match(self, workspace: str) -> bool:
        return any(workspace.startswith(path[:-1]) if path.endswith("*") else workspace == path for path in self.paths)


def read_limits(file: Path) -> tuple[Override, ...]:
    """Raises LimitsFileError."""
    try:
        content = yaml.safe_load(file.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise LimitsFileError(f"{file} cannot be read: {' '.join(str(error).split())}") from error
    try:
        return tuple(_overrides(content))
    except _Fault as error:
        raise LimitsFileError(f"{file}: {error}") from error


class _Fault(ValueError):
    pass


def _overrides(content: Any) -> list[Override]:
    if content is None:
        return []
    if not isinstance(content, dict) or set(content) != {"workspaces"}:
        raise _Fault("wanted the one key workspaces")
    items = content["workspaces"]
    if not isinstance(items, list | None):
        raise _Fault("workspaces: wanted a list")
    return [_override(item, f"workspaces[{number}]") for number, item in enumerate(items or ())]


def _override(item: Any, place: str) -> Override:
    if not isinstance(item, dict):
        raise _Fault(f"{place}: wanted a mapping")
    paths = item.get("paths")
    if not isinstance(paths, list) or not paths or not all(isinstance(path, str) and path for path in paths):
        raise _Fault(f"{place}.paths: wanted a list of paths like root:telcops:*")
    for path in paths:
        if "*" in path[:-1]:
            raise _Fault(f"{place}.paths: {path}: a * may stand at the end alone")
    values = {}
    for key, value in item.items():
        if key == "paths":
            continue
        if key not in NAMES:
            near = difflib.get_close_matches(str(key), NAMES, n=1)
            raise _Fault(f"{place}: there is no {key}" + (f"; {near[0]}?" if near else ""))
        least = 1 if key == "shares" else 0
        if type(value) is not int or not least <= value <= MOST:
            raise _Fault(f"{place}.{key}: wanted a whole number from {least}")
        values[NAMES[key]] = value
    return Override(tuple(paths), values)


class LimitsFile:
    """Raises LimitsFileError for a file that cannot be read now; later a fault leaves what was good."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._version = _version(file)
        self._overrides = read_limits(file)

    def refresh(self) -> bool:
        """Whether it has changed; cheap, to be called every few seconds."""
        version = _version(self._file)
        if version is None or version == self._version:
            return False  # it may be away for a moment, while it is replaced
        self._version = version
        try:
            self._overrides = read_limits(self._file)
        except LimitsFileError as error:
            log.error("limits unchanged in effect: %s", error)
            return False
        log.info("limits are read again from %s", self._file)
        return True

    def of(self, workspace: str, default: WorkspaceLimits) -> WorkspaceLimits:
        for override in self._overrides:
            if override.match(workspace):
                return dataclasses.replace(default, **override.values)
        return default


def _version(file: Path) -> tuple[int, int, int] | None:
    try:
        status = file.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ino, status.st_size
