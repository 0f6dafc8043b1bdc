"""Shards that run already: which flags and folders name, now."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from proxy.kube.config import load_kubeconfig
from proxy.server.settings import ShardSettings

SUFFIX = ".kubeconfig"
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,29}[a-z0-9])?")

Version = tuple[str, int, int, int]


class ShardError(Exception):
    """Shards that cannot be used; one line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalShard:
    """A kube-apiserver that runs already."""

    name: str
    kubeconfig: Path

    def settings(self) -> ShardSettings:
        return ShardSettings(name=self.name, kubeconfig=str(self.kubeconfig))


def external_shard(option: str) -> ExternalShard:
    """Parse ``NAME=KUBECONFIG``. Raises ShardError, ConfigError."""
    name, _, file = option.partition("=")
    if not file or not NAME.fullmatch(name):
        raise ShardError(f"--shard {option}: wanted NAME=KUBECONFIG, the name of lower case letters, digits and dashes")
    path = Path(file).expanduser().absolute()
    load_kubeconfig(path)
    return ExternalShard(name=name, kubeconfig=path)


class KnownShards:
    """``given``: for good; ``folders``: whose files ``NAME.kubeconfig`` are shards as long as they are there."""

    def __init__(self, given: Iterable[ExternalShard], folders: Iterable[Path], taken: Iterable[str] = ()) -> None:
        """``taken``: names that none of them may have."""
        self._given = tuple(given)
        self._folders = tuple(folders)
        self._taken = tuple(taken)

    def version(self) -> frozenset[Version]:
        """Something else whenever a file has come, gone or changed; cheap."""
        found = set()
        for file in self._files():
            try:
                status = file.stat()
            except OSError:
                continue  # it goes just now
            found.add((str(file), status.st_mtime_ns, status.st_size, status.st_ino))
        return frozenset(found)

    def read(self) -> list[ExternalShard]:
        """All of them, the given ones first. Raises ShardError, ConfigError."""
        found = [
            *self._given,
            *(external_shard(f"{file.name.removesuffix(SUFFIX)}={file}") for file in self._files()),
        ]
        names = [*self._taken, *(shard.name for shard in found)]
        if len(set(names)) != len(names):
            raise ShardError(f"shards need names of their own (the embedded one is root): {', '.join(sorted(names))}")
        return found

    def _files(self) -> list[Path]:
        return [file for folder in self._folders for file in sorted(folder.glob(f"*{SUFFIX}"))]
