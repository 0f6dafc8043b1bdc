"""What clients ask before they ask for anything: discovery, OpenAPI, types that are new, and the plugins of kubectl."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from proxy.binaries.find import find
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from tests.bench.load import Result, Target, connect
from tests.bench.works import Bench, Row

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
TYPES = 10
COMMANDS = 10
GROUP = "bench.example.com"


async def discovery(bench: Bench) -> list[Row]:
    """Documents that a client has already (304) and has not; how long a new type is not known; the plugins."""
    rows: list[Row] = []
    for work, path, accept in (
        ("aggregated discovery", "/apis", AGGREGATED),
        ("OpenAPI v3 of a group", "/openapi/v3/apis/rbac.authorization.k8s.io/v1", "application/json"),
    ):
        tags = {name: await _tag(target, path, accept) for name, target in bench.targets.items()}

        def whole(target: Target, path: str = path, accept: str = accept) -> Callable[[int], bytes]:
            request = _asking(target, path, accept)
            return lambda number: request

        def known(
            target: Target, path: str = path, accept: str = accept, tags: dict[str, str] = tags
        ) -> Callable[[int], bytes]:
            request = _asking(target, path, accept, tags[target.name])
            return lambda number: request

        targets = bench.targets
        rows += await bench.alternate(work, whole, connections=8, requests=1000, targets=targets)
        rows += await bench.alternate(f"{work}, known already", known, connections=8, requests=4000, targets=targets)
    rows += await _new_types(bench)
    return rows + await _plugins(bench)


def _asking(target: Target, path: str, accept: str, tag: str = "") -> bytes:
    headers = (*target.headers, *((("if-none-match", tag),) if tag else ()))
    return replace(target, headers=headers).request("GET", path).replace(b"application/json", accept.encode(), 1)


async def _tag(target: Target, path: str, accept: str) -> str:
    """ETag of the document."""
    connection = await connect(target)
    await connection.ask(_asking(target, path, accept))
    connection.transport.close()
    return connection.tag


async def _new_types(bench: Bench) -> list[Row]:
    """From the moment a CRD is sent until discovery has its type."""
    rows = []
    clients = {"direct": bench.system.shard, "proxy": bench.system.client}
    for name, client in clients.items():
        times = [await _served(client, f"{name}{number}s") for number in range(TYPES)]
        rows.append(_row("a new CRD is in discovery", name, times))
    return rows


async def _served(client: Client, plural: str) -> float:
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    names = {
        "plural": plural,
        "singular": plural[:-1],
        "kind": plural[:-1].title(),
        "listKind": f"{plural.title()}List",
    }
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    crd: Object = {
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}"},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    }  # fmt: skip
    began = time.perf_counter()
    await client.request("POST", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions", body=crd)
    async with asyncio.timeout(60):
        while not await _is_known(client, plural):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    return time.perf_counter() - began


async def _is_known(client: Client, plural: str) -> bool:
    try:
        found = await client.request("GET", f"/apis/{GROUP}/v1")
    except StatusError:
        return False
    return any(resource["name"] == plural for resource in found["resources"])


async def _plugins(bench: Bench) -> list[Row]:
    """Time of a command of a plugin less that of kubectl's own for one request."""
    system = bench.system
    kubeconfig = system.root.parent / "kubectl.kubeconfig"
    kubeconfig.touch(mode=0o600)
    kubeconfig.write_text((system.root / "admin.kubeconfig").read_text())
    plugins = Path(sys.executable).parent
    environment = {**os.environ, "KUBECONFIG": str(kubeconfig), "PATH": f"{plugins}:{os.environ['PATH']}"}
    kubectl = str(find("kubectl"))

    async def seconds(*arguments: str) -> float:
        began = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            kubectl, *arguments, env=environment, stdout=asyncio.subprocess.DEVNULL
        )
        if await process.wait():
            raise RuntimeError(f"kubectl {' '.join(arguments)} failed")
        return time.perf_counter() - began

    rows = []
    for command in (("ws", "."), ("ws", "root:benchmarks"), ("ws", "list")):
        times = []
        for _ in range(COMMANDS):
            own = await seconds("get", "--raw", "/version")
            times.append(await seconds(*command) - own)
        rows.append(_row(f"kubectl {' '.join(command)}, beside kubectl's own time", "proxy", times))
    return rows


def _row(work: str, system: str, times: list[float]) -> Row:
    result = Result(sum(times), times)
    p50, p99 = statistics.median(times) * 1000, result.percentile(0.99) * 1000
    return Row(work, system, 1, len(times), 0.0, 0.0, p50, p99, {})
