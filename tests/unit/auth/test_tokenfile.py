"""Token files: format, faults, change."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

from proxy.auth.tokenfile import TokenFiles, digest, parse


def test_format() -> None:
    users = parse('# people\nt1,alice,1,"dev,ops"\n\n"t,2",bob,2', "f")
    alice, bob = users[digest(b"t1")], users[digest(b"t,2")]
    assert (alice.name, alice.uid, alice.groups) == ("alice", "1", ("dev", "ops", "system:authenticated"))
    assert (bob.name, bob.groups, bob.masters) == ("bob", ("system:authenticated",), False)
    assert parse("t,root,1,system:masters", "f")[digest(b"t")].masters


@pytest.mark.parametrize(
    ("content", "line"),
    [
        ("secret", 1),
        ("a,b,c\nsecret,alice\n", 2),
        (",alice,1\n", 1),
        ("secret,,1\n", 1),
        ("secret,alice \n,1\n", 1),
        ('secret,"ali\nce",1\n', 2),
        ("secret,al\0ice,1\n", 1),
        ("secret,alice ,1", 1),
    ],
)
def test_a_fault_names_file_and_line_and_no_token(content: str, line: int) -> None:
    with pytest.raises(ValueError, match=rf"^people\.csv:{line}: ") as fault:
        parse(content, "people.csv")
    assert "secret" not in str(fault.value)


def test_a_change_counts_and_a_fault_leaves_what_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("one,alice,1\n")
    files = TokenFiles([path])
    assert files.get(digest(b"one")) is not None
    path.write_text("two,alice,1\n")
    files.refresh()
    assert (files.get(digest(b"one")), files.get(digest(b"two")) is not None) == (None, True)
    for broken in (b"two", b"\xff\xfe", b'"two,alice'):
        path.write_bytes(broken)
        with caplog.at_level(logging.WARNING):
            files.refresh()
            files.refresh()
        assert files.get(digest(b"two")) is not None
        assert len(caplog.records) == 1, "a fault is said once"
        assert "two" not in caplog.text
        caplog.clear()
    path.unlink()
    files.refresh()
    assert files.get(digest(b"two")) is not None
    path.write_text("three,alice,1\n")
    files.refresh()
    assert files.get(digest(b"three")) is not None


def test_a_replaced_file_of_the_same_time_and_size_is_noticed(tmp_path: Path) -> None:
    path, new = tmp_path / "tokens.csv", tmp_path / "new"
    path.write_text("one,alice,1\n")
    new.write_text("two,alice,1\n")
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    os.utime(new, ns=times)
    files = TokenFiles([path])
    new.replace(path)
    files.refresh()
    assert files.get(digest(b"two")) is not None


def test_files_add_up_and_stay_apart(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_text("a,alice,1\n")
    two.write_text("b,bob,2\n")
    files = TokenFiles([one, two])
    one.write_text("")
    files.refresh()
    assert (files.get(digest(b"a")), files.get(digest(b"b")) is not None) == (None, True)


def test_a_fault_at_the_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "x").write_text("one")
    with pytest.raises(ValueError, match="x:1: wanted token,user,uid"):
        TokenFiles([tmp_path / "x"])
    with pytest.raises(OSError, match="nowhere"):
        TokenFiles([tmp_path / "nowhere"])
