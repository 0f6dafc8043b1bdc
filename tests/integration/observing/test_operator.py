"""`kcp top` and `kcp doctor` beside a running kcp."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path
from typing import Any

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children, run_kcp


async def use(kcp: Kcp) -> None:
    """Until cancelled."""
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        while True:
            await client.request("GET", "/api/v1/namespaces/default/configmaps")
            await asyncio.sleep(0.02)


async def test_top(kcp: Kcp, token_file: Path) -> None:
    options = ("--root-directory", str(kcp.root), "--metrics-token-file", str(token_file), "--interval", "1")
    using = asyncio.create_task(use(kcp))
    try:

        async def busy() -> dict[str, Any]:
            code, output, errors = await run_kcp("top", *options, "-o", "json")
            assert code == 0, errors
            view: dict[str, Any] = json.loads(output)
            return view if view["workspaces"] and view["workspaces"][0]["requests"] > 1 else {}

        view = await eventually(busy, timeout=60)
        first = view["workspaces"][0]
        assert first["workspace"] == "root:default"
        assert 0 < first["mean"] < 10
        assert first["sent"] > 100
        assert view["totals"]["workspaces"] >= 2
        assert view["totals"]["shards_up"] == view["totals"]["shards"] == 1
        code, output, errors = await run_kcp("top", *options)
        assert code == 0, errors
        assert "WORKSPACE" in output
        assert "root:default" in output
        assert "no physical clusters" in output
    finally:
        using.cancel()
        await asyncio.gather(using, return_exceptions=True)


async def test_top_says_what_is_missing(kcp: Kcp, tmp_path: Path) -> None:
    code, _, errors = await run_kcp("top", "--root-directory", str(kcp.root))
    assert code == 1
    assert errors.endswith("/metrics wants a token: --metrics-token-file\n")
    code, _, errors = await run_kcp("top", "--root-directory", str(tmp_path))
    assert code == 1
    assert errors.startswith(f"Error: {tmp_path}/server.json: No such file or directory;")
    assert len(errors.splitlines()) == 1


async def examine(kcp: Kcp) -> tuple[int, dict[str, list[dict[str, str]]]]:
    """Exit code and findings by check."""
    code, output, errors = await run_kcp("doctor", "--root-directory", str(kcp.root), "-o", "json")
    assert not errors
    found: dict[str, list[dict[str, str]]] = {}
    for finding in json.loads(output):
        found.setdefault(finding["check"], []).append(finding)
    return code, found


async def test_doctor_finds_nothing(kcp: Kcp) -> None:
    async def well() -> bool:
        code, found = await examine(kcp)
        states = {check: [finding["state"] for finding in findings] for check, findings in found.items()}
        expected = {
            check: ["ok"] for check in ("files", "certificates", "disk", "etcd", "shard root", "proxy", "metrics")
        }
        return code == 0 and states == expected

    await eventually(well, timeout=60)
    code, output, _ = await run_kcp("doctor", "--root-directory", str(kcp.root))
    assert code == 0
    assert "✓ shard root: https://127.0.0.1:" in output


async def test_doctor_finds_what_is_wrong(kcp: Kcp) -> None:
    [apiserver] = [pid for pid, command in children(kcp.pid).items() if "kube-apiserver" in command]
    exposed = kcp.root / "shard" / "admin.kubeconfig"
    swapped, kept = kcp.root / "pki" / "serving.key", (kcp.root / "pki" / "serving.key").read_bytes()
    exposed.chmod(0o644)
    swapped.write_bytes((kcp.root / "pki" / "kube-controller-manager.key").read_bytes())
    os.kill(apiserver, signal.SIGSTOP)
    try:
        code, found = await examine(kcp)
    finally:
        os.kill(apiserver, signal.SIGCONT)
        exposed.chmod(0o600)
        swapped.write_bytes(kept)
    assert code == 1
    [files] = found["files"]
    assert (files["state"], files["advice"]) == ("failure", f"chmod 600 {exposed}")
    [certificates] = found["certificates"]
    assert "do not belong together" in certificates["message"]
    [shard] = found["shard root"]
    assert shard["state"] == "failure"
    assert "did not answer" in shard["message"]
    assert "kube-apiserver.log" in shard["advice"]
