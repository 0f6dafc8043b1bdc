"""Figures of the syncer: a workspace behind the proxy, a physical cluster's API server, and one syncer between them."""

from __future__ import annotations

import asyncio
import json
import os
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.kube.client import METADATA_LIST, Client, Resource
from proxy.kube.errors import StatusError
from syncer.names import CLUSTER_LABEL
from tests.bench.system import cpu_seconds, memory_mib
from tests.faults.rig import CLUSTER, Rig, sample

CONFIGMAPS = Resource("", "v1", "configmaps")
DEPLOYMENTS = Resource("apps", "v1", "deployments")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
CHANGES = 100
QUIET = 30.0
"""Seconds in which nothing changes."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the result."""

    work: str
    value: str


async def measure(objects: int, namespaces: int) -> list[Figure]:
    """``objects`` ConfigMaps of 1 KiB in ``namespaces``, then changes one by one, both ways."""
    with tempfile.TemporaryDirectory(prefix="kcp-bench-sync-") as folder:
        async with Rig(Path(folder)) as rig:
            await rig.synced()
            figures = await _latencies(rig, "with nothing else")
            figures += await _initial(rig, objects, namespaces)
            figures += await _latencies(rig, f"with {objects} objects")
            figures += await _steady(rig)
    return figures


async def _initial(rig: Rig, objects: int, namespaces: int) -> list[Figure]:
    """All objects are there when the syncer comes."""
    rig.kill_syncer()
    before = await _count(rig.below)
    names = [f"many-{number}" for number in range(namespaces)]
    await _in_parallel([lambda name=name: _namespace(rig, name) for name in names])  # type: ignore[misc]
    numbers = iter(range(objects))

    async def fill() -> None:
        for number in numbers:
            data = {"k": "v" * 900}
            body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": f"o-{number}"}, "data": data}
            await rig.above.create(CONFIGMAPS, body, names[number % namespaces])

    await asyncio.gather(*(fill() for _ in range(8)))
    rig.start_syncer()

    async def begun() -> bool:
        return await _told(rig) > 0

    async def done() -> bool:
        # Lists of all that is there, time and again, would take the cores that the syncer needs.
        return await _told(rig) >= objects and await _count(rig.below) - before >= objects

    await _until(begun)
    began, used, first = time.perf_counter(), _cpu(rig), await _told(rig)
    await _until(done, timeout=3600, interval=1)
    seconds, each = time.perf_counter() - began, objects - first
    cpu = {name: (now - used[name]) / each * 1000 for name, now in _cpu(rig).items()}
    work = f"initial sync of {objects} objects in {namespaces} namespaces"
    return [
        Figure(work, f"{seconds:.1f} s, {each / seconds:.0f}/s"),
        Figure(f"{work}: CPU ms for each", ", ".join(f"{name} {ms:.2f}" for name, ms in cpu.items() if ms >= 0.01)),
        Figure(f"{work}: memory of the syncer", f"{memory_mib(rig.syncer_pid):.0f} MiB"),
    ]


async def _told(rig: Rig) -> int:
    """ConfigMaps that stand below, as the syncer says."""
    return int(sample(await rig.scrape(), "kcp_syncer_objects", resource="configmaps"))


def _cpu(rig: Rig) -> dict[str, float]:
    """CPU seconds used so far, of all that takes part; this process carries the bytes between them."""
    return {
        "syncer": cpu_seconds(rig.syncer_pid),
        **{f"{name} above": used for name, used in rig.system.cpu().items()},
        **{f"{name} below": cpu_seconds(run.pid) for name, run in rig.plane.processes.items() if run.pid is not None},
        "relay": cpu_seconds(os.getpid()),
    }


async def _steady(rig: Rig) -> list[Figure]:
    pid = rig.syncer_pid
    before, requests = cpu_seconds(pid), _requests(await rig.scrape())
    await asyncio.sleep(QUIET)
    used, asked = cpu_seconds(pid) - before, _requests(await rig.scrape()) - requests
    return [
        Figure("syncer at rest: CPU", f"{used / QUIET * 100:.1f} % of a core"),
        Figure("syncer at rest: memory", f"{memory_mib(pid):.0f} MiB"),
        Figure("syncer at rest: requests (heartbeat, lease)", f"{asked / QUIET:.2f}/s"),
    ]


async def _latencies(rig: Rig, when: str) -> list[Figure]:
    namespace = f"changes-{abs(hash(when)) % 10_000}"
    await _namespace(rig, namespace)
    labels = {"app": "words"}
    pod = {"containers": [{"name": "words", "image": "words:1"}]}
    spec = {
        "selector": {"matchLabels": labels},
        "replicas": 0,
        "template": {"metadata": {"labels": labels}, "spec": pod},
    }
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "words"}, "spec": spec}
    await rig.above.create(DEPLOYMENTS, body, namespace)
    physical = rig.physical(namespace)
    await _until(lambda: _settled(rig, namespace, physical))
    requests = _requests(await rig.scrape())
    down = await _follow(
        rig.below, physical,
        lambda number: rig.above.patch(DEPLOYMENTS, "words", _annotation(number), namespace),
        lambda obj: (obj["metadata"].get("annotations") or {}).get("bench"),
    )  # fmt: skip
    asked = _requests(await rig.scrape()) - requests
    up = await _follow(
        rig.above, namespace,
        lambda number: rig.below.patch(DEPLOYMENTS, "words", _condition(number), physical, subresource="status"),
        lambda obj: next(
            (each["message"] for each in obj["status"].get("conditions") or () if each["type"] == "Bench"), None
        ),
    )  # fmt: skip
    return [
        Figure(f"change above until seen below, {when}", _percentiles(down)),
        Figure(f"status below until seen above, {when}", _percentiles(up)),
        Figure(f"requests for a change of a Deployment, both ways, {when}", f"{asked / CHANGES:.2f}"),
    ]


async def _follow(
    client: Client,
    namespace: str,
    change: Callable[[int], Awaitable[Any]],
    seen: Callable[[dict[str, Any]], str | None],
) -> list[float]:
    """Seconds from each change until a watch of the other side shows it."""
    version = str((await client.list(DEPLOYMENTS, namespace))["metadata"]["resourceVersion"])
    arrived: dict[str, float] = {}
    news = asyncio.Event()

    async def watch() -> None:
        async for event in client.watch(DEPLOYMENTS, namespace, resource_version=version):
            value = seen(event["object"])
            if value is not None:
                arrived.setdefault(value, time.perf_counter())
                news.set()

    task = asyncio.create_task(watch())
    times = []
    try:
        await asyncio.sleep(0.5)
        for number in range(CHANGES):
            began = time.perf_counter()
            await change(number)
            async with asyncio.timeout(30):
                while str(number) not in arrived:
                    news.clear()
                    await news.wait()
            times.append(arrived[str(number)] - began)
            await asyncio.sleep(0.02)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    return times


def _annotation(number: int) -> dict[str, Any]:
    return {"metadata": {"annotations": {"bench": str(number)}}}


def _condition(number: int) -> dict[str, Any]:
    stamp = "2020-01-01T00:00:00Z"
    condition = {
        "type": "Bench", "status": "True", "reason": "Bench", "message": str(number),
        "lastUpdateTime": stamp, "lastTransitionTime": stamp,
    }  # fmt: skip
    return {"status": {"conditions": [condition]}}


async def _settled(rig: Rig, namespace: str, physical: str) -> bool:
    above = await rig.above.get(DEPLOYMENTS, "words", namespace)
    below = await rig.below.get(DEPLOYMENTS, "words", physical)
    observed = (below.get("status") or {}).get("observedGeneration")
    return bool(observed and (above.get("status") or {}).get("observedGeneration"))


async def _namespace(rig: Rig, name: str) -> None:
    await rig.above.create(NAMESPACES, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})

    async def placed() -> bool:
        labels = (await rig.above.get(NAMESPACES, name))["metadata"].get("labels") or {}
        return bool(labels.get(CLUSTER_LABEL) == CLUSTER)

    await _until(placed)


async def _until(check: Callable[[], Awaitable[bool]], timeout: float = 120, interval: float = 0.1) -> None:
    async with asyncio.timeout(timeout):
        while True:
            try:
                if await check():
                    return
            except StatusError:
                pass
            await asyncio.sleep(interval)


async def _in_parallel(calls: list[Callable[[], Awaitable[None]]]) -> None:
    waiting = iter(calls)

    async def work() -> None:
        for call in waiting:
            await call()

    await asyncio.gather(*(work() for _ in range(8)))


async def _count(below: Client) -> int:
    """ConfigMaps that a syncer has made."""
    selector = f"{CLUSTER_LABEL}={CLUSTER}"
    return len((await below.list(CONFIGMAPS, label_selector=selector, accept=METADATA_LIST))["items"])


def _requests(text: str) -> float:
    return sample(text, "kcp_syncer_requests_total")


def _percentiles(times: list[float]) -> str:
    cut = statistics.quantiles(times, n=100)
    return f"p50 {cut[49] * 1000:.0f} ms, p99 {cut[98] * 1000:.0f} ms"


def write(figures: list[Figure], path: Path) -> None:
    """Print them and add them to a file of JSON."""
    for figure in figures:
        print(f"{figure.work}: {figure.value}")
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps([{"work": figure.work, "value": figure.value} for figure in figures], indent=2))
