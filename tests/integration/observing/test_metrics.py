"""One scrape of a running kcp: all workers, also those that died; checks that tell the truth."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import aiohttp
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children, run_kcp
from tests.integration.observing.conftest import PORT, ask

LISTS = "kcp_proxy_requests_total{code=200,resource=configmaps,shard=root,verb=list}"


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
    assert found["kcp_proxy_workspace_requests_total{class=2xx,workspace=root:default}"] >= 20
    assert found["kcp_proxy_responses_total{class=2xx,shard=root}"] >= 20
    assert found["kcp_proxy_cache_lookups_total{cache=entry,result=hit}"] >= 20
    assert found["kcp_proxy_tls_handshakes_total{result=ok}"] >= 20
    assert found["kcp_proxy_shard_connections_opened_total{shard=root}"] >= 1
    assert found["kcp_workspaces{phase=Ready,shard=root}"] == 2
    assert found["kcp_shard_up{shard=root}"] == 1
    for process in ("etcd", "kube-apiserver", "kube-controller-manager", "worker-0", "worker-1"):
        assert found[f"kcp_process_up{{process={process}}}"] == 1
        assert found[f"kcp_process_resident_memory_bytes{{process={process}}}"] > 10_000_000


async def test_who_may_scrape(kcp: Kcp) -> None:
    for token in (None, "scrape", "scrape-me-too"):
        assert await ask("/metrics", token=token) == (401, "Unauthorized\n")
        assert await ask("/readyz?verbose", token=token) == (200, "ok")
        assert await ask("/livez", token=token) == (200, "ok")


async def test_controllers_certificates_and_shards(kcp: Kcp) -> None:
    client = Client(load_kubeconfig(kcp.kubeconfig))
    async with client:
        for number in range(2):
            body = {
                "apiVersion": "tenancy.kcp.dev/v1beta1", "kind": "Workspace", "metadata": {"name": f"made-{number}"},
            }  # fmt: skip
            await client.request("POST", "/apis/tenancy.kcp.dev/v1beta1/workspaces", body=body)

    async def made() -> bool:
        found = await scrape()
        return found["kcp_workspace_creation_duration_seconds_count{}"] >= 3 and "kcp_shard_info" in str(found)

    await eventually(made, timeout=60)
    found = await scrape()
    assert found["kcp_workspaces{phase=Ready,shard=root}"] == 4
    assert found["kcp_workqueue_adds_total{name=workspaces}"] >= 3
    for queue in ("workspaces", "namespaces", "API imports", "workload clusters"):
        assert f"kcp_workqueue_depth{{name={queue}}}" in found
        assert f"kcp_workqueue_retries_total{{name={queue}}}" in found
    for certificate in ("serving", "serving-ca", "apiserver", "client-ca", "kube-controller-manager"):
        assert found[f"kcp_certificate_expiry_timestamp_seconds{{certificate={certificate}}}"] > time.time()
    assert found["kcp_shard_storage_quota_bytes{shard=root}"] == 8 * 2**30
    assert 10_000 < found["kcp_shard_storage_bytes{shard=root}"] < 2**28
    assert "kcp_shard_objects{shard=root}" in found
    assert found["kcp_shard_info{shard=root,version=v1.36.3}"] == 1
    assert found["kcp_shard_requests_total{shard=root}"] > 100
    assert any(key.startswith("kcp_build_info{python=3.") for key in found)


async def test_handshakes_that_fail_are_counted(kcp: Kcp) -> None:
    key = "kcp_proxy_tls_handshakes_total{result=not-tls}"
    before = (await scrape())[key]
    _, writer = await asyncio.open_connection("127.0.0.1", kcp.port)
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    await writer.drain()

    async def counted() -> bool:
        return (await scrape())[key] == before + 1

    await eventually(counted)
    writer.close()


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

    await eventually(both_again, timeout=60)
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


def cpu_seconds(kcp: Kcp) -> float:
    """Of kcp and its workers so far."""
    workers = [pid for pid, command in children(kcp.pid).items() if "proxy.server.worker" in command]
    used = 0
    for pid in (kcp.pid, *workers):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


async def test_a_scrape_is_quick(kcp: Kcp) -> None:
    """Of all processes together, so that it does not matter what else the machine does."""
    before, times = cpu_seconds(kcp), 40
    for _ in range(times):
        await ask("/metrics")
    assert (cpu_seconds(kcp) - before) / times < 0.05


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
        assert await ask_proxy(kcp, "/livez") == (200, "ok")
    finally:
        os.kill(apiserver, signal.SIGCONT)

    async def well() -> bool:
        return (await ask("/readyz"))[0] == 200

    await eventually(well)


async def test_a_worker_that_hangs_is_named(kcp: Kcp) -> None:
    [worker] = [pid for pid, command in children(kcp.pid).items() if "worker-1" in command]
    os.kill(worker, signal.SIGSTOP)
    try:
        status, text = await ask("/readyz?verbose")
        assert status == 503
        assert "[-]worker-1 failed: no answer in 2 s" in text
        assert "[+]worker-0 ok" in text
    finally:
        os.kill(worker, signal.SIGCONT)


async def ask_proxy(kcp: Kcp, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"https://127.0.0.1:{kcp.port}{path}", ssl=False) as response,
    ):
        return response.status, await response.text()


async def test_the_proxys_own_checks(kcp: Kcp) -> None:
    """A shard that is down shows; the proxy stays alive, and ready for all others."""
    good = "[+]ping ok\n[+]shard-root ok\n[+]workspaces ok\nreadyz check passed\n"

    async def well() -> bool:
        return await ask_proxy(kcp, "/readyz?verbose") == (200, good)

    await eventually(well)
    [apiserver] = [pid for pid, command in children(kcp.pid).items() if "kube-apiserver" in command]
    os.kill(apiserver, signal.SIGKILL)

    async def shown() -> bool:
        status, text = await ask_proxy(kcp, "/readyz?verbose")
        return status == 200 and "[-]shard-root failed" in text

    await eventually(shown, interval=0.01)
    assert await ask_proxy(kcp, "/livez?verbose") == (200, "[+]ping ok\nlivez check passed\n")
    await eventually(well, timeout=60)


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
