"""What is told beside requests: workspaces, handshakes, queues, certificates, shards."""

from __future__ import annotations

import asyncio
import ssl
import time
from pathlib import Path

from proxy.admission.counts import Counts
from proxy.discovery import Discovery
from proxy.kube.client import Client, Resource
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.kube.informer import Informer
from proxy.kube.tally import Tallies
from proxy.kube.workqueue import WorkQueue
from proxy.limits.values import LimitSettings
from proxy.metrics.busiest import cut
from proxy.metrics.certificates import Certificates
from proxy.metrics.controllers import queue_families
from proxy.metrics.exposition import expose
from proxy.metrics.requests import RequestMetrics
from proxy.metrics.shards import read
from proxy.metrics.snapshot import Family, add, decode, encode
from proxy.metrics.worker import WorkerMetrics
from proxy.metrics.workload import LAGS, cluster_families, import_family
from proxy.server.admission import Admission
from proxy.server.counting import Counter
from proxy.server.creations import Creations
from proxy.server.handshakes import Handshakes
from proxy.server.objects import ObjectLimit
from proxy.server.tunnels import Tunnels
from proxy.server.watches import Watches
from proxy.shard.pki import Authority
from proxy.tenancy.index import WorkspaceIndex, _slim
from tests.integration.eventually import eventually
from tests.unit.metrics.test_requests import asked, values

SHOWN = 20


def scraped(metrics: WorkerMetrics) -> list[Family]:
    """As of the only worker."""
    merged: dict[str, Family] = {}
    add(merged, decode(encode(metrics.families())).families)
    cut(merged, SHOWN)
    return list(merged.values())


def shown(metrics: WorkerMetrics) -> dict[str, float]:
    return values(scraped(metrics))


def worker(index: WorkspaceIndex) -> tuple[WorkerMetrics, RequestMetrics]:
    requests = RequestMetrics(["main"], busiest=SHOWN)
    admission = Admission(["main"], LimitSettings())
    counter = Counter({}, Discovery({}))
    metrics = WorkerMetrics(
        Path("unused"), requests=requests, admission=admission, index=index, pools=(),
        objects=ObjectLimit(index, admission, Creations(None, "worker"), counter, 1),
        connections=lambda: 0, handshakes=Handshakes(), tunnels=Tunnels(),
        watches=Watches(lambda forward, sink: None), documents=lambda: 0, unready=lambda: None,
        webhooks=Counts(), auditor=None,
    )  # fmt: skip
    return metrics, requests


def known(number: int) -> dict[str, object]:
    """As the index's informer gives it to its handlers."""
    return {
        "metadata": {"name": f"k{number:08}"},
        "spec": {"path": f"root:w{number}", "type": "Universal"},
        "status": {"phase": "Ready"},
    }


async def test_ten_thousand_workspaces() -> None:
    """All that a worker tells: bounded, and told within the time that a scrape has, at the best of some attempts."""
    index = WorkspaceIndex({"main": Client(Connection("https://unused"))})
    metrics, requests = worker(index)
    for number in range(100):
        index._event("ADDED", None, _slim("main", known(number)))
        asked(requests, workspace=f"root:w{number}")
    before = len(shown(metrics))
    for number in range(100, 10_000):
        index._event("ADDED", None, _slim("main", known(number)))
        asked(requests, workspace=f"root:w{number}")
    attempts = []
    for _ in range(5):
        began = time.process_time()
        text, _ = expose(scraped(metrics), "")
        attempts.append(time.process_time() - began)
    found = shown(metrics)
    assert found["kcp_workspaces{phase=Ready,shard=main}"] == 10_000
    assert found["kcp_workspaces{phase=Deleting,shard=main}"] == 0
    assert len(found) == before
    assert sum("workspace=root:" in key for key in found) < SHOWN * 20
    assert len(text) < 300_000
    assert min(attempts) < 0.05


async def test_queues() -> None:
    tallies = Tallies()
    failing = True

    async def reconcile(key: str) -> None:
        if key == "bad" and failing:
            raise StatusError(500, "no")

    with tallies.counting():
        queue: WorkQueue[str] = WorkQueue(reconcile, name="things", base_delay=0.01)
    for key in ("good", "good", "bad"):
        queue.add(key)
    assert values(queue_families(tallies))["kcp_workqueue_depth{name=things}"] == 2
    running = asyncio.create_task(queue.run())

    async def failed_twice() -> bool:
        return tallies.queues["things"].retried >= 2

    async def done() -> bool:
        return tallies.queues["things"].added >= 4 and not len(queue)

    await eventually(failed_twice)
    failing = False
    await eventually(done)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    found = values(queue_families(tallies))
    assert found["kcp_workqueue_depth{name=things}"] == 0
    assert found["kcp_workqueue_retries_total{name=things}"] >= 2
    assert found["kcp_workqueue_adds_total{name=things}"] >= 4
    assert found["kcp_workqueue_work_duration_seconds_count{name=things}"] >= 4


def informer(*objects: dict[str, object]) -> Informer:
    """As it would be after its first list."""
    found = Informer(Client(Connection("https://unused")), Resource("", "v1", "things"))
    found.store.update({("", str(number)): obj for number, obj in enumerate(objects)})
    return found


def conditions(**statuses: str) -> dict[str, object]:
    return {"status": {"conditions": [{"type": kind, "status": status} for kind, status in statuses.items()]}}


async def test_imports_by_what_came_of_them() -> None:
    known = informer(
        {},
        conditions(Compatible="False", Available="True"),
        conditions(Compatible="True", Available="False"),
        conditions(Compatible="True", Available="True"),
        conditions(Compatible="True", Available="True"),
    )
    found = values([import_family({"eu": known, "us": informer()})])
    for state, count in {"pending": 1, "incompatible": 1, "unpublished": 1, "published": 2}.items():
        assert found[f"kcp_api_imports{{shard=eu,state={state}}}"] == count
        assert found[f"kcp_api_imports{{shard=us,state={state}}}"] == 0


async def test_clusters_as_their_syncers_tell() -> None:
    """Also where what a tenant has written is no moment."""
    ready = conditions(Ready="True")["status"]
    assert isinstance(ready, dict)
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 45))
    told = {
        "lastSyncerHeartbeatTime": stamp,
        "syncedResources": ["configmaps", "secrets"],
        "objects": {"synced": 7, "failed": 1},
        "lagMilliseconds": {"down": 20, "oldest": 0},
    }
    slow = {"lastSyncerHeartbeatTime": "0000-13-41", "lagMilliseconds": {"down": 5, "up": 1500, "oldest": 61000}}
    away = {"lagMilliseconds": {"down": 900_000}}
    known = informer({"status": {**ready, **told}}, {"status": {**ready, **slow}}, {"status": away}, {})
    found = values(list(cluster_families({"eu": known})))
    assert found["kcp_workload_clusters{shard=eu,state=ready}"] == 2
    assert found["kcp_workload_clusters{shard=eu,state=unknown}"] == 2
    assert found["kcp_workload_clusters{shard=eu,state=not-ready}"] == 0
    assert 44 < found["kcp_workload_cluster_heartbeat_age_seconds{shard=eu}"] < 60
    assert found["kcp_workload_clusters_by_heartbeat_age{shard=eu,within=30}"] == 0
    assert found["kcp_workload_clusters_by_heartbeat_age{shard=eu,within=60}"] == 1
    assert found["kcp_workload_cluster_objects{shard=eu,state=synced}"] == 7
    assert found["kcp_workload_cluster_objects{shard=eu,state=failed}"] == 1
    lags = {way: found[f"kcp_workload_cluster_sync_lag_seconds{{direction={way},shard=eu}}"] for way in LAGS}
    assert lags == {"down": 0.02, "up": 1.5, "oldest": 61}, "of those that are heard of"


def test_certificates_are_read_again_when_they_change(tmp_path: Path) -> None:
    certificates = Certificates()
    authority = Authority(tmp_path, "some")
    pair = authority.server("serving", ["localhost"])
    certificates.watch("serving", pair.cert_file)
    certificates.watch("bad", tmp_path / "some-ca.key")
    certificates.watch("missing", tmp_path / "missing")
    certificates.watch_folder(tmp_path)
    ends = certificates.ends()
    assert set(ends) == {"serving", "some-ca"}
    assert 700 < (ends["serving"] - time.time()) / 86400 < 731
    pair.cert_file.write_bytes(authority.cert_file.read_bytes())
    assert certificates.ends()["serving"] == ends["some-ca"]


def test_handshakes_are_counted_by_their_result(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "some")
    pair = authority.server("serving", ["localhost"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert_file, pair.key_file)
    handshakes = Handshakes()
    handshakes.count(context)

    def shake(client: ssl.SSLContext | bytes) -> None:
        here_in, here_out, there_in = ssl.MemoryBIO(), ssl.MemoryBIO(), ssl.MemoryBIO()
        server = context.wrap_bio(here_in, here_out, server_side=True)
        asking = None
        there_out = ssl.MemoryBIO()
        if isinstance(client, bytes):
            here_in.write(client)
        else:
            asking = client.wrap_bio(there_in, there_out, server_hostname="localhost")
        for _ in range(4):
            for side in (asking, server):
                if side is not None:
                    try:
                        side.do_handshake()
                    except ssl.SSLWantReadError:
                        pass
                    except ssl.SSLError:
                        if side is server:
                            return
                here_in.write(there_out.read())
                there_in.write(here_out.read())

    trusting = ssl.create_default_context(cadata=authority.cert.decode())
    shake(trusting)
    shake(ssl.create_default_context())
    shake(b"GET / HTTP/1.1\r\n\r\n")
    assert handshakes.counts["ok"] >= 1
    assert handshakes.counts["refused"] == 1
    assert handshakes.counts["not-tls"] == 1


def test_a_shards_own_metrics() -> None:
    numbers, version = read(
        "# HELP apiserver_storage_size_bytes x\n"
        'apiserver_storage_size_bytes{storage_cluster_id="etcd-0"} 1.2e+07\n'
        'apiserver_storage_objects{resource="pods"} 5\n'
        'apiserver_storage_objects{resource="secrets"} -1\n'
        'apiserver_resource_objects{group="",resource="pods"} 5\n'
        'apiserver_request_total{code="200",verb="GET"} 10\n'
        'apiserver_request_total{code="503",verb="GET"} 2\n'
        'kubernetes_build_info{git_version="v1.36.3",major="1"} 1\n'
        "process_cpu_seconds_total 3.5\n"
    )
    assert version == "v1.36.3"
    assert numbers["size"] == 12_000_000
    assert numbers["objects"] == 5
    assert (numbers["requests"], numbers["failed"]) == (12, 2)
    assert numbers["cpu"] == 3.5
