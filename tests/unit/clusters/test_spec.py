"""What is written down about a cluster can be read again by whoever has to clean up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters import spec
from tests.clusters.errors import ClusterError
from tests.clusters.spec import ProcessId, Spec


def made(folder: Path) -> Spec:
    return Spec(
        name="a",
        folder=folder,
        runtime="nodes",
        number=3,
        address="10.231.0.13",
        gateway="10.231.0.1",
        ports=(6443, 8443),
        images=(Path("/x/pause.tar"),),
    )


def test_round_trip(tmp_path: Path) -> None:
    cluster = made(tmp_path / "a")
    cluster.write()
    assert spec.read(tmp_path / "a") == cluster
    assert spec.read_all(tmp_path) == [cluster]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o700


def test_no_cluster(tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="holds no cluster"):
        spec.read(tmp_path)
    (tmp_path / "spec.json").write_text('{"name": "a"}')
    with pytest.raises(ClusterError, match="holds no cluster"):
        spec.read(tmp_path)


def test_clusters_of_the_same_name_have_their_own_groups(tmp_path: Path) -> None:
    assert made(tmp_path / "one" / "a").group != made(tmp_path / "two" / "a").group


def test_a_process_is_told_from_a_later_one_of_its_number(tmp_path: Path) -> None:
    file = tmp_path / "process"
    me = ProcessId.of(os.getpid())
    assert me is not None
    me.write(file)
    assert ProcessId.read(file) == me
    file.write_text(f"{me.pid} {int(me.started) + 1}\n")
    assert ProcessId.read(file) is None
    file.write_text("nonsense")
    assert ProcessId.read(file) is None
    assert ProcessId.read(tmp_path / "none") is None


def test_a_process_that_ended() -> None:
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    process = ProcessId.of(child.pid)
    assert process is not None
    assert process.alive()
    child.kill()
    for _ in range(500):  # a zombie first, until somebody asks for its exit code
        if not process.alive():
            break
    assert not process.alive()
    child.communicate()
    assert not process.alive()
    process.signal(9)  # nobody is there: nothing happens
