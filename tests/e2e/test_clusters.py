"""Physical clusters: what they can do, and that nothing of them is left, whatever their end."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clusters import ClusterError, PhysicalCluster, network
from tests.clusters.check import check
from tests.clusters.cluster import choose
from tests.clusters.spec import ProcessId
from tests.clusters.system import REPOSITORY, environment, ip
from tests.e2e.ground import Ground
from tests.e2e.processes import processes
from tests.integration.eventually import eventually


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "tests.clusters", *arguments]
    return subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, env=environment(), check=False)


def traces(root: Path) -> list[str]:
    """All that is left on this machine of clusters in ``root``."""
    found = [f"process {pid}" for pid in processes(str(root))]
    found += [f"mount {line}" for line in Path("/proc/mounts").read_text().splitlines() if str(root) in line]
    if shutil.which("ip", path=environment()["PATH"]):
        found += [f"link {entry['ifname']}" for entry in ip("link", "show") if str(root) in entry.get("ifalias", "")]
    return found


@pytest.fixture
def ours(physical: Ground) -> tuple[PhysicalCluster, PhysicalCluster]:
    """The clusters, where they are made here and not by kind."""
    first, second = physical.clusters
    if not isinstance(first, PhysicalCluster) or not isinstance(second, PhysicalCluster):
        pytest.skip("tests what kind is not asked for")
    return first, second


async def test_everything_that_a_cluster_must_be_able_to_do(ours: tuple[PhysicalCluster, PhysicalCluster]) -> None:
    physical_a, said = ours[0], list[str]()
    await check(physical_a, said.append)
    assert len(said) == (3 if physical_a.runtime == "kwok" else 15)


async def test_pods_reach_nothing_of_the_other_cluster(ours: tuple[PhysicalCluster, PhysicalCluster]) -> None:
    first, second = (cluster.spec for cluster in ours)
    if first.runtime == "kwok":
        pytest.skip("needs real nodes")
    keeper = ProcessId.read(first.keeper)
    assert keeper is not None
    probe = "import socket; socket.create_connection(('{}', {}), 2).close()"

    def from_first(address: str, port: int) -> str:
        line = ["nsenter", "-t", str(keeper.pid), "-n", sys.executable, "-c", probe.format(address, port)]
        return subprocess.run(line, capture_output=True, text=True, check=False).stderr

    assert from_first(first.address, 6443) == ""
    assert "Error" in from_first(second.address, 6443)
    with listening(first.gateway) as port:
        assert "Error" in from_first(first.gateway, port)


async def test_a_killed_keeper_takes_everything_with_it(tmp_path: Path) -> None:
    root = tmp_path / "clusters"
    groups = []
    cluster = PhysicalCluster("a", root=root)
    await cluster.start()
    try:
        runtime = cluster.spec.runtime
        assert traces(root)
        if runtime == "nodes":
            groups = [Path(line) for line in cluster.spec.groups.read_text().splitlines()]
            assert all(group.exists() for group in groups)
        keeper = ProcessId.read(cluster.spec.keeper)
        assert keeper is not None
        keeper.signal(signal.SIGKILL)

        async def ended() -> bool:
            return not processes(str(root))

        await eventually(ended, timeout=60)
        assert not cluster.running
    finally:
        await cluster.destroy()
    assert traces(root) == []
    assert not root.exists()
    assert not [group for group in groups if group.exists()]


async def test_a_cluster_ends_with_whoever_started_it(tmp_path: Path) -> None:
    """Killed as well: the keeper is told, and cleans up as at any end."""
    root = tmp_path / "clusters"
    program = (
        "import asyncio, pathlib\n"
        "from tests.clusters import PhysicalCluster\n"
        "async def main():\n"
        f"    async with PhysicalCluster('a', root=pathlib.Path({str(root)!r}), runtime='kwok'):\n"
        "        print('up', flush=True)\n"
        "        await asyncio.sleep(600)\n"
        "asyncio.run(main())\n"
    )
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, env=environment(), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    assert await asyncio.wait_for(owner.stdout.readline(), 120) == b"up\n"
    owner.kill()
    await owner.wait()

    async def ended() -> bool:
        return not PhysicalCluster("a", root=root).running and not processes(str(root))

    await eventually(ended, timeout=60)
    await PhysicalCluster("a", root=root).destroy()
    assert traces(root) == []


async def test_a_cluster_ends_with_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "clusters"
    cluster = PhysicalCluster("a", root=root, runtime="kwok", detached=True)
    await cluster.start()
    shutil.rmtree(root)

    async def ended() -> bool:
        return not processes(str(root))

    await eventually(ended, timeout=30)
    await cluster.stop()


async def test_the_command(tmp_path: Path) -> None:
    root = str(tmp_path / "clusters")
    up = command("up", "a", "--root", root, "--runtime", "kwok")
    assert up.returncode == 0, up.stderr
    assert "export KUBECONFIG=" in up.stdout
    try:
        assert command("list", "--root", root).stdout.split()[:3] == ["a", "kwok", "up"]
        again = command("up", "a", "--root", root)
        assert (again.returncode, again.stderr) == (1, "error: cluster a is running already\n")
        nobody = command("down", "nobody", "--root", root)
        assert (nobody.returncode, nobody.stderr) == (1, f"error: there is no cluster nobody in {root}\n")
        assert command("list", "--root", root).stdout.split()[:3] == ["a", "kwok", "up"]
    finally:
        down = command("down", "--root", root)
    assert (down.returncode, down.stderr) == (0, "")
    assert traces(Path(root)) == []
    missing = command("check", "a", "--root", root)
    assert (missing.returncode, missing.stderr) == (1, "error: cluster a is not up\n")


async def test_an_abandoned_bridge_is_removed(tmp_path: Path) -> None:
    if choose(tmp_path)[0] == "kwok":
        pytest.skip("needs real nodes")
    gone = tmp_path / "gone"
    gone.mkdir()
    bridge = network.ensure(gone)
    assert network.find(gone) == bridge
    gone.rmdir()
    other = tmp_path / "other"
    other.mkdir()
    try:
        network.ensure(other)
        assert network.find(gone) is None
    finally:
        network.remove(other)
    assert traces(tmp_path) == []


async def test_a_program_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program that does not start is told in one line, and nothing stays."""
    broken = tmp_path / "etcd"
    broken.write_text("#!/bin/sh\necho 'E no etcd today' >&2\nexit 1\n")
    broken.chmod(0o755)
    monkeypatch.setenv("KCP_ETCD", str(broken))
    cluster = PhysicalCluster("a", root=tmp_path / "clusters", runtime="kwok")
    with pytest.raises(ClusterError, match=r"cluster a did not start: etcd ended with code 1.*no etcd today") as caught:
        await cluster.start()
    assert len(str(caught.value).splitlines()) == 1
    await cluster.destroy()
    assert traces(tmp_path / "clusters") == []


@contextlib.contextmanager
def listening(address: str) -> Iterator[int]:
    """A port of this machine on which somebody listens."""
    with socket.create_server((address, 0)) as server:
        yield server.getsockname()[1]
