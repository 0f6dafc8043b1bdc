"""One scrape of a running kcp: all workers, also those that died; checks that tell the truth."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children, run_kcp

PORT = free_port()
LISTS = "kcp_proxy_requests_total{code=200,resource=configmaps,shard=root,verb=list}"


@pytest.fixture(scope="module")
async def kcp(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    options = ("--workers", "2", "--metrics-bind-address", f"127.0.0.1:{PORT}", "--metrics-busiest-workspaces", "2")
    async with Kcp(tmp_path_factory.mktemp("metrics") / "root", *options) as running:
        yield running


async def ask(path: str, accept: str = "*/*") -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{PORT}{path}", headers={"Accept": accept}) as response,
    ):
        return response.status, await response.text()


async def scrape() -> dict[str, float]:
    status, text = await ask("/metrics", "application/openmetrics-text; version=1.0.0")
    assert status == 200
    found = {}
    for family in text_string_to_metric_families(text):  # type: ignore[no-untyped-call]
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


async def list_config_maps(kcp: Kcp, times: int) -> None:
    """Each on a connection of its own, so that every worker gets some."""
    for _ in range(times):
        async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
            await client.request("GET", "/api/v1/namespaces/default/configmaps")


async def test_requests_through_all_workers_are_counted_once(kcp: Kcp) -> None:
    before = (await scrape()).get(LISTS, 0)
    await list_config_maps(kcp, 20)
    found = await scrape()
    assert found[LISTS] == before + 20
    assert found["kcp_proxy_workers{}"] == 2
    assert found["kcp_proxy_workspace_requests_total{workspace=root:default}"] >= 20
    assert found["kcp_workspaces{phase=Ready,shard=root}"] == 2
    assert found["kcp_shard_up{shard=root}"] == 1
    for process in ("etcd", "kube-apiserver", "kube-controller-manager", "worker-0", "worker-1"):
        assert found[f"kcp_process_up{{process={process}}}"] == 1
        assert found[f"kcp_process_resident_memory_bytes{{process={process}}}"] > 10_000_000


async def test_counters_outlive_a_worker(kcp: Kcp) -> None:
    await list_config_maps(kcp, 20)
    before = await scrape()
    restarts = sum(value for key, value in before.items() if key.startswith("kcp_process_restarts_total"))
    workers = [pid for pid, command in children(kcp.pid).items() if "proxy.server.worker" in command]
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
    during = await scrape()

    async def both_again() -> bool:
        return (await scrape())["kcp_proxy_workers{}"] == 2

    await eventually(both_again, timeout=20)
    after = await scrape()
    for key, value in before.items():
        # those of processes begin anew with them, as everywhere
        if key.partition("{")[0].endswith(("_total", "_count", "_sum", "_bucket")) and "kcp_process_cpu" not in key:
            assert during[key] >= value, key
            assert after[key] >= during[key], key
    assert sum(v for key, v in after.items() if key.startswith("kcp_process_restarts_total")) == restarts + 2

    async def serves() -> bool:
        await list_config_maps(kcp, 1)
        return True

    await eventually(serves, StatusError)
    assert (await scrape())[LISTS] > after[LISTS]


async def test_a_watch_is_in_flight_while_it_lasts(kcp: Kcp) -> None:
    connection = load_kubeconfig(kcp.kubeconfig)
    key = "kcp_proxy_requests_in_flight{kind=watch}"
    before = (await scrape())[key]
    headers = {"Authorization": f"Bearer {connection.token}"}
    url = f"{connection.server}/api/v1/namespaces/default/configmaps?watch=true&sendInitialEvents=true"
    url += "&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
    tls = connection.ssl_context() or False
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers, ssl=tls) as response:
        await response.content.readline()
        assert (await scrape())[key] == before + 1

    async def over() -> bool:
        return (await scrape())[key] == before

    await eventually(over)


async def test_a_scrape_is_quick(kcp: Kcp) -> None:
    times = []
    for _ in range(5):
        began = time.perf_counter()
        await ask("/metrics")
        times.append(time.perf_counter() - began)
    assert min(times) < 0.05


async def test_checks_tell_the_truth(kcp: Kcp) -> None:
    assert await ask("/readyz") == (200, "ok")
    status, text = await ask("/readyz?verbose")
    assert status == 200
    assert text.splitlines() == [
        *(f"[+]{name} ok" for name in ("etcd", "kube-apiserver", "kube-controller-manager", "worker-0", "worker-1")),
        "[+]shard-root ok",
        "[+]workspaces ok",
        "readyz check passed",
    ]
    [apiserver] = [pid for pid, command in children(kcp.pid).items() if "kube-apiserver" in command]
    os.kill(apiserver, signal.SIGSTOP)
    try:
        status, text = await ask("/readyz")
        assert status == 503
        assert "[-]shard-root failed: no answer in 3 s" in text
        assert await ask("/livez") == (200, "ok")
    finally:
        os.kill(apiserver, signal.SIGCONT)

    async def well() -> bool:
        return (await ask("/readyz"))[0] == 200

    await eventually(well)


async def test_an_address_in_use(kcp: Kcp, tmp_path: Path) -> None:
    arguments = ("--bind-address", "127.0.0.1", "--secure-port", str(free_port()), "--root-directory", str(tmp_path))
    code, _, errors = await run_kcp("start", *arguments, "--metrics-bind-address", f"127.0.0.1:{PORT}")
    assert code == 1
    assert errors.splitlines()[-1] == f"Error: --metrics-bind-address: port {PORT} of 127.0.0.1 is in use"
    code, _, errors = await run_kcp("start", *arguments, "--metrics-bind-address", "here")
    assert (code, errors) == (1, "Error: --metrics-bind-address here: wanted HOST:PORT, or off\n")


async def test_the_default_address_is_not_insisted_on(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", 9464))
            holder.listen()
        except OSError:
            pass  # somebody else has it: as good
        async with Kcp(tmp_path / "root", metrics=None) as running:
            assert "no metrics: port 9464 of 127.0.0.1 is in use" in running.output
