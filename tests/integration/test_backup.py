"""`kcp backup` of a kcp that runs, and `kcp restore`."""

from __future__ import annotations

import asyncio
import json
import signal
import tarfile
from pathlib import Path

import pytest

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from proxy.tenancy.api import WORKSPACES
from tests.integration.kcp_process import Kcp, run_kcp

CONFIGMAPS, SECRETS = Resource("", "v1", "configmaps"), Resource("", "v1", "secrets")


async def test_what_was_then_is_there_again(tmp_path: Path) -> None:
    archive, root, again = tmp_path / "kcp.tar", tmp_path / "a" / ".kcp", tmp_path / "b" / ".kcp"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"word": "open"}}
    kept = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kept"}, "data": {"a": "1"}}
    async with Kcp(root) as kcp:
        await kcp.make_workspace("root", "before", "Organization")
        async with kcp.client("root:before") as team:
            await team.create(SECRETS, secret, namespace="default")
            uid = (await team.create(CONFIGMAPS, kept, namespace="default"))["metadata"]["uid"]
            code, said, errors = await run_kcp("backup", str(archive), "--root-directory", str(root))
            assert (code, errors) == (0, "")
            assert said.startswith(f"{archive}: ")
            assert archive.stat().st_mode & 0o777 == 0o600
            changed = {**kept, "metadata": {"name": "kept"}, "data": {"a": "2"}}
            await team.request("PUT", CONFIGMAPS.path("default", "kept"), body=changed)
            late = {**kept, "metadata": {"name": "late"}}
            seen = (await team.create(CONFIGMAPS, late, namespace="default"))["metadata"]["resourceVersion"]
        await kcp.make_workspace("root", "after", "Organization")
        code, _, errors = await run_kcp("restore", str(archive), "--root-directory", str(root))
        assert (code, errors) == (1, f"Error: {root} holds something already; move it away, or name another folder\n")
        assert await kcp.end(signal.SIGTERM) == 0
    code, _, errors = await run_kcp("backup", str(tmp_path / "none.tar"), "--root-directory", str(root))
    assert code == 1
    assert errors.startswith(f"Error: no etcd runs in {root}")
    code, said, errors = await run_kcp("restore", str(archive), "--root-directory", str(again))
    assert code == 0, errors
    assert all(path.stat().st_mode & 0o077 == 0 for path in again.rglob("*"))
    assert {path.relative_to(root) for path in (root / "pki").iterdir()} == {
        path.relative_to(again) for path in (again / "pki").iterdir()
    }
    async with Kcp(again, port=kcp.port) as restored, restored.client("root") as everything:
        names = {item["metadata"]["name"] for item in (await everything.list(WORKSPACES))["items"]}
        assert "before" in names
        assert "after" not in names
        async with restored.client("root:before") as team:
            found = await team.get(CONFIGMAPS, "kept", namespace="default")
            assert (found["data"], found["metadata"]["uid"]) == ({"a": "1"}, uid)
            assert (await team.get(SECRETS, "s", namespace="default"))["data"] == {"word": "b3Blbg=="}
            with pytest.raises(StatusError) as failure:
                await team.get(CONFIGMAPS, "late", namespace="default")
            assert failure.value.code == 404
            # Who has seen more than there is now lists anew, instead of waiting for what comes after it.
            with pytest.raises(StatusError) as failure:
                async for _ in team.watch(CONFIGMAPS, "default", resource_version=seen, timeout=5):
                    pass
            assert failure.value.code == 410
            await team.create(CONFIGMAPS, {**kept, "metadata": {"name": "late"}}, namespace="default")


async def _refused(*arguments: str) -> str:
    code, _, errors = await run_kcp(*arguments)
    assert code == 1
    *_, line = errors.splitlines()  # before it, what is being done
    return line


async def test_what_is_no_backup(tmp_path: Path) -> None:
    def archive(name: str, **members: str) -> str:
        with tarfile.open(tmp_path / name, "w") as tar:
            for number, (member, content) in enumerate(members.items()):
                file = tmp_path / f"member-{number}"
                file.write_text(content)
                tar.add(file, member)
        return str(tmp_path / name)

    (tmp_path / "text").write_text("no tar")
    about = json.dumps({"form": 1, "at": "2026-01-31T12:00:00Z", "revision": 7})
    cases = {
        str(tmp_path / "text"): "truncated header",
        archive("empty"): "it is not whole",
        archive("newer", **{"backup.json": json.dumps({"form": 2})}): "it is of form 2",
        archive("outside", **{"backup.json": about, "../evil": "x"}): "../evil is no part of a backup",
        archive("elsewhere", **{"backup.json": about, "etcd/data/x": "x"}): "etcd/data/x is no part of a backup",
        archive("damaged", **{"backup.json": about, "etcd.db": "x" * 100}): "etcdutl: ",
    }
    target = tmp_path / "there" / ".kcp"
    lines = await asyncio.gather(*(_refused("restore", file, "--root-directory", str(target)) for file in cases))
    assert all(said in line for said, line in zip(cases.values(), lines, strict=True)), lines
    assert not target.exists()
    assert not [path for path in target.parent.iterdir() if path.name.startswith(".kcp-restore-")]
