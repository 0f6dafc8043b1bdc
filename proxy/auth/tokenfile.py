"""Static tokens: files as kube-apiserver's ``--token-auth-file`` reads them (token,user,uid,"group1,group2")."""

from __future__ import annotations

import csv
import hashlib
import io
import logging
from collections.abc import Iterable
from pathlib import Path

from proxy.auth.identity import User, authenticated
from proxy.auth.leases import Epoch

log = logging.getLogger(__name__)


def digest(token: bytes) -> bytes:
    """Key of a token in tables and caches: tokens themselves are kept nowhere, and equal time is taken by all."""
    return hashlib.sha256(token).digest()


Version = tuple[int, int, int]
"""Of a file: what changes when it is written or replaced."""


class TokenFiles:
    """Users by token, from several files; a file that changes is read again at the next `refresh`.

    Raises OSError or ValueError for a file that cannot be read now; later a fault leaves the users that were good.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        self._versions: dict[Path, Version] = {}
        self._files: dict[Path, dict[bytes, User]] = {}
        self._users: dict[bytes, User] = {}
        self.epoch = Epoch()
        """Since when the files say what they say."""
        for path in map(Path, paths):
            self._read(path, version_of(path))

    def get(self, key: bytes) -> User | None:
        """The user of the token whose `digest` is ``key``."""
        return self._users.get(key)

    def refresh(self) -> None:
        """Look whether a file has changed; cheap, to be called every second."""
        for path in self._files:
            try:
                version = version_of(path)
                if version != self._versions[path]:
                    self._read(path, version)
            except OSError as error:
                # A file being replaced may be gone for a moment.
                log.warning("token file %s: %s", path, error.strerror)
            except ValueError as error:
                self._versions[path] = version  # said once
                log.warning("token file unchanged in effect: %s", error)

    def _read(self, path: Path, version: Version) -> None:
        self._files[path] = parse(read(path), str(path))
        self._versions[path] = version
        self._users = {key: user for users in self._files.values() for key, user in users.items()}
        self.epoch.over = True
        self.epoch = Epoch()


def version_of(path: Path) -> Version:
    """Raises OSError."""
    status = path.stat()
    return status.st_mtime_ns, status.st_size, status.st_ino


def read(path: Path) -> str:
    """The text of a token file. Raises OSError, or ValueError if it is no text; neither shows what it holds."""
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not a text file in UTF-8") from None


def parse(content: str, name: str) -> dict[bytes, User]:
    """Users by `digest` of their token; lines that begin with ``#`` are comments.

    Raises ValueError naming file and line, never the token.
    """
    users: dict[bytes, User] = {}
    rows = csv.reader(io.StringIO(content, newline=""), skipinitialspace=True)
    try:
        for row in rows:
            if not row or row[0].startswith("#"):
                continue
            if len(row) < 3 or not row[0] or not row[1]:
                raise ValueError('wanted token,user,uid[,"group1,group2"]')
            groups = tuple(group.strip() for group in row[3].split(",") if group.strip()) if len(row) > 3 else ()
            users[digest(row[0].encode())] = authenticated(row[1], groups, row[2])
    except (ValueError, csv.Error) as error:
        raise ValueError(f"{name}:{rows.line_num}: {error}") from None
    return users
