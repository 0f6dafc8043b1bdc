"""The audit log's file: written by several processes, rotated, never torn."""

from __future__ import annotations

import gzip
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import time_machine

from proxy.audit.logfile import LogFile
from proxy.audit.settings import Rotation

WRITE = """
import sys
from proxy.audit.logfile import LogFile
from proxy.audit.settings import Rotation
log = LogFile(sys.argv[1], Rotation(max_size=1))
line = b'{"by":"%s","n":%d,"fill":"%s"}'
for batch in range(60):
    log.write([line % (sys.argv[2].encode(), batch * 10 + n, b"x" * 2000) for n in range(10)])
"""


def test_lines_of_several_processes_neither_mix_nor_get_lost(tmp_path: Path) -> None:
    log = tmp_path / "audit.log"
    writers = [subprocess.Popen([sys.executable, "-c", WRITE, log, name]) for name in ("a", "b", "c")]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0]
    files = sorted(tmp_path.iterdir())
    assert len(files) >= 4
    assert all(file.stat().st_size <= 1 << 20 for file in files)
    seen = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert sorted((line["by"], line["n"]) for line in seen) == [(name, n) for name in "abc" for n in range(600)]


def test_only_the_owner_reads_it(tmp_path: Path) -> None:
    LogFile(tmp_path / "audit.log", Rotation()).write([b"x"])
    assert stat.S_IMODE((tmp_path / "audit.log").stat().st_mode) == 0o600


def fill(log: LogFile, times: int) -> None:
    for _ in range(times):
        log.write([b"x" * 700_000])


def test_full_files_are_put_aside_and_compressed(tmp_path: Path) -> None:
    fill(LogFile(tmp_path / "audit.log", Rotation(max_size=1, compress=True)), 3)
    aside = sorted(path for path in tmp_path.iterdir() if path.name != "audit.log")
    assert len(aside) == 2
    for path in aside:
        assert path.name.startswith("audit-20")
        assert path.name.endswith(".log.gz")
        assert len(gzip.decompress(path.read_bytes())) == 700_001
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("compress", [False, True])
def test_two_that_are_full_at_the_same_moment_are_both_kept(tmp_path: Path, compress: bool) -> None:
    with time_machine.travel(1_800_000_000, tick=False):
        fill(LogFile(tmp_path / "audit.log", Rotation(max_size=1, compress=compress)), 4)
    assert len(list(tmp_path.glob("audit-2027-*"))) == 3


def test_what_is_written_after_the_clock_was_set_back_is_the_newest(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "audit.log", Rotation(max_size=1, max_backups=2))
    with time_machine.travel(1_800_000_000):
        fill(file, 4)
    before = set(tmp_path.glob("audit-2027-*"))
    with time_machine.travel(1_700_000_000):
        fill(file, 2)
    left = set(tmp_path.glob("audit-20*"))
    assert len(left) == 2
    assert not left & before, "the older ones went"


def test_the_oldest_go(tmp_path: Path) -> None:
    (tmp_path / "audit-trail.log").write_text("somebody else's")
    fill(LogFile(tmp_path / "audit.log", Rotation(max_size=1, max_backups=2)), 6)
    assert len(list(tmp_path.glob("audit-20*.log"))) == 2
    [oldest, _] = sorted(tmp_path.glob("audit-20*.log"))
    os.utime(oldest, (0, 0))
    fill(LogFile(tmp_path / "audit.log", Rotation(max_size=1, max_age=3)), 1)
    assert not oldest.exists()
    assert len(list(tmp_path.glob("audit-20*.log"))) == 2
    assert (tmp_path / "audit-trail.log").exists()


def test_a_file_taken_away_is_made_again(tmp_path: Path) -> None:
    log = LogFile(tmp_path / "audit.log", Rotation())
    log.write([b"1"])
    (tmp_path / "audit.log").rename(tmp_path / "elsewhere")
    log.write([b"2"])
    assert (tmp_path / "audit.log").read_bytes() == b"2\n"


def test_a_folder_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="No such file"):
        LogFile(tmp_path / "none" / "audit.log", Rotation()).write([b"1"])
