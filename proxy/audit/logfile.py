"""A log file that several processes write to, and that is rotated by size.

Each batch of lines is written whole under a lock on the file itself, so that lines never mix and none goes to a file
that was just put aside. Names of files put aside are those of kube-apiserver (lumberjack): ``audit-<time>.log``.
"""

from __future__ import annotations

import fcntl
import gzip
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from proxy.audit.settings import Rotation

MEGABYTE = 1 << 20
DAY = 86400.0
MILLISECOND = timedelta(milliseconds=1)
TIME = "%Y-%m-%dT%H-%M-%S.%f"


class LogFile:
    """``write()`` appends lines. Not for several threads."""

    def __init__(self, path: str | Path, rotation: Rotation) -> None:
        self._path = Path(path)
        self._rotation = rotation
        stem, suffix = self._path.stem, self._path.suffix
        self._aside = re.compile(
            rf"{re.escape(stem)}-(\d{{4}}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{{3}}){re.escape(suffix)}(\.gz)?\Z"
        )

    def write(self, lines: Sequence[bytes]) -> None:
        """Raises OSError; nothing was written then, or a part of the last line that was."""
        data = b"".join(line + b"\n" for line in lines)
        aside = None
        limit = self._rotation.max_size * MEGABYTE
        with self._locked() as descriptor:
            size = os.fstat(descriptor).st_size
            if limit and size and size + len(data) > limit:
                aside = self._put_aside()
            else:
                _write_all(descriptor, data)
        if aside is not None:
            self.write(lines)
            self._tidy(aside)

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file, open and locked, and still the one of that name."""
        while True:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if self._current(descriptor):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _current(self, descriptor: int) -> bool:
        mine = os.fstat(descriptor)
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return False
        return (mine.st_dev, mine.st_ino) == (named.st_dev, named.st_ino)

    def _put_aside(self) -> Path:
        moment = datetime.now(UTC)
        for said, _ in self._put_aside_before():
            # Behind all others, whose places in time a clock ahead may have given: by their names the oldest go, and
            # one that was put aside just now is not to be lost.
            with suppress(ValueError):
                moment = max(moment, datetime.strptime(said, TIME).replace(tzinfo=UTC) + MILLISECOND)
        aside = self._path.with_name(f"{self._path.stem}-{moment.strftime(TIME)[:-3]}{self._path.suffix}")
        os.rename(self._path, aside)
        return aside

    def _tidy(self, newest: Path) -> None:
        if self._rotation.compress:
            _compress(newest)
        found = [path for _, path in self._put_aside_before()]
        rotation = self._rotation
        doomed = set(found[: -rotation.max_backups]) if rotation.max_backups else set()
        if rotation.max_age:
            oldest = time.time() - rotation.max_age * DAY
            doomed.update(path for path in found if path.stat().st_mtime < oldest)
        for path in doomed:
            path.unlink(missing_ok=True)

    def _put_aside_before(self) -> list[tuple[str, Path]]:
        """What names say of times, and the files; the oldest first."""
        matches = ((self._aside.match(path.name), path) for path in self._path.parent.iterdir())
        return sorted((match[1], path) for match, path in matches if match is not None)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _compress(path: Path) -> None:
    target = path.with_name(f"{path.name}.gz")
    temporary = path.with_name(f".{target.name}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with path.open("rb") as source, os.fdopen(descriptor, "wb") as raw, gzip.GzipFile(fileobj=raw, mode="wb") as packed:
        shutil.copyfileobj(source, packed, MEGABYTE)
    shutil.copystat(path, temporary)
    temporary.replace(target)
    path.unlink()
