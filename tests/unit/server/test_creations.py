"""Workers see what the others have made."""

from __future__ import annotations

from pathlib import Path

from proxy.server.creations import SLOTS, SUFFIX, Creations


def test_workers_see_each_other(tmp_path: Path) -> None:
    first = Creations(tmp_path, "worker-0")
    second = Creations(tmp_path, "worker-1")
    first.add(3, 2)
    second.add(3, 5)
    second.add(4, 1)
    assert (second.made(3), second.made(4)) == (7, 1)
    assert first.made(3) == 2, "it has not looked since"
    first.look()
    first.look()
    assert (first.made(3), first.made(4)) == (7, 1)
    assert (tmp_path / f"worker-0{SUFFIX}").stat().st_mode & 0o777 == 0o600


def test_a_worker_that_takes_anothers_place_goes_on_with_its_tallies(tmp_path: Path) -> None:
    before = Creations(tmp_path, "worker-0")
    before.add(3, 2)
    other = Creations(tmp_path, "worker-1")
    after = Creations(tmp_path, "worker-0")
    after.add(3, 1)
    assert (after.made(3), other.made(3)) == (3, 3)


def test_a_file_that_is_being_made_is_seen_later(tmp_path: Path) -> None:
    creations = Creations(tmp_path, "worker-0")
    (tmp_path / f"worker-1{SUFFIX}").touch()
    creations.look()
    other = Creations(tmp_path, "worker-1")
    other.add(1, 1)
    creations.look()
    assert creations.made(1) == 1


def test_alone() -> None:
    creations = Creations(None, "worker")
    creations.add(creations.slot("k2345abcd"), 1)
    assert creations.made(creations.slot("k2345abcd")) == 1
    assert 0 <= creations.slot("k2345abcd") < SLOTS
