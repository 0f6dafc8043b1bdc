"""Static tokens: files as kube-apiserver's ``--token-auth-file`` reads them (token,user,uid,"group1,group2")."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

from proxy.auth.identity import User, authenticated

log = logging.getLogger(__name__)


def digest(token: bytes) -> bytes:
    """Key of a token in tables and caches: tokens themselves are kept nowhere, and equal time is taken by all."""
    return hashlib.sha256(token).digest()


class TokenFiles:
    """Users by token, from several files; a file that changes is read again at the next `refresh`."""

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._files: dict[Path, tuple[float, dict[bytes, User]]] = {Path(path): (0.0, {}) for path in paths}
        self._users: dict[bytes, User] = {}
        for path in self._files:
            self._read(path)

    def get(self, key: bytes) -> User | None:
        """The user of the token whose `digest` is ``key``."""
        return self._users.get(key)

    def refresh(self) -> None:
        """Look whether a file has changed; cheap, to be called every few seconds."""
        for path, (modified, _) in list(self._files.items()):
            try:
                if path.stat().st_mtime != modified:
                    self._read(path)
            except OSError as error:
                # The tokens that were good stay good: a file being replaced is gone for a moment.
                log.warning("token file %s: %s", path, error.strerror)

    def _read(self, path: Path) -> None:
        modified = path.stat().st_mtime
        self._files[path] = (modified, parse(path.read_text(), str(path)))
        self._users = {key: user for _, users in self._files.values() for key, user in users.items()}


def parse(content: str, name: str) -> dict[bytes, User]:
    """Users by `digest` of their token. Raises ValueError naming file and line, never the token."""
    users: dict[bytes, User] = {}
    for number, row in enumerate(csv.reader(io.StringIO(content), skipinitialspace=True), 1):
        if not row or row[0].startswith("#"):
            continue
        if len(row) < 3 or not row[0] or not row[1]:
            raise ValueError(f'{name}:{number}: wanted token,user,uid[,"group1,group2"]')
        groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
        users[digest(row[0].encode())] = authenticated(row[1], groups, row[2])
    return users
