"""Two kcps in front of one shard: both serve the same, one of them controls, the other takes over."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.cli.controlling import LEASE, LEASE_SECONDS, NAMESPACE
from proxy.kube.client import Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.leadership import LEASES
from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from proxy.tenancy.api import WORKSPACES
from proxy.tenancy.index import LOGICAL_CLUSTERS
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

CONFIGMAPS = Resource("", "v1", "configmaps")
HERE = "root:default"


@dataclass(frozen=True)
class Two:
    shard: ControlPlane
    kcps: dict[int, Kcp]
    """By process id, which the holder of the Lease is known by."""

    async def leader(self) -> int:
        """Process id of who controls now."""

        async def holder() -> int:
            async with self.shard.client() as client:
                found = (await client.get(LEASES, LEASE, NAMESPACE))["spec"]["holderIdentity"]
            return int(found.split("_")[-2]) if found else 0

        return await eventually(holder, StatusError, timeout=30)


@pytest.fixture(scope="module")
async def two(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Two]:
    folder = tmp_path_factory.mktemp("several")
    async with ControlPlane(ControlPlaneSettings(folder=folder / "shard", durable=False)) as shard:
        options = ("--no-embedded", "--shard", f"eu={shard.kubeconfig}", "--workers", "1")
        async with Kcp(folder / "a", *options) as first, Kcp(folder / "b", *options) as second:
            yield Two(shard, {kcp.pid: kcp for kcp in (first, second)})


async def make_workspace(kcp: Kcp, name: str) -> None:
    """Until it is Ready, though another kcp may have to take over first."""
    await kcp.make_workspace(HERE, name, timeout=LEASE_SECONDS + 40)


async def test_what_one_has_written_the_other_reads_at_once(two: Two) -> None:
    one, other = two.kcps.values()
    async with one.client(HERE) as here, other.client(HERE) as there:
        for number in range(100):
            obj: Object = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"c-{number}"}}
            made = await here.create(CONFIGMAPS, obj, "default")
            found = await there.get(CONFIGMAPS, f"c-{number}", "default")
            assert found["metadata"]["uid"] == made["metadata"]["uid"]
            await there.delete(CONFIGMAPS, f"c-{number}", "default")
            with pytest.raises(StatusError) as gone:
                await here.get(CONFIGMAPS, f"c-{number}", "default")
            assert gone.value.code == 404


async def test_workspace_made_by_one_is_entered_by_the_other(two: Two) -> None:
    one, other = two.kcps.values()
    for number in range(5):
        await make_workspace(one, f"w-{number}")
        async with other.client(f"{HERE}:w-{number}") as there:
            assert await there.list(CONFIGMAPS, "default")


async def test_standby_takes_over_from_one_that_was_stopped(two: Two) -> None:
    """A leader that stands still for longer than its Lease is good for finds out, and leaves the work to the other."""
    leader = await two.leader()
    standby = next(pid for pid in two.kcps if pid != leader)
    os.kill(leader, signal.SIGSTOP)
    try:
        began = time.monotonic()
        await make_workspace(two.kcps[standby], "meanwhile")
        took = time.monotonic() - began
        assert await two.leader() == standby
        assert took > LEASE_SECONDS / 3, "the Lease was given its time"
    finally:
        os.kill(leader, signal.SIGCONT)
    await make_workspace(two.kcps[leader], "afterwards")
    await asyncio.sleep(LEASE_SECONDS / 2)
    assert await two.leader() == standby


async def test_standby_takes_over_at_once_from_one_that_ends(two: Two) -> None:
    leader = await two.leader()
    standby = next(pid for pid in two.kcps if pid != leader)
    await two.kcps.pop(leader).end(signal.SIGTERM)
    began = time.monotonic()
    await make_workspace(two.kcps[standby], "handed-over")
    assert await two.leader() == standby
    assert time.monotonic() - began < LEASE_SECONDS


async def test_root_is_found_wherever_its_shard_stands_in_the_list(two: Two, tmp_path: Path) -> None:
    """A shard that is added in front of the others does not get a second root."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "zz.kubeconfig").symlink_to(two.shard.kubeconfig)
    async with ControlPlane(ControlPlaneSettings(folder=tmp_path / "new", durable=False)) as new:
        (folder / "aa.kubeconfig").symlink_to(new.kubeconfig)
        async with Kcp(tmp_path / "c", "--no-embedded", "--shards-directory", str(folder), "--workers", "1") as kcp:
            async with kcp.client(HERE) as client:
                assert "handed-over" in {item["metadata"]["name"] for item in (await client.list(WORKSPACES))["items"]}
            async with new.client() as client:
                assert not (await client.list(LOGICAL_CLUSTERS))["items"]
