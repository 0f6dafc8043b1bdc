"""A physical cluster that is restored from a backup: its time goes back, and versions are given out a second time."""

from __future__ import annotations

from pathlib import Path

from proxy.shard.control_plane import ControlPlane, ControlPlaneSettings
from tests.integration import etcd_copies
from tests.integration.syncer_pair import CONFIGMAPS, Pair, absent


async def test_a_cluster_restored_from_a_backup(shard: ControlPlane, tmp_path: Path) -> None:
    settings = ControlPlaneSettings(folder=tmp_path / "physical", durable=False)
    plane = ControlPlane(settings)
    try:
        await plane.start()
        async with shard.client() as above, plane.client() as below:
            pair = Pair(above, below)
            await pair.prepare()
            async with pair.syncer("configmaps"):
                for name in ("changed", "deleted"):
                    await pair.make(CONFIGMAPS, name, data={"a": "before"})
                    await pair.arrives(CONFIGMAPS, name)
                await plane.stop()
                etcd_copies.copy(tmp_path / "physical" / "etcd", tmp_path / "backup")
                await plane.start()
                await pair.change(CONFIGMAPS, "changed", {"data": {"a": "after"}})
                await pair.arrives(CONFIGMAPS, "changed", lambda obj: obj["data"] == {"a": "after"})
                await pair.remove(CONFIGMAPS, "deleted")
                await absent(above, CONFIGMAPS, "deleted", pair.namespace)
                # So much happens there that the backup is far behind.
                for number in range(20):
                    await pair.change(CONFIGMAPS, "changed", {"data": {"number": str(number)}})
                await pair.arrives(CONFIGMAPS, "changed", lambda obj: obj["data"].get("number") == "19")
                await plane.stop()
                etcd_copies.copy(tmp_path / "backup", tmp_path / "physical" / "etcd")
                await plane.start()
                below.connection = plane.connection
                await pair.arrives(CONFIGMAPS, "changed", lambda obj: obj["data"].get("number") == "19")
                await pair.leaves(CONFIGMAPS, "deleted")
                await pair.make(CONFIGMAPS, "new")
                await pair.arrives(CONFIGMAPS, "new")
    finally:
        await plane.stop()
