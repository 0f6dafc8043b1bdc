"""A request's trace: from its client through the proxy into the shard, at a collector that speaks OTLP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc

from proxy.kube.client import Client
from proxy.kube.config import load_kubeconfig
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, run_kcp

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@dataclass(frozen=True, slots=True)
class Seen:
    """One span."""

    service: str
    name: str
    trace: str
    span: str
    parent: str
    nanoseconds: int
    attributes: dict[str, str]


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps all that it gets."""

    def __init__(self) -> None:
        self.spans: list[Seen] = []

    def Export(self, request: Any, context: Any) -> Any:
        for resource in request.resource_spans:
            service = _values(resource.resource.attributes).get("service.name", "")
            for scope in resource.scope_spans:
                self.spans += [
                    Seen(
                        service, span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                        span.end_time_unix_nano - span.start_time_unix_nano, _values(span.attributes),
                    )
                    for span in scope.spans
                ]  # fmt: skip
        return trace_service_pb2.ExportTraceServiceResponse()


def _values(attributes: Any) -> dict[str, str]:
    return {item.key: str(getattr(item.value, item.value.WhichOneof("value"))) for item in attributes}


@pytest.fixture(scope="module")
def collector() -> Iterator[tuple[Collector, int]]:
    server = grpc.server(ThreadPoolExecutor(2))
    collector = Collector()
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    yield collector, port
    server.stop(None)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def kcp(collector: tuple[Collector, int], tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("tracing")
    config = folder / "tracing.yaml"
    config.write_text(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: TracingConfiguration\n"
        f"endpoint: 127.0.0.1:{collector[1]}\nsamplingRatePerMillion: 1000000\n"
    )
    async with Kcp(folder / "root", "--tracing-config-file", str(config), "--workers", "1") as running:
        yield running


async def test_a_trace_goes_through(kcp: Kcp, collector: tuple[Collector, int]) -> None:
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        await client.request(
            "GET", "/api/v1/namespaces/default/configmaps", headers={"traceparent": f"00-{TRACE}-{PARENT}-01"}
        )

    async def whole() -> list[Seen]:
        spans = [span for span in collector[0].spans if span.trace == TRACE]
        return spans if {"kcp-proxy", "apiserver"} <= {span.service for span in spans} and len(spans) > 2 else []

    spans = await eventually(whole, timeout=30)
    [request] = [span for span in spans if span.name == "list configmaps"]
    assert request.parent == PARENT
    assert request.attributes["kcp.workspace"] == "root:default"
    assert request.attributes["http.response.status_code"] == "200"
    [asked] = [span for span in spans if span.name == "shard root"]
    assert asked.parent == request.span
    assert 0 < asked.nanoseconds <= request.nanoseconds
    joined = [span for span in spans if span.service == "apiserver" and span.parent == asked.span]
    assert len(joined) == 1, "the shard's own span is a child of the proxy's"
    assert joined[0].attributes["audit-id"] == request.attributes["audit-id"]


async def test_a_request_without_a_trace_gets_one(kcp: Kcp, collector: tuple[Collector, int]) -> None:
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        await client.request("GET", "/api")

    async def seen() -> list[Seen]:
        return [
            span
            for span in collector[0].spans
            if span.service == "kcp-proxy" and span.attributes.get("kcp.step") == "document" and not span.parent
        ]

    assert await eventually(seen, timeout=30)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Pod", "wanted a TracingConfiguration of apiserver.config.k8s.io"),
        ("kind: TracingConfiguration\nendpoint: ''", "endpoint '': wanted HOST:PORT"),
        ("kind: TracingConfiguration\nsamplingRatePerMillion: 1.5", "samplingRatePerMillion 1.5: wanted 0 to 1000000"),
    ],
)
async def test_wrong_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "tracing.yaml"
    file.write_text(text)
    code, _, errors = await run_kcp("start", "--root-directory", str(tmp_path), "--tracing-config-file", str(file))
    assert (code, errors) == (1, f"Error: {file}: {message}\n")
